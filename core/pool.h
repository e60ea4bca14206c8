/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool: free spans, shared by all threads, as a buddy system over the granules of the ranges.
 *
 * A free span has 2^order granules and begins at a multiple of its length. It is dirty (its pages
 * may be resident and hold anything) or clean (it reads as zero and costs no memory). Two buddies
 * of the same order and state join at once (of either state, to a dirty span, up to the length that
 * is being given back). Requests need not be powers of two: the tail of the
 * span is given back, and a run given back is taken apart into the largest aligned spans.
 *
 * Dirty spans are handed out first, the last freed before the others, because their pages need no
 * page faults. What the dirty spans hold is bounded, by two options: past the bound the oldest of
 * the largest are purged.
 *
 * Invariants (owl_pool_is_valid walks them):
 *   - a granule's descriptor says dirty or clean exactly if it is the first of a free span
 *   - no two buddies of the same order and state are both free
 *   - every free span is in the list of its order and state; the sums of the lists are the counts
 *
 * Thread-safe: one lock. (D. E. Knuth, The Art of Computer Programming, vol. 1, 2.5: the buddy
 * system.)
 */
#ifndef OWL_CORE_POOL_H
#define OWL_CORE_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

struct owl_pool_counts {
    size_t used;  /* granules handed out */
    size_t dirty; /* granules in dirty spans */
    size_t clean; /* granules in clean spans */
    size_t peak;  /* bytes: the most that were handed out and in mappings at once */
};

/* A run of granules, aligned to 2^align_order granules; its descriptor has start, granules and
 * range set and its kind is the caller's to set. *zero: whether it reads as zero. NULL: no memory
 * or address space is left, or refused by the system. */
struct owl_span *owl_pool_take(enum owl_backing backing, size_t granules, unsigned align_order,
                               bool *zero);

/* Gives back a run of granules that was taken, or a part of one; their kind is none by now. */
void owl_pool_give(struct owl_span *s, size_t granules);

/* Extends a taken span in place to so many granules if what follows is free. */
bool owl_pool_extend(struct owl_span *s, size_t granules);

/* Purges dirty spans until at most `keep` bytes are dirty. Bytes purged. */
size_t owl_pool_purge(size_t keep);

struct owl_pool_counts owl_pool_count(void);

/* The bytes of memory in use that is not the pool's, mappings; for the peak. */
void owl_pool_note_mapped(size_t bytes);

/* Walks every list and the page map. Takes the lock. */
bool owl_pool_is_valid(void);

/* For fork: hold the pool still, and let it go again in parent and child. */
void owl_pool_fork_prepare(void);
void owl_pool_fork_parent(void);
void owl_pool_fork_child(void);

#endif
