/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A free block on its way: in a thread's magazine, or gathered to be given back to its owner. (At
 * home in its slab a free block is one bit, and its memory means nothing.)
 *
 *    bytes 0..7    mark = secret ^ own address
 *
 * Free blocks are kept in arrays, out of a program's reach: what it writes into a free block leads
 * no list astray. The mark is there to find double frees only. It is written when a block is freed,
 * or taken from its slab, and wiped when it is handed out; so a block that bears its mark when a
 * caller frees it is free already (chance makes one such mark in 2^64), unless the program wrote
 * over it, or the block is at home and its page was given back since (slab_purge.c). Then it is
 * found when it comes home, unless it has been handed out before.
 */
#ifndef OWL_CORE_BLOCK_H
#define OWL_CORE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "range.h"
#include "tools.h"

struct owl_block {
    uintptr_t mark;
};

_Static_assert(sizeof(struct owl_block) <= OWL_QUANTUM, "the smallest block has room for it");

static inline uintptr_t owl_block_mark_of(const struct owl_block *b)
{
    return owl_page_map.secret ^ (uintptr_t)b;
}

static inline void owl_block_mark(struct owl_block *b)
{
    b->mark = owl_block_mark_of(b);
}

OWL_TOOLS_BLIND static inline bool owl_block_is_marked(const struct owl_block *b)
{
    return b->mark == owl_block_mark_of(b);
}

/* The block is about to be handed out. */
static inline void owl_block_wipe(struct owl_block *b)
{
    b->mark = 0;
}

#endif
