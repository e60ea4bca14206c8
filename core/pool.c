/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool.h"

#include <sys/single_threaded.h>

#include "check.h"
#include "due.h"
#include "lock.h"
#include "option.h"
#include "os.h"
#include "pool_runs.h"

/* No run is longer. */
#define MOST_GRANULES ((size_t)1 << (OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT))

static struct {
    struct owl_lock lock;
    size_t used;      /* granules */
    size_t mapped;    /* bytes in mappings */
    size_t charged;   /* bytes outside of the pool that count for the limit */
    size_t moved;     /* bytes that count twice while their pages move */
    size_t peak;      /* bytes: the most that used and mapped came to */
    size_t lately[2]; /* granules: the most in use at once since the last owl_pool_decay, and
                         between the last two */
    size_t low;       /* granules: the least that were dirty at once since owl_pool_decay */
    size_t allowed;   /* granules: what may be purged for the softer bound */
    uint64_t allowed_at; /* when that was written down: milliseconds */
    size_t purging;   /* granules of runs that are in no list while they are purged */
    owl_u32 purges;   /* how many of these have ended; changes wake */
    uint32_t waiters; /* who wait for the next */
    uint32_t holders; /* who wait until nothing is being purged */
} pool;

/* After each change of what is dirty. */
static void note_dirty(void)
{
    size_t dirty = owl_runs_granules(OWL_FREE_DIRTY);
    if (dirty < pool.low)
        pool.low = dirty;
    owl_u32_store_relaxed(&owl_due.pool, (uint32_t)(dirty >> (20 - OWL_GRANULE_SHIFT)));
}

/* Purges at most so many granules of one run. The lock is let go meanwhile: to give back a large
 * run takes the system as long as thousands of other calls. The granules purged; 0: nothing is
 * dirty, or the system refuses. */
static size_t purge_one(size_t most)
{
    size_t granules;
    struct owl_span *s = owl_runs_cut_dirty(most, &granules);
    if (s == NULL)
        return 0;
    size_t index = owl_span_index(s);
    bool remapped = s->remapped;
    pool.purging += granules;
    note_dirty();
    owl_unlock(&pool.lock);
    bool purged = owl_range_purge(s->range, index, index + granules, remapped) == 0;
    owl_lock(&pool.lock);
    pool.purging -= granules;
    owl_runs_add(s, granules, purged ? OWL_FREE_CLEAN : OWL_FREE_DIRTY, remapped && !purged);
    note_dirty();
    owl_u32_store_relaxed(&pool.purges, owl_u32_load_relaxed(&pool.purges) + 1);
    for (uint32_t i = 0; i < pool.waiters; i++)
        owl_os.wake(&pool.purges);
    return purged ? granules : 0;
}

/* The granules purged by this call. It gives way after one run to who waits until nothing is being
 * purged: what other threads free meanwhile could keep it busy for ever. */
static size_t purge_down_to(size_t granules)
{
    size_t all = 0;
    size_t one = 1;
    while (one > 0 && owl_runs_granules(OWL_FREE_DIRTY) > granules &&
           (all == 0 || pool.holders == 0)) {
        one = purge_one(owl_runs_granules(OWL_FREE_DIRTY) - granules);
        all += one;
    }
    return all;
}

/* Until a purge by another thread ends. False: there is none. The number is read under the lock, so
 * that an end before the wait begins is not missed. */
static bool wait_for_purge(void)
{
    if (pool.purging == 0)
        return false;
    uint32_t seen = owl_u32_load_relaxed(&pool.purges);
    pool.waiters++;
    owl_unlock(&pool.lock);
    owl_os.wait(&pool.purges, seen);
    owl_lock(&pool.lock);
    pool.waiters--;
    return true;
}

/* Threads come and go, and take and give the same memory each time: what was in use lately may stay
 * dirty, if there is a scavenger to see when it is not wanted any more. */
static bool was_used_lately(size_t dirty, size_t least)
{
    size_t lately = pool.lately[0] > pool.lately[1] ? pool.lately[0] : pool.lately[1];
    return dirty <= least * OWL_DIRTY_LATELY && dirty + pool.used <= lately &&
           !__libc_single_threaded &&
           owl_option(OWL_OPTION_SCAVENGER) != OWL_SCAVENGER_INLINE;
}

/* What may still be purged for the softer bound: so much more each millisecond, up to a point. */
static size_t purge_allowance(void)
{
    uint64_t now = owl_os.milliseconds();
    uint64_t more = (now - pool.allowed_at) * OWL_PURGE_RATE / 1000;
    if (more > 0) {
        pool.allowed = more < OWL_PURGE_MOST - pool.allowed ? pool.allowed + more : OWL_PURGE_MOST;
        pool.allowed_at = now;
    }
    return pool.allowed;
}

/* The granules that may be dirty, by the softer bound. */
static size_t dirty_bound(void)
{
    size_t bound = (size_t)owl_option(OWL_OPTION_DIRTY) >> OWL_GRANULE_SHIFT;
    size_t share = (size_t)owl_option(OWL_OPTION_DIRTY_SHARE);
    return share > 0 && pool.used / share > bound ? pool.used / share : bound;
}

/* Keeps dirty memory below its bounds, but not while somebody waits until nothing is being purged.
 * Past the softer one it is purged only if that has not been done too often lately: to purge what is
 * soon wanted again costs page faults. */
static void bound_dirty(void)
{
    size_t dirty = owl_runs_granules(OWL_FREE_DIRTY);
    size_t least = (size_t)owl_option(OWL_OPTION_DIRTY) >> OWL_GRANULE_SHIFT;
    size_t soft = dirty_bound();
    if (dirty <= soft || pool.holders > 0)
        return;
    bool shares = owl_option(OWL_OPTION_DIRTY_SHARE) > 0;
    size_t hard = shares && pool.used > least ? pool.used : least;
    size_t excess = dirty - (soft - soft / OWL_DIRTY_SLACK);
    if (excess > purge_allowance()) {
        if (dirty <= hard || was_used_lately(dirty, least))
            return;
        excess = dirty - (hard - hard / OWL_DIRTY_SLACK);
    }
    size_t purged = purge_down_to(dirty - excess);
    pool.allowed -= purged < pool.allowed ? purged : pool.allowed;
}

/* --- the limit --------------------------------------------------------------- */

/* Bytes that count for the limit, and that no purge gives back. */
static size_t in_use(void)
{
    return (pool.used << OWL_GRANULE_SHIFT) + pool.charged - pool.moved;
}

/* The most that the limit allows. */
static size_t limit(void)
{
    size_t value = (size_t)owl_option(OWL_OPTION_LIMIT);
    return value != 0 ? value : SIZE_MAX;
}

/* Bytes in free granules that may be resident. */
static size_t resident_free(void)
{
    return (owl_runs_granules(OWL_FREE_DIRTY) + pool.purging) << OWL_GRANULE_SHIFT;
}

/* Purges until so many bytes more do not pass the limit. The lock may be let go meanwhile. False:
 * they do, whatever is purged, or the system does not purge. What does not grow is never refused:
 * the limit may have been set below what is in use. */
static bool make_room(size_t more)
{
    size_t most = limit();
    while (more > 0 && in_use() + more + resident_free() > most) {
        if (in_use() + more > most)
            return false;
        size_t left = (most - in_use() - more) >> OWL_GRANULE_SHIFT;
        size_t slack = dirty_bound() / OWL_DIRTY_SLACK;
        if (purge_down_to(left > slack ? left - slack : 0) == 0 && !wait_for_purge())
            return false;
    }
    return true;
}

/* A limit that was lowered is obeyed when memory becomes free; but not while somebody waits until
 * nothing is being purged. */
static void obey_limit(void)
{
    size_t used = in_use(), most = limit();
    size_t left = used < most ? (most - used) >> OWL_GRANULE_SHIFT : 0;
    if (owl_runs_granules(OWL_FREE_DIRTY) > left && pool.holders == 0)
        purge_down_to(left);
}

/* --- taking and giving --------------------------------------------------------- */

static void note_peak(void)
{
    size_t bytes = (pool.used << OWL_GRANULE_SHIFT) + pool.mapped;
    if (bytes > pool.peak)
        pool.peak = bytes;
}

/* So many granules that were free are in use. */
static void note_use(size_t granules)
{
    pool.used += granules;
    if (pool.used > pool.lately[0])
        pool.lately[0] = pool.used;
    note_dirty();
    note_peak();
}

static struct owl_span *find(enum owl_backing backing, size_t granules, unsigned align_order,
                             size_t look)
{
    struct owl_span *s = owl_runs_find(backing, OWL_FREE_DIRTY, granules, align_order, look);
    return s != NULL ? s : owl_runs_find(backing, OWL_FREE_CLEAN, granules, align_order, look);
}

/* Whether to use granules of a free run would pass the limit. Those of a dirty one count
 * already. */
static bool is_past_limit(const struct owl_span *run, size_t granules)
{
    size_t free = run->free == OWL_FREE_DIRTY ? 0 : resident_free();
    return in_use() + (granules << OWL_GRANULE_SHIFT) + free > limit();
}

/* A free run in which so many aligned granules can be had. Fresh address space comes before a long
 * search; at the last the dirty memory is purged, so that it joins the clean memory around it. */
static struct owl_span *find_or_make(enum owl_backing backing, size_t granules,
                                     unsigned align_order)
{
    for (;;) {
        struct owl_span *s = find(backing, granules, align_order, OWL_RUN_LOOK);
        if (s == NULL && owl_runs_grow(backing, granules, align_order))
            s = owl_runs_find(backing, OWL_FREE_CLEAN, granules, align_order, SIZE_MAX);
        if (s == NULL)
            s = find(backing, granules, align_order, SIZE_MAX);
        if (s != NULL && !is_past_limit(s, granules))
            return s;
        if (s != NULL ? !make_room(granules << OWL_GRANULE_SHIFT)
                      : purge_down_to(0) == 0 && !wait_for_purge())
            return NULL;
    }
}

/* Granules of a free run, from `offset` on, are in use from now on. */
static struct owl_span *use(struct owl_span *run, size_t offset, size_t granules, bool *zero)
{
    *zero = run->free == OWL_FREE_CLEAN;
    struct owl_span *s = owl_runs_carve(run, offset, granules);
    note_use(granules);
    return s;
}

static bool is_valid(bool lists)
{
    size_t total = 0;
    for (unsigned i = 0; i < owl_u32_load_relaxed(&owl_range_count); i++)
        total += owl_ranges[i].top;
    return lists && total == pool.used + pool.purging + owl_runs_granules(OWL_FREE_DIRTY) +
                                 owl_runs_granules(OWL_FREE_CLEAN);
}

struct owl_span *owl_pool_take(enum owl_backing backing, size_t granules, unsigned align_order,
                               bool *zero)
{
    if (granules > MOST_GRANULES || align_order > OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT)
        return NULL;
    owl_lock(&pool.lock);
    struct owl_span *s = find_or_make(backing, granules, align_order);
    if (s != NULL)
        s = use(s, owl_run_offset(s, align_order), granules, zero);
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_unlock(&pool.lock);
    if (s != NULL) {
        s->start = owl_span_address(s);
        s->granules = granules;
    }
    return s;
}

/* The oldest of the largest clean runs, or one of fresh memory. */
static struct owl_span *find_roomy(enum owl_backing backing, size_t granules, unsigned align_order)
{
    struct owl_span *s = owl_runs_largest(backing, OWL_FREE_CLEAN);
    if (s != NULL && s->run >= owl_run_offset(s, align_order) + granules)
        return s;
    if (!owl_runs_grow(backing, granules, align_order))
        return NULL;
    return owl_runs_find(backing, OWL_FREE_CLEAN, granules, align_order, SIZE_MAX);
}

struct owl_span *owl_pool_take_clean(enum owl_backing backing, size_t granules,
                                     unsigned align_order, size_t moved)
{
    bool zero;
    struct owl_span *s = NULL;
    if (granules > MOST_GRANULES || align_order > OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT)
        return NULL;
    owl_lock(&pool.lock);
    if (make_room((granules << OWL_GRANULE_SHIFT) - moved))
        s = find_roomy(backing, granules, align_order);
    if (s != NULL) {
        s = use(s, owl_run_offset(s, align_order), granules, &zero);
        pool.moved += moved;
    }
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_unlock(&pool.lock);
    if (s != NULL) {
        s->start = owl_span_address(s);
        s->granules = granules;
    }
    return s;
}

void owl_pool_end_move(size_t moved)
{
    owl_lock(&pool.lock);
    pool.moved -= moved;
    owl_unlock(&pool.lock);
}

bool owl_pool_has_dirty(enum owl_backing backing, size_t granules)
{
    owl_lock(&pool.lock);
    bool has = owl_runs_find(backing, OWL_FREE_DIRTY, granules, 0, OWL_RUN_LOOK) != NULL;
    owl_unlock(&pool.lock);
    return has;
}

struct owl_span *owl_pool_take_high(size_t granules, bool *zero)
{
    owl_lock(&pool.lock);
    struct owl_span *s = owl_runs_find_top(granules);
    if (s != NULL && is_past_limit(s, granules))
        s = NULL;
    if (s != NULL)
        s = use(s, s->run - granules, granules, zero);
    owl_unlock(&pool.lock);
    if (s == NULL)
        return owl_pool_take(OWL_PRIVATE, granules, 0, zero);
    s->start = owl_span_address(s);
    s->granules = granules;
    return s;
}

void owl_pool_give(struct owl_span *s, size_t granules)
{
    owl_lock(&pool.lock);
    pool.used -= granules;
    owl_runs_add(s, granules, OWL_FREE_DIRTY, s->remapped);
    obey_limit();
    bound_dirty();
    note_dirty();
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_unlock(&pool.lock);
    owl_due_look();
}

void owl_pool_give_clean(struct owl_span *s, size_t granules)
{
    owl_lock(&pool.lock);
    pool.used -= granules;
    owl_runs_add(s, granules, OWL_FREE_CLEAN, false);
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_unlock(&pool.lock);
}

bool owl_pool_extend(struct owl_span *s, size_t granules)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t first = owl_span_index(s) + s->granules;
    size_t end = owl_span_index(s) + granules;
    owl_lock(&pool.lock);
    bool enough = make_room((end - first) << OWL_GRANULE_SHIFT);
    if (enough && end > r->top && owl_runs_end(r, first, end) == r->top)
        owl_runs_raise(s->range, end);
    enough = enough && owl_runs_end(r, first, end) >= end;
    if (enough) {
        s->remapped |= owl_runs_carve_all(r, first, first, end);
        s->granules = granules;
        note_use(end - first);
    }
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_unlock(&pool.lock);
    return enough;
}

struct owl_span *owl_pool_extend_front(struct owl_span *s, size_t more)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t end = owl_span_index(s);
    struct owl_span *first = NULL;
    if (more > end)
        return NULL;
    owl_lock(&pool.lock);
    bool allowed = make_room(more << OWL_GRANULE_SHIFT);
    size_t run = owl_runs_begin(r, end, end - more);
    if (allowed && run <= end - more) {
        bool remapped = owl_runs_carve_all(r, run, end - more, end);
        first = s - more;
        first->range = s->range;
        first->remapped = s->remapped | remapped;
        first->start = owl_span_address(first);
        first->granules = s->granules + more;
        note_use(more);
    }
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_unlock(&pool.lock);
    return first;
}

size_t owl_pool_purge(size_t keep)
{
    owl_lock(&pool.lock);
    size_t purged = purge_down_to(keep >> OWL_GRANULE_SHIFT);
    owl_unlock(&pool.lock);
    return purged << OWL_GRANULE_SHIFT;
}

/* What was dirty all the time may have been wanted before; that nobody wanted it now is known by the
 * least that was dirty. */
bool owl_pool_decay(void)
{
    owl_lock(&pool.lock);
    size_t purged = 1;
    for (size_t idle = pool.low; idle > 0 && purged > 0 && pool.holders == 0; idle -= purged)
        purged = purge_one(idle < OWL_DECAY_STEP ? idle : OWL_DECAY_STEP);
    pool.low = owl_runs_granules(OWL_FREE_DIRTY);
    pool.lately[1] = pool.lately[0];
    pool.lately[0] = pool.used;
    bool left = pool.low > 0 && purged > 0;
    owl_unlock(&pool.lock);
    return left;
}

static void purge_metadata_of(const struct owl_span *run)
{
    size_t index = owl_span_index(run);
    owl_range_purge_metadata(run->range, index, index + run->run);
}

void owl_pool_purge_metadata(void)
{
    owl_lock(&pool.lock);
    owl_runs_each(OWL_PRIVATE, OWL_FREE_CLEAN, OWL_METADATA_GRANULES, purge_metadata_of);
    owl_unlock(&pool.lock);
}

struct owl_pool_counts owl_pool_count(void)
{
    owl_lock(&pool.lock);
    struct owl_pool_counts c = {.used = pool.used,
                                .dirty = owl_runs_granules(OWL_FREE_DIRTY),
                                .clean = owl_runs_granules(OWL_FREE_CLEAN),
                                .peak = pool.peak,
                                .in_use = in_use()};
    owl_unlock(&pool.lock);
    return c;
}

bool owl_pool_charge(size_t bytes, size_t moved)
{
    owl_lock(&pool.lock);
    bool allowed = make_room(bytes - moved);
    if (allowed) {
        pool.charged += bytes;
        pool.moved += moved;
    }
    owl_unlock(&pool.lock);
    return allowed;
}

void owl_pool_discharge(size_t bytes)
{
    owl_lock(&pool.lock);
    pool.charged -= bytes;
    owl_unlock(&pool.lock);
}

void owl_pool_note_mapped(size_t bytes)
{
    owl_lock(&pool.lock);
    pool.mapped = bytes;
    note_peak();
    owl_unlock(&pool.lock);
}

bool owl_pool_is_valid(void)
{
    owl_lock(&pool.lock);
    bool valid = is_valid(owl_runs_are_all());
    owl_unlock(&pool.lock);
    return valid;
}

void owl_pool_fork_prepare(void)
{
    owl_lock(&pool.lock);
    pool.holders++;
    while (wait_for_purge())
        continue;
    pool.holders--;
}

void owl_pool_fork_parent(void)
{
    owl_unlock(&pool.lock);
}

/* Whoever waited is not here. */
void owl_pool_fork_child(void)
{
    pool.waiters = 0;
    pool.holders = 0;
    owl_lock_reset(&pool.lock);
}

/* The runs are taken out of the lists before their ranges change, which decide about the list.
 * Above the top, too, a range may map its file, so it ends there from now on. */
void owl_pool_make_private(void)
{
    struct owl_span *chain = owl_runs_remove_all(OWL_MEMFD);
    for (unsigned i = 0; i < owl_u32_load_relaxed(&owl_range_count); i++)
        if (owl_ranges[i].backing == OWL_MEMFD) {
            owl_ranges[i].backing = OWL_PRIVATE;
            owl_ranges[i].granules = owl_ranges[i].top;
        }
    while (chain != NULL) {
        struct owl_span *s = chain;
        size_t granules = s->run;
        chain = s->next;
        if (owl_os.reset((void *)owl_span_address(s), granules << OWL_GRANULE_SHIFT) == 0)
            owl_runs_add(s, granules, OWL_FREE_CLEAN, false);
        else
            pool.used += granules;
    }
    note_dirty();
    owl_assert(is_valid(owl_runs_are_valid()));
}
