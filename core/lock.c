/* SPDX-License-Identifier: BSD-2-Clause */
#include "lock.h"

#include <stdlib.h>

#include "line.h"
#include "os.h"
#include "tune.h"

void owl_lock_wait(struct owl_lock *l)
{
    for (int i = 0; i < OWL_LOCK_SPINS; i++) {
        owl_cpu_relax();
        if (owl_u32_load_relaxed(&l->state) == OWL_LOCK_FREE &&
            owl_u32_cas(&l->state, OWL_LOCK_FREE, OWL_LOCK_HELD))
            return;
    }
    /* From here on the lock is taken as awaited: this thread cannot know whether others sleep. */
    while (owl_u32_swap(&l->state, OWL_LOCK_AWAITED) != OWL_LOCK_FREE)
        owl_os.wait(&l->state, OWL_LOCK_AWAITED);
}

void owl_lock_wake(struct owl_lock *l)
{
    owl_os.wake(&l->state);
}

#ifdef OWL_DEBUG
/* How many of each rank this thread holds. */
static __thread unsigned held[OWL_RANKS] __attribute__((tls_model("initial-exec")));

static const char *const names[OWL_RANKS] = {
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

_Noreturn static void out_of_order(unsigned wanted, unsigned higher)
{
    struct owl_line l = {.length = 0};
    owl_line_text(&l, "owlalloc: locks out of order: ");
    owl_line_text(&l, names[wanted]);
    owl_line_text(&l, higher != OWL_RANK_NONE ? " after " : ", which is not held");
    if (higher != OWL_RANK_NONE)
        owl_line_text(&l, names[higher]);
    owl_line_write(&l);
    abort();
}

void owl_lock_note(const struct owl_lock *l, bool more)
{
    if (l->rank == OWL_RANK_NONE)
        return;
    for (unsigned rank = l->rank + more; rank < OWL_RANKS; rank++)
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
