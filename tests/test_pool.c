/* SPDX-License-Identifier: BSD-2-Clause */
/* The pool against a shadow map that knows who has which granule. */
#include <owl/option.h>
#include <pthread.h>

#include "child.h"
#include "faults.h"
#include "pool.h"

enum { SHADOW = 1 << 14 };

/* Index of the run that has a granule of range 0; 0: none. */
static uint32_t shadow[SHADOW];

struct run {
    struct owl_span *span;
    size_t granules;
    uint64_t tag;
};

static void set_up(void)
{
    owl_os_init();
    faults_install();
}

/* A small first range, and no other. */
static void set_up_small(void)
{
    set_up();
    faults.reserve_most = (size_t)20 << 20;
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    check(owl_ranges[0].granules == (size_t)1 << (OWL_RANGE_MIN_SHIFT - OWL_GRANULE_SHIFT));
    faults.reserve_most = 0;
}

/* A word on every page of a run; which one, the tag says. */
static uint64_t *word_of(const struct run *r, size_t page)
{
    return (uint64_t *)(owl_span_address(r->span) + page * 4096) + r->tag % 512;
}

static size_t pages_of(const struct run *r)
{
    return r->granules * (OWL_GRANULE / 4096);
}

static void stamp(struct run *r, uint64_t tag)
{
    r->tag = tag;
    for (size_t i = 0; i < pages_of(r); i++)
        *word_of(r, i) = tag ^ i;
}

static bool has_stamp(const struct run *r)
{
    for (size_t i = 0; i < pages_of(r); i++)
        if (*word_of(r, i) != (r->tag ^ i))
            return false;
    return true;
}

static bool is_zero(const void *p, size_t bytes)
{
    const uint64_t *words = p;
    for (size_t i = 0; i < bytes / 8; i++)
        if (words[i] != 0)
            return false;
    return true;
}

static void shadow_set(size_t first, size_t granules, uint32_t from, uint32_t to)
{
    check(first + granules <= SHADOW);
    for (size_t i = first; i < first + granules; i++) {
        check(shadow[i] == from);
        shadow[i] = to;
    }
}

/* With all free and clean, the free spans are the largest aligned ones below the top. */
static void check_maximal(unsigned range)
{
    const struct owl_range *r = &owl_ranges[range];
    for (size_t at = 0; at < r->top;) {
        size_t length = 1;
        while (at % (2 * length) == 0 && at + 2 * length <= r->top)
            length *= 2;
        check(r->map[at].free == OWL_FREE_CLEAN);
        check((size_t)1 << r->map[at].order == length);
        at += length;
    }
}

static size_t random_length(uint64_t *random)
{
    size_t most = (size_t)1 << next_random(random) % 8;
    return 1 + next_random(random) % most;
}

static void random_take(struct run *r, uint32_t name, uint64_t *random)
{
    unsigned align = next_random(random) % 4 == 0 ? (unsigned)(next_random(random) % 6) : 0;
    bool zero;
    r->granules = random_length(random);
    r->span = owl_pool_take(OWL_PRIVATE, r->granules, align, &zero);
    check(r->span != NULL);
    check(r->span->granules == r->granules && r->span->range == 0);
    check(r->span->start == owl_span_address(r->span));
    check(r->span->start % (OWL_GRANULE << align) == 0);
    shadow_set(owl_span_index(r->span), r->granules, 0, name);
    if (zero)
        check(is_zero((void *)r->span->start, r->granules * OWL_GRANULE));
    stamp(r, next_random(random));
}

static void give_all_of(struct run *r, uint32_t name)
{
    check(has_stamp(r));
    shadow_set(owl_span_index(r->span), r->granules, name, 0);
    owl_pool_give(r->span, r->granules);
    r->span = NULL;
}

static void give_tail_of(struct run *r, uint32_t name, uint64_t *random)
{
    size_t keep = 1 + next_random(random) % r->granules;
    size_t first = owl_span_index(r->span);
    if (keep == r->granules)
        return;
    r->span[keep].range = r->span->range;
    shadow_set(first + keep, r->granules - keep, name, 0);
    owl_pool_give(r->span + keep, r->granules - keep);
    r->granules = keep;
    r->span->granules = keep;
    check(has_stamp(r));
}

static void extend(struct run *r, uint32_t name, uint64_t *random)
{
    size_t more = random_length(random);
    size_t end = owl_span_index(r->span) + r->granules;
    bool room = true;
    for (size_t i = end; i < end + more; i++)
        room = room && shadow[i] == 0; /* above the top there is room as well */
    struct owl_pool_counts before = owl_pool_count();
    check(owl_pool_extend(r->span, r->granules + more) == room);
    check(owl_pool_count().used == before.used + (room ? more : 0));
    check(has_stamp(r));
    if (!room)
        return;
    shadow_set(end, more, 0, name);
    r->granules += more;
    check(r->span->granules == r->granules);
    stamp(r, r->tag);
}

static void random_calls_keep_runs_apart(void)
{
    enum { RUNS = 200 };
    static struct run runs[RUNS];
    uint64_t random = 42;
    set_up();
    for (int step = 0; step < ROUNDS(6000); step++) {
        uint32_t i = (uint32_t)(next_random(&random) % RUNS);
        if (runs[i].span == NULL)
            random_take(&runs[i], i + 1, &random);
        else if (next_random(&random) % 3 == 0)
            extend(&runs[i], i + 1, &random);
        else if (next_random(&random) % 3 == 0)
            give_tail_of(&runs[i], i + 1, &random);
        else
            give_all_of(&runs[i], i + 1);
        if (next_random(&random) % 64 == 0)
            owl_pool_purge((next_random(&random) % 64) * OWL_GRANULE);
        check(owl_pool_is_valid());
    }
    for (uint32_t i = 0; i < RUNS; i++)
        if (runs[i].span != NULL)
            give_all_of(&runs[i], i + 1);
    check(owl_pool_count().used == 0);
    owl_pool_purge(0);
    check(owl_pool_is_valid());
    check(owl_pool_count().dirty == 0 && owl_pool_count().clean == owl_ranges[0].top);
    check_maximal(0);
}

/* Granules count exactly: what a length that is no power of two leaves over stays free. */
static void odd_lengths_waste_nothing(void)
{
    bool zero;
    set_up();
    for (size_t n = 1; n < 70; n++) {
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, n, 0, &zero);
        struct owl_pool_counts c = owl_pool_count();
        check(c.used == n && c.used + c.dirty + c.clean == owl_ranges[0].top);
        owl_pool_give(s, n);
        check(owl_pool_is_valid());
    }
}

static void starts_are_aligned_as_asked(void)
{
    bool zero;
    set_up();
    struct owl_span *unaligned = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    for (unsigned order = 0; order <= 12; order++) {
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, 1, order, &zero);
        struct owl_span *t = owl_pool_take(OWL_PRIVATE, 3, order, &zero);
        check(s != NULL && owl_span_index(s) % ((size_t)1 << order) == 0);
        check(t != NULL && owl_span_index(t) % ((size_t)1 << order) == 0);
        /* ranges begin at multiples of 2 MiB */
        check(order > 5 || (s->start % (OWL_GRANULE << order) == 0));
        owl_pool_give(s, 1);
        owl_pool_give(t, 3);
    }
    owl_pool_give(unaligned, 1);
    check(owl_pool_is_valid());
}

static void newest_dirty_spans_come_first(void)
{
    bool zero;
    set_up();
    struct owl_span *spans[8];
    for (int i = 0; i < 8; i++)
        spans[i] = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    owl_pool_give(spans[0], 1);
    owl_pool_give(spans[2], 1);
    owl_pool_give(spans[5], 1);
    check(owl_pool_take(OWL_PRIVATE, 1, 0, &zero) == spans[5] && !zero);
    check(owl_pool_take(OWL_PRIVATE, 1, 0, &zero) == spans[2] && !zero);
    check(owl_pool_take(OWL_PRIVATE, 1, 0, &zero) == spans[0] && !zero);
    check(owl_pool_take(OWL_PRIVATE, 1, 0, &zero) != NULL && zero);
}

/* A loop that takes and gives runs of one length gets the same warm memory each time, whatever the
 * length: a page fault costs more than all else that the allocator does. */
static void runs_just_given_are_taken_again(void)
{
    bool zero;
    set_up();
    check(owl_option_set("dirty", 8 << 20) == 0);
    for (size_t n = 1; n <= 40; n++)
        for (int i = 0; i < 5; i++) {
            struct owl_span *s = owl_pool_take(OWL_PRIVATE, n, 0, &zero);
            check(i == 0 || !zero);
            owl_pool_give(s, n);
        }
    check(calls_of(FAULT_PURGE) == 0);
}

/* Small runs, many of them, and then bigger ones: dirty memory stays below its bound. */
static void dirty_memory_is_bounded(void)
{
    enum { RUNS = 600 };
    static struct owl_span *runs[RUNS];
    size_t least = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT;
    bool zero;
    set_up();
    for (size_t length = 1; length <= 16; length *= 4) {
        for (int i = 0; i < RUNS; i++)
            runs[i] = owl_pool_take(OWL_PRIVATE, length, 0, &zero);
        unsigned long before = calls_of(FAULT_PURGE);
        for (int i = 0; i < RUNS; i++) {
            owl_pool_give(runs[i], length);
            struct owl_pool_counts c = owl_pool_count();
            size_t bound = c.used / OWL_DIRTY_SHARE;
            check(c.dirty <= (bound > least ? bound : least));
        }
        unsigned long purges = calls_of(FAULT_PURGE) - before;
        check(purges > 0 && purges < RUNS / 2);
        check(owl_pool_is_valid());
    }
}

static void nothing_is_purged_below_the_bound(void)
{
    bool zero;
    set_up();
    check(owl_option_set("dirty", 8 << 20) == 0);
    for (int i = 0; i < 100; i++) {
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, ((size_t)8 << 20) >> OWL_GRANULE_SHIFT, 0, &zero);
        check(zero == (i == 0));
        owl_pool_give(s, s->granules);
    }
    check(calls_of(FAULT_PURGE) == 0);
}

static void purge_keeps_what_it_is_told(void)
{
    struct run runs[10];
    bool zero;
    set_up();
    for (int i = 0; i < 10; i++) {
        runs[i].granules = 4;
        runs[i].span = owl_pool_take(OWL_PRIVATE, 4, 0, &zero);
        stamp(&runs[i], 77);
    }
    for (int i = 0; i < 10; i += 2)
        owl_pool_give(runs[i].span, 4);
    check(owl_pool_count().dirty == 20);
    check(owl_pool_purge(20 * OWL_GRANULE) == 0);
    check(owl_pool_purge(10 * OWL_GRANULE) == 12 * OWL_GRANULE);
    check(owl_pool_count().dirty == 8);
    check(owl_pool_purge(0) == 8 * OWL_GRANULE);
    check(owl_pool_purge(0) == 0);
    for (int i = 0; i < 10; i++)
        if (i % 2 == 1)
            check(has_stamp(&runs[i]));
        else
            check(is_zero((void *)owl_span_address(runs[i].span), 4 * OWL_GRANULE));
    check(owl_pool_is_valid());
}

static void refused_commits_leave_all_as_it_was(void)
{
    bool zero;
    set_up();
    fault_always(FAULT_COMMIT);
    for (int i = 0; i < 10; i++)
        check(owl_pool_take(OWL_PRIVATE, 1, 0, &zero) == NULL);
    check(owl_u32_load_relaxed(&owl_range_count) == 1); /* address space is not what is short */
    faults.reserve_most = 0;
    for (unsigned long n = 1; n <= 3; n++) {
        fault_from(FAULT_COMMIT, n);
        check(owl_pool_take(OWL_PRIVATE, 3, 0, &zero) == NULL);
        check(owl_pool_is_valid() && owl_pool_count().used == 0);
    }
    fault_never(FAULT_COMMIT);
    struct run r = {owl_pool_take(OWL_PRIVATE, 3, 0, &zero), 3, 0};
    check(r.span != NULL);
    stamp(&r, 5);
    fault_always(FAULT_COMMIT);
    check(owl_pool_take(OWL_PRIVATE, (OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT) * 2, 0, &zero) == NULL);
    check(owl_pool_is_valid() && owl_pool_count().used == 3 && has_stamp(&r));
    fault_never(FAULT_COMMIT);
    check(owl_pool_take(OWL_PRIVATE, (OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT) * 2, 0, &zero) != NULL);
    check(owl_pool_is_valid() && has_stamp(&r));
}

static void refused_purges_leave_spans_dirty(void)
{
    bool zero;
    set_up();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 2000, 0, &zero);
    fault_always(FAULT_PURGE);
    owl_pool_give(s, 2000);
    check(calls_of(FAULT_PURGE) > 0);
    size_t dirty = owl_pool_count().dirty; /* what was cut off may have joined */
    check(dirty >= 2000 && dirty <= 2048 && owl_pool_is_valid());
    check(owl_pool_purge(0) == 0 && owl_pool_count().dirty == dirty);
    check(owl_pool_take(OWL_PRIVATE, 1000, 0, &zero) != NULL && !zero);
    fault_never(FAULT_PURGE);
    check(owl_pool_purge(0) == (dirty - 1000) * OWL_GRANULE);
    check(owl_pool_is_valid());
}

static void huge_requests_are_refused(void)
{
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX >> OWL_GRANULE_SHIFT, (size_t)1 << 63,
                                  (size_t)1 << 47, (size_t)1 << 31};
    bool zero;
    set_up();
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++)
        check(owl_pool_take(OWL_PRIVATE, huge[i], 0, &zero) == NULL);
    check(owl_pool_take(OWL_PRIVATE, 1, 63, &zero) == NULL);
    check(owl_pool_take(OWL_PRIVATE, 1, 47, &zero) == NULL);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    check(!owl_pool_extend(s, (size_t)1 << 47));
    check(owl_pool_is_valid() && owl_pool_count().used == 1);
}

/* In a full range, memory that is dirty here and clean there is purged, joined and used again. */
static void exhausted_range_purges_and_joins(void)
{
    static struct owl_span *spans[1024];
    size_t n = 0;
    bool zero;
    set_up_small();
    while ((spans[n] = owl_pool_take(OWL_PRIVATE, 1, 0, &zero)) != NULL)
        n++;
    check(n == owl_ranges[0].granules);
    check(owl_pool_count().clean == 0 && owl_pool_is_valid());
    for (size_t i = 0; i < n; i++) {
        *(int *)owl_span_address(spans[i]) = 1;
        owl_pool_give(spans[i], 1);
        if (i == n / 2)
            owl_pool_purge(0);
    }
    check(owl_pool_count().dirty > 0 && owl_pool_count().clean > 0);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, n, 0, &zero);
    check(s == spans[0] && zero);
    for (size_t i = 0; i < n; i++)
        check(is_zero((void *)owl_span_address(s + i), OWL_GRANULE));
    check(owl_pool_take(OWL_PRIVATE, 1, 0, &zero) == NULL);
    owl_pool_give(s, n);
    check(owl_pool_is_valid());
}

static void further_ranges_serve(void)
{
    static struct run runs[60];
    set_up();
    faults.reserve_most = (size_t)20 << 20;
    for (size_t i = 0; i < 60; i++) {
        bool zero;
        runs[i].granules = 16 + i % 3;
        runs[i].span = owl_pool_take(OWL_PRIVATE, runs[i].granules, 0, &zero);
        check(runs[i].span != NULL && zero);
        stamp(&runs[i], i);
        check(owl_pool_is_valid());
    }
    check(owl_u32_load_relaxed(&owl_range_count) > 3);
    for (size_t i = 0; i < 60; i++)
        check(has_stamp(&runs[i]));
    for (size_t i = 0; i < 60; i++)
        owl_pool_give(runs[i].span, runs[i].granules);
    owl_pool_purge(0);
    check(owl_pool_is_valid() && owl_pool_count().used == 0);
    for (unsigned r = 0; r < owl_u32_load_relaxed(&owl_range_count); r++)
        check_maximal(r);
}

static void extend_takes_what_follows(void)
{
    bool zero;
    set_up();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 16, 0, &zero);
    owl_pool_give(s + 2, 14);
    s->granules = 2;
    check(owl_pool_extend(s, 7) && s->granules == 7);
    owl_pool_purge(0);
    check(owl_pool_extend(s, 13) && s->granules == 13);
    check(!owl_pool_extend(s, owl_ranges[0].granules + 1) && s->granules == 13);
    check(owl_pool_is_valid() && owl_pool_count().used == 13);
    size_t beyond = owl_ranges[0].top + 5;
    fault_always(FAULT_COMMIT);
    check(owl_pool_extend(s, beyond) && s->granules == beyond); /* it is committed already */
    check(owl_pool_is_valid() && owl_pool_count().used == beyond);
    check(!owl_pool_extend(s, beyond + (OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT)));
    check(owl_pool_is_valid() && owl_pool_count().used == beyond && s->granules == beyond);
    owl_pool_give(s, beyond);
    check(owl_pool_is_valid() && owl_pool_count().used == 0);
}

/* Takes, checks and gives; what another thread wrote to a run of this one would show. */
static void *worker(void *seed)
{
    enum { RUNS = 16 };
    struct run runs[RUNS] = {{NULL, 0, 0}};
    uint64_t random = (uint64_t)(uintptr_t)seed;
    for (int step = 0; step < ROUNDS(8000) || step < RUNS; step++) {
        struct run *r = &runs[next_random(&random) % RUNS];
        bool zero;
        if (r->span != NULL) {
            check(has_stamp(r));
            owl_pool_give(r->span, r->granules);
            r->span = NULL;
            continue;
        }
        r->granules = 1 + next_random(&random) % 5;
        r->span = owl_pool_take(OWL_PRIVATE, r->granules, 0, &zero);
        check(r->span != NULL);
        if (zero)
            check(is_zero((void *)owl_span_address(r->span), r->granules * OWL_GRANULE));
        stamp(r, next_random(&random));
    }
    for (int i = 0; i < RUNS; i++)
        if (runs[i].span != NULL)
            owl_pool_give(runs[i].span, runs[i].granules);
    return NULL;
}

static void threads_share_the_pool(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    set_up();
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, worker, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check(owl_pool_is_valid() && owl_pool_count().used == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(random_calls_keep_runs_apart),
        child_test(odd_lengths_waste_nothing),
        child_test(starts_are_aligned_as_asked),
        child_test(newest_dirty_spans_come_first),
        child_test(runs_just_given_are_taken_again),
        child_test(dirty_memory_is_bounded),
        child_test(nothing_is_purged_below_the_bound),
        child_test(purge_keeps_what_it_is_told),
        child_test(refused_commits_leave_all_as_it_was),
        child_test(refused_purges_leave_spans_dirty),
        child_test(huge_requests_are_refused),
        child_test(exhausted_range_purges_and_joins),
        child_test(further_ranges_serve),
        child_test(extend_takes_what_follows),
        child_test(threads_share_the_pool),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
