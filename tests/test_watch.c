/* SPDX-License-Identifier: BSD-2-Clause */
/* Watches on pages: what they tell of, and what they leave alone. */
#define _GNU_SOURCE /* mremap, in watching.h */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "watching.h"

enum { PAGES = 64, THREADS = 4 };

static struct events {
    const char *start;
    atomic_int accesses[PAGES], writes[PAGES], all;
} events;

static size_t number_of(const struct owl_watch_event *event, const char *start)
{
    check(event->bytes == page && (uintptr_t)event->page % page == 0);
    return (size_t)((char *)event->page - start) / page;
}

static void note(const struct owl_watch_event *event, void *context)
{
    struct events *e = context;
    size_t i = number_of(event, e->start);
    check(i < PAGES);
    e->accesses[i] += event->contents != NULL;
    e->writes[i] += event->write != 0;
    e->all++;
}

static char *new_watch(int mode)
{
    char *p = new_pages(PAGES);
    for (size_t i = 0; i < PAGES; i += 2)
        p[i * page] = (char)i;
    events.start = p;
    check(owl_watch(p, PAGES * page, mode | by, note, &events) == 0);
    check(owl_watch_mechanism(p) == by && owl_watch_mechanism(p + PAGES * page) == 0);
    return p;
}

static void first_access_is_told(void)
{
    char *p = new_watch(OWL_WATCH_ACCESS);
    check(events.all == 0);
    check(touch(p + 6 * page) == 6);
    check(events.all == 1 && events.accesses[6] == 1 && events.writes[6] == 0);
    poke(p + 6 * page, 8);
    check(events.all == 1);
    poke(p + 9 * page + page - 1, 1);
    check(events.all == 2 && events.accesses[9] == 1 && events.writes[9] == 1);
    check(owl_unwatch(p) == 0 && owl_watch_mechanism(p) == 0);
    for (size_t i = 0; i < PAGES; i++)
        check(p[i * page] == (i == 6 ? 8 : i % 2 == 0 ? (char)i : 0));
    check(p[10 * page - 1] == 1);
    memset(p, 3, PAGES * page);
    check(events.all == 2);
}

static void first_write_is_told(void)
{
    char *p = new_watch(OWL_WATCH_WRITE);
    for (size_t i = 0; i < PAGES; i++)
        check(touch(p + i * page) == (i % 2 == 0 ? (char)i : 0));
    check(events.all == 0);
    for (size_t i = 0; i < PAGES; i += 3)
        for (int n = 0; n < 3; n++)
            poke(p + i * page + 1, n);
    for (size_t i = 0; i < PAGES; i++)
        check(events.writes[i] == (i % 3 == 0) && events.accesses[i] == 0);
    check(owl_unwatch(p) == 0);
    memset(p, 1, PAGES * page);
    check(events.all == (PAGES + 2) / 3);
}

/* Also of pages that were never touched. */
static void writes_after_reads_are_told(void)
{
    char *p = new_watch(OWL_WATCH_ACCESS | OWL_WATCH_WRITE);
    for (size_t i = 0; i < PAGES; i++)
        if (i % 4 < 2)
            touch(p + i * page);
    check(events.all == PAGES / 2);
    for (size_t i = 0; i < PAGES; i++)
        poke(p + i * page + 1, 1);
    for (size_t i = 0; i < PAGES; i++)
        check(events.accesses[i] == 1 && events.writes[i] == 1);
    check(events.all == PAGES + PAGES / 2);
    check(owl_unwatch(p) == 0);
}

/* --- contents --- */

static void prepare(const struct owl_watch_event *event, void *context)
{
    size_t i = number_of(event, context);
    unsigned char *contents = event->contents;
    check(contents[page - 1] == (i % 2 == 0 ? 7 : 0));
    for (size_t at = 0; at < page; at++)
        contents[at] = (unsigned char)(i + at % 13);
    note(event, &events);
}

static bool is_prepared(const char *p, size_t i)
{
    for (size_t at = 0; at < page; at++)
        if (((const volatile unsigned char *)p)[i * page + at] != (unsigned char)(i + at % 13))
            return false;
    return true;
}

static void handlers_prepare_contents(void)
{
    char *p = new_pages(PAGES);
    for (size_t i = 0; i < PAGES; i += 2)
        p[i * page + page - 1] = 7;
    events.start = p;
    check(owl_watch(p, PAGES * page, OWL_WATCH_ACCESS | by, prepare, p) == 0);
    for (size_t i = 0; i < PAGES / 2; i++)
        check(is_prepared(p, i * 37 % PAGES));
    check(owl_unwatch(p) == 0);
    for (size_t i = PAGES / 2; i < PAGES; i++)
        check(p[i * 37 % PAGES * page + page - 1] == (i * 37 % 2 == 0 ? 7 : 0));
    check(events.all == PAGES / 2);
}

/* At a write the contents are at the page, as before it. (ThreadSanitizer notes a write before it
 * is done, and does not know that it has to wait.) */
__attribute__((no_sanitize("thread"))) static void
keep_old(const struct owl_watch_event *event, void *context)
{
    check(event->write && event->contents == NULL);
    for (size_t i = 0; i < event->bytes; i++)
        ((volatile char *)context)[i] = ((volatile char *)event->page)[i];
}

static void writes_find_old_contents(void)
{
    char *p = new_pages(2), *old = malloc(page);
    memset(p, 5, 2 * page);
    check(owl_watch(p, 2 * page, OWL_WATCH_WRITE | by, keep_old, old) == 0);
    memset(p + page, 6, page);
    for (size_t i = 0; i < page; i++)
        check(old[i] == 5 && p[page + i] == 6);
    check(owl_unwatch(p) == 0);
    free(old);
}

/* --- threads --- */

static char *shared;
static atomic_int rounds, arrived;

static void prepare_again(const struct owl_watch_event *event, void *context)
{
    size_t i = number_of(event, context);
    unsigned char *contents = event->contents;
    for (size_t at = 0; at < page && contents != NULL; at++)
        contents[at] = (unsigned char)(i + at % 13);
    note(event, &events);
}

static void wait_arrivals(int round)
{
    while (arrived < round * THREADS)
        sched_yield();
}

static void *read_all(void *seed)
{
    uint64_t random = (uintptr_t)seed + 1;
    for (int round = 1; round <= ROUNDS(50); round++) {
        while (rounds < round)
            sched_yield();
        for (size_t n = 0, i = next_random(&random) % PAGES; n < PAGES; n++, i = (i + 5) % PAGES)
            check(is_prepared(shared, i));
        arrived++;
    }
    return NULL;
}

/* Each round the pages are watched again, and all threads read each of them. Nobody sees a page
 * before it is ready, and each is told of once. */
static void threads_are_counted_once(void)
{
    pthread_t threads[THREADS];
    int modes = OWL_WATCH_ACCESS | OWL_WATCH_WRITE;
    shared = new_pages(PAGES);
    events.start = shared;
    check(owl_watch(shared, PAGES * page, modes | by, prepare_again, shared) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, read_all, (void *)i) == 0);
    for (int round = 1; round <= ROUNDS(50); round++) {
        rounds = round;
        wait_arrivals(round);
        check(events.all == round * PAGES);
        check(owl_watch_again(shared, PAGES * page, modes) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < PAGES; i++)
        check(events.accesses[i] == ROUNDS(50) && events.writes[i] == 0);
    check(owl_unwatch(shared) == 0);
}

static void *write_all(void *nothing)
{
    for (int round = 1; round <= ROUNDS(50); round++) {
        while (rounds < round)
            sched_yield();
        for (size_t i = 0; i < PAGES; i++)
            atomic_fetch_add((atomic_int *)(void *)(shared + i * page), 1);
        arrived++;
    }
    return nothing;
}

static void threads_that_write_are_counted_once(void)
{
    pthread_t threads[THREADS];
    shared = new_watch(OWL_WATCH_WRITE);
    memset(shared, 0, PAGES * page);
    check(events.all == PAGES && owl_watch_again(shared, PAGES * page, OWL_WATCH_WRITE) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, write_all, NULL) == 0);
    for (int round = 1; round <= ROUNDS(50); round++) {
        rounds = round;
        wait_arrivals(round);
        check(events.all == (round + 1) * PAGES);
        check(owl_watch_again(shared, PAGES * page, OWL_WATCH_WRITE) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < PAGES; i++)
        check(*(atomic_int *)(void *)(shared + i * page) == THREADS * ROUNDS(50));
    check(owl_unwatch(shared) == 0);
}

static atomic_bool stop;

static void *add_all(void *nothing)
{
    while (!stop)
        for (size_t i = 0; i < PAGES; i++) {
            atomic_fetch_add((atomic_int *)(void *)(shared + i * page), 1);
            atomic_fetch_add((atomic_int *)(void *)(shared + i * page + 8), 1);
        }
    return nothing;
}

/* Watches begin and end under threads that write all the time: nothing they write is lost, and none
 * meets a fault that is nobody's. */
static void watches_come_and_go_under_writers(void)
{
    static const int modes[] = {OWL_WATCH_ACCESS, OWL_WATCH_WRITE,
                                OWL_WATCH_ACCESS | OWL_WATCH_WRITE};
    pthread_t threads[THREADS];
    shared = new_pages(PAGES);
    events.start = shared;
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, add_all, NULL) == 0);
    for (int round = 0; round < ROUNDS(200); round++) {
        int mode = modes[round % 3], before = events.all;
        check(owl_watch(shared, PAGES * page, mode | by, note, &events) == 0);
        check(round % 2 != 0 || owl_watch_again(shared + page, 9 * page, mode) == 0);
        while (events.all == before)
            sched_yield();
        check(owl_unwatch(shared) == 0);
    }
    stop = true;
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < PAGES; i++) {
        atomic_int *counts = (atomic_int *)(void *)(shared + i * page);
        check(counts[0] == counts[2]);
    }
}

/* --- handlers that touch watched pages, and several watches --- */

/* ThreadSanitizer blocks all signals in handlers, and so kills a program whose handler faults. */
static size_t depth(void)
{
#ifdef OWL_ATOMIC_C11
    if (by == OWL_WATCH_PROTECTION)
        return 0;
#endif
    return 10;
}

/* Each page is one more than the next. */
static void count_up(const struct owl_watch_event *event, void *context)
{
    size_t i = number_of(event, context);
    char *contents = event->contents;
    contents[0] = (char)(i == depth() ? 1 : touch((char *)context + (i + 1) * page) + 1);
    note(event, &events);
}

static void handlers_touch_watched_pages(void)
{
    char *p = new_pages(PAGES);
    events.start = p;
    check(owl_watch(p, PAGES * page, OWL_WATCH_ACCESS | by, count_up, p) == 0);
    check(touch(p) == (int)depth() + 1);
    check(events.all == (int)depth() + 1);
    check(owl_unwatch(p) == 0);
}

static void add_one(const struct owl_watch_event *event, void *context)
{
    (void)event;
    ++*(atomic_int *)context;
}

static void watches_have_handlers_of_their_own(void)
{
    enum { WATCHES = 20 };
    atomic_int counts[WATCHES] = {0};
    int mode = OWL_WATCH_ACCESS | by;
    char *p = new_pages(WATCHES * 3);
    for (size_t i = 0; i < WATCHES; i++) {
        size_t n = i * 7 % WATCHES;
        check(owl_watch(p + 3 * n * page, 2 * page, mode, add_one, &counts[n]) == 0);
    }
    errno = 0;
    check(owl_watch(p + page, page, mode, add_one, counts) == -1 && errno == EBUSY);
    errno = 0;
    check(owl_watch(p + 5 * page, 2 * page, mode, add_one, counts) == -1 && errno == EBUSY);
    for (size_t i = 0; i < WATCHES; i += 2)
        check(owl_unwatch(p + 3 * i * page) == 0);
    memset(p, 1, WATCHES * 3 * page);
    for (size_t i = 0; i < WATCHES; i++)
        check(counts[i] == (i % 2 == 0 ? 0 : 2));
    for (size_t i = 1; i < WATCHES; i += 2)
        check(owl_unwatch(p + 3 * i * page) == 0);
}

/* --- watching again, and wrong arguments --- */

static void pages_are_watched_again(void)
{
    char *p = new_watch(OWL_WATCH_ACCESS | OWL_WATCH_WRITE);
    for (size_t i = 0; i < PAGES; i++)
        poke(p + i * page + 1, (int)i);
    check(events.all == PAGES);
    check(owl_watch_again(p + 8 * page, 8 * page, OWL_WATCH_WRITE) == 0);
    check(owl_watch_again(p + 12 * page, 8 * page, OWL_WATCH_ACCESS) == 0);
    for (size_t i = 0; i < PAGES; i++)
        check(touch(p + i * page + 1) == (int)i &&
              touch(p + i * page) == (i % 2 == 0 ? (char)i : 0));
    for (size_t i = 0; i < PAGES; i++)
        check(events.accesses[i] == 1 + (i >= 12 && i < 20) && events.writes[i] == 1);
    memset(p, 4, PAGES * page);
    for (size_t i = 0; i < PAGES; i++)
        check(events.writes[i] == 1 + (i >= 8 && i < 16));
    check(owl_unwatch(p) == 0);
}

static void wrong_arguments_are_refused(void)
{
    char *p = new_pages(PAGES);
    int right = OWL_WATCH_ACCESS | by;
    check(owl_watch(p + 1, page, right, note, &events) == -1 && errno == EINVAL);
    check(owl_watch(p, page - 1, right, note, &events) == -1 && errno == EINVAL);
    check(owl_watch(p, 0, right, note, &events) == -1 && errno == EINVAL);
    check(owl_watch(p, page, by, note, &events) == -1 && errno == EINVAL);
    check(owl_watch(p, page, right | 16, note, &events) == -1 && errno == EINVAL);
    check(owl_watch(p, page, right, NULL, &events) == -1 && errno == EINVAL);
    check(owl_unwatch(p) == -1 && errno == EINVAL);
    check(owl_watch(p + page, 4 * page, right, note, &events) == 0);
    check(owl_unwatch(p + 2 * page) == -1 && errno == EINVAL);
    check(owl_watch_again(p, 2 * page, OWL_WATCH_ACCESS) == -1 && errno == EINVAL);
    check(owl_watch_again(p + 4 * page, 2 * page, OWL_WATCH_ACCESS) == -1 && errno == EINVAL);
    check(owl_watch_again(p + page, page, OWL_WATCH_WRITE) == -1 && errno == EINVAL);
    check(owl_watch_again(p + page, page, 0) == -1 && errno == EINVAL);
    check(owl_unwatch(p + page) == 0);
}

/* What is dropped reads as zero, is not told of, but writes to it are if they were to be. */
static void dropped_pages_are_zero(void)
{
    char *p = new_watch(OWL_WATCH_ACCESS);
    check(touch(p + 2 * page) == 2 && madvise(p + 2 * page, page, MADV_DONTNEED) == 0);
    check(touch(p + 2 * page) == 0 && events.all == 1);
    poke(p + 2 * page, 9);
    check(events.all == 1 && touch(p + 2 * page) == 9);
    check(owl_unwatch(p) == 0 && touch(p + 2 * page) == 9 && touch(p + 4 * page) == 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watch_test(first_access_is_told),
        watch_test(first_write_is_told),
        watch_test(writes_after_reads_are_told),
        watch_test(handlers_prepare_contents),
        watch_test(writes_find_old_contents),
        watch_test(threads_are_counted_once),
        watch_test(threads_that_write_are_counted_once),
        watch_test(watches_come_and_go_under_writers),
        watch_test(handlers_touch_watched_pages),
        watch_test(watches_have_handlers_of_their_own),
        watch_test(pages_are_watched_again),
        watch_test(wrong_arguments_are_refused),
        watch_test(dropped_pages_are_zero),
    };
    return run_by_both(tests, sizeof tests / sizeof *tests);
}
