/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the options `junk`, `zero_on_free` and `quarantine` do when a block is handed out or freed.
 * With any of them all calls come to the slow doors (owl_cache_harden), so that the fast paths know
 * nothing of it.
 *
 *    handed out                 freed
 *       ^  filled (junk)          |  filled (junk, zero_on_free)
 *       |                         v
 *       |  was it written to?   quarantine: a ring, the oldest goes first
 *       |                         |  was it written to?
 *    caches, slabs, pool  <-------+
 *
 * All free memory of slabs is filled, from the slab's beginning on, so that what was written to a
 * free block is seen when it is handed out: all of its bytes but the mark are looked at. The mark
 * is looked at when a block leaves the quarantine. Large blocks are filled, but looked at only when
 * they leave the quarantine, for the pool gives their pages back.
 *
 * A small block in quarantine has its mark, a large one says so in its descriptor, so that both
 * are found when they are freed again. For counts and forks they are in use.
 */
#ifndef OWL_CORE_CAREFUL_H
#define OWL_CORE_CAREFUL_H

#include <stdbool.h>
#include <stddef.h>

#include "option.h"
#include "range.h"

/* Written once, before there are threads. */
struct owl_careful {
    bool on;           /* any of the options is */
    bool junk, zero;
    size_t quarantine; /* bytes that it holds; 0: there is none */
};
extern OWL_LOCAL struct owl_careful owl_careful;

/* Takes what the options say. At the start of the program. */
void owl_careful_begin(void);

/* A block of a slab, or of a span, is about to be handed out. */
void owl_careful_hand_out(void *p, bool zero);

/* A block was found to be what a caller may free: fills it, and puts it into the quarantine. What
 * is to be released now: p itself, or an older one that made place for it; NULL: nothing. */
void *owl_careful_take_in(void *p);

/* One more block to be released, while the quarantine holds too much, or with `any` while it holds
 * something. NULL: no more. */
void *owl_careful_let_go(bool any);

/* The end of a large block is about to be cut off: `bytes` are left. */
void owl_careful_cut(struct owl_span *s, size_t bytes);

void owl_careful_fork_prepare(void);
void owl_careful_fork_parent(void);
void owl_careful_fork_child(void);

#endif
