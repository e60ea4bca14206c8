/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool.h"

#include "check.h"
#include "lock.h"
#include "option.h"
#include "os.h"

#define ORDERS (OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT + 1)

enum state { DIRTY, CLEAN, STATES };

static const uint8_t mark_of[STATES] = {[DIRTY] = OWL_FREE_DIRTY, [CLEAN] = OWL_FREE_CLEAN};

struct list {
    struct owl_span *first, *last; /* newest, oldest */
};

static struct {
    struct owl_lock lock;
    struct list lists[STATES][ORDERS];
    uint64_t filled[STATES];  /* bit o: lists[][o] is not empty */
    size_t granules[STATES];  /* in all lists of the state */
    size_t used;              /* granules */
    size_t mapped;            /* bytes in mappings */
    size_t peak;              /* bytes: the most that used and mapped came to */
    size_t purging;           /* granules of spans that are in no list while they are purged */
    owl_u32 purges;           /* how many of these have ended; changes wake */
    uint32_t waiters;         /* who wait for the next */
} pool;

_Static_assert(ORDERS <= 64, "a bit for each order");

static enum state state_of(const struct owl_span *s)
{
    return s->free == OWL_FREE_DIRTY ? DIRTY : CLEAN;
}

static unsigned log2_floor(size_t n)
{
    return 63 - (unsigned)__builtin_clzl(n);
}

static unsigned log2_ceil(size_t n)
{
    return n <= 1 ? 0 : log2_floor(n - 1) + 1;
}

static void list_add(enum state state, struct owl_span *s, unsigned order)
{
    struct list *l = &pool.lists[state][order];
    s->free = mark_of[state];
    s->order = (uint8_t)order;
    s->previous = NULL;
    s->next = l->first;
    if (l->first != NULL)
        l->first->previous = s;
    else
        l->last = s;
    l->first = s;
    pool.filled[state] |= (uint64_t)1 << order;
    pool.granules[state] += (size_t)1 << order;
}

static void list_remove(enum state state, struct owl_span *s)
{
    struct list *l = &pool.lists[state][s->order];
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        l->first = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    else
        l->last = s->previous;
    if (l->first == NULL)
        pool.filled[state] &= ~((uint64_t)1 << s->order);
    pool.granules[state] -= (size_t)1 << s->order;
    s->free = OWL_FREE_NOT;
}

/* Adds one aligned span and joins it with its buddies as far as they are free: of the same state,
 * and while the order is below `mixed`, of either. */
static void add_joined(enum state state, unsigned range, size_t index, unsigned order,
                       unsigned mixed)
{
    struct owl_range *r = &owl_ranges[range];
    while (order + 1 < ORDERS) {
        size_t buddy = index ^ ((size_t)1 << order);
        if (buddy + ((size_t)1 << order) > r->top)
            break;
        struct owl_span *b = &r->map[buddy];
        if (b->free == OWL_FREE_NOT || b->order != order ||
            (b->free != mark_of[state] && order >= mixed))
            break;
        list_remove(state_of(b), b);
        index &= ~((size_t)1 << order);
        order++;
    }
    r->map[index].range = (uint8_t)range;
    list_add(state, &r->map[index], order);
}

/* Adds any run of granules, as the largest aligned spans that it is made of. */
static void add_run(enum state state, unsigned range, size_t index, size_t granules,
                    unsigned mixed)
{
    while (granules > 0) {
        unsigned order = log2_floor(granules);
        if (index != 0 && (unsigned)__builtin_ctzl(index) < order)
            order = (unsigned)__builtin_ctzl(index);
        add_joined(state, range, index, order, mixed);
        index += (size_t)1 << order;
        granules -= (size_t)1 << order;
    }
}

/* Takes the first `granules` of a free span out of its list; the rest stays free. */
static struct owl_span *carve(enum state state, struct owl_span *s, size_t granules)
{
    size_t whole = (size_t)1 << s->order;
    size_t index = owl_span_index(s);
    list_remove(state, s);
    if (granules < whole)
        add_run(state, s->range, index + granules, whole - granules, 0);
    return s;
}

static struct owl_span *take_free(enum state state, size_t granules, unsigned order)
{
    uint64_t fit = pool.filled[state] & ~(((uint64_t)1 << order) - 1);
    if (fit == 0)
        return NULL;
    return carve(state, pool.lists[state][__builtin_ctzl(fit)].first, granules);
}

enum growth { GROWN, FULL, REFUSED };

/* The granules of a range below `end` become the pool's. */
static enum growth raise_top(unsigned number, size_t end)
{
    struct owl_range *r = &owl_ranges[number];
    if (end > r->granules)
        return FULL;
    if (owl_range_commit(number, end) != 0)
        return REFUSED;
    size_t from = r->top;
    r->top = end;
    add_run(CLEAN, number, from, end - from, 0);
    return GROWN;
}

/* Makes at least 2^order aligned granules above the top of a range free. */
static enum growth grow_range(unsigned number, unsigned order)
{
    struct owl_range *r = &owl_ranges[number];
    size_t length = (size_t)1 << order;
    size_t start = owl_round_up(r->top, length);
    size_t end = start + length;
    if (end - r->top < OWL_GROW_GRANULES && r->top + OWL_GROW_GRANULES <= r->granules)
        end = owl_round_up(end, OWL_GROW_GRANULES);
    return raise_top(number, end);
}

/* A range is added only for want of addresses, not of memory. */
static bool grow(unsigned order)
{
    unsigned count = owl_u32_load_relaxed(&owl_range_count);
    enum growth growth = FULL;
    for (unsigned i = 0; i < count && growth == FULL; i++)
        growth = grow_range(i, order);
    if (growth == FULL) {
        int added = owl_range_add(OWL_PRIVATE, (size_t)1 << order);
        growth = added >= 0 ? grow_range((unsigned)added, order) : REFUSED;
    }
    return growth == GROWN;
}

/* Purges one span: the oldest of the largest. The lock is let go meanwhile: to give back a large
 * span takes the system as long as thousands of other calls. The granules purged; 0: there is no
 * such span, or the system refuses. */
static size_t purge_one(void)
{
    if (pool.filled[DIRTY] == 0)
        return 0;
    unsigned order = log2_floor(pool.filled[DIRTY]);
    struct owl_span *s = pool.lists[DIRTY][order].last;
    list_remove(DIRTY, s);
    pool.purging += (size_t)1 << order;
    owl_unlock(&pool.lock);
    bool purged = owl_os.purge((void *)owl_span_address(s), OWL_GRANULE << order) == 0;
    owl_lock(&pool.lock);
    pool.purging -= (size_t)1 << order;
    add_joined(purged ? CLEAN : DIRTY, s->range, owl_span_index(s), order, 0);
    owl_u32_store_relaxed(&pool.purges, owl_u32_load_relaxed(&pool.purges) + 1);
    for (uint32_t i = 0; i < pool.waiters; i++)
        owl_os.wake(&pool.purges);
    return purged ? (size_t)1 << order : 0;
}

/* The granules purged by this call. */
static size_t purge_down_to(size_t granules)
{
    size_t all = 0;
    size_t one = 1;
    while (one > 0 && pool.granules[DIRTY] > granules) {
        one = purge_one();
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

static void note_peak(void)
{
    size_t bytes = (pool.used << OWL_GRANULE_SHIFT) + pool.mapped;
    if (bytes > pool.peak)
        pool.peak = bytes;
}

/* Granules that may be dirty. */
static size_t dirty_bound(void)
{
    size_t bound = (size_t)owl_option(OWL_OPTION_DIRTY) >> OWL_GRANULE_SHIFT;
    size_t share = (size_t)owl_option(OWL_OPTION_DIRTY_SHARE);
    if (share > 0 && pool.used / share > bound)
        bound = pool.used / share;
    return bound;
}

/* Dirty memory is reused first; fresh address space is next; at the last the dirty memory is
 * purged, so that it joins the clean memory around it. */
static struct owl_span *take_locked(size_t granules, unsigned order, bool *zero)
{
    for (;;) {
        struct owl_span *s = take_free(DIRTY, granules, order);
        *zero = s == NULL;
        if (s == NULL)
            s = take_free(CLEAN, granules, order);
        if (s == NULL && grow(order))
            s = take_free(CLEAN, granules, order);
        if (s != NULL || (purge_down_to(0) == 0 && !wait_for_purge()))
            return s;
    }
}

static bool list_is_valid(enum state state, unsigned order, size_t *granules)
{
    const struct owl_span *previous = NULL;
    for (const struct owl_span *s = pool.lists[state][order].first; s != NULL; s = s->next) {
        const struct owl_range *r = &owl_ranges[s->range];
        size_t index = owl_span_index(s);
        size_t buddy = index ^ ((size_t)1 << order);
        if (s->free != mark_of[state] || s->order != order || s->previous != previous ||
            index % ((size_t)1 << order) != 0 || index + ((size_t)1 << order) > r->top)
            return false;
        if (buddy + ((size_t)1 << order) <= r->top && r->map[buddy].free == s->free &&
            r->map[buddy].order == order)
            return false;
        *granules += (size_t)1 << order;
        previous = s;
    }
    return pool.lists[state][order].last == previous &&
           (previous != NULL) == (pool.filled[state] >> order & 1);
}

static bool is_valid(void)
{
    bool valid = true;
    size_t found[STATES] = {0, 0};
    size_t total = 0;
    for (enum state state = 0; state < STATES; state++) {
        for (unsigned order = 0; order < ORDERS; order++)
            valid = valid && list_is_valid(state, order, &found[state]);
        valid = valid && found[state] == pool.granules[state];
    }
    for (unsigned i = 0; i < owl_u32_load_relaxed(&owl_range_count); i++)
        total += owl_ranges[i].top;
    return valid && total == pool.used + pool.purging + found[DIRTY] + found[CLEAN];
}

struct owl_span *owl_pool_take(enum owl_backing backing, size_t granules, unsigned align_order,
                               bool *zero)
{
    (void)backing;
    unsigned order = log2_ceil(granules);
    if (order < align_order)
        order = align_order;
    if (order >= ORDERS)
        return NULL;
    owl_lock(&pool.lock);
    struct owl_span *s = take_locked(granules, order, zero);
    if (s != NULL) {
        pool.used += granules;
        note_peak();
    }
    owl_assert(is_valid());
    owl_unlock(&pool.lock);
    if (s != NULL) {
        s->start = owl_span_address(s);
        s->granules = granules;
    }
    return s;
}

void owl_pool_give(struct owl_span *s, size_t granules)
{
    unsigned range = s->range;
    size_t index = owl_span_index(s);
    owl_lock(&pool.lock);
    pool.used -= granules;
    /* The tail that was cut from the span when the run was taken may be free, and clean. It joins
     * as dirty, or the next run of this length would have to be taken from fresh memory. */
    add_run(DIRTY, range, index, granules, log2_ceil(granules));
    size_t bound = dirty_bound();
    if (pool.granules[DIRTY] > bound)
        purge_down_to(bound - bound / 4);
    owl_assert(is_valid());
    owl_unlock(&pool.lock);
}

/* How far the granules from `index` on are free, if not all up to `end` are. */
static size_t free_until(const struct owl_range *r, size_t index, size_t end)
{
    while (index < end && index < r->top && r->map[index].free != OWL_FREE_NOT)
        index += (size_t)1 << r->map[index].order;
    return index;
}

bool owl_pool_extend(struct owl_span *s, size_t granules)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t first = owl_span_index(s) + s->granules;
    size_t end = owl_span_index(s) + granules;
    owl_lock(&pool.lock);
    if (end > r->top && free_until(r, first, end) == r->top)
        raise_top(s->range, end);
    bool enough = free_until(r, first, end) >= end;
    for (size_t at = first; enough && at < end;) {
        struct owl_span *f = &owl_ranges[s->range].map[at];
        size_t length = (size_t)1 << f->order;
        carve(state_of(f), f, length < end - at ? length : end - at);
        at += length;
    }
    if (enough) {
        pool.used += end - first;
        note_peak();
        s->granules = granules;
    }
    owl_assert(is_valid());
    owl_unlock(&pool.lock);
    return enough;
}

size_t owl_pool_purge(size_t keep)
{
    owl_lock(&pool.lock);
    size_t purged = purge_down_to(keep >> OWL_GRANULE_SHIFT);
    owl_unlock(&pool.lock);
    return purged << OWL_GRANULE_SHIFT;
}

struct owl_pool_counts owl_pool_count(void)
{
    owl_lock(&pool.lock);
    struct owl_pool_counts c = {.used = pool.used,
                                .dirty = pool.granules[DIRTY],
                                .clean = pool.granules[CLEAN],
                                .peak = pool.peak};
    owl_unlock(&pool.lock);
    return c;
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
    bool valid = is_valid();
    owl_unlock(&pool.lock);
    return valid;
}

void owl_pool_fork_prepare(void)
{
    owl_lock(&pool.lock);
}

void owl_pool_fork_parent(void)
{
    owl_unlock(&pool.lock);
}

/* What another thread was purging is lost to the child. */
void owl_pool_fork_child(void)
{
    pool.used += pool.purging;
    note_peak();
    pool.purging = 0;
    pool.waiters = 0;
    owl_lock_reset(&pool.lock);
}
