/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock: exclusion, sleeping, waking. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "death.h"
#include "lock.h"
#include "os.h"

enum { THREADS = 8, STEPS = 10000 };

static struct owl_lock lock;
static struct owl_os real;
static atomic_ulong waits, wakes;
static unsigned long counter; /* guarded by the lock */
static bool inside;           /* guarded by the lock */

static void counting_wait(owl_u32 *word, uint32_t value)
{
    atomic_fetch_add(&waits, 1);
    real.wait(word, value);
}

static void counting_wake(owl_u32 *word)
{
    atomic_fetch_add(&wakes, 1);
    real.wake(word);
}

/* futexes may end a sleep for no reason. */
static void early_wait(owl_u32 *word, uint32_t value)
{
    (void)word;
    (void)value;
    atomic_fetch_add(&waits, 1);
    sched_yield();
}

static void set_up(void)
{
    real = owl_os;
    owl_os.wait = counting_wait;
    owl_os.wake = counting_wake;
}

static void pause_for(long nanoseconds)
{
    nanosleep(&(struct timespec){0, nanoseconds}, NULL);
}

static void *count(void *unused)
{
    (void)unused;
    for (int i = 0; i < STEPS; i++) {
        owl_lock(&lock);
        check(!inside);
        inside = true;
        counter++;
        if (i % 500 == 0)
            sched_yield(); /* others meet a lock whose holder does not run */
        inside = false;
        owl_unlock(&lock);
    }
    return NULL;
}

static void count_with_all(void)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, count, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    check(counter == (unsigned long)THREADS * STEPS);
    check(owl_u32_load_relaxed(&lock.state) == OWL_LOCK_FREE);
}

static void holders_exclude_each_other(void)
{
    set_up();
    count_with_all();
}

static void early_wakes_do_no_harm(void)
{
    set_up();
    owl_os.wait = early_wait;
    count_with_all();
}

static void without_contention_no_system_call(void)
{
    set_up();
    for (int i = 0; i < 1000; i++) {
        owl_lock(&lock);
        check(owl_u32_load_relaxed(&lock.state) == OWL_LOCK_HELD);
        owl_unlock(&lock);
        check(owl_u32_load_relaxed(&lock.state) == OWL_LOCK_FREE);
    }
    check(atomic_load(&waits) == 0 && atomic_load(&wakes) == 0);
}

static void *take_once(void *unused)
{
    (void)unused;
    owl_lock(&lock);
    counter++;
    owl_unlock(&lock);
    return NULL;
}

/* All are asleep before the first is woken; each wakes the next. */
static void sleepers_are_woken(void)
{
    pthread_t threads[THREADS];
    set_up();
    for (int round = 0; round < 10; round++) {
        atomic_store(&waits, 0);
        atomic_store(&wakes, 0);
        counter = 0;
        owl_lock(&lock);
        for (int i = 0; i < THREADS; i++)
            check(pthread_create(&threads[i], NULL, take_once, NULL) == 0);
        while (atomic_load(&waits) < THREADS)
            sched_yield();
        pause_for(1000000);
        check(owl_u32_load_relaxed(&lock.state) == OWL_LOCK_AWAITED && counter == 0);
        owl_unlock(&lock);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        check(counter == THREADS && atomic_load(&wakes) >= THREADS);
        check(owl_u32_load_relaxed(&lock.state) == OWL_LOCK_FREE);
    }
}

/* A waiter sleeps: it does not use up the time of its processor. */
static void waiting_costs_no_time(void)
{
    pthread_t thread;
    struct timespec used;
    clockid_t clock;
    set_up();
    owl_lock(&lock);
    check(pthread_create(&thread, NULL, take_once, NULL) == 0);
    check(pthread_getcpuclockid(thread, &clock) == 0);
    while (atomic_load(&waits) == 0)
        sched_yield();
    pause_for(200000000);
    check(clock_gettime(clock, &used) == 0);
    check(used.tv_sec == 0 && used.tv_nsec < 100000000);
    owl_unlock(&lock);
    pthread_join(thread, NULL);
}

static void reset_frees(void)
{
    set_up();
    owl_lock(&lock);
    owl_lock_reset(&lock);
    owl_lock(&lock);
    owl_u32_store_relaxed(&lock.state, OWL_LOCK_AWAITED);
    owl_lock_reset(&lock);
    owl_lock(&lock);
    owl_unlock(&lock);
    check(atomic_load(&waits) == 0 && atomic_load(&wakes) == 0);
}

#ifdef OWL_DEBUG
/* In a debug build the order is looked at. */
static struct owl_lock low = {.rank = OWL_RANK_CACHES}, high = {.rank = OWL_RANK_POOL};
static struct owl_lock same = {.rank = OWL_RANK_POOL};

static void in_order(void)
{
    for (int i = 0; i < 2; i++) {
        owl_lock(&low);
        owl_lock(&high);
        owl_lock_one_more(&same);
        owl_unlock(&low);
        owl_unlock(&high);
        owl_lock_reset(&same);
    }
}

static void lower_last(void)
{
    owl_lock(&high);
    owl_lock(&low);
}

static void two_of_one_rank(void)
{
    owl_lock(&high);
    owl_lock(&same);
}

static void released_twice(void)
{
    owl_lock(&high);
    owl_unlock(&high);
    owl_unlock(&high);
}

static void expect_line(void (*body)(void), const char *line)
{
    char text[200];
    int status = death_status(body, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_string_equal(text, line);
}

static void order_is_looked_at(void **state)
{
    (void)state;
    assert_true(child_succeeds(in_order));
    expect_line(lower_last, "owlalloc: locks out of order: the list of caches after the pool\n");
    expect_line(two_of_one_rank, "owlalloc: locks out of order: the pool after the pool\n");
    expect_line(released_twice, "owlalloc: locks out of order: the pool, which is not held\n");
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(holders_exclude_each_other),
        child_test(early_wakes_do_no_harm),
        child_test(without_contention_no_system_call),
        child_test(sleepers_are_woken),
        child_test(waiting_costs_no_time),
        child_test(reset_frees),
#ifdef OWL_DEBUG
        cmocka_unit_test(order_is_looked_at),
#endif
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
