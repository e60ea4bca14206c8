/* SPDX-License-Identifier: BSD-2-Clause */
/* The lock: exclusion, sleeping, waking; what a fork does with it. */
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

static bool is_free(const struct owl_lock *l)
{
    return owl_word_load_relaxed(&l->state) == OWL_LOCK_FREE;
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
    check(is_free(&lock));
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
        check(owl_word_load_relaxed(&lock.state) == owl_lock_self() && owl_lock_is_mine(&lock));
        owl_unlock(&lock);
        check(is_free(&lock));
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
        check(owl_lock_is_awaited(&lock) && owl_lock_is_mine(&lock) && counter == 0);
        owl_unlock(&lock);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        check(counter == THREADS && atomic_load(&wakes) >= THREADS);
        check(is_free(&lock));
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

/* --- many locks --- */

enum { LOCKS = 3 };

static struct {
    struct owl_lock lock;
    unsigned long count; /* guarded by it */
} few[LOCKS] = {{.lock.rank = OWL_RANK_OWNER}, {.lock.rank = OWL_RANK_ORPHANS},
                {.lock.rank = OWL_RANK_POOL}};

/* One of them, or two or three, one within the other. */
static void *count_in_few(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    for (int i = 0; i < STEPS; i++) {
        unsigned which = next_random(&random) % 7 + 1;
        for (int l = 0; l < LOCKS; l++)
            if ((which >> l & 1) != 0) {
                owl_lock(&few[l].lock);
                few[l].count++;
            }
        if (i % 100 == 0)
            sched_yield();
        for (int l = 0; l < LOCKS; l++)
            if ((which >> l & 1) != 0) {
                check(owl_lock_is_mine(&few[l].lock));
                owl_unlock(&few[l].lock);
            }
    }
    return NULL;
}

static void many_threads_on_few_locks(void)
{
    enum { MANY = 40 };
    pthread_t threads[MANY];
    unsigned long all = 0;
    set_up();
    for (uintptr_t i = 0; i < MANY; i++)
        check(pthread_create(&threads[i], NULL, count_in_few, (void *)(i + 1)) == 0);
    for (int i = 0; i < MANY; i++)
        pthread_join(threads[i], NULL);
    for (int l = 0; l < LOCKS; l++) {
        check(is_free(&few[l].lock));
        all += few[l].count;
    }
    /* 4 of 7 choices have each lock. */
    check(all > MANY * STEPS * LOCKS / 2ul && all < MANY * STEPS * LOCKS * 2ul / 3);
    check(atomic_load(&wakes) > 0);
}

/* --- fork --- */

static struct owl_lock low = {.rank = OWL_RANK_CACHES}, high = {.rank = OWL_RANK_POOL};

static void at_fork(bool child)
{
    if (child) {
        owl_lock_in_child(&low);
        owl_lock_in_child(&high);
    } else {
        owl_lock_after_fork(&low);
        owl_lock_after_fork(&high);
    }
}

static void a_fork_takes_and_frees(void)
{
    set_up();
    for (int child = 0; child < 2; child++) {
        owl_lock_before_fork(&low);
        owl_lock_before_fork(&high);
        check(owl_lock_is_taken(&low) && owl_lock_is_taken(&high));
        at_fork(child);
        check(is_free(&low) && is_free(&high));
    }
    check(atomic_load(&waits) == 0 && atomic_load(&wakes) == 0);
}

/* What a thread has, it has after a fork too; and after one in a handler within that. */
static void a_fork_keeps_what_its_thread_has(void)
{
    set_up();
    for (int child = 0; child < 2; child++) {
        owl_lock(&high);
        owl_lock_begin_fork();
        owl_lock_before_fork(&low);
        owl_lock_before_fork(&high);
        check(owl_lock_is_taken(&low) && !owl_lock_is_taken(&high));
        owl_lock_before_fork(&high);
        owl_lock_after_fork(&high);
        check(owl_lock_is_mine(&high) && !owl_lock_is_taken(&high));
        check(owl_lock_fork_is_bounded());
        at_fork(child);
        owl_lock_end_fork();
        check(!owl_lock_fork_is_bounded() && owl_lock_fork_may_wait());
        check(is_free(&low) && owl_lock_is_taken(&high));
        owl_unlock(&high);
        check(is_free(&high));
    }
}

static void no_signal_in_between(void)
{
    sigset_t mask;
    check(sigemptyset(&mask) == 0 && sigaddset(&mask, SIGUSR1) == 0);
    check(sigaddset(&mask, SIGRTMAX) == 0 && sigprocmask(SIG_SETMASK, &mask, NULL) == 0);
    owl_lock_begin_fork();
    owl_lock_begin_fork();
    check(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGALRM));
    owl_lock_end_fork();
    check(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGALRM));
    owl_lock_end_fork();
    check(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && !sigismember(&mask, SIGALRM));
    check(sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGRTMAX));
}

static atomic_bool has_low;

static void *take_both(void *unused)
{
    (void)unused;
    owl_lock(&low);
    atomic_store(&has_low, true);
    owl_lock(&high);
    counter++;
    owl_unlock(&high);
    owl_unlock(&low);
    return NULL;
}

static void *take_low_for_a_while(void *unused)
{
    (void)unused;
    owl_lock(&low);
    atomic_store(&has_low, true);
    pause_for(20000000);
    counter++;
    owl_unlock(&low);
    return NULL;
}

/* A fork in a handler over this thread, which has the higher one; another has the lower one. */
static void begin_fork_over_high(pthread_t *thread, void *(*other)(void *))
{
    set_up();
    owl_lock(&high);
    check(pthread_create(thread, NULL, other, NULL) == 0);
    while (!atomic_load(&has_low))
        sched_yield();
    owl_lock_begin_fork();
    owl_lock_before_fork(&low);
    owl_lock_before_fork(&high);
}

/* Who waits for the higher one never lets the lower one go; in the child, where that thread is not,
 * it is free and whole. */
static void a_fork_goes_on_without_those_who_wait_for_it(void)
{
    pthread_t thread;
    begin_fork_over_high(&thread, take_both);
    check(!owl_lock_is_mine(&low) && owl_lock_is_mine(&high) && counter == 0);
    pid_t pid = fork();
    at_fork(pid == 0);
    owl_lock_end_fork();
    if (pid == 0) {
        check(is_free(&low) && owl_lock_is_taken(&high));
        _exit(0);
    }
    check(child_wait(pid) == 0);
    owl_unlock(&high);
    pthread_join(thread, NULL);
    check(counter == 1 && is_free(&low) && is_free(&high));
}

/* But it waits for a while for others. */
static void a_fork_waits_for_others(void)
{
    pthread_t thread;
    begin_fork_over_high(&thread, take_low_for_a_while);
    check(owl_lock_is_taken(&low) && counter == 1);
    at_fork(false);
    owl_lock_end_fork();
    check(is_free(&low));
    owl_unlock(&high);
    pthread_join(thread, NULL);
}

/* --- a handler that takes what its own thread has --- */

static void take_twice(void)
{
    owl_lock(&lock);
    owl_lock(&lock);
}

static void a_lock_of_ones_own_is_not_waited_for(void **state)
{
    char text[200];
    (void)state;
    int status = death_status(take_twice, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_string_equal(text, "owlalloc: called by a handler of a signal that came in the middle "
                              "of a call\n");
}

#ifdef OWL_DEBUG
/* In a debug build the order is looked at. */
static struct owl_lock same = {.rank = OWL_RANK_POOL};
static struct owl_lock pressure = {.rank = OWL_RANK_PRESSURE}, watch = {.rank = OWL_RANK_WATCH};

static void in_order(void)
{
    for (int i = 0; i < 2; i++) {
        owl_lock(&low);
        owl_lock(&high);
        owl_lock_before_fork(&same);
        owl_unlock(&low);
        owl_unlock(&high);
        owl_lock_in_child(&same);
    }
    owl_lock_before_fork(&pressure);
    owl_lock_before_fork(&watch);
    owl_lock_in_child(&pressure);
    owl_lock_in_child(&watch);
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
        child_test(many_threads_on_few_locks),
        child_test(a_fork_takes_and_frees),
        child_test(a_fork_keeps_what_its_thread_has),
        child_test(no_signal_in_between),
        child_test(a_fork_goes_on_without_those_who_wait_for_it),
        child_test(a_fork_waits_for_others),
        cmocka_unit_test(a_lock_of_ones_own_is_not_waited_for),
#ifdef OWL_DEBUG
        cmocka_unit_test(order_is_looked_at),
#endif
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
