/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers of signals that fork in programs with threads, while locks are held: by the thread that
 * they interrupt, and by others, which wait for it or have handlers of their own that fork.
 */
#include "fork_handler.h"

/* --- one that waits for the thread which forks --- */

static pthread_t waiter;

/* Its owner's lock is held when it comes to the pool. */
static void *take_slabs(void *unused)
{
    void *p = owl_malloc(30000);
    check(p != NULL);
    owl_free(p);
    return unused;
}

/* With the pool's lock: the other has come to it, and sleeps. */
static int commit_when_awaited(void *start, size_t bytes)
{
    if (pthread_equal(pthread_self(), main_thread) && !in_child && atomic_load(&forks) == 0) {
        check(pthread_create(&waiter, NULL, take_slabs, NULL) == 0);
        while (!owl_lock_is_awaited(&owl_pool.lock))
            sched_yield();
        raise(SIGUSR1);
    }
    return real.commit(start, bytes);
}

static void who_waits_for_the_pool(void)
{
    set_up();
    owl_os.commit = commit_when_awaited;
    void *p[100];
    for (int i = 0; i < 100; i++)
        check((p[i] = owl_malloc(1 << 20)) != NULL);
    end_if_child();
    check(pthread_join(waiter, NULL) == 0 && atomic_load(&forks) == 1);
    for (int i = 0; i < 100; i++)
        owl_free(p[i]);
    end_work(false);
}

/* --- a fork that waits for the end of a purge, by the thread which forks --- */

static void *fork_too(void *unused)
{
    fork_here(0);
    if (in_child)
        _exit(0);
    return unused;
}

static pthread_t forker;

static bool somebody_waits(void)
{
    owl_pool_lock();
    bool somebody = owl_pool.waiters > 0;
    owl_pool_unlock();
    return somebody;
}

/* Without a lock. */
static int purge_when_awaited(void *start, size_t bytes)
{
    if (pthread_equal(pthread_self(), main_thread) && !in_child && atomic_load(&forks) == 0) {
        check(pthread_create(&forker, NULL, fork_too, NULL) == 0);
        while (!somebody_waits()) {
            sched_yield();
            check(atomic_load(&forks) == 0);
        }
        raise(SIGUSR1);
    }
    return real.purge(start, bytes);
}

static void a_fork_that_waits_for_a_purge(void)
{
    set_up();
    owl_free(owl_malloc(3 << 20));
    owl_os.purge = purge_when_awaited;
    owl_pool_purge(0);
    end_if_child();
    check(pthread_join(forker, NULL) == 0 && atomic_load(&forks) == 2);
    end_work(false);
}

static atomic_bool purging;

static int purge_until_forked(void *start, size_t bytes)
{
    atomic_store(&purging, true);
    while (!in_child && atomic_load(&forks) == 0)
        usleep(100);
    return real.purge(start, bytes);
}

static void *purge_all(void *unused)
{
    owl_pool_purge(0);
    return unused;
}

static void set_up_purging(void)
{
    set_up();
    owl_free(owl_malloc(3 << 20));
    owl_os.purge = purge_until_forked;
    check(pthread_create(&forker, NULL, purge_all, NULL) == 0);
    while (!atomic_load(&purging))
        sched_yield();
}

/* With a lock that comes after the pool's. */
static void a_fork_that_waits_with_a_lock(void)
{
    static struct owl_lock last = {.rank = OWL_RANK_GUARD};
    set_up_purging();
    owl_lock(&last);
    fork_here(0);
    owl_unlock(&last);
    if (in_child)
        _exit(0);
    check(pthread_join(forker, NULL) == 0 && atomic_load(&forks) == 1);
    end_work(false);
}

/* At the limit. */
static void wait_and_raise(owl_u32 *word, uint32_t seen)
{
    if (word == &owl_pool.purges && pthread_equal(pthread_self(), main_thread) && !in_child &&
        atomic_load(&forks) == 0)
        raise(SIGUSR1);
    real.wait(word, seen);
}

static void over_a_wait_for_a_purge(void)
{
    set_up_purging();
    owl_os.wait = wait_and_raise;
    check(owl_option_set("limit", (long)owl_pool_count().in_use + (2 << 20)) == 0);
    for (int i = 0; i < 200 && atomic_load(&forks) == 0 && !in_child; i++)
        check(owl_malloc(30000) != NULL || in_child); /* for which the purge is lost */
    if (in_child)
        _exit(0);
    check(pthread_join(forker, NULL) == 0 && atomic_load(&forks) == 1);
    owl_option_set("limit", 0);
    end_work(false);
}

/* --- the end of a purge, for which another thread waits --- */

static void *await_purge(void *unused)
{
    owl_pool_lock();
    while (owl_pool_wait_for_purge())
        continue;
    owl_pool_unlock();
    return unused;
}

/* Without a lock. */
static int purge_when_waited_for(void *start, size_t bytes)
{
    if (pthread_equal(pthread_self(), main_thread) && !in_child && atomic_load(&forks) == 0) {
        check(pthread_create(&waiter, NULL, await_purge, NULL) == 0);
        while (!somebody_waits())
            sched_yield();
    }
    return real.purge(start, bytes);
}

/* With the pool's lock, for which the purge has ended, but not for its thread. */
static void wake_at_end(owl_u32 *word)
{
    if (word == &owl_pool.purges && pthread_equal(pthread_self(), main_thread) && !in_child &&
        atomic_load(&forks) == 0)
        raise(SIGUSR1);
    real.wake(word);
}

static void in_the_end_of_a_purge(void)
{
    set_up();
    owl_free(owl_malloc(3 << 20));
    size_t used = owl_pool_count().used;
    owl_os.purge = purge_when_waited_for;
    owl_os.wake = wake_at_end;
    owl_pool_purge(0);
    check(owl_pool.purging == 0 && owl_pool_count().used == used);
    end_if_child();
    check(pthread_join(waiter, NULL) == 0 && atomic_load(&forks) == 1);
    end_work(false);
}

/* --- two forks, in handlers over threads that both hold what the other wants --- */

static pthread_barrier_t both;
static atomic_int raised;

/* With the lock of an owner. */
static int purge_and_raise(void *start, size_t bytes)
{
    if (!in_child && atomic_fetch_add(&raised, 1) < 2) {
        pthread_barrier_wait(&both);
        raise(SIGUSR1);
    }
    return real.purge(start, bytes);
}

/* Free blocks at home, on pages that can be purged. */
static void *purge_own(void *unused)
{
    void *p[200];
    for (int i = 0; i < 200; i++)
        p[i] = owl_malloc(2000);
    for (int i = 0; i < 200; i++)
        if (i % 20 != 0)
            owl_free(p[i]);
    owl_cache_flush(owl_cache_get());
    pthread_barrier_wait(&both);
    owl_slab_purge(&owl_cache_get()->owner);
    if (in_child) {
        check_staying(1);
        for (int i = 0; i < 5000; i++)
            check(owl_malloc(1 + (size_t)i % 9 * 700) != NULL);
        owl_trim(0);
        check(owl_pool_is_valid());
        _exit(0);
    }
    return unused;
}

static void two_forks_that_want_what_the_other_has(void)
{
    pthread_t thread;
    set_up();
    may_be_torn = true;
    check(pthread_barrier_init(&both, NULL, 2) == 0);
    owl_os.purge = purge_and_raise;
    check(pthread_create(&thread, NULL, purge_own, NULL) == 0);
    purge_own(NULL);
    check(pthread_join(thread, NULL) == 0 && atomic_load(&forks) == 2);
    end_work(false);
}

/* --- a handler over a claim on another thread's cache --- */

static int barrier_and_raise(void)
{
    int result = real.barrier();
    if (!in_child && atomic_load(&forks) == 0)
        raise(SIGUSR1);
    return result;
}

static void a_claim_under_way(void)
{
    set_up();
    start_sleeper();
    owl_os.barrier = barrier_and_raise;
    owl_cache_flush_others();
    end_if_child();
    check(atomic_load(&forks) > 0);
    end_work(false);
}

/* --- a growth of what lies in a file, from which a fork takes all that there is --- */

/* When all is committed, but not noted. */
static int commit_and_raise(void *start, size_t bytes)
{
    int result = real.commit(start, bytes);
    if (!in_child && atomic_load(&forks) == 0 && bytes >= OWL_COMMIT_STEP)
        raise(SIGUSR1);
    return result;
}

static void in_a_growth_of_a_file(void)
{
    const size_t before = 3 << 20, after = 200 << 20;
    set_up();
    use_files();
    char *p = owl_malloc(before);
    check(p != NULL);
    memset(p, 1, before);
    owl_os.commit = commit_and_raise;
    char *q = owl_realloc(p, after);
    check(q != NULL);
    for (size_t i = 0; i < after; i += 4096)
        check(q[i] == (i < before));
    if (in_child)
        memset(q, 2, after);
    end_if_child();
    check(atomic_load(&forks) == 1);
    owl_free(q);
    end_work(false);
}

/* --- a change of the pool, for which one waits who has the lock of files --- */

static unsigned file_range;

static void *take_a_file(void *unused)
{
    owl_free(owl_malloc(3 << 20));
    return unused;
}

static int commit_when_files_wait(void *start, size_t bytes)
{
    int result = real.commit(start, bytes);
    if (pthread_equal(pthread_self(), main_thread) && !in_child && atomic_load(&forks) == 0) {
        check(pthread_create(&waiter, NULL, take_a_file, NULL) == 0);
        while (!owl_lock_is_awaited(&owl_pool.lock))
            sched_yield();
        raise(SIGUSR1);
        check(!in_child || owl_backing_of(file_range) == OWL_MEMFD); /* not now */
    }
    return result;
}

static void in_a_change_that_files_wait_for(void)
{
    set_up();
    use_files();
    void *in_file = owl_malloc(3 << 20);
    file_range = owl_span_of(in_file)->range;
    check(owl_backing_of(file_range) == OWL_MEMFD);
    owl_os.commit = commit_when_files_wait;
    for (int i = 0; i < 5000 && !in_child && atomic_load(&forks) == 0; i++)
        check(owl_malloc(30000) != NULL);
    if (in_child) {
        owl_pool_count(); /* hears of it now */
        check(owl_lock_fork_missed() && owl_backing_of(file_range) == OWL_PRIVATE);
        check(owl_pool_is_valid());
        _exit(0);
    }
    check(pthread_join(waiter, NULL) == 0 && atomic_load(&forks) == 1);
    owl_free(in_file);
    end_work(false);
}

/* --- at any time --- */

enum { HAMMERS = 4 };

static atomic_bool stop;
static atomic_int begun;
static owl_word shared[64];

/* Blocks of all sizes, own ones and others'. Children of forks that come in between end here, one
 * in two after more of the same. */
static void *hammer(void *seed)
{
    void *mine[100] = {NULL};
    uint64_t random = (uintptr_t)seed;
    atomic_fetch_add(&begun, 1);
    for (unsigned long left = 1000; !atomic_load(&stop) && left > 0; left -= (unsigned)in_child) {
        uint64_t r = next_random(&random);
        void **slot = &mine[r % 100];
        owl_free(*slot);
        r >>= 7;
        *slot = owl_malloc(r % 16 == 0 ? r % 3000000 : r % 2500);
        check(*slot != NULL);
        if (r >> 20 & 1)
            *slot = (void *)owl_word_swap(&shared[(r >> 21) % 64], (uintptr_t)*slot);
        if (r % 4096 == 0)
            owl_trim(0);
        if (in_child && getpid() % 2 == 0)
            _exit(0);
    }
    if (in_child)
        _exit(owl_pool_is_valid() ? 0 : 1);
    return NULL;
}

static void at_any_time(void)
{
    pthread_t threads[HAMMERS];
    uint64_t random = 1;
    set_up();
    may_be_torn = true;
    owl_option_force(OWL_OPTION_SCAVENGER, 0);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        check(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)) == 0);
    while (atomic_load(&begun) < HAMMERS) /* libc and sanitizers lock at a begin */
        sched_yield();
    while (atomic_load(&forks) < RANDOM_ROUNDS(300)) {
        uint64_t r = next_random(&random);
        pthread_kill(threads[r % HAMMERS], SIGUSR1);
        if (r >> 8 & 1)
            pthread_kill(threads[(r >> 9) % HAMMERS], SIGUSR1);
        usleep((r >> 16) % 3000);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < HAMMERS; i++)
        pthread_join(threads[i], NULL);
    end_work(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(who_waits_for_the_pool),
        child_test(a_fork_that_waits_for_a_purge),
        child_test(a_fork_that_waits_with_a_lock),
        child_test(over_a_wait_for_a_purge),
        child_test(in_the_end_of_a_purge),
        child_test(two_forks_that_want_what_the_other_has),
        child_test(a_claim_under_way),
        child_test(in_a_growth_of_a_file),
        child_test(in_a_change_that_files_wait_for),
        child_test(at_any_time),
    };
    return cmocka_run_group_tests_name("fork_handlers", tests, NULL, NULL);
}
