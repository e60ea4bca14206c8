/* SPDX-License-Identifier: BSD-2-Clause */
#include "lock.h"

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
