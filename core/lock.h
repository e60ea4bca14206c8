/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock of four bytes for the slow paths. Uncontended: one compare-and-swap to take, one swap to
 * release. A waiter spins for a moment, then sleeps, because with more threads than cores the
 * holder may not be running. (The three states are those of Drepper's "Futexes Are Tricky".)
 *
 * Locks are taken in the order of their ranks, lower first; several of one rank only at fork, in
 * the order of the list of caches. A debug build looks, and aborts with the names of both. What
 * only tests take may be of no rank.
 */
#ifndef OWL_CORE_LOCK_H
#define OWL_CORE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"

enum { OWL_LOCK_FREE = 0, OWL_LOCK_HELD = 1, OWL_LOCK_AWAITED = 2 };

enum owl_rank {
    OWL_RANK_NONE,
    OWL_RANK_PAGEFILE, /* a page file           pagefile.c */
    OWL_RANK_WATCH,    /* beginning and end of watches     */
    OWL_RANK_WATCHES,  /* the table of these       watch.c */
    OWL_RANK_PRESSURE, /* handlers of pressure  pressure.c; with none of those above */
    OWL_RANK_CACHES,   /* the list of caches       cache.c */
    OWL_RANK_CLAIM,    /* a claim on a cache cache_claim.c, one a thread cache */
    OWL_RANK_OWNER,    /* an owner's slabs          slab.c, one a thread cache */
    OWL_RANK_INBOX,    /* a cache's inbox   cache_inbox.c, one a thread cache */
    OWL_RANK_ORPHANS,  /* the orphans' slabs        slab.c */
    OWL_RANK_MAPPINGS, /* mappings               mapping.c */
    OWL_RANK_MEMFD,    /* files and who shows them memfd.c */
    OWL_RANK_POOL,     /* the pool and its ranges   pool.c */
    OWL_RANK_QUARANTINE, /* free blocks held  careful.c */
    OWL_RANK_GUARD,    /* guarded blocks           guard.c */
    OWL_RANKS
};

struct owl_lock {
    owl_u32 state;
    uint32_t rank; /* enum owl_rank; the same for ever */
};

/* In debug builds: before a lock is taken, and before it is released. */
#ifdef OWL_DEBUG
void owl_lock_note(const struct owl_lock *l, bool more);
void owl_lock_forget(const struct owl_lock *l);
#else
static inline void owl_lock_note(const struct owl_lock *l, bool more)
{
    (void)l, (void)more;
}

static inline void owl_lock_forget(const struct owl_lock *l)
{
    (void)l;
}
#endif

void owl_lock_wait(struct owl_lock *l);
void owl_lock_wake(struct owl_lock *l);

/* The cas acquires what the last holder's swap in owl_unlock released. */
static inline void owl_lock_noted(struct owl_lock *l)
{
    if (!owl_u32_cas(&l->state, OWL_LOCK_FREE, OWL_LOCK_HELD))
        owl_lock_wait(l);
}

static inline void owl_lock(struct owl_lock *l)
{
    owl_lock_note(l, false);
    owl_lock_noted(l);
}

/* At fork: one more of a rank of which one is held. */
static inline void owl_lock_one_more(struct owl_lock *l)
{
    owl_lock_note(l, true);
    owl_lock_noted(l);
}

static inline void owl_unlock(struct owl_lock *l)
{
    owl_lock_forget(l);
    if (owl_u32_swap(&l->state, OWL_LOCK_FREE) == OWL_LOCK_AWAITED)
        owl_lock_wake(l);
}

/* Whether somebody sleeps until the lock, which is held, is free; or did. */
static inline bool owl_lock_is_awaited(const struct owl_lock *l)
{
    return owl_u32_load_relaxed(&l->state) == OWL_LOCK_AWAITED;
}

/* In the child of a fork, of which this thread is the one that took the lock before: whoever slept
 * for it is not here. */
static inline void owl_lock_reset(struct owl_lock *l)
{
    owl_lock_forget(l);
    owl_u32_store_relaxed(&l->state, OWL_LOCK_FREE);
}

#endif
