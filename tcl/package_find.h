/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator that this process runs on, found at run time by the names of its functions: the
 * package is linked with nothing of owlalloc, so it never brings in a heap of its own. What is
 * found may be in a library that was preloaded, in a libtcl that was linked with owlalloc, or in
 * the program, if that exports it. Nothing is kept between calls, so any thread may call.
 */
#ifndef OWL_TCL_PACKAGE_FIND_H
#define OWL_TCL_PACKAGE_FIND_H

#include <owl/option.h>
#include <owl/stats.h>
#include <stdbool.h>

struct package_allocator {
    __typeof__(owl_version) *version;
    __typeof__(owl_trim) *trim;
    __typeof__(owl_stats) *stats;
    __typeof__(owl_stats_threads) *stats_threads;
    __typeof__(owl_stats_classes) *stats_classes;
    __typeof__(owl_option_get) *option_get;
    __typeof__(owl_option_set) *option_set;
    __typeof__(owl_option_name) *option_name;
};

/* False: there is none, or one that lacks any of these. */
bool package_find(struct package_allocator *a);

/* A function of this process by its name: in the global scope, or in Tcl's library and what that
 * was linked with, for a program may have loaded Tcl for itself alone. NULL: there is none. */
void *package_find_function(const char *name);

/* The file that has the allocator. NULL: unknown. */
const char *package_find_file(const struct package_allocator *a);

/* Whether the process's malloc is this allocator's. */
bool package_find_has_malloc(const struct package_allocator *a);

#endif
