/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock of four bytes for the slow paths. Uncontended: one compare-and-swap to take, one swap to
 * release. A waiter spins for a moment, then sleeps, because with more threads than cores the
 * holder may not be running. (The three states are those of Drepper's "Futexes Are Tricky".)
 *
 * Locks are taken in the order of these ranks, lower first; two of one rank only at fork, in the
 * order of the list of caches:
 *
 *   0  a page file, then the beginning and end of watches, then the table of these;
 *      the handlers of memory pressure, with none of these
 *                                  pagefile.c, watch.c, pressure.c
 *   1  the list of caches          cache.c
 *   2  a claim on a cache          cache_claim.c, one a thread cache
 *   3  an owner's slabs            slab.c, one a thread cache;
 *      then a cache's inbox        cache_inbox.c
 *   4  the orphans' slabs          slab.c
 *   5  mappings                    mapping.c
 *   6  files and who shows them    memfd.c
 *   7  the pool and its ranges     pool.c
 */
#ifndef OWL_CORE_LOCK_H
#define OWL_CORE_LOCK_H

#include <stdbool.h>

#include "atomic.h"

enum { OWL_LOCK_FREE = 0, OWL_LOCK_HELD = 1, OWL_LOCK_AWAITED = 2 };

struct owl_lock {
    owl_u32 state;
};

void owl_lock_wait(struct owl_lock *l);
void owl_lock_wake(struct owl_lock *l);

/* The cas acquires what the last holder's swap in owl_unlock released. */
static inline void owl_lock(struct owl_lock *l)
{
    if (!owl_u32_cas(&l->state, OWL_LOCK_FREE, OWL_LOCK_HELD))
        owl_lock_wait(l);
}

static inline void owl_unlock(struct owl_lock *l)
{
    if (owl_u32_swap(&l->state, OWL_LOCK_FREE) == OWL_LOCK_AWAITED)
        owl_lock_wake(l);
}

/* Whether somebody sleeps until the lock, which is held, is free; or did. */
static inline bool owl_lock_is_awaited(const struct owl_lock *l)
{
    return owl_u32_load_relaxed(&l->state) == OWL_LOCK_AWAITED;
}

/* In the child of a fork: whoever slept for this lock is not here. */
static inline void owl_lock_reset(struct owl_lock *l)
{
    owl_u32_store_relaxed(&l->state, OWL_LOCK_FREE);
}

#endif
