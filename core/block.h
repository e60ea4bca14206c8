/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A free block on its way: in a thread's magazine, or gathered to be given back to its owner. (At
 * home in its slab a free block is one bit, and its memory means nothing.)
 *
 *    bytes 0..7    mark = secret ^ own address ^ next
 *    bytes 8..15   next free block of the list, or NULL
 *
 * The mark shows that the two words are what the allocator wrote: a list is believed only as far
 * as the marks are right, so that a write through a stale pointer, or past the end of the block
 * before, is found when the block is taken. It is wiped when the block is handed out. So a block
 * whose mark is right when a caller frees it is free already; chance makes one such mark in 2^64.
 */
#ifndef OWL_CORE_BLOCK_H
#define OWL_CORE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "range.h"

struct owl_block {
    uintptr_t mark;
    struct owl_block *next;
};

_Static_assert(sizeof(struct owl_block) <= OWL_QUANTUM, "the smallest block has room for it");

static inline uintptr_t owl_block_mark(const struct owl_block *b, const struct owl_block *next)
{
    return owl_page_map.secret ^ (uintptr_t)b ^ (uintptr_t)next;
}

static inline void owl_block_link(struct owl_block *b, struct owl_block *next)
{
    b->mark = owl_block_mark(b, next);
    b->next = next;
}

static inline bool owl_block_is_marked(const struct owl_block *b)
{
    return b->mark == owl_block_mark(b, b->next);
}

/* Reports a broken mark; the block's size is found by its address. */
_Noreturn void owl_block_report(const struct owl_block *b);

/* The block that follows b in its list. */
static inline struct owl_block *owl_block_next(const struct owl_block *b)
{
    if (__builtin_expect(!owl_block_is_marked(b), 0))
        owl_block_report(b);
    return b->next;
}

#endif
