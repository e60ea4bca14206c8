/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the room `pool` share: pool.c takes and gives, pool_purge.c purges and keeps
 * the bounds, pool_room.c finds room to grow. All is guarded by the lock, which every function here
 * wants held.
 */
#ifndef OWL_CORE_POOL_INSIDE_H
#define OWL_CORE_POOL_INSIDE_H

#include "lock.h"
#include "pool.h"
#include "pool_runs.h"

/* Granules that may be purged, as so many were lately. */
struct owl_allowance {
    size_t granules;
    uint64_t at; /* when that was written down: milliseconds */
};

/* What was purged lately, and not handed out again. */
struct owl_purged {
    size_t granules;
    size_t taken_clean; /* when that was looked at last, or more */
    uint64_t at;        /* when the last of it was purged: milliseconds */
};

struct owl_rooms {
    const struct owl_span *behind; /* what was free behind the block that had a clean one last, or
                                      NULL */
    uint32_t looked_for;           /* how many clean ones were */
    bool have_pages;               /* clean ones, and so they are not used any more */
};

struct owl_pool {
    struct owl_lock lock; /* alone in its line, which those who wait look at all the time */
    size_t used __attribute__((aligned(OWL_CACHE_LINE))); /* granules */
    size_t mapped;    /* bytes in mappings */
    size_t charged;   /* bytes outside of the pool that count for the limit */
    size_t moved;     /* bytes that count twice while their pages move */
    size_t peak;      /* bytes: the most that used and mapped came to */
    size_t lately[2]; /* granules: the most in use at once in this second, and the one before */
    uint64_t lately_at;  /* when this one began: milliseconds */
    size_t low;       /* granules: the least that were dirty at once since owl_pool_decay */
    size_t wanted;    /* granules of dirty runs that were taken since less was dirty than the softer
                         bound, or a thread ended */
    uintptr_t taker;  /* the thread that took more of them than all others did, if there is one */
    size_t lead;      /* by how many, at most */
    struct owl_allowance bounding; /* for the softer bound */
    struct owl_allowance settling; /* for the same when threads end */
    size_t taken_clean;     /* granules of clean runs that owl_pool_take has ever handed out, less
                               those that there ever were of fresh memory */
    struct owl_purged purged;
    uint64_t vain_until; /* till then nothing is purged for the softer bound, so much was in vain:
                            milliseconds */
    uint64_t refused_until; /* till then nothing is purged for a bound: the system refused; ms */
    struct owl_rooms rooms;
    size_t purging;   /* granules of runs that are in no list while they are purged */
    owl_u32 purges;   /* how many of these have ended; changes wake */
    uint32_t waiters; /* who wait for the next */
    uint32_t holders; /* who wait until nothing is being purged */

    /* What forks that could not take the lock have left to do. It is done when who has it lets it
     * go; or was that already under way, before anything else is done with the lock. */
    owl_u32 private_late; /* owl_pool_make_private; set without the lock */
    bool lost;         /* what threads that are not in this child were purging. How much that is can
                          be told when who has the lock is not in the middle of a purge's end */
};

extern OWL_LOCAL struct owl_pool owl_pool;

/* Does what is late. */
void owl_pool_be_late(void);

static inline void owl_pool_look_for_late(void)
{
    if (__builtin_expect(owl_pool.lost || owl_u32_load_relaxed(&owl_pool.private_late), 0))
        owl_pool_be_late();
}

static inline void owl_pool_lock(void)
{
    owl_lock(&owl_pool.lock);
    owl_pool_look_for_late();
}

static inline void owl_pool_unlock(void)
{
    owl_pool_look_for_late();
    owl_unlock(&owl_pool.lock);
}

/* After each change of what is dirty. */
void owl_pool_note_dirty(void);

/* Granules of a dirty run are taken. */
void owl_pool_note_wanted(size_t granules);

/* Purges until at most so many granules are dirty. The lock is let go meanwhile. The granules
 * purged by this call, which gives way after one run to who waits until nothing is being purged. */
size_t owl_pool_purge_down_to(size_t granules);

/* Until a purge by another thread ends, or, at a bounded fork (lock.h), for a moment. False: there
 * is none. */
bool owl_pool_wait_for_purge(void);

/* Granules that this thread purges. */
extern OWL_LOCAL __thread uint32_t owl_pool_purging_here __attribute__((tls_model("initial-exec")));

/* Keeps dirty memory below its bounds. */
void owl_pool_bound_dirty(void);

/* A free run, and from which granule on a run of so many has room there; NULL: there is none. */
struct owl_span *owl_pool_find_room(enum owl_room which, size_t granules, size_t *offset);

/* --- the limit --- */

/* Bytes that count for it, and that no purge gives back. */
size_t owl_pool_in_use(void);

/* Whether to use granules of a free run would pass it. */
bool owl_pool_is_past_limit(const struct owl_span *run, size_t granules);

/* Purges until so many bytes more do not pass it. False: they do, whatever is purged. */
bool owl_pool_make_room(size_t more);

/* Purges what is past it, as it may have been lowered. */
void owl_pool_obey_limit(void);

#endif
