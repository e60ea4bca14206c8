/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address space for an array: how much is reserved, and where in it the elements begin.
 */
#ifndef OWL_CORE_ARRAY_SPACE_H
#define OWL_CORE_ARRAY_SPACE_H

#include <stdbool.h>
#include <stddef.h>

struct owl_array_space {
    char *base;
    size_t bytes;
    char *first; /* of the elements */
};

/* Reserves room for `front`, `length` and `back` bytes in a row, within `wish` bytes or as many
 * as the system gives. The elements begin at the same place of a page, or of a huge one if the
 * space is that large, as they do at `old`. False: there are no such addresses. */
bool owl_array_space_make(struct owl_array_space *s, size_t front, size_t length, size_t back,
                          size_t wish, const char *old);

/* Gives it back. 0, or -1: the system refuses. */
int owl_array_space_end(char *base, size_t bytes);

/* Sets s->first for that room in a space that is there. What is left over is dealt out: to the
 * side that asks, if only one does, three quarters. False: it has no room for that. */
bool owl_array_space_fit(struct owl_array_space *s, size_t front, size_t length, size_t back,
                         const char *old);

#endif
