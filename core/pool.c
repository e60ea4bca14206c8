/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool_inside.h"

#include "check.h"
#include "due.h"
#include "os.h"

/* No run is longer. */
#define MOST_GRANULES ((size_t)1 << (OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT))

struct owl_pool owl_pool = {.lock.rank = OWL_RANK_POOL};

static void note_peak(void)
{
    size_t bytes = (owl_pool.used << OWL_GRANULE_SHIFT) + owl_pool.mapped;
    if (bytes > owl_pool.peak)
        owl_pool.peak = bytes;
}

/* So many granules that were free are in use. */
static void note_use(size_t granules)
{
    owl_pool.used += granules;
    if (owl_pool.used > owl_pool.lately[0])
        owl_pool.lately[0] = owl_pool.used;
    owl_pool_note_dirty();
    note_peak();
}

static struct owl_span *find(enum owl_backing backing, size_t granules, unsigned align_order,
                             size_t look)
{
    struct owl_span *s = owl_runs_find(backing, OWL_FREE_DIRTY, granules, align_order, look);
    return s != NULL ? s : owl_runs_find(backing, OWL_FREE_CLEAN, granules, align_order, look);
}

/* Fresh memory was never purged, so none of it is taken again. */
static bool grow(enum owl_backing backing, size_t granules, unsigned align_order)
{
    size_t clean = owl_runs_granules(OWL_FREE_CLEAN);
    bool grown = owl_runs_grow(backing, granules, align_order);
    owl_pool.taken_clean -= owl_runs_granules(OWL_FREE_CLEAN) - clean;
    return grown;
}

/* A free run in which so many aligned granules can be had. Fresh address space comes before a long
 * search; at the last the dirty memory is purged, so that it joins the clean memory around it. */
static struct owl_span *find_or_make(enum owl_backing backing, size_t granules,
                                     unsigned align_order)
{
    for (;;) {
        struct owl_span *s = find(backing, granules, align_order, OWL_RUN_LOOK);
        if (s == NULL && grow(backing, granules, align_order))
            s = owl_runs_find(backing, OWL_FREE_CLEAN, granules, align_order, SIZE_MAX);
        if (s == NULL)
            s = find(backing, granules, align_order, SIZE_MAX);
        if (s != NULL && !owl_pool_is_past_limit(s, granules))
            return s;
        if (s != NULL ? !owl_pool_make_room(granules << OWL_GRANULE_SHIFT)
                      : owl_pool_purge_down_to(0) == 0 && !owl_pool_wait_for_purge())
            return NULL;
    }
}

/* Granules of a free run, from `offset` on, are in use from now on. */
static struct owl_span *use(struct owl_span *run, size_t offset, size_t granules, bool *zero)
{
    *zero = run->free == OWL_FREE_CLEAN;
    if (!*zero)
        owl_pool_note_wanted(granules);
    struct owl_span *s = owl_runs_carve(run, offset, granules);
    note_use(granules);
    return s;
}

static bool is_valid(bool lists)
{
    size_t total = 0;
    for (unsigned i = 0; i < owl_u32_load_relaxed(&owl_range_count); i++)
        total += owl_ranges[i].top;
    return lists && total == owl_pool.used + owl_pool.purging + owl_runs_granules(OWL_FREE_DIRTY) +
                                 owl_runs_granules(OWL_FREE_CLEAN);
}

/* A taken run, or NULL, with what its descriptor says of it. */
static struct owl_span *described(struct owl_span *s, size_t granules)
{
    if (s != NULL) {
        s->start = owl_span_address(s);
        s->granules = granules;
    }
    return s;
}

struct owl_span *owl_pool_take(enum owl_backing backing, size_t granules, unsigned align_order,
                               bool *zero)
{
    if (granules > MOST_GRANULES || align_order > OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT)
        return NULL;
    owl_pool_lock();
    struct owl_span *s = find_or_make(backing, granules, align_order);
    if (s != NULL) {
        s = use(s, owl_run_offset(s, align_order), granules, zero);
        owl_pool.taken_clean += *zero ? granules : 0;
    }
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_pool_unlock();
    return described(s, granules);
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
    owl_pool_lock();
    if (owl_pool_make_room((granules << OWL_GRANULE_SHIFT) - moved))
        s = find_roomy(backing, granules, align_order);
    if (s != NULL) {
        s = use(s, owl_run_offset(s, align_order), granules, &zero);
        owl_pool.moved += moved;
    }
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_pool_unlock();
    return described(s, granules);
}

struct owl_span *owl_pool_take_roomy(enum owl_room which, size_t granules, size_t moved)
{
    bool zero;
    size_t offset;
    owl_pool_lock();
    owl_pool.moved += moved;
    struct owl_span *s = owl_pool_find_room(which, granules, &offset);
    if (s != NULL && !owl_pool_is_past_limit(s, granules)) {
        s = use(s, offset, granules, &zero);
        if (zero)
            owl_pool.rooms.behind =
                owl_run_at(&owl_ranges[s->range], owl_span_index(s) + granules);
    } else {
        s = NULL;
        owl_pool.moved -= moved;
    }
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_pool_unlock();
    return described(s, granules);
}

void owl_pool_end_move(size_t moved)
{
    owl_pool_lock();
    owl_pool.moved -= moved;
    owl_pool_unlock();
}

static bool has_dirty(enum owl_backing backing, size_t granules)
{
    struct owl_span *s = owl_runs_find(backing, OWL_FREE_DIRTY, granules, 0, OWL_RUN_LOOK);
    return s != NULL && !owl_pool_is_past_limit(s, granules);
}

bool owl_pool_has_dirty(enum owl_backing backing, size_t granules)
{
    owl_pool_lock();
    bool has = has_dirty(backing, granules);
    owl_pool_unlock();
    return has;
}

struct owl_span *owl_pool_take_high(size_t granules, bool *zero)
{
    owl_pool_lock();
    struct owl_span *s = owl_runs_find_top(granules);
    if (s != NULL && owl_pool_is_past_limit(s, granules))
        s = NULL;
    if (s != NULL)
        s = use(s, s->run - granules, granules, zero);
    owl_pool_unlock();
    return s != NULL ? described(s, granules) : owl_pool_take(OWL_PRIVATE, granules, 0, zero);
}

static void give(struct owl_span *s, size_t granules)
{
    owl_pool.used -= granules;
    owl_runs_add(s, granules, OWL_FREE_DIRTY, s->remapped);
}

/* Keeps the bounds after that, and lets the lock go. */
static void end_give(void)
{
    owl_pool_obey_limit();
    owl_pool_bound_dirty();
    owl_pool_note_dirty();
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_pool_unlock();
    owl_due_look();
}

void owl_pool_give(struct owl_span *s, size_t granules)
{
    owl_pool_lock();
    give(s, granules);
    end_give();
}

/* The granules of a chain. */
static size_t give_all(struct owl_span *chain)
{
    size_t granules = 0;
    for (struct owl_span *s = chain, *next; s != NULL; s = next) {
        next = s->next;
        granules += s->granules;
        give(s, s->granules);
    }
    return granules;
}

void owl_pool_give_all(struct owl_span *chain)
{
    owl_pool_lock();
    give_all(chain);
    end_give();
}

void owl_pool_give_idle(struct owl_span *chain)
{
    owl_pool_lock();
    owl_pool.low += give_all(chain);
    end_give();
}

void owl_pool_give_clean(struct owl_span *s, size_t granules)
{
    owl_pool_lock();
    owl_pool.used -= granules;
    owl_runs_add(s, granules, OWL_FREE_CLEAN, false);
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_pool_unlock();
}

bool owl_pool_extend(struct owl_span *s, size_t granules)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t first = owl_span_index(s) + s->granules;
    size_t end = owl_span_index(s) + granules;
    owl_pool_lock();
    bool enough = owl_pool_make_room((end - first) << OWL_GRANULE_SHIFT);
    if (enough && end > r->top && owl_runs_end(r, first, end) == r->top)
        owl_runs_raise(s->range, end);
    enough = enough && owl_runs_end(r, first, end) >= end;
    if (enough) {
        s->remapped |= owl_runs_carve_all(r, first, first, end);
        s->granules = granules;
        note_use(end - first);
    }
    owl_assert(is_valid(owl_runs_are_valid()));
    owl_pool_unlock();
    return enough;
}

bool owl_pool_has_dirtier(const struct owl_span *s, size_t granules)
{
    size_t first = owl_span_index(s) + s->granules, end = owl_span_index(s) + granules;
    owl_pool_lock();
    const struct owl_span *next = owl_run_at(&owl_ranges[s->range], first);
    bool behind = next != NULL && next->free == OWL_FREE_DIRTY && first + next->run >= end;
    bool has = !behind && has_dirty(OWL_PRIVATE, granules);
    owl_pool_unlock();
    return has;
}

struct owl_span *owl_pool_extend_front(struct owl_span *s, size_t more)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t end = owl_span_index(s);
    struct owl_span *first = NULL;
    if (more > end)
        return NULL;
    owl_pool_lock();
    bool allowed = owl_pool_make_room(more << OWL_GRANULE_SHIFT);
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
    owl_pool_unlock();
    return first;
}

struct owl_pool_counts owl_pool_count(void)
{
    owl_pool_lock();
    struct owl_pool_counts c = {.used = owl_pool.used,
                                .dirty = owl_runs_granules(OWL_FREE_DIRTY),
                                .clean = owl_runs_granules(OWL_FREE_CLEAN),
                                .peak = owl_pool.peak,
                                .in_use = owl_pool_in_use()};
    owl_pool_unlock();
    return c;
}

bool owl_pool_charge(size_t bytes, size_t moved)
{
    owl_pool_lock();
    bool allowed = owl_pool_make_room(bytes - moved);
    if (allowed) {
        owl_pool.charged += bytes;
        owl_pool.moved += moved;
    }
    owl_pool_unlock();
    return allowed;
}

void owl_pool_discharge(size_t bytes)
{
    owl_pool_lock();
    owl_pool.charged -= bytes;
    owl_pool_unlock();
}

void owl_pool_note_mapped(size_t bytes)
{
    owl_pool_lock();
    owl_pool.mapped = bytes;
    note_peak();
    owl_pool_unlock();
}

bool owl_pool_is_valid(void)
{
    owl_pool_lock();
    bool valid = is_valid(owl_runs_are_all());
    owl_pool_unlock();
    return valid;
}

/* Above the top, too, a range maps its file, all of whose memory lives as long as one mapping. */
static void leave_file_above(const struct owl_range *r)
{
    size_t committed = owl_word_load_relaxed(&r->committed);
    if (committed > r->top)
        owl_range_reset((void *)(r->base + (r->top << OWL_GRANULE_SHIFT)),
                        (committed - r->top) << OWL_GRANULE_SHIFT);
}

/* The runs are taken out of the lists before their ranges change, which decide about the list. A
 * range ends at its top from now on: the system may refuse to let the file go above. */
static void make_private(void)
{
    owl_u32_store_relaxed(&owl_pool.private_late, 0);
    struct owl_span *chain = owl_runs_remove_all(OWL_MEMFD);
    for (unsigned i = 0; i < owl_u32_load_relaxed(&owl_range_count); i++)
        if (owl_backing_of(i) == OWL_MEMFD) {
            owl_u32_store_release(&owl_ranges[i].backing, OWL_PRIVATE);
            owl_ranges[i].granules = owl_ranges[i].top;
            leave_file_above(&owl_ranges[i]);
        }
    while (chain != NULL) {
        struct owl_span *s = chain;
        size_t granules = s->run;
        chain = s->next;
        if (owl_range_reset((void *)owl_span_address(s), granules << OWL_GRANULE_SHIFT) == 0)
            owl_runs_add(s, granules, OWL_FREE_CLEAN, false);
        else
            owl_pool.used += granules;
    }
    owl_pool_note_dirty();
    owl_assert(is_valid(owl_runs_are_valid()));
}

/* At once, or when who has the lock lets it go. */
void owl_pool_make_private(void)
{
    if (owl_lock_is_taken(&owl_pool.lock))
        make_private();
    else
        owl_u32_store_relaxed(&owl_pool.private_late, 1);
}

/* A handler of a signal may have come in the middle of a purge by this very thread, which will end
 * it on both sides; or of something else with the lock, which cannot be let go. Another thread's
 * purge that is not waited for is lost to the child. */
void owl_pool_fork_prepare(void)
{
    owl_lock_before_fork(&owl_pool.lock);
    if (!owl_lock_is_taken(&owl_pool.lock))
        return;
    owl_pool.holders++;
    while (owl_pool.purging > owl_pool_purging_here && owl_lock_fork_may_wait() &&
           owl_pool_wait_for_purge())
        continue;
    owl_pool.holders--;
    owl_range_obey_limit(); /* or else no block of a file can be mapped privately */
}

void owl_pool_fork_parent(void)
{
    owl_lock_after_fork(&owl_pool.lock);
}

static void count_purge(void)
{
    owl_u32_store_relaxed(&owl_pool.purges, owl_u32_load_relaxed(&owl_pool.purges) + 1);
}

/* Whoever waited, or purged, is not here. This thread may have waited, for one that purged: it
 * looks again when the number changes. What that comes to is told when the lock is next taken: it
 * may be this thread's, which is in the middle of a change, or missed, and a child that goes on to
 * another program need not look at what is torn. */
void owl_pool_fork_child(void)
{
    owl_lock_in_child(&owl_pool.lock);
    owl_pool.waiters = 0;
    owl_pool.holders = 0;
    owl_pool.lost = true;
    count_purge();
}

static void lose_purges(void)
{
    size_t lost = owl_pool.purging - owl_pool_purging_here;
    owl_pool.lost = false;
    owl_pool.used += lost;
    owl_pool.purging -= lost;
    count_purge();
}

void owl_pool_be_late(void)
{
    if (owl_pool.lost)
        lose_purges();
    if (owl_u32_load_relaxed(&owl_pool.private_late))
        make_private();
}
