/* SPDX-License-Identifier: BSD-2-Clause */
/* Free runs: how they join and divide, which one is taken, and what they remember. */
#include <owl/option.h>

#include "child.h"
#include "faults.h"
#include "pool.h"

static bool zero;

static void set_up(void)
{
    owl_os_init();
    faults_install();
    check(owl_option_set("dirty", PTRDIFF_MAX) == 0); /* purges are asked for */
}

static struct owl_span *take(size_t granules)
{
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, granules, 0, &zero);
    check(s != NULL && s->granules == granules && s->start == owl_span_address(s));
    return s;
}

/* A part of what was taken. */
static void give(struct owl_span *first, size_t from, size_t to)
{
    first[from].range = first->range;
    owl_pool_give(first + from, to - from);
    check(owl_pool_is_valid());
}

static bool is_run(const struct owl_span *s, size_t granules, enum owl_free state)
{
    for (size_t i = 1; i + 1 < granules; i++)
        check(s[i].free == OWL_FREE_NOT);
    return s->free == state && s->run == granules && s[granules - 1].free == state &&
           s[granules - 1].run == granules;
}

/* A range of 256 granules, and no other, all of it dirty. */
static struct owl_span *set_up_small(void)
{
    set_up();
    faults.reserve_most = (size_t)20 << 20;
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    faults.reserve_most = 0;
    struct owl_span *all = take(owl_ranges[0].granules);
    give(all, 0, owl_ranges[0].granules);
    check(is_run(all, 256, OWL_FREE_DIRTY));
    return all;
}

static void what_is_given_joins_on_both_sides(void)
{
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    set_up();
    struct owl_span *s = take(32);
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        for (int k = 0; k < 3; k++)
            give(s, 1 + (size_t)orders[i][k] * 10, 11 + (size_t)orders[i][k] * 10);
        check(is_run(s + 1, 30, OWL_FREE_DIRTY) && owl_pool_count().used == 2);
        check(take(30) == s + 1);
    }
    give(s, 5, 6);
    check(is_run(s + 5, 1, OWL_FREE_DIRTY));
}

static void dirty_and_clean_stay_apart(void)
{
    set_up();
    struct owl_span *s = take(32);
    give(s, 4, 8);
    owl_pool_purge(0);
    give(s, 8, 12);
    check(is_run(s + 4, 4, OWL_FREE_CLEAN) && is_run(s + 8, 4, OWL_FREE_DIRTY));
    give(s, 0, 4);
    check(is_run(s, 4, OWL_FREE_DIRTY));
    check(owl_pool_count().dirty == 8 && owl_pool_count().clean == 4);
    owl_pool_purge(0);
    check(is_run(s, 12, OWL_FREE_CLEAN));
}

/* Neither below the first granule nor above the top is anything looked at. */
static void nothing_joins_across_the_ends_of_ranges(void)
{
    set_up();
    faults.reserve_most = (size_t)20 << 20;
    struct owl_span *runs[2] = {take(256), take(256)};
    for (int i = 0; i < 2; i++) {
        check(runs[i] == owl_ranges[i].map && owl_ranges[i].top == 256);
        give(runs[i], 0, 1);
        give(runs[i], 255, 256);
        check(is_run(runs[i], 1, OWL_FREE_DIRTY) && is_run(runs[i] + 255, 1, OWL_FREE_DIRTY));
    }
    give(runs[0], 1, 255);
    check(is_run(runs[0], 256, OWL_FREE_DIRTY) && is_run(runs[1], 1, OWL_FREE_DIRTY));
}

static void fresh_granules_join_clean_ones_at_the_top(void)
{
    set_up();
    struct owl_span *s = take(4);
    size_t top = owl_ranges[0].top;
    check(is_run(s + 4, top - 4, OWL_FREE_CLEAN));
    check(take(top) == s + 4 && zero);
    check(owl_ranges[0].top < 2 * top + OWL_GROW_GRANULES);
    give(s, 4, top + 4);
    struct owl_span *above = take(2 * top); /* dirty ones do not count: this is all clean */
    check(zero && above >= s + 4 + top && is_run(s + 4, top, OWL_FREE_DIRTY));
}

/* Of one free run each length, the request finds its own, or the next longer one. */
static void bins_keep_lengths_apart(void)
{
    set_up();
    struct owl_span *all = take(9000);
    for (size_t length = 1; length < 4000; length += length / 20 + 1) {
        size_t longer = length + length / 8 + 1;
        give(all, 1, 1 + length);
        give(all, 4100, 4100 + longer);
        check(take(length) == all + 1 && !zero);
        for (size_t n = length + 1; n <= longer; n += length / 30 + 1) {
            give(all, 1, 1 + length);
            check(take(n) == all + 4100);
            give(all, 4100, 4100 + n);
            check(is_run(all + 4100, longer, OWL_FREE_DIRTY));
            check(take(length) == all + 1);
        }
        check(take(longer) == all + 4100);
    }
}

static void the_shortest_that_fits_is_taken(void)
{
    set_up();
    struct owl_span *s = take(200);
    give(s, 0, 40);
    give(s, 50, 59);
    give(s, 60, 80);
    give(s, 90, 95);
    check(take(8) == s + 50 && is_run(s + 58, 1, OWL_FREE_DIRTY));
    check(take(6) == s + 60 && is_run(s + 66, 14, OWL_FREE_DIRTY));
    check(take(14) == s + 66);
    check(take(20) == s && is_run(s + 20, 20, OWL_FREE_DIRTY));
    check(take(5) == s + 90);
    check(take(1) == s + 58);
}

static void dirty_runs_come_before_clean_ones(void)
{
    set_up();
    struct owl_span *s = take(100);
    give(s, 10, 20);
    owl_pool_purge(0);
    give(s, 30, 60);
    check(take(10) == s + 30 && !zero);
    check(take(21) == s + 100 && zero); /* neither has room: fresh */
    check(take(10) == s + 40 && !zero);
    check(take(10) == s + 50 && !zero);
    check(take(10) == s + 10 && zero);
}

static void newest_dirty_runs_come_first(void)
{
    set_up();
    struct owl_span *s = take(16);
    give(s, 0, 1);
    give(s, 2, 3);
    give(s, 5, 6);
    check(take(1) == s + 5 && !zero);
    check(take(1) == s + 2 && !zero);
    check(take(1) == s && !zero);
    check(take(1) != NULL && zero);
}

/* Makes a run of 19 granules free, and then many of 18, which is the same bin. */
static void make_look_alikes(struct owl_span *all)
{
    give(all, 0, 19);
    for (size_t i = 0; i < OWL_RUN_LOOK + 2; i++)
        give(all, 20 + 19 * i, 38 + 19 * i);
}

/* Where there are no more addresses all runs are looked at; else only some, and no time is lost. */
static void the_last_run_that_fits_is_found(void)
{
    struct owl_span *all = set_up_small();
    check(take(256) == all);
    make_look_alikes(all);
    check(take(19) == all && !zero);
    check(calls_of(FAULT_PURGE) == 0);
}

static void searches_are_short(void)
{
    set_up();
    struct owl_span *all = take(256);
    make_look_alikes(all);
    check(take(19) == all + 256 && zero);
    check(take(18) == all + 20 + 19 * (OWL_RUN_LOOK + 1) && !zero);
}

static void backings_are_apart(void)
{
    set_up();
    struct owl_span *file = owl_pool_take(OWL_MEMFD, 10, 0, &zero);
    check(file != NULL && zero && file->range == 1 && file->granules == 10);
    check(owl_backing_of(0) == OWL_PRIVATE && owl_backing_of(1) == OWL_MEMFD);
    struct owl_span *private = take(10);
    check(private->range == 0);
    owl_pool_give(file, 10);
    check(take(10) != file && zero);
    check(owl_pool_take(OWL_MEMFD, 10, 0, &zero) == file && !zero);
    owl_pool_give(private, 10);
    check(owl_pool_take(OWL_MEMFD, 10, 0, &zero) != private && zero);
    owl_pool_give(file, 10);
    check(owl_pool_count().dirty == 20 && owl_pool_is_valid());
    check(owl_pool_count().used + owl_pool_count().dirty + owl_pool_count().clean ==
          owl_ranges[0].top + owl_ranges[1].top);
}

static void alignment_cuts_both_sides(void)
{
    set_up();
    struct owl_span *s = take(100);
    give(s, 1, 63);
    struct owl_span *a = owl_pool_take(OWL_PRIVATE, 4, 4, &zero);
    check(a == s + 16 && !zero && a->start == owl_span_address(a) && a->granules == 4);
    check(is_run(s + 1, 15, OWL_FREE_DIRTY) && is_run(s + 20, 43, OWL_FREE_DIRTY));
    check(owl_pool_is_valid());
    /* The shorter run would do without alignment. */
    check(owl_pool_take(OWL_PRIVATE, 15, 3, &zero) == s + 24);
    check(owl_pool_take(OWL_PRIVATE, 8, 3, &zero) == s + 8);
    check(owl_pool_take(OWL_PRIVATE, 7, 0, &zero) == s + 1);
    check(owl_pool_take(OWL_PRIVATE, 1, 6, &zero) == s + 128 && zero); /* none here */
    check(owl_pool_is_valid());
}

static void remapped_goes_along(void)
{
    set_up();
    struct owl_span *s = take(32);
    check(!s->remapped);
    give(s, 0, 10);
    s[10].remapped = 1;
    give(s, 10, 20);
    check(is_run(s, 20, OWL_FREE_DIRTY) && s->remapped);
    give(s, 22, 32);
    check(take(5) == s + 22 && !s[22].remapped);
    check(take(8) == s && s->remapped && s[8].remapped); /* both parts, the free one too */
    check(take(12) == s + 8 && s[8].remapped);
    owl_pool_give(s + 8, 12);
    s->remapped = 0; /* as if its owner had reset it */
    owl_pool_give(s, 8);
    check(is_run(s, 20, OWL_FREE_DIRTY) && s->remapped);
    s->remapped = 1;
    check(owl_pool_purge(0) == 25 * OWL_GRANULE);
    check(calls_of(FAULT_RESET) == 1 && calls_of(FAULT_PURGE) == 1);
    check(take(20) == s && zero && !s->remapped);
    check(owl_pool_is_valid());
}

/* A refused reset leaves the flag with the run. */
static void refused_resets_change_nothing(void)
{
    set_up();
    struct owl_span *s = take(16);
    s[4].remapped = 1;
    give(s, 4, 8);
    fault_always(FAULT_RESET);
    check(owl_pool_purge(0) == 0 && calls_of(FAULT_RESET) == 1);
    check(is_run(s + 4, 4, OWL_FREE_DIRTY) && s[4].remapped);
    fault_never(FAULT_RESET);
    check(owl_pool_purge(2 * OWL_GRANULE) == 2 * OWL_GRANULE);
    check(is_run(s + 4, 2, OWL_FREE_DIRTY) && s[4].remapped);
    check(is_run(s + 6, 2, OWL_FREE_CLEAN) && !s[6].remapped && owl_pool_is_valid());
}

static void clean_runs_are_given_clean(void)
{
    set_up();
    struct owl_span *s = take(32);
    give(s, 0, 4);
    owl_pool_purge(0);
    s[4].remapped = 1;
    s[4].range = s->range;
    owl_pool_give_clean(s + 4, 6);
    check(is_run(s, 10, OWL_FREE_CLEAN) && !s->remapped && owl_pool_is_valid());
    check(owl_pool_count().clean == 10 && owl_pool_count().used == 22);
    check(take(10) == s && zero && !s->remapped);
}

static void high_runs_are_out_of_the_way(void)
{
    set_up();
    struct owl_span *s = take(16);
    check(owl_ranges[0].top == 16);
    check(owl_pool_take_high(4, &zero) == s + 16 && zero); /* no free run: fresh */
    check(owl_pool_take_high(4, &zero) == s + 28 && zero); /* the end of what is free */
    check(s[28].granules == 4 && s[28].start == owl_span_address(s + 28));
    check(is_run(s + 20, 8, OWL_FREE_CLEAN) && owl_ranges[0].top == 32);
    give(s, 2, 14);
    check(owl_pool_take_high(3, &zero) == s + 25 && zero); /* above comes before dirty */
    check(owl_pool_take_high(6, &zero) == s + 8 && !zero);
    check(owl_pool_take_high(12, &zero) > s + 28 && zero);
    check(owl_pool_take(OWL_MEMFD, 100, 0, &zero) != NULL); /* this is no place for others */
    check(owl_pool_take_high(20, &zero)->range == 0);
    check(owl_pool_take_high(SIZE_MAX / 2, &zero) == NULL);
    check(owl_pool_is_valid());
}

static void extend_takes_what_follows(void)
{
    set_up();
    struct owl_span *s = take(16);
    give(s, 2, 16);
    s->granules = 2;
    check(owl_pool_extend(s, 7) && s->granules == 7 && !s->remapped);
    owl_pool_purge(0);
    check(owl_pool_extend(s, 13) && s->granules == 13);
    check(!owl_pool_extend(s, owl_ranges[0].granules + 1) && s->granules == 13);
    check(owl_pool_is_valid() && owl_pool_count().used == 13);
    size_t beyond = owl_ranges[0].top + 5;
    fault_always(FAULT_COMMIT);
    check(owl_pool_extend(s, beyond)); /* it is committed already */
    check(s->granules == beyond);
    check(owl_pool_is_valid() && owl_pool_count().used == beyond);
    check(!owl_pool_extend(s, beyond + (OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT)));
    check(owl_pool_is_valid() && owl_pool_count().used == beyond && s->granules == beyond);
    owl_pool_give(s, beyond);
    check(owl_pool_is_valid() && owl_pool_count().used == 0);
}

/* Clean, dirty, remapped and dirty, clean, in this order, from s + 10 on, 4 granules each; what
 * stands before and after is in use. */
static struct owl_span *make_stripes(void)
{
    struct owl_span *s = take(36);
    give(s, 10, 14);
    give(s, 22, 26);
    owl_pool_purge(0);
    s[18].remapped = 1;
    give(s, 18, 22);
    give(s, 14, 18);
    check(is_run(s + 14, 8, OWL_FREE_DIRTY) && s[14].remapped);
    return s;
}

static void extend_goes_through_runs_of_all_kinds(void)
{
    set_up();
    struct owl_span *s = make_stripes();
    s->granules = 10;
    check(!owl_pool_extend(s, 27) && s->granules == 10 && owl_pool_count().used == 20);
    check(owl_pool_extend(s, 12) && !s->remapped);
    check(owl_pool_extend(s, 15) && s->remapped && is_run(s + 15, 7, OWL_FREE_DIRTY));
    check(owl_pool_extend(s, 26) && s->remapped && s->granules == 26);
    check(owl_pool_is_valid());
    check(owl_pool_count().used == 36 && owl_pool_count().dirty == 0);
}

static void extend_front_goes_through_runs_of_all_kinds(void)
{
    set_up();
    struct owl_span *s = make_stripes();
    struct owl_span *back = s + 26;
    back->range = s->range;
    back->granules = 10;
    check(owl_pool_extend_front(back, 17) == NULL && owl_pool_count().used == 20);
    struct owl_span *first = owl_pool_extend_front(back, 2);
    check(first == s + 24 && first->granules == 12 && !first->remapped);
    check(first->start == owl_span_address(first) && first->range == s->range);
    check(is_run(s + 22, 2, OWL_FREE_CLEAN) && owl_pool_is_valid());
    first = owl_pool_extend_front(first, 5);
    check(first == s + 19 && first->remapped && is_run(s + 14, 5, OWL_FREE_DIRTY));
    first = owl_pool_extend_front(first, 9);
    check(first == s + 10 && first->remapped && first->granules == 26);
    check(owl_pool_count().used == 36 && owl_pool_is_valid());
    check(owl_pool_extend_front(first, 1) == NULL);
    check(owl_pool_extend_front(s, 1) == NULL && owl_pool_extend_front(s, SIZE_MAX) == NULL);
}

/* Stands for what a file in memory does. */
static int punch(void *start, size_t bytes)
{
    memset(start, 0, bytes);
    return 0;
}

/* Of 32 granules from a file: 4 used, 6 clean, 6 dirty and remapped, 16 used; then clean ones. */
static struct owl_span *make_file_runs(void)
{
    owl_os.punch = punch;
    struct owl_span *s = owl_pool_take(OWL_MEMFD, 32, 0, &zero);
    check(s != NULL);
    memset((void *)s->start, 1, 32 * OWL_GRANULE);
    give(s, 4, 10);
    owl_pool_purge(0);
    s[10].remapped = 1;
    give(s, 10, 16);
    check(is_run(s + 4, 6, OWL_FREE_CLEAN) && is_run(s + 10, 6, OWL_FREE_DIRTY));
    check(owl_pool_count().dirty == 6);
    return s;
}

static void make_private(void)
{
    faults.reserve_most = 0;
    owl_pool_fork_prepare();
    owl_pool_make_private();
    owl_pool_fork_parent();
    check(owl_pool_is_valid() && owl_pool_count().dirty == 0);
    for (uint32_t i = 0; i < owl_u32_load_relaxed(&owl_range_count); i++)
        check(owl_backing_of(i) == OWL_PRIVATE);
    check(owl_pool_take(OWL_MEMFD, 1, 0, &zero) == NULL);
}

static void free_runs_become_private(void)
{
    set_up();
    struct owl_span *s = make_file_runs();
    size_t top = owl_ranges[1].top;
    make_private();
    bool above = owl_word_load_relaxed(&owl_ranges[1].committed) > top; /* shows the file too */
    check(above && calls_of(FAULT_RESET) == (top > 32 ? 4 : 3));
    check(is_run(s + 4, 12, OWL_FREE_CLEAN) && !s[4].remapped);
    const char *bytes = (const char *)owl_span_address(s);
    for (size_t i = 0; i < 32 * OWL_GRANULE; i += 4096)
        check(bytes[i] == (i / OWL_GRANULE < 4 || i / OWL_GRANULE >= 16));
    check(take(12) == s + 4 && zero);
    check(owl_ranges[1].top == top && !owl_pool_extend(s + 16, top + 1));
    /* What is still in use is private when it comes back. */
    give(s, 0, 4);
    check(owl_pool_purge(0) == 4 * OWL_GRANULE);
    check(calls_of(FAULT_PURGE) == 1 && is_run(s, 4, OWL_FREE_CLEAN));
}

static void what_cannot_become_private_is_lost(void)
{
    set_up();
    struct owl_span *s = make_file_runs();
    fault_always(FAULT_RESET);
    make_private();
    fault_never(FAULT_RESET);
    check(owl_pool_count().used == owl_ranges[1].top);
    give(s, 0, 4);
    check(is_run(s, 4, OWL_FREE_DIRTY));
    give(s, 16, 32);
    check(is_run(s + 16, 16, OWL_FREE_DIRTY) && owl_pool_count().used > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(what_is_given_joins_on_both_sides),
        child_test(dirty_and_clean_stay_apart),
        child_test(nothing_joins_across_the_ends_of_ranges),
        child_test(fresh_granules_join_clean_ones_at_the_top),
        child_test(bins_keep_lengths_apart),
        child_test(the_shortest_that_fits_is_taken),
        child_test(dirty_runs_come_before_clean_ones),
        child_test(newest_dirty_runs_come_first),
        child_test(the_last_run_that_fits_is_found),
        child_test(searches_are_short),
        child_test(backings_are_apart),
        child_test(alignment_cuts_both_sides),
        child_test(remapped_goes_along),
        child_test(refused_resets_change_nothing),
        child_test(clean_runs_are_given_clean),
        child_test(high_runs_are_out_of_the_way),
        child_test(extend_takes_what_follows),
        child_test(extend_goes_through_runs_of_all_kinds),
        child_test(extend_front_goes_through_runs_of_all_kinds),
        child_test(free_runs_become_private),
        child_test(what_cannot_become_private_is_lost),
    };
    return cmocka_run_group_tests_name("pool_runs", tests, NULL, NULL);
}
