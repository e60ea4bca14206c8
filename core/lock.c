/* SPDX-License-Identifier: BSD-2-Clause */
#include "lock.h"

#include <stdlib.h>

#include "line.h"
#include "os.h"
#include "tune.h"

__thread uint32_t owl_lock_busy __attribute__((tls_model("initial-exec")));

/* It would wait for itself. */
_Noreturn static void is_mine(void)
{
    struct owl_line l = {.length = 0};
    owl_line_text(&l, "owlalloc: called by a handler of a signal that came in the middle of a ");
    owl_line_text(&l, "call");
    owl_line_write(&l);
    abort();
}

uintptr_t owl_lock_mark(struct owl_lock *l)
{
    uintptr_t seen, awaited;
    do {
        seen = owl_word_load_relaxed(&l->state);
        awaited = (seen != 0 ? seen : owl_lock_self()) | OWL_LOCK_AWAITED;
    } while (seen != awaited && !owl_word_cas(&l->state, seen, awaited));
    return seen != OWL_LOCK_FREE ? awaited : 0;
}

void owl_lock_wait(struct owl_lock *l)
{
    if (owl_lock_is_mine(l))
        is_mine();
    owl_count(OWL_COUNT_WAITS + l->rank);
    for (int i = 0; i < OWL_LOCK_SPINS; i++) {
        owl_cpu_relax();
        if (owl_word_load_relaxed(&l->state) == OWL_LOCK_FREE &&
            owl_word_cas(&l->state, OWL_LOCK_FREE, owl_lock_self()))
            return;
    }
    for (uintptr_t awaited; (awaited = owl_lock_mark(l)) != 0;)
        owl_os.wait(owl_lock_futex(l), (uint32_t)awaited);
}

void owl_lock_wake(struct owl_lock *l)
{
    owl_os.wake(owl_lock_futex(l));
}

#if defined(OWL_DEBUG) || defined(OWL_COUNT)
const char *const owl_lock_names[OWL_COUNT_RANKS] = {
    [OWL_RANK_NONE] = "a lock of no rank",
    [OWL_RANK_PAGEFILE] = "a page file",
    [OWL_RANK_WATCH] = "beginning and end of watches",
    [OWL_RANK_WATCHES] = "the table of watches",
    [OWL_RANK_PRESSURE] = "the handlers of pressure",
    [OWL_RANK_CACHES] = "the list of caches",
    [OWL_RANK_CLAIM] = "a claim on a cache",
    [OWL_RANK_OWNER] = "an owner's slabs",
    [OWL_RANK_INBOX] = "a cache's inbox",
    [OWL_RANK_ORPHANS] = "the orphans' slabs",
    [OWL_RANK_MAPPINGS] = "mappings",
    [OWL_RANK_MEMFD] = "files",
    [OWL_RANK_POOL] = "the pool",
    [OWL_RANK_QUARANTINE] = "the quarantine",
    [OWL_RANK_GUARD] = "guarded blocks",
};
#endif

#ifdef OWL_DEBUG
/* How many of each rank this thread holds. */
static __thread unsigned held[OWL_RANKS] __attribute__((tls_model("initial-exec")));

_Noreturn static void out_of_order(unsigned wanted, unsigned higher)
{
    struct owl_line l = {.length = 0};
    owl_line_text(&l, "owlalloc: locks out of order: ");
    owl_line_text(&l, owl_lock_names[wanted]);
    owl_line_text(&l, higher != OWL_RANK_NONE ? " after " : ", which is not held");
    if (higher != OWL_RANK_NONE)
        owl_line_text(&l, owl_lock_names[higher]);
    owl_line_write(&l);
    abort();
}

void owl_lock_note(const struct owl_lock *l, bool more, bool ordered)
{
    if (owl_lock_is_mine(l))
        is_mine();
    if (l->rank == OWL_RANK_NONE)
        return;
    for (unsigned rank = l->rank + more; ordered && rank < OWL_RANKS; rank++)
        if (held[rank] != 0)
            out_of_order(l->rank, rank);
    held[l->rank]++;
}

void owl_lock_forget(const struct owl_lock *l)
{
    if (l->rank == OWL_RANK_NONE)
        return;
    if (held[l->rank] == 0)
        out_of_order(l->rank, OWL_RANK_NONE);
    held[l->rank]--;
}
#endif
