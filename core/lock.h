/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock of one word for the slow paths. Uncontended: one compare-and-swap to take, one swap to
 * release. A waiter spins for a moment, then sleeps, because with more threads than cores the
 * holder may not be running. (The states are those of Drepper's "Futexes Are Tricky", but that the
 * word names the holder.)
 *
 *     0                  free
 *     holder             held; nobody sleeps
 *     holder | AWAITED   held; somebody may sleep until it is free, who has to be woken then
 *
 * Who has slept takes it as awaited, for there may be others. A sleeper compares the lower half of
 * the word, all that a futex has; that the halves of two holders may be equal does no harm, since
 * nobody sleeps but where the mark is set, and whoever takes the mark away wakes one.
 *
 * Locks are taken in the order of their ranks, lower first; several of one rank only at fork, in
 * the order of the list of caches. A debug build looks, and aborts with the names of both. What
 * only tests take may be of no rank.
 *
 * A thread that takes a lock that it has itself can only be in a handler of a signal which came
 * while it held it, and would wait for ever: that is reported, and the program aborted. What is
 * done at a fork in such a handler instead: see the end of this file.
 */
#ifndef OWL_CORE_LOCK_H
#define OWL_CORE_LOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "tune.h"

enum { OWL_LOCK_FREE = 0, OWL_LOCK_AWAITED = 1 };

enum owl_rank {
    OWL_RANK_NONE,
    OWL_RANK_PAGEFILE, /* a page file           pagefile.c */
    OWL_RANK_WATCH,    /* beginning and end of watches     */
    OWL_RANK_WATCHES,  /* the table of these       watch.c */
    OWL_RANK_PRESSURE, /* handlers of pressure  pressure.c; with none of those above */
    OWL_RANK_CACHES,   /* the list of caches  cache_list.c */
    OWL_RANK_CLAIM,    /* a claim on a cache cache_claim.c, one a thread cache */
    OWL_RANK_OWNER,    /* an owner's slabs          slab.c, one a thread cache */
    OWL_RANK_INBOX,    /* a cache's inbox   cache_inbox.c, one a thread cache */
    OWL_RANK_ORPHANS,  /* the orphans' slabs        slab.c */
    OWL_RANK_MAPPINGS, /* mappings               mapping.c */
    OWL_RANK_MEMFD,    /* files and who shows them memfd.c */
    OWL_RANK_POOL,     /* the pool and its ranges   pool.c */
    OWL_RANK_QUARANTINE, /* free blocks that wait careful.c */
    OWL_RANK_GUARD,    /* guarded blocks           guard.c */
    OWL_RANKS
};

_Static_assert(OWL_RANKS <= OWL_COUNT_RANKS, "locks are counted by rank");

struct owl_lock {
    owl_word state;
    uint32_t rank; /* enum owl_rank; the same for ever */
    uint32_t kept; /* forks under way in handlers over its holder; written by that thread alone */
};

/* In debug builds: before a lock is taken, in the order of ranks or else; and before it is
 * released. */
#ifdef OWL_DEBUG
void owl_lock_note(const struct owl_lock *l, bool more, bool ordered);
void owl_lock_forget(const struct owl_lock *l);
#else
static inline void owl_lock_note(const struct owl_lock *l, bool more, bool ordered)
{
    (void)l, (void)more, (void)ordered;
}

static inline void owl_lock_forget(const struct owl_lock *l)
{
    (void)l;
}
#endif

/* In the middle of how many things this thread is that others may wait for: locks, and what it
 * begins and ends by these two. It is so before the first others can know, and after the last. */
extern OWL_LOCAL __thread uint32_t owl_lock_busy __attribute__((tls_model("initial-exec")));

static inline void owl_lock_begin_work(void)
{
    owl_lock_busy++;
    owl_barrier_compiler();
}

static inline void owl_lock_end_work(void)
{
    owl_barrier_compiler();
    owl_lock_busy--;
}

/* For who is about to sleep: takes the lock if it is free, as awaited, because this thread cannot
 * know whether others sleep; else marks it as that. Its word then, to sleep by; 0: it is taken. */
uintptr_t owl_lock_mark(struct owl_lock *l);

void owl_lock_wait(struct owl_lock *l);
void owl_lock_wake(struct owl_lock *l);

/* The calling thread: the address that its thread-local variables lie around, a multiple of 16.
 * libc need not know the thread, and none of those variables is touched. */
static inline uintptr_t owl_lock_self(void)
{
#ifdef __x86_64__
    uintptr_t self;
    __asm__("mov %%fs:0, %0" : "=r"(self));
    return self;
#else
    return (uintptr_t)__builtin_thread_pointer();
#endif
}

/* What a futex has of the word. */
static inline owl_u32 *owl_lock_futex(struct owl_lock *l)
{
    return (owl_u32 *)&l->state + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* Who has the lock; 0: nobody. */
static inline uintptr_t owl_lock_holder(const struct owl_lock *l)
{
    return owl_word_load_relaxed(&l->state) & ~(uintptr_t)OWL_LOCK_AWAITED;
}

static inline bool owl_lock_is_mine(const struct owl_lock *l)
{
    return owl_lock_holder(l) == owl_lock_self();
}

/* The cas acquires what the last holder's swap in owl_unlock released. */
static inline void owl_lock_take(struct owl_lock *l)
{
    owl_count(OWL_COUNT_LOCKS + l->rank);
    owl_lock_begin_work();
    if (!owl_word_cas(&l->state, OWL_LOCK_FREE, owl_lock_self()))
        owl_lock_wait(l);
}

static inline void owl_lock(struct owl_lock *l)
{
    owl_lock_note(l, false, true);
    owl_lock_take(l);
}

/* At fork: one more of a rank of which one is held. (For the lowest ranks there are handlers when
 * these are used first, in any order; nobody else has locks of two of them.) */
static inline void owl_lock_one_more(struct owl_lock *l)
{
    owl_lock_note(l, true, l->rank >= OWL_RANK_CACHES);
    owl_lock_take(l);
}

static inline void owl_unlock(struct owl_lock *l)
{
    owl_lock_forget(l);
    if (owl_word_swap(&l->state, OWL_LOCK_FREE) & OWL_LOCK_AWAITED)
        owl_lock_wake(l);
    owl_lock_end_work();
}

/* Whether somebody sleeps until the lock, which is held, is free; or did. */
static inline bool owl_lock_is_awaited(const struct owl_lock *l)
{
    return (owl_word_load_relaxed(&l->state) & OWL_LOCK_AWAITED) != 0;
}

/*
 * --- fork, lock_fork.c ---
 *
 * Before a fork its thread takes all locks, in the order of ranks, several of one rank too, so that
 * the child finds whole what they guard. The fork may be one in a handler of a signal, which came
 * while this very thread held some of them, for a slow path. These it *keeps*: they stay with the
 * slow path, which goes on after the handler, in the parent and in the child.
 *
 * Another thread may have a lock that is wanted, and wait for one that is kept, so that it would
 * never let go. So in such a handler the fork waits for so long (OWL_LOCK_FORK_MS in all, and a
 * look for each lock that there is one of), and then goes on without it, *missing* it. The child,
 * in which that thread is not, finds it free, and what it guards whole, if that thread waited: for
 * who waits has changed nothing by halves. If it did anything else for so long, or was in such a
 * handler itself, what it changed may be torn.
 */

/* No signal is handled in this thread between the first call of begin and the last of end, of which
 * there are as many. */
void owl_lock_begin_fork(void);
void owl_lock_end_fork(void);

/* At a fork: whether it must not wait without end, but in looks, OWL_LOCK_LOOK_MS apart. Whether
 * there may be one more. */
bool owl_lock_fork_is_bounded(void);
bool owl_lock_fork_may_wait(void);

/* Takes the lock, keeps it, or misses it. */
void owl_lock_before_fork(struct owl_lock *l);

/* Whether this thread's fork, the one under way or the last, missed any. */
bool owl_lock_fork_missed(void);

/* Whether the first of these was done. */
static inline bool owl_lock_is_taken(const struct owl_lock *l)
{
    return owl_lock_is_mine(l) && l->kept == 0;
}

/* In the parent: lets it go again, if it was taken. */
void owl_lock_after_fork(struct owl_lock *l);

/* The same in the child, where nobody else can have it any more. */
void owl_lock_in_child(struct owl_lock *l);

#endif
