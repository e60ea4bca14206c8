/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is behind the arrays of include/owl/array.h: where their elements lie, and how room is made.
 * One thread at a time works on an array, and only while it has the only reference does it change
 * it.
 *
 *      base      commit_lo   open_lo   first      end     open_hi   commit_hi     base + bytes
 *        | no access |  accessible | may be resident, may hold anything | accessible | no access |
 *
 * With addresses of its own (`own_space`) all but first and end are multiples of the page size,
 * pages between commit_lo and open_lo, and between open_hi and commit_hi, are untouched and read as
 * zero, and what is outside of commit_lo and commit_hi faults. Otherwise base is a block of
 * owl_malloc, or NULL, all of which is open.
 *
 *      base <= commit_lo <= open_lo <= first <= end <= open_hi <= commit_hi <= base + bytes
 */
#ifndef OWL_CORE_ARRAY_H
#define OWL_CORE_ARRAY_H

#include <owl/array.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"

struct owl_array_body {
    struct owl_array face; /* first: its address is the array's */
    owl_word refs;
    char *base;
    size_t bytes;
    char *commit_lo, *commit_hi;
    char *open_lo, *open_hi;
    size_t wish; /* bytes of room that were asked for on either side; 0: a block will do */
    bool own_space;
};

static inline char *owl_array_first(const struct owl_array_body *b)
{
    return b->face.first;
}

static inline char *owl_array_end(const struct owl_array_body *b)
{
    return b->face.end;
}

static inline size_t owl_array_bytes(const struct owl_array_body *b)
{
    return (size_t)(owl_array_end(b) - owl_array_first(b));
}

/* Sets up where the elements of a new body will be, with room for `front` and `back` bytes
 * around `length`; the elements are then of any value. More room is made as the wish says.
 * False: no memory. */
bool owl_array_place(struct owl_array_body *b, size_t front, size_t length, size_t back);

/* Sets up a new body with the bytes from..to of another, and room around them. Large blocks
 * share their pages. False: no memory. */
bool owl_array_copy(struct owl_array_body *n, const struct owl_array_body *b, size_t from,
                    size_t to, size_t front, size_t back);

/* Makes room for `front` bytes before the first element and `back` behind the last, open both.
 * With `grows` more of the same are likely to follow. False, with elements and room as they
 * were: no memory. */
bool owl_array_room(struct owl_array_body *b, size_t front, size_t back, bool grows);

/* Makes room as owl_array_room does, but without opening it: it takes no memory yet if there are
 * addresses. */
bool owl_array_stretch(struct owl_array_body *b, size_t front, size_t back);

/* Gives back the pages that hold no element. */
void owl_array_give_back(struct owl_array_body *b);

/* The same for those before the first element, if they are many compared with the elements. */
void owl_array_give_back_front(struct owl_array_body *b);

/* Gives back all, elements too; the body has no storage any more. */
void owl_array_drop(struct owl_array_body *b);

/* Which bytes are open, before room is made. */
struct owl_array_open {
    const char *base;
    char *open_lo, *open_hi;
};

static inline struct owl_array_open owl_array_opened(const struct owl_array_body *b)
{
    return (struct owl_array_open){b->base, b->open_lo, b->open_hi};
}

/* Where a tool watches, nobody may touch what is accessible but holds no element: all room is
 * closed, but for what was asked for just now, until the elements are there; and all of it is open
 * while elements move, or storage changes. */
void owl_array_close_room(const struct owl_array_body *b);
void owl_array_open_room(const struct owl_array_body *b);
void owl_array_open_part(const struct owl_array_body *b, size_t front, size_t back);

/* What elements have left, since they reached from `first` to `end`, is room now. */
void owl_array_close_left(const struct owl_array_body *b, char *first, char *end);

/* Makes `bytes` from `to` on zero, which lie in room that was made since `before`; what is known
 * to be zero is not touched. */
void owl_array_zero(const struct owl_array_body *b, const struct owl_array_open *before, char *to,
                    size_t bytes);

/* What is drawn above holds. */
bool owl_array_is_valid(const struct owl_array_body *b);

#endif
