/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the page allocator share. The public functions are in include/owl/pages.h.
 *
 * Its blocks are ordinary ones: small ones of a class whose size is exactly theirs, and large ones
 * of private memory. Nothing is kept about them here.
 */
#ifndef OWL_CORE_PAGES_H
#define OWL_CORE_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#include <owl/pages.h>

#include "range.h"

/* Where pages of a block are. False: the block does not start at a page or has not so many. A
 * pointer that is no block is reported. */
bool owl_pages_place(const void *block, size_t first, size_t pages, char **start, size_t *bytes);

/* Whether the memory of a block is private and its own, so that the system's purge gives it back,
 * and it reads as zero then. */
bool owl_pages_are_private(const void *block);

/* Makes pages read as zero, and gives their memory back if the system lets us. */
void owl_pages_clear(char *start, size_t bytes, bool private);

bool owl_pages_flags_are_good(unsigned flags);

/* Allocates as owl_pages_alloc, but leaves it to the caller to commit, or to clear if *dirty says
 * that NO_COMMIT needs it. */
void *owl_pages_take(size_t pages, unsigned flags, bool *dirty);

/* A part of a batch: pages of one change. */
struct owl_pages_part {
    char *start;
    size_t bytes;
    int *error; /* set if it fails; NULL: nobody asks */
};

/* Commits, or gives back to the system, all parts, which are private memory; sorts them. */
void owl_pages_apply(struct owl_pages_part *parts, size_t count, bool commit);

#endif
