/* SPDX-License-Identifier: BSD-2-Clause */
/* What the pool purges, when the system refuses, and that threads and children share it. */
#include <owl/option.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "child.h"
#include "faults.h"
#include "option.h"
#include "pool.h"
#include "pool_stamp.h"

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

/* A part of what was taken. */
static void give_part(struct owl_span *first, size_t from, size_t to)
{
    first[from].range = first->range;
    owl_pool_give(first + from, to - from);
}

/* Runs of one length, then one that is longer, then one shorter. */
static void the_oldest_of_the_largest_are_purged(void)
{
    static const size_t from[] = {0, 32, 64, 96}, to[] = {20, 52, 86, 106};
    static const int order[] = {2, 0, 1, 3};
    bool zero;
    set_up();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 128, 0, &zero);
    for (int i = 0; i < 4; i++)
        give_part(s, from[i], to[i]);
    size_t left = owl_pool_count().dirty;
    for (int i = 0; i < 4; i++) {
        left -= to[order[i]] - from[order[i]];
        check(s[from[order[i]]].free == OWL_FREE_DIRTY);
        owl_pool_purge(left * OWL_GRANULE);
        check(s[from[order[i]]].free == OWL_FREE_CLEAN && owl_pool_is_valid());
        check(owl_pool_count().dirty == left && calls_of(FAULT_PURGE) == (unsigned long)i + 1);
    }
}

/* The beginning stays dirty; but what is purged joins what was. */
static void a_purge_takes_no_more_than_is_too_much(void)
{
    bool zero;
    set_up();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 64, 0, &zero);
    give_part(s, 10, 40);
    check(owl_pool_purge(25 * OWL_GRANULE) == 5 * OWL_GRANULE);
    check(s[10].run == 25 && s[35].free == OWL_FREE_CLEAN && s[35].run == 5);
    check(owl_pool_purge(20 * OWL_GRANULE) == 5 * OWL_GRANULE);
    check(s[10].run == 20 && s[30].free == OWL_FREE_CLEAN && s[30].run == 10);
    give_part(s, 40, 50);
    check(owl_pool_take(OWL_PRIVATE, 20, 0, &zero) == s + 10 && !zero);
    owl_pool_purge(8 * OWL_GRANULE);
    check(s[30].run == 12 && s[30].free == OWL_FREE_CLEAN && s[42].run == 8);
    check(owl_pool_is_valid());
}

/* Addresses are made accessible in large steps, and memory that is at hand costs no call at all. */
static void system_calls_are_few(void)
{
    enum { RUNS = 1000 };
    static struct owl_span *runs[RUNS];
    bool zero;
    set_up();
    check(owl_option_set("dirty", PTRDIFF_MAX) == 0);
    for (int i = 0; i < RUNS; i++)
        runs[i] = owl_pool_take(OWL_PRIVATE, 3, 0, &zero);
    size_t steps = 3 * RUNS / (OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT) + 1;
    check(calls_of(FAULT_RESERVE) == 1 && calls_of(FAULT_COMMIT) <= 3 * steps);
    unsigned long commits = calls_of(FAULT_COMMIT);
    for (int i = 0; i < RUNS; i++)
        owl_pool_give(runs[i], 3);
    for (int i = 0; i < RUNS; i++)
        check((runs[i] = owl_pool_take(OWL_PRIVATE, 3, 0, &zero)) != NULL && !zero);
    check(calls_of(FAULT_COMMIT) == commits && calls_of(FAULT_PURGE) == 0);
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
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 2000, 0, &zero);
    fault_always(FAULT_PURGE);
    owl_pool_give(s, 2000);
    check(calls_of(FAULT_PURGE) > 0);
    check(owl_pool_count().dirty == 2000 && owl_pool_is_valid());
    check(owl_pool_purge(0) == 0 && owl_pool_count().dirty == 2000);
    check(owl_pool_take(OWL_PRIVATE, 1000, 0, &zero) != NULL && !zero);
    fault_never(FAULT_PURGE);
    check(owl_pool_purge(0) == 1000 * OWL_GRANULE);
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
    check(owl_pool_take_roomy(OWL_ROOM_CLEAN, (size_t)1 << 45, 0) == NULL);
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
        check(owl_ranges[r].map[0].run == owl_ranges[r].top); /* all joined */
}

/* Takes, checks and gives; what another thread wrote to a run of this one would show. */
static void *worker(void *seed)
{
    enum { RUNS = 16 };
    struct run runs[RUNS] = {{NULL, 0, 0}};
    uint64_t random = (uint64_t)(uintptr_t)seed;
    for (int step = 0; step < RANDOM_ROUNDS(8000) || step < RUNS; step++) {
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

static atomic_int purges_begun, purges_ended;

static int slow_purge(void *start, size_t bytes)
{
    atomic_fetch_add(&purges_begun, 1);
    usleep(50000);
    int result = faults.real.purge(start, bytes);
    atomic_fetch_add(&purges_ended, 1);
    return result;
}

static atomic_bool forked;

/* The thread goes on until the child is there: that of a thread which has ended and is not
 * joined is a leak to ThreadSanitizer. */
static void *purge_all(void *unused)
{
    owl_pool_purge(0);
    while (!atomic_load(&forked))
        sched_yield();
    return unused;
}

/* Holding the pool waits for the purge that is going on, so a child has all that was free. */
static void a_held_pool_is_not_purging(void)
{
    pthread_t thread;
    bool zero;
    set_up();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 32, 0, &zero);
    owl_pool_give(s, 32);
    owl_os.purge = slow_purge;
    check(pthread_create(&thread, NULL, purge_all, NULL) == 0);
    while (atomic_load(&purges_begun) == 0)
        sched_yield();
    owl_pool_fork_prepare();
    check(atomic_load(&purges_ended) == atomic_load(&purges_begun));
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        alarm(30);
        owl_pool_fork_child();
        check(owl_pool_is_valid() && owl_pool_count().used == 0);
        check(owl_pool_take(OWL_PRIVATE, 32, 0, &zero) == s && zero);
        _exit(0);
    }
    owl_pool_fork_parent();
    atomic_store(&forked, true);
    pthread_join(thread, NULL);
    check(child_wait(pid) == 0);
    check(owl_pool_is_valid() && owl_pool_count().used == 0);
}

/* Frees large runs for as long as the pool stays over its bound. */
static void *free_large(void *stop)
{
    while (!atomic_load((atomic_bool *)stop)) {
        bool zero;
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, 32, 0, &zero);
        check(s != NULL);
        owl_pool_give(s, 32);
    }
    return NULL;
}

/* Threads that keep the pool purging do not keep anybody from holding it. */
static void the_pool_can_be_held_while_threads_free(void)
{
    enum { THREADS = 6, HOLDS = 5 };
    static atomic_bool stop;
    pthread_t threads[THREADS];
    set_up();
    check(owl_option_set("dirty", 0) == 0 && owl_option_set("dirty_share", 0) == 0);
    owl_os.purge = slow_purge;
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, free_large, &stop) == 0);
    for (int i = 0; i < HOLDS; i++) {
        while (atomic_load(&purges_begun) == atomic_load(&purges_ended))
            sched_yield();
        int begun = atomic_load(&purges_begun);
        owl_pool_fork_prepare();
        check(atomic_load(&purges_begun) <= begun + 2 * THREADS);
        check(atomic_load(&purges_ended) == atomic_load(&purges_begun));
        owl_pool_fork_parent();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check(owl_pool_is_valid() && owl_pool_count().used == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(odd_lengths_waste_nothing),
        child_test(runs_just_given_are_taken_again),
        child_test(the_oldest_of_the_largest_are_purged),
        child_test(a_purge_takes_no_more_than_is_too_much),
        child_test(system_calls_are_few),
        child_test(refused_commits_leave_all_as_it_was),
        child_test(refused_purges_leave_spans_dirty),
        child_test(huge_requests_are_refused),
        child_test(exhausted_range_purges_and_joins),
        child_test(further_ranges_serve),
        child_test(threads_share_the_pool),
        child_test(a_held_pool_is_not_purging),
        child_test(the_pool_can_be_held_while_threads_free),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
