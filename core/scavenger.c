/* SPDX-License-Identifier: BSD-2-Clause */
#include "scavenger.h"

#include <errno.h>
#include <pthread.h>
#include <sys/single_threaded.h>

#include "cache.h"
#include "due.h"
#include "option.h"
#include "os.h"
#include "pool.h"
#include "pressure_read.h"
#include "slab.h"
#include "tools.h"

enum { MIN_INTERVAL = 10 }; /* milliseconds */

struct look {
    unsigned epoch;
    bool left;
};

static void purge_slabs(struct owl_owner *o, struct owl_cache *c, void *look)
{
    struct look *l = look;
    (void)c;
    l->left |= owl_slab_purge_idle(o, l->epoch);
}

static void purge_all(struct owl_owner *o, struct owl_cache *c, void *purged)
{
    (void)c;
    *(size_t *)purged += owl_slab_purge(o);
}

/* *under_way: whether other threads may be about to free more. */
static size_t purge(size_t keep, bool *under_way)
{
    OWL_TOOLS_INSIDE;
    size_t purged = 0;
    struct owl_cache *c = owl_cache_get();
    if (c != NULL)
        owl_cache_flush(c);
    *under_way = owl_cache_flush_others();
    owl_cache_each(purge_all, &purged);
    purged += owl_pool_purge(keep);
    owl_pool_purge_metadata();
    owl_pool_obey_address_limit();
    return purged;
}

size_t owl_scavenger_purge(size_t keep)
{
    bool under_way;
    return purge(keep, &under_way);
}

/* Whether it can help that other threads free something. Past OWL_SPAN_MAX a block is a mapping of
 * its own, and it is for the limit alone that both count. */
static bool may_be_met(size_t bytes)
{
    size_t limit = (size_t)owl_option(OWL_OPTION_LIMIT);
    return bytes <= (limit != 0 ? limit : OWL_SPAN_MAX);
}

/* Nobody wakes who sleeps here before the time is over. */
static void doze(unsigned milliseconds)
{
    static owl_u32 silent;
    owl_os.sleep(&silent, 0, milliseconds);
}

/* Other threads may take what a try frees, and free what the caller did not find: so there are more
 * tries until two in a row come to nothing. The first may do with what waits for threads, of which
 * the pool purges no more than it has to. And what is free may be out of reach for a moment, in the
 * hands of a thread which empties a cache or is in a slow path: the tries after that come later and
 * later. */
bool owl_scavenger_rescue(struct owl_rescue *r)
{
    bool under_way;
    int saved = errno;
    if (r->tries == OWL_TRIES || r->useless == 2)
        return false;
    r->tries++;
    if (r->tries == 1 && owl_slab_end_waiting(0)) {
        errno = saved;
        return true;
    }
    size_t purged = purge(0, &under_way);
    bool useful = (purged > 0 || under_way) && may_be_met(r->bytes);
    if (purged == 0 && useful)
        doze(r->tries);
    r->useless = useful ? 0 : r->useless + 1;
    errno = saved;
    return true;
}

size_t owl_scavenger_relieve(double severity)
{
    double share = owl_pressure_share(severity);
    OWL_TOOLS_INSIDE;
    if (share <= 0.0)
        return 0;
    size_t purged = owl_scavenger_purge(SIZE_MAX);
    size_t dirty = owl_pool_count().dirty << OWL_GRANULE_SHIFT;
    size_t must = share < 1.0 ? (size_t)((double)dirty * share) : dirty;
    return must > 0 ? purged + owl_pool_purge(dirty - must) : purged;
}

bool owl_scavenger_look(void)
{
    OWL_TOOLS_INSIDE;
    static unsigned looks;
    struct look l = {.epoch = looks++ % OWL_EPOCHS + 1};
    l.left = owl_cache_flush_idle();
    owl_cache_each(purge_slabs, &l);
    l.left |= owl_pool_decay();
    if (!l.left)
        owl_pool_purge_metadata();
    return l.left;
}

/* MiB that are worth a scavenger; OWL_DUE_NEVER: none is. */
static uint32_t worth(void)
{
    switch (owl_option(OWL_OPTION_SCAVENGER)) {
    case OWL_SCAVENGER_INLINE:
        return OWL_DUE_NEVER;
    case OWL_SCAVENGER_THREAD:
        return OWL_DUE_ALWAYS;
    default:
        return __libc_single_threaded && !owl_u32_load_relaxed(&owl_due.kept) ? OWL_DUE_ALONE
                                                                              : OWL_DUE_THREADS;
    }
}

static bool may_read = true; /* files */

/* The severity of pressure, or that of a moment ago: to read it takes some 50 us. */
static double severity(void)
{
    static struct owl_pressure_places places;
    static struct owl_pressure_look last;
    static uint64_t looked, found;
    uint64_t now = owl_os.milliseconds();
    if (!may_read)
        return 0.0;
    if (found == 0 || now - found >= OWL_PRESSURE_FIND_MS)
        owl_pressure_find(&places), found = now;
    if (looked == 0 || now - looked >= OWL_PRESSURE_READ_MS)
        owl_pressure_look(&places, &last), looked = now;
    return last.severity;
}

unsigned owl_scavenger_press(void)
{
    double s = severity();
    owl_scavenger_relieve(s);
    double interval = (double)owl_option(OWL_OPTION_DECAY_MS) / 2.0 * (1.0 - s);
    return interval > MIN_INTERVAL ? (unsigned)interval : MIN_INTERVAL;
}

static void look_until_calm(void)
{
    unsigned calm = 0;
    bool left = true;
    while (left && calm < OWL_SCAVENGER_CALM) {
        doze(owl_scavenger_press());
        left = owl_scavenger_look();
        if (may_read)
            owl_pool_obey_address_limit();
        owl_due_see();
        calm = owl_due_now() < OWL_DUE_THREADS / 2 ? calm + 1 : 0;
    }
}

/* What is due though nothing is left cannot be given back; so it takes twice as much before
 * there is another start. Who made memory free since the last look, and saw that there is a
 * scavenger, relies on it: so it looks once more when it has said that there is none. */
static void scavenge(bool alone)
{
    uint32_t least;
    may_read = alone;
    owl_os.thread_name("owl-scavenger");
    do {
        look_until_calm();
        least = 2 * owl_due_now();
        if (least < OWL_DUE_ALWAYS)
            least = OWL_DUE_ALWAYS;
        owl_u32_swap(&owl_due.least, least);
    } while (owl_due_now() >= least && owl_due_now() >= worth() &&
             owl_u32_cas(&owl_due.least, least, OWL_DUE_NEVER));
}

static void serve(void)
{
    uint32_t least = owl_u32_load_relaxed(&owl_due.least);
    uint32_t needed = worth();
    if (owl_due_now() < needed) {
        /* Threads may start later, for which less is needed. */
        uint32_t next = needed == OWL_DUE_ALONE ? OWL_DUE_THREADS : needed;
        if (least < next)
            owl_u32_cas(&owl_due.least, least, next);
        return;
    }
    if (least == OWL_DUE_NEVER || !owl_u32_cas(&owl_due.least, least, OWL_DUE_NEVER))
        return;
    int saved = errno;
    if (owl_os.hidden_start(scavenge, &owl_cache_self, (uintptr_t)&owl_cache_gone) != 0)
        owl_u32_store_relaxed(&owl_due.least, errno == EBUSY ? least : 2 * owl_due_now());
    errno = saved;
}

static void begin_again(void)
{
    owl_os.hidden_begin();
    owl_due_see();
    owl_due_begin(serve, OWL_DUE_ALWAYS);
}

/* After the constructor that reads the options. A child of fork has no scavenger. */
__attribute__((constructor(102))) static void start(void)
{
    begin_again();
    pthread_atfork(NULL, NULL, begin_again);
}
