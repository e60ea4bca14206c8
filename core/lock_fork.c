/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks at a fork. */
#include "lock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "os.h"
#include "tune.h"

/* Of the mask of signals, what a system has of libc's type: thread-local memory may be scarce. */
static __thread struct {
    uint64_t mask;
    uint16_t looks; /* that a bounded fork has left */
    uint8_t depth;
    bool bounded : 1; /* its thread was in the middle of something */
    bool missed : 1;
} forking __attribute__((tls_model("initial-exec")));

_Static_assert(sizeof(sigset_t) >= sizeof forking.mask, "64 signals");

void owl_lock_begin_fork(void)
{
    sigset_t mask;
    if (forking.depth > 0) {
        forking.depth++;
        return;
    }
    owl_os.signals_block(&mask);
    memcpy(&forking.mask, &mask, sizeof forking.mask);
    forking.bounded = owl_lock_busy > 0;
    forking.missed = false;
    forking.looks = OWL_LOCK_FORK_MS / OWL_LOCK_LOOK_MS;
    forking.depth = 1;
}

void owl_lock_end_fork(void)
{
    sigset_t mask;
    if (--forking.depth > 0)
        return;
    forking.bounded = false;
    sigemptyset(&mask);
    memcpy(&mask, &forking.mask, sizeof forking.mask);
    owl_os.signals_restore(&mask);
}

bool owl_lock_fork_is_bounded(void)
{
    return forking.bounded;
}

bool owl_lock_fork_may_wait(void)
{
    return !forking.bounded || (forking.looks > 0 && forking.looks-- > 0);
}

bool owl_lock_fork_missed(void)
{
    return forking.missed;
}

/* False: missed; but it was marked, so that who has it wakes another, in whose place this thread
 * may have been woken. What there is one of gets a look of its own: that another lock was waited
 * for in vain is no sign that the holder of this one waits, too. */
static bool take_soon(struct owl_lock *l)
{
    bool looked = l->rank >= OWL_RANK_CLAIM && l->rank <= OWL_RANK_INBOX;
    for (uintptr_t awaited; (awaited = owl_lock_mark(l)) != 0; looked = true) {
        if (!owl_lock_fork_may_wait() && looked)
            return false;
        owl_os.sleep(owl_lock_futex(l), (uint32_t)awaited, OWL_LOCK_LOOK_MS);
    }
    return true;
}

void owl_lock_before_fork(struct owl_lock *l)
{
    if (owl_lock_is_mine(l)) {
        l->kept++;
    } else if (!forking.bounded) {
        owl_lock_one_more(l);
    } else {
        int saved = errno;
        owl_lock_note(l, true, false);
        owl_lock_begin_work();
        if (!take_soon(l)) {
            forking.missed = true;
            owl_lock_forget(l);
            owl_lock_end_work();
        }
        errno = saved;
    }
}

void owl_lock_after_fork(struct owl_lock *l)
{
    if (owl_lock_is_taken(l))
        owl_unlock(l);
    else if (owl_lock_is_mine(l))
        l->kept--;
}

void owl_lock_in_child(struct owl_lock *l)
{
    if (owl_lock_is_mine(l) && l->kept > 0) {
        l->kept--;
        return;
    }
    if (owl_lock_is_mine(l)) {
        owl_lock_forget(l);
        owl_lock_end_work();
    }
    l->kept = 0;
    owl_word_store_relaxed(&l->state, OWL_LOCK_FREE);
}
