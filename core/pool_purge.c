/* SPDX-License-Identifier: BSD-2-Clause */
/* What the pool gives back to the system: by its bounds, the limit and decay, and on demand. */
#include "pool_inside.h"

#include "due.h"
#include "option.h"
#include "os.h"

/* After each change of what is dirty. */
void owl_pool_note_dirty(void)
{
    size_t dirty = owl_runs_granules(OWL_FREE_DIRTY);
    if (dirty < owl_pool.low)
        owl_pool.low = dirty;
    owl_u32_store_relaxed(&owl_due.pool, owl_due_units(dirty << OWL_GRANULE_SHIFT));
}

/* Which thread took more of it than all others together is found in two words, by a vote: each
 * granule goes against one that another thread took, and the lead is what is left, all of it one
 * thread's. (R. S. Boyer and J S. Moore, "MJRTY", 1991. Thread-local memory is too scarce.) */
void owl_pool_note_wanted(size_t granules)
{
    uintptr_t self = owl_lock_self();
    owl_pool.wanted += granules;
    if (owl_pool.taker == self) {
        owl_pool.lead += granules;
    } else if (owl_pool.lead >= granules) {
        owl_pool.lead -= granules;
    } else {
        owl_pool.taker = self;
        owl_pool.lead = granules - owl_pool.lead;
    }
}

static void begin_wanted_anew(void)
{
    owl_pool.lead = 0;
    owl_pool.wanted = 0;
}

/* What a thread that ends has taken itself, nobody wants any more. At least so much was taken by
 * others: half of what went against each other, and the lead, if that is not this thread's. */
static size_t wanted_by_others(void)
{
    size_t others = (owl_pool.wanted - owl_pool.lead) / 2;
    return owl_pool.taker == owl_lock_self() ? others : others + owl_pool.lead;
}

/* A run of a file that became private in the meantime, at a fork in a handler over its purge: what
 * is mapped there may be shared with the child. False: it still is, and stays in use. */
static bool leave_file(struct owl_span *s, size_t granules)
{
    bool left = owl_os.reset((void *)owl_span_address(s), granules << OWL_GRANULE_SHIFT) == 0;
    if (left)
        owl_runs_add(s, granules, OWL_FREE_CLEAN, false);
    else
        owl_pool.used += granules;
    return left;
}

__thread uint32_t owl_pool_purging_here __attribute__((tls_model("initial-exec")));

/* Purges at most so many granules of one run. The lock is let go meanwhile: to give back a large
 * run takes the system as long as thousands of other calls. The granules purged; 0: nothing is
 * dirty, or the system refuses. */
static size_t purge_one(size_t most, enum owl_runs_which which)
{
    size_t granules;
    struct owl_span *s = owl_runs_cut_dirty(most, which, &granules);
    if (s == NULL)
        return 0;
    size_t index = owl_span_index(s);
    bool remapped = s->remapped, file = owl_backing_of(s->range) == OWL_MEMFD;
    owl_lock_begin_work();
    owl_pool_purging_here = (uint32_t)granules;
    owl_pool.purging += granules;
    owl_pool_note_dirty();
    owl_pool_unlock();
    bool purged = owl_range_purge(s->range, index, index + granules, remapped) == 0;
    owl_pool_lock();
    owl_pool.purging -= granules;
    if (file && owl_backing_of(s->range) != OWL_MEMFD)
        purged = leave_file(s, granules);
    else
        owl_runs_add(s, granules, purged ? OWL_FREE_CLEAN : OWL_FREE_DIRTY, remapped && !purged);
    owl_pool_note_dirty();
    owl_u32_store_relaxed(&owl_pool.purges, owl_u32_load_relaxed(&owl_pool.purges) + 1);
    for (uint32_t i = 0; i < owl_pool.waiters; i++)
        owl_os.wake(&owl_pool.purges);
    owl_pool_purging_here = 0;
    owl_lock_end_work();
    return purged ? granules : 0;
}

/* Purges until so many granules are dirty, or `most` were purged: other threads free more
 * meanwhile. The granules purged by this call. It gives way after one run to who waits until
 * nothing is being purged: those others could keep it busy for ever. */
static size_t purge_down_to(size_t granules, size_t most, enum owl_runs_which which)
{
    size_t all = 0;
    size_t one = 1;
    while (one > 0 && all < most && owl_runs_granules(OWL_FREE_DIRTY) > granules &&
           (all == 0 || owl_pool.holders == 0)) {
        size_t excess = owl_runs_granules(OWL_FREE_DIRTY) - granules;
        one = purge_one(excess < most - all ? excess : most - all, which);
        all += one;
    }
    return all;
}

size_t owl_pool_purge_down_to(size_t granules)
{
    return purge_down_to(granules, SIZE_MAX, OWL_RUNS_LARGEST);
}

/* Until a purge by another thread ends. False: there is none. The number is read under the lock, so
 * that an end before the wait begins is not missed. */
bool owl_pool_wait_for_purge(void)
{
    if (owl_pool.purging == 0)
        return false;
    uint32_t seen = owl_u32_load_relaxed(&owl_pool.purges);
    owl_pool.waiters++;
    owl_pool_unlock();
    if (owl_lock_fork_is_bounded())
        owl_os.sleep(&owl_pool.purges, seen, OWL_LOCK_LOOK_MS);
    else
        owl_os.wait(&owl_pool.purges, seen);
    owl_lock_note(&owl_pool.lock, false, !owl_lock_fork_is_bounded());
    owl_lock_take(&owl_pool.lock);
    owl_pool_look_for_late();
    if (owl_pool.waiters > 0) /* a child of a fork in between has none */
        owl_pool.waiters--;
    return true;
}

/* What may still be purged: so many granules more each second, up to a point, which grows. */
static size_t allowance(struct owl_allowance *a, uint64_t now, unsigned rate, size_t most)
{
    uint64_t more = (now - a->at) * rate / 1000;
    size_t all = a->granules + more;
    a->granules = all < most ? all : most;
    if (more > 0)
        a->at = now;
    return a->granules;
}

/* Purges until so many granules are dirty, at most `most`. What may be purged of these may not be
 * purged again at once, for other threads purge meanwhile; what was not purged of it may. What is
 * purged beyond that is not owed: after a storm it would be for minutes. */
static size_t purge_allowed(struct owl_allowance *a, size_t granules, size_t most,
                            enum owl_runs_which which)
{
    size_t held = most < a->granules ? most : a->granules;
    a->granules -= held;
    size_t purged = purge_down_to(granules, most, which);
    a->granules += purged < held ? held - purged : 0;
    return purged;
}

/* The granules that may be dirty, by the softer bound. */
static size_t dirty_bound(void)
{
    size_t bound = (size_t)owl_option(OWL_OPTION_DIRTY) >> OWL_GRANULE_SHIFT;
    size_t share = (size_t)owl_option(OWL_OPTION_DIRTY_SHARE);
    return share > 0 && owl_pool.used / share > bound ? owl_pool.used / share : bound;
}

/* The most granules that were in use at once lately. */
static size_t most_used(uint64_t now)
{
    size_t *most = owl_pool.lately;
    if (now - owl_pool.lately_at >= OWL_LATELY_MS) {
        most[1] = most[0];
        most[0] = owl_pool.used;
        owl_pool.lately_at = now;
    }
    return most[0] > most[1] ? most[0] : most[1];
}

/* The granules that may be dirty, by the harder bound: as many as are in use; or, in a large
 * program, so many that with those in use they make somewhat more than was in use lately, for what
 * is in use at the moment may be little. But where nobody looks after it, what is dirty stays. */
static size_t storm_bound(uint64_t now)
{
    size_t least = (size_t)owl_option(OWL_OPTION_DIRTY) >> OWL_GRANULE_SHIFT;
    if (owl_option(OWL_OPTION_DIRTY_SHARE) == 0)
        return least;
    size_t bound = owl_pool.used, lately = most_used(now);
    if (lately >= OWL_LATELY_LEAST >> OWL_GRANULE_SHIFT &&
        owl_option(OWL_OPTION_SCAVENGER) != OWL_SCAVENGER_INLINE)
        bound = lately + lately / OWL_STORM_SHARE - owl_pool.used;
    return bound > least * OWL_DIRTY_STORM ? bound : least * OWL_DIRTY_STORM;
}

/* What was purged lately and is handed out again as clean memory was purged in vain: then nothing
 * is purged for the softer bound for a while, the longer the more it was; if there is somebody to
 * look when that is over. */
static void look_for_vain(uint64_t now)
{
    struct owl_purged *p = &owl_pool.purged;
    ptrdiff_t more = (ptrdiff_t)(owl_pool.taken_clean - p->taken_clean);
    size_t again = more > 0 ? (size_t)more : 0; /* less: there is fresh memory still to be taken */
    p->taken_clean += again;
    if (now - p->at > OWL_VAIN_MS)
        p->granules = 0;
    if (again > p->granules)
        again = p->granules;
    p->granules -= again;
    uint64_t from = owl_pool.vain_until > now ? owl_pool.vain_until : now;
    uint64_t until = from + again * OWL_VAIN * 1000 / OWL_PURGE_RATE;
    owl_pool.vain_until = until < now + OWL_VAIN_MS ? until : now + OWL_VAIN_MS;
}

/* No more than may be purged at once for the softer bound: not all that a storm made. */
static void note_purged(size_t granules, uint64_t now)
{
    size_t all = owl_pool.purged.granules + granules;
    owl_pool.purged.granules = all < OWL_PURGE_MOST ? all : OWL_PURGE_MOST;
    owl_pool.purged.at = now;
}

/* Keeps dirty memory below its bounds, but not while somebody waits until nothing is being
 * purged. Past the softer one it is purged only as far as that has not been done too often lately:
 * to purge what is soon wanted again costs page faults. Where the system refuses, as it does with
 * what is locked, it is not asked again for a while. */
void owl_pool_bound_dirty(void)
{
    size_t dirty = owl_runs_granules(OWL_FREE_DIRTY);
    size_t soft = dirty_bound();
    if (dirty <= soft) {
        begin_wanted_anew();
        owl_u32_store_relaxed(&owl_due.kept, 0);
    }
    if (dirty <= soft || owl_pool.holders > 0)
        return;
    uint64_t now = owl_os.milliseconds();
    if (now < owl_pool.refused_until)
        return;
    enum owl_runs_which which = OWL_RUNS_LARGEST;
    size_t excess = dirty - (soft - soft / OWL_DIRTY_SLACK);
    size_t allowed = allowance(&owl_pool.bounding, now, OWL_PURGE_RATE, OWL_PURGE_MOST);
    look_for_vain(now);
    bool kept =
        now < owl_pool.vain_until && owl_option(OWL_OPTION_SCAVENGER) != OWL_SCAVENGER_INLINE;
    owl_u32_store_relaxed(&owl_due.kept, kept);
    if (kept)
        allowed = 0;
    if (excess > allowed) {
        size_t hard = storm_bound(now);
        excess = allowed >= OWL_PURGE_MOST / 2 ? allowed : 0;
        if (dirty - excess > hard) {
            excess = dirty - (hard - hard / OWL_DIRTY_SLACK);
            which = OWL_RUNS_SMALL;
        }
    }
    if (excess == 0)
        return;
    size_t purged = purge_allowed(&owl_pool.bounding, dirty - excess, excess, which);
    if (purged == 0)
        owl_pool.refused_until = now + OWL_REFUSED_MS;
    note_purged(purged, now);
}

/* --- the limit --------------------------------------------------------------- */

/* Bytes that count for the limit, and that no purge gives back. */
size_t owl_pool_in_use(void)
{
    return (owl_pool.used << OWL_GRANULE_SHIFT) + owl_pool.charged - owl_pool.moved;
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
    return (owl_runs_granules(OWL_FREE_DIRTY) + owl_pool.purging) << OWL_GRANULE_SHIFT;
}

/* Whether to use granules of a free run would pass the limit. Those of a dirty one count
 * already. */
bool owl_pool_is_past_limit(const struct owl_span *run, size_t granules)
{
    size_t free = run->free == OWL_FREE_DIRTY ? 0 : resident_free();
    return owl_pool_in_use() + (granules << OWL_GRANULE_SHIFT) + free > limit();
}

/* Purges until so many bytes more do not pass the limit. The lock may be let go meanwhile. False:
 * they do, whatever is purged, or the system does not purge. What does not grow is never refused:
 * the limit may have been set below what is in use. */
bool owl_pool_make_room(size_t more)
{
    size_t most = limit();
    while (more > 0 && owl_pool_in_use() + more + resident_free() > most) {
        if (owl_pool_in_use() + more > most)
            return false;
        size_t left = (most - owl_pool_in_use() - more) >> OWL_GRANULE_SHIFT;
        size_t slack = dirty_bound() / OWL_DIRTY_SLACK;
        if (owl_pool_purge_down_to(left > slack ? left - slack : 0) == 0 &&
            !owl_pool_wait_for_purge())
            return false;
    }
    return true;
}

/* A limit that was lowered is obeyed when memory becomes free; but not while somebody waits until
 * nothing is being purged. */
void owl_pool_obey_limit(void)
{
    size_t used = owl_pool_in_use(), most = limit();
    size_t left = used < most ? (most - used) >> OWL_GRANULE_SHIFT : 0;
    if (owl_runs_granules(OWL_FREE_DIRTY) > left && owl_pool.holders == 0)
        owl_pool_purge_down_to(left);
}

size_t owl_pool_purge(size_t keep)
{
    owl_pool_lock();
    size_t purged = owl_pool_purge_down_to(keep >> OWL_GRANULE_SHIFT);
    owl_pool_unlock();
    return purged << OWL_GRANULE_SHIFT;
}

void owl_pool_settle(void)
{
    if (owl_u32_load_relaxed(&owl_due.pool) < owl_due_units((size_t)owl_option(OWL_OPTION_DIRTY)))
        return;
    owl_pool_lock();
    size_t dirty = owl_runs_granules(OWL_FREE_DIRTY), bound = dirty_bound();
    size_t most = OWL_SETTLE_PEAKS * (owl_pool.peak >> OWL_GRANULE_SHIFT);
    size_t wanted = wanted_by_others();
    begin_wanted_anew();
    if (dirty > bound && dirty > wanted && owl_pool.holders == 0 &&
        dirty - bound / 2 <=
            allowance(&owl_pool.settling, owl_os.milliseconds(), OWL_SETTLE_RATE, most))
        purge_allowed(&owl_pool.settling, bound / 2, dirty - bound / 2, OWL_RUNS_LARGEST);
    owl_pool_unlock();
}

/* What was dirty all the time may have been wanted before; that nobody wanted it now is known by
 * the least that was dirty. */
bool owl_pool_decay(void)
{
    owl_pool_lock();
    size_t purged = 1;
    for (size_t idle = owl_pool.low; idle > 0 && purged > 0 && owl_pool.holders == 0;
         idle -= purged)
        purged = purge_one(idle < OWL_DECAY_STEP ? idle : OWL_DECAY_STEP, OWL_RUNS_LARGEST);
    owl_pool.low = owl_runs_granules(OWL_FREE_DIRTY);
    bool left = owl_pool.low > 0 && purged > 0;
    owl_pool_unlock();
    return left;
}

static void purge_metadata_of(const struct owl_span *run)
{
    size_t index = owl_span_index(run);
    owl_range_purge_metadata(run->range, index, index + run->run);
}

void owl_pool_purge_metadata(void)
{
    owl_pool_lock();
    owl_runs_each(OWL_PRIVATE, OWL_FREE_CLEAN, OWL_METADATA_GRANULES, purge_metadata_of);
    owl_pool_unlock();
}

void owl_pool_obey_address_limit(void)
{
    owl_pool_lock();
    owl_range_obey_limit();
    owl_pool_unlock();
}
