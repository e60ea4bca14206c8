/* SPDX-License-Identifier: BSD-2-Clause */
/* How much may be dirty in the pool: the options, storms, and what was in use lately. */
#include <owl/option.h>
#include <pthread.h>

#include "child.h"
#include "faults.h"
#include "option.h"
#include "pool_inside.h"
#include "pool_stamp.h"

static void set_up(void)
{
    owl_os_init();
    faults_install();
}

static uint64_t now;

static uint64_t stopped_clock(void)
{
    return now;
}

static void set_up_stopped(void)
{
    set_up();
    now = 0;
    owl_os.milliseconds = stopped_clock;
}

static uint64_t fast_clock(void)
{
    return now += 1000000;
}

/* Small runs, many of them, and then bigger ones: dirty memory stays below its bound. */
static void dirty_memory_is_bounded(void)
{
    enum { RUNS = 600 };
    static struct owl_span *runs[RUNS];
    size_t least = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT;
    bool zero;
    set_up();
    owl_os.milliseconds = fast_clock;
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

/* Takes and gives so many granules in runs of 16, with as much in use. What is dirty then. */
static size_t dirty_after_storm(size_t granules)
{
    bool zero;
    struct owl_span *used = owl_pool_take(OWL_PRIVATE, granules, 0, &zero);
    static struct owl_span *runs[1000];
    size_t n = granules / 16;
    check(n <= 1000);
    for (size_t i = 0; i < n; i++)
        runs[i] = owl_pool_take(OWL_PRIVATE, 16, 0, &zero);
    for (size_t i = 0; i < n; i++)
        owl_pool_give(runs[i], 16);
    size_t dirty = owl_pool_count().dirty;
    owl_pool_give(used, granules);
    owl_pool_purge(0);
    return dirty;
}

/* So much is purged for the softer bound, and no more until time passes; but never is more dirty
 * than is in use. */
static void in_a_storm_only_the_harder_bound_holds(void)
{
    enum { GRANULES = 8 * OWL_PURGE_MOST, FEW = OWL_PURGE_MOST };
    size_t least = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT;
    set_up();
    now = 1000000;
    owl_os.milliseconds = stopped_clock;
    check(dirty_after_storm(GRANULES) >= GRANULES - OWL_PURGE_MOST - GRANULES / 4);
    size_t all = dirty_after_storm(GRANULES);
    check(all <= GRANULES && all >= GRANULES - GRANULES / 4);
    now += 1000000;
    check(FEW > 2 * least && dirty_after_storm(FEW) <= least);
}

static void nothing_is_purged_below_the_bound(void)
{
    bool zero;
    set_up();
    check(owl_option_set("dirty", 8 << 20) == 0);
    for (int i = 0; i < 100; i++) {
        size_t granules = ((size_t)8 << 20) >> OWL_GRANULE_SHIFT;
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, granules, 0, &zero);
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
    check(owl_pool_purge(10 * OWL_GRANULE) == 10 * OWL_GRANULE);
    check(owl_pool_count().dirty == 10);
    check(owl_pool_purge(0) == 10 * OWL_GRANULE);
    check(owl_pool_purge(0) == 0);
    for (int i = 0; i < 10; i++)
        if (i % 2 == 1)
            check(has_stamp(&runs[i]));
        else
            check(is_zero((void *)owl_span_address(runs[i].span), 4 * OWL_GRANULE));
    check(owl_pool_is_valid());
}

/* Takes 12 MiB and gives them back; how often the system is asked to take some. */
static unsigned long purges_of_use(void)
{
    enum { RUNS = 12 << 20 >> OWL_GRANULE_SHIFT };
    struct owl_span *runs[RUNS];
    unsigned long before = calls_of(FAULT_PURGE);
    bool zero;
    for (int i = 0; i < RUNS; i++)
        runs[i] = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    for (int i = 0; i < RUNS; i++)
        owl_pool_give(runs[i], 1);
    return calls_of(FAULT_PURGE) - before;
}

/* In a storm, which the clock does not end, up to a multiple of the option, though little is in
 * use. */
static void little_stays_in_a_storm(void)
{
    set_up_stopped();
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    check(purges_of_use() == 0 && purges_of_use() == 0);
    check(owl_pool_count().dirty << OWL_GRANULE_SHIFT == 12 << 20);
    check(owl_option_set("dirty", 2 << 20) == 0);
    check(purges_of_use() > 0);
    check(owl_option_set("dirty", OWL_DIRTY_MIN) == 0 && purges_of_use() == 0);
    check(owl_option_set("dirty_share", 0) == 0);
    check(purges_of_use() > 0 && owl_pool_count().dirty << OWL_GRANULE_SHIFT <= OWL_DIRTY_MIN);
}

/* After which nothing has been allowed yet for the softer bound. */
static void pass(uint64_t milliseconds)
{
    now += milliseconds;
    owl_pool.bounding = (struct owl_allowance){.granules = 0, .at = now};
}

/* Where nothing can be given back, the system is asked now and then and not with each call. */
static void what_is_refused_is_not_asked_for_each_time(void)
{
    enum { MANY = 400 };
    static struct owl_span *runs[MANY];
    bool zero;
    set_up_stopped();
    for (int i = 0; i < MANY; i++)
        runs[i] = owl_pool_take(OWL_PRIVATE, 2, 0, &zero);
    fault_always(FAULT_PURGE);
    for (int i = 0; i < MANY; i++)
        owl_pool_give(runs[i], 2);
    check(calls_of(FAULT_PURGE) == 1);
    now += OWL_REFUSED_MS;
    owl_pool_give(owl_pool_take(OWL_PRIVATE, 2, 0, &zero), 2);
    check(calls_of(FAULT_PURGE) == 2 && owl_pool_is_valid());
}

/* In a large program, if there may be a scavenger, with what is in use as much as was in use
 * lately, and half of that; not what was in use before. */
static void what_was_used_lately_stays(void)
{
    enum { MANY = OWL_LATELY_LEAST >> OWL_GRANULE_SHIFT };
    bool zero;
    set_up_stopped();
    check(owl_option_set("dirty", 1 << 20) == 0);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, MANY, 0, &zero);
    struct owl_span *t = owl_pool_take(OWL_PRIVATE, MANY, 0, &zero);
    owl_pool_give(s, MANY);
    owl_pool_give(t, MANY);
    check(owl_pool_count().dirty == 2 * MANY && calls_of(FAULT_PURGE) == 0);
    s = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    for (int i = 0; i < 2; i++) { /* each after a longer time */
        pass(OWL_LATELY_MS);
        owl_pool_give(s, 1);
        s = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    }
    check(calls_of(FAULT_PURGE) > 0);
    check(owl_pool_count().dirty <= OWL_DIRTY_STORM << 20 >> OWL_GRANULE_SHIFT);
}

/* But not what an ended thread leaves, if that is more than the softer bound. */
static void what_an_ended_thread_leaves_does_not(void)
{
    enum { MANY = OWL_LATELY_LEAST >> OWL_GRANULE_SHIFT, BOUND = (1 << 20) >> OWL_GRANULE_SHIFT };
    bool zero;
    set_up_stopped();
    check(owl_option_set("dirty", 1 << 20) == 0);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, MANY, 0, &zero);
    struct owl_span *t = owl_pool_take(OWL_PRIVATE, BOUND, 0, &zero);
    pass(1000000);
    for (int i = 0; i < MANY; i++) /* which is below the bound, and no storm */
        owl_pool_give(owl_pool_take(OWL_PRIVATE, BOUND, 0, &zero), BOUND);
    owl_pool_give(s, MANY);
    check(owl_pool_count().dirty == MANY + BOUND && calls_of(FAULT_PURGE) == 0);
    owl_pool_settle();
    check(owl_pool_count().dirty == BOUND / 2 && calls_of(FAULT_PURGE) > 0);
    owl_pool_purge(0);
    size_t calls = (size_t)calls_of(FAULT_PURGE);
    owl_pool_give(t, BOUND);
    owl_pool_settle();
    check(owl_pool_count().dirty == BOUND && (size_t)calls_of(FAULT_PURGE) == calls);
}

/* Bytes purged as the ends of so many threads are noted, each of which leaves so many granules. */
static size_t settled(int ends, size_t granules)
{
    bool zero;
    size_t purged = 0;
    for (int i = 0; i < ends; i++) {
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, granules, 0, &zero);
        owl_pool_give(s, granules);
        size_t dirty = owl_pool_count().dirty;
        owl_pool_settle();
        purged += dirty - owl_pool_count().dirty;
    }
    return purged;
}

/* As that costs page faults, so many times what was in use at once is purged so, and so much a
 * second. */
static void threads_that_come_and_go_find_it(void)
{
    enum { EACH = 2 * (1 << 20) >> OWL_GRANULE_SHIFT, ALL = 10 * EACH };
    bool zero;
    set_up_stopped();
    check(owl_option_set("dirty", 1 << 20) == 0);
    check(owl_option_set("dirty_share", OWL_DIRTY_SHARE_MAX) == 0);
    owl_pool_give(owl_pool_take(OWL_PRIVATE, ALL, 0, &zero), ALL);
    owl_pool_purge(0);
    pass(1000000);
    size_t at_first = settled(1000, EACH);
    size_t most = OWL_SETTLE_PEAKS * ALL;
    check(at_first > most - EACH && at_first <= most);
    check(settled(1000, EACH) == 0);
    for (int i = 0; i < 3; i++) {
        pass(1000 * EACH / OWL_SETTLE_RATE);
        size_t later = settled(1000, EACH);
        check(later > 0 && later <= 2 * EACH);
    }
}

enum { WANTED = 8 * (1 << 20) >> OWL_GRANULE_SHIFT };

/* Takes as much as that and gives it back, one after the other. */
static void *come_and_go(void *unused)
{
    bool zero;
    for (int i = 0; i < WANTED; i++)
        owl_pool_give(owl_pool_take(OWL_PRIVATE, 1, 0, &zero), 1);
    return unused;
}

/* So much is dirty. What is in use. */
static struct owl_span *leave_much(void)
{
    bool zero;
    set_up_stopped();
    check(owl_option_set("dirty", 1 << 20) == 0);
    struct owl_span *used = owl_pool_take(OWL_PRIVATE, WANTED, 0, &zero);
    struct owl_span *left = owl_pool_take(OWL_PRIVATE, WANTED, 0, &zero);
    pass(1000000);
    owl_pool_give(left, WANTED);
    return used;
}

/* In the middle of a storm, where others take as much as it is, they want it too. */
static void what_others_take_meanwhile_stays(void)
{
    pthread_t other;
    struct owl_span *used = leave_much();
    check(pthread_create(&other, NULL, come_and_go, NULL) == 0 && pthread_join(other, NULL) == 0);
    owl_pool_settle();
    check(owl_pool_count().dirty == WANTED);
    owl_pool_settle();
    check(owl_pool_count().dirty < WANTED);
    owl_pool_give(used, WANTED);
}

/* What the thread that ends took itself does not. */
static void what_it_took_itself_does_not(void)
{
    struct owl_span *used = leave_much();
    come_and_go(NULL);
    check(owl_pool_count().dirty == WANTED);
    owl_pool_settle();
    check(owl_pool_count().dirty < WANTED);
    owl_pool_give(used, WANTED);
}

/* Past the harder bound all that is too much is purged, also if there may be a part for the softer
 * one: nobody may come again. */
static void what_is_past_both_bounds_is_not_left(void)
{
    enum { GIB = 1 << 30 >> OWL_GRANULE_SHIFT };
    bool zero;
    set_up_stopped();
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, GIB, 0, &zero);
    pass(1000000);
    now += 1000;
    owl_pool_give(s, GIB);
    check(owl_pool_count().dirty <= OWL_DIRTY_STORM * OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT);
}

/* What is more than may be purged for the softer bound is purged in part, if that is worth it. */
static void much_is_purged_in_parts(void)
{
    enum { MANY = 1 << 16, SOFT = MANY / OWL_DIRTY_SHARE };
    bool zero;
    set_up_stopped();
    struct owl_span *used = owl_pool_take(OWL_PRIVATE, MANY, 0, &zero);
    struct owl_span *some = owl_pool_take(OWL_PRIVATE, 2 * SOFT, 0, &zero);
    pass(1000000);
    now += 1000 * (OWL_PURGE_MOST / 2 - 1) / OWL_PURGE_RATE;
    owl_pool_give(some, 2 * SOFT);
    check(owl_pool_count().dirty == 2 * SOFT);
    now += 1000;
    owl_pool_give(owl_pool_take(OWL_PRIVATE, 1, 0, &zero), 1);
    check(owl_pool_count().dirty == 2 * SOFT - OWL_PURGE_MOST);
    owl_pool_give(owl_pool_take(OWL_PRIVATE, 1, 0, &zero), 1);
    check(owl_pool_count().dirty == 2 * SOFT - OWL_PURGE_MOST);
    owl_pool_give(used, MANY);
}

static struct owl_span *of_others;

/* Others free what they have, which is no reason for them to purge. */
static int purge_while_others_give(void *start, size_t bytes)
{
    if (of_others != NULL) {
        struct owl_span *s = of_others;
        of_others = NULL;
        owl_option_force(OWL_OPTION_DIRTY, 1 << 30);
        owl_pool_give(s, s->granules);
        owl_option_force(OWL_OPTION_DIRTY, OWL_DIRTY_MIN);
    }
    return faults.real.purge(start, bytes);
}

/* What others free meanwhile is not purged beside what was too much. */
static void no_more_is_purged_than_may_be(void)
{
    enum { BOUND = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT, OTHERS = 50 };
    bool zero;
    set_up_stopped();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, BOUND + 1, 0, &zero);
    struct owl_span *wall = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    of_others = owl_pool_take(OWL_PRIVATE, OTHERS, 0, &zero);
    owl_os.purge = purge_while_others_give;
    pass(1000000);
    now += 1000;
    owl_pool_give(s, BOUND + 1);
    check(of_others == NULL);
    check(owl_pool_count().dirty == BOUND - BOUND / OWL_DIRTY_SLACK + OTHERS);
    owl_pool_give(wall, 1);
}

static void *give_of_others(void *unused)
{
    owl_pool_give(of_others, of_others->granules);
    return unused;
}

static int purge_while_others_purge(void *start, size_t bytes)
{
    pthread_t other;
    owl_os.purge = faults.real.purge;
    check(pthread_create(&other, NULL, give_of_others, NULL) == 0);
    check(pthread_join(other, NULL) == 0);
    return faults.real.purge(start, bytes);
}

/* Nor by all threads together, if one comes while another is at it. */
static void what_may_be_purged_is_for_all(void)
{
    enum { USED = 1 << 16, SOFT = USED / OWL_DIRTY_SHARE };
    bool zero;
    set_up_stopped();
    struct owl_span *used = owl_pool_take(OWL_PRIVATE, USED, 0, &zero);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 2 * SOFT, 0, &zero);
    of_others = owl_pool_take(OWL_PRIVATE, 2 * SOFT, 0, &zero);
    owl_os.purge = purge_while_others_purge;
    pass(1000000);
    now += 1000;
    owl_pool_give(s, 2 * SOFT);
    check(owl_pool_count().dirty == 4 * SOFT - OWL_PURGE_MOST);
    owl_pool_give(used, USED);
}

/* What was purged at once past the harder bound is not owed for the softer one: or else, after so
 * much, that would not hold for half a minute, though little comes and goes. */
static void after_a_storm_the_softer_bound_holds(void)
{
    enum { MUCH = 1 << 16, SOFT = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT, SOME = SOFT + 180 };
    bool zero;
    set_up_stopped();
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, MUCH, 0, &zero);
    pass(1000000);
    owl_pool_give(s, MUCH);
    check(owl_pool_count().dirty <= OWL_DIRTY_STORM * SOFT);
    owl_pool_purge(0);
    now += 2 * OWL_VAIN_MS;
    s = owl_pool_take(OWL_PRIVATE, SOME, 0, &zero);
    owl_pool_give(s, SOME);
    check(owl_pool_count().dirty <= SOFT);
}

/* What was purged and is wanted again at once would only be faulted in time after time; but what
 * nobody wants in the end is purged, and so is what was not wanted again. */
static void what_was_purged_in_vain_stays_for_a_while(void)
{
    enum { SOFT = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT, MUCH = SOFT + SOFT / 2 };
    bool zero;
    set_up_stopped();
    for (int late = 1; late >= 0; late--) {
        now += 10 * OWL_VAIN_MS;
        owl_pool_give(owl_pool_take(OWL_PRIVATE, MUCH, 0, &zero), MUCH);
        size_t dirty = owl_pool_count().dirty;
        check(dirty <= SOFT);
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, MUCH, 0, &zero);
        now += late ? 2 * OWL_VAIN_MS : 100;
        owl_pool_give(s, MUCH);
        check(zero && owl_pool_count().dirty <= (late ? SOFT : dirty + MUCH));
        check(late || owl_pool_count().dirty == dirty + MUCH);
    }
    now += OWL_VAIN_MS;
    owl_pool_give(owl_pool_take(OWL_PRIVATE, 1, 0, &zero), 1);
    check(owl_pool_count().dirty <= SOFT);
}

/* What is fresh was never purged. */
static void what_is_fresh_is_not_taken_again(void)
{
    enum { SOFT = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT, MUCH = SOFT + SOFT / 2 };
    bool zero;
    set_up_stopped();
    now = 10 * OWL_VAIN_MS;
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, MUCH, 0, &zero);
    struct owl_span *between = owl_pool_take(OWL_PRIVATE, 1, 0, &zero);
    owl_pool_give(s, MUCH);
    check(owl_pool_count().dirty <= SOFT);
    s = owl_pool_take(OWL_PRIVATE, 4 * MUCH, 0, &zero);
    check(zero && s > between);
    now += 100;
    owl_pool_give(s + 3 * MUCH, MUCH);
    check(owl_pool_count().dirty <= SOFT);
}

/* Where nobody would look when the while is over. */
static void inline_nothing_stays_for_a_while(void)
{
    enum { SOFT = OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT, MUCH = SOFT + SOFT / 2 };
    bool zero;
    set_up_stopped();
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    now = 10 * OWL_VAIN_MS;
    for (int i = 0; i < 3; i++) {
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, MUCH, 0, &zero);
        now += 100;
        owl_pool_give(s, MUCH);
        check(owl_pool_count().dirty <= SOFT);
    }
}

/* Which a small one has not. */
static void little_that_was_used_lately_does_not(void)
{
    enum { FEW = (OWL_LATELY_LEAST >> OWL_GRANULE_SHIFT) - 1 };
    bool zero;
    set_up_stopped();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, FEW, 0, &zero);
    owl_pool_give(s, FEW);
    check(calls_of(FAULT_PURGE) > 0);
    check(owl_pool_count().dirty <= OWL_DIRTY_STORM * OWL_DIRTY_MIN >> OWL_GRANULE_SHIFT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(dirty_memory_is_bounded),
        child_test(in_a_storm_only_the_harder_bound_holds),
        child_test(nothing_is_purged_below_the_bound),
        child_test(purge_keeps_what_it_is_told),
        child_test(little_stays_in_a_storm),
        child_test(what_is_refused_is_not_asked_for_each_time),
        child_test(what_was_used_lately_stays),
        child_test(what_an_ended_thread_leaves_does_not),
        child_test(threads_that_come_and_go_find_it),
        child_test(what_others_take_meanwhile_stays),
        child_test(what_it_took_itself_does_not),
        child_test(what_is_past_both_bounds_is_not_left),
        child_test(much_is_purged_in_parts),
        child_test(no_more_is_purged_than_may_be),
        child_test(what_may_be_purged_is_for_all),
        child_test(after_a_storm_the_softer_bound_holds),
        child_test(what_was_purged_in_vain_stays_for_a_while),
        child_test(what_is_fresh_is_not_taken_again),
        child_test(inline_nothing_stays_for_a_while),
        child_test(little_that_was_used_lately_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
