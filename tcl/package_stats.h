/* SPDX-License-Identifier: BSD-2-Clause */
/* The counts of owlalloc as Tcl dicts. Each result is a new object with no reference. */
#ifndef OWL_TCL_PACKAGE_STATS_H
#define OWL_TCL_PACKAGE_STATS_H

#include <stddef.h>
#include <tcl.h>

#include "package_find.h"

/* Everything; a NULL allocator: what the system can tell. */
Tcl_Obj *package_stats(const struct package_allocator *a);

/* The part `threads` of that. */
Tcl_Obj *package_stats_threads(const struct package_allocator *a);

/* Enters a value, whose one reference the dict then has, or a number. */
void package_put(Tcl_Obj *dict, const char *key, Tcl_Obj *value);
void package_put_number(Tcl_Obj *dict, const char *key, size_t value);

#endif
