/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pagebench_calls: the calls that owl-pages-bench measures, as one table of functions, whoever
 * serves them: a malloc, libowl's pages, or the system itself.
 *
 * A table is filled once in the measured process. Sizes are multiples of the page size.
 */
#ifndef OWL_STRESS_PAGEBENCH_CALLS_H
#define OWL_STRESS_PAGEBENCH_CALLS_H

#include <stdbool.h>
#include <stddef.h>

#include "alloc_table.h"

struct pagebench_calls {
    void *(*alloc)(size_t bytes);
    void (*free)(void *p, size_t bytes);
    void *(*grow)(void *p, size_t bytes, size_t new_bytes);
};

/* What can stand for --calls, and so for the name of an allocator, beside "malloc". */
struct pagebench_special {
    const char *name;
    const char *base;   /* the allocator, in alloc_find's words, whose process it is */
    bool rings, grows;  /* which tests it has a meaning in */
};

/* Ends with a name that is NULL. */
extern const struct pagebench_special pagebench_specials[];

/* NULL: it is none, so an allocator whose malloc is measured. `length` of the name. */
const struct pagebench_special *pagebench_special_of(const char *name, size_t length);

/* Fills the table for `name`; alloc_calls is open. `most`: no block will be larger. False: the
 * library has no such calls, as `error` says. */
bool pagebench_calls_open(const char *name, size_t most, struct pagebench_calls *calls,
                          char error[ALLOC_ERROR_MAX]);

#endif
