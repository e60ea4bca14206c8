/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In a child of fork there are caches whose threads are not there: the child gets back what they
 * hold, whatever those threads were doing. And signals that come while a fork is under way.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "alloc.h"
#include "cache.h"
#include "child.h"
#include "pool.h"
#include "stats.h"

enum { SLEEPERS = 4, LIVE = 3000, BLOCKS = 2000, HAMMERS = 3 };

/* --- threads that sleep ------------------------------------------------------ */

static void *live[SLEEPERS][LIVE];
static pthread_barrier_t asleep;
static pthread_mutex_t until = PTHREAD_MUTEX_INITIALIZER;
static pthread_t sleepers[SLEEPERS];

/* Of the blocks of many sizes some stay, most lie in the thread's cache, some in slabs; and some of
 * another thread's are on their way home. */
static void *sleep_with_blocks(void *argument)
{
    size_t me = (uintptr_t)argument;
    uint64_t random = me + 1;
    for (int i = 0; i < LIVE; i++) {
        live[me][i] = owl_malloc(1 + next_random(&random) % 5000);
        check(live[me][i] != NULL);
    }
    pthread_barrier_wait(&asleep);
    for (int i = 0; i < LIVE; i++) {
        size_t whose = i % 50 == 0 ? (me + 1) % SLEEPERS : me;
        if (i % 3 != 0 || whose != me) {
            owl_free(live[whose][i]);
            live[whose][i] = NULL;
        }
    }
    pthread_barrier_wait(&asleep);
    pthread_mutex_lock(&until);
    pthread_mutex_unlock(&until);
    return NULL;
}

static void start_sleepers(void)
{
    owl_free(opaque(owl_malloc(100))); /* this thread has a slab, too */
    check(pthread_barrier_init(&asleep, NULL, SLEEPERS + 1) == 0);
    pthread_mutex_lock(&until);
    for (uintptr_t i = 0; i < SLEEPERS; i++)
        check(pthread_create(&sleepers[i], NULL, sleep_with_blocks, (void *)i) == 0);
    pthread_barrier_wait(&asleep);
    pthread_barrier_wait(&asleep);
}

static void stop_sleepers(void)
{
    pthread_mutex_unlock(&until);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(sleepers[i], NULL);
}

static void free_live(void)
{
    for (int t = 0; t < SLEEPERS; t++)
        for (int i = 0; i < LIVE; i++) {
            owl_free(live[t][i]);
            live[t][i] = NULL;
        }
}

static size_t used(void)
{
    return owl_pool_count().used;
}

static void count_slabs(struct owl_owner *o, struct owl_cache *c, void *total)
{
    check(owl_slab_is_valid(o));
    if (c != NULL && c != owl_cache_mine())
        *(size_t *)total += o->slabs;
}

/* Slabs of caches that are not this thread's, nor orphans. */
static size_t slabs_of_others(void)
{
    size_t total = 0;
    owl_cache_each(count_slabs, &total);
    return total;
}

static void run_in_child(void (*body)(void), const char *name)
{
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        alarm(60);
        body();
        _exit(0);
    }
    int status = child_wait(pid);
    if (status != 0)
        dprintf(STDERR_FILENO, "%s: status %#x\n", name, (unsigned)status);
    check(status == 0);
}

#define in_child(body) run_in_child(body, #body)

/* To the last granule. */
static void all_comes_back(void)
{
    check(slabs_of_others() > 0);
    owl_trim(0);
    check(slabs_of_others() == 0);
    free_live();
    owl_trim(0);
    check(used() == 0 && owl_stats_heap_is_valid());
}

/* What lies free in those caches is used before the pool is asked. */
static void it_is_used_again(void)
{
    size_t before = used(), of_others = slabs_of_others();
    uint64_t random = 1;
    owl_cache_flush(owl_cache_get());
    for (int i = 0; i < SLEEPERS * LIVE / 4; i++)
        check(owl_malloc(1 + next_random(&random) % 5000) != NULL);
    check(slabs_of_others() < of_others);
    check(used() < before + before / 4);
}

/* A child of the child gets the same, whether or not its parent had it. */
static void also_in_a_second_child(void)
{
    in_child(all_comes_back);
    all_comes_back();
    in_child(free_live);
}

/* New threads get the caches. */
static void *take_and_free(void *unused)
{
    (void)unused;
    void *p = owl_malloc(100);
    check(p != NULL);
    owl_free(p);
    return NULL;
}

static size_t all_caches(void)
{
    size_t n = 0;
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        n++;
    return n;
}

static void new_threads_get_the_caches(void)
{
    pthread_t threads[SLEEPERS];
    owl_trim(0);
    size_t before = all_caches();
    for (int i = 0; i < SLEEPERS; i++)
        check(pthread_create(&threads[i], NULL, take_and_free, NULL) == 0);
    for (int i = 0; i < SLEEPERS; i++)
        pthread_join(threads[i], NULL);
    check(all_caches() == before);
}

/* A child that needs no memory leaves all as it is: most run another program at once. */
static void it_costs_nothing_before(void)
{
    size_t theirs = slabs_of_others();
    for (int i = 0; i < 100; i++)
        check(owl_malloc(100) != NULL); /* from this thread's slab */
    void *large = owl_malloc(1 << 20);
    check(large != NULL);
    owl_free(large);
    check(slabs_of_others() == theirs);
}

static void caches_of_threads_that_sleep(void)
{
    start_sleepers();
    in_child(all_comes_back);
    in_child(it_is_used_again);
    in_child(also_in_a_second_child);
    if (!SANITIZED) /* ThreadSanitizer wants no threads there */
        in_child(new_threads_get_the_caches);
    in_child(it_costs_nothing_before);
    stop_sleepers();
    free_live();
    owl_trim(0);
    check(used() == 0 && owl_stats_heap_is_valid());
}

/* --- threads in the midst of calls ------------------------------------------- */

static unsigned char *blocks[BLOCKS];
static size_t sizes[BLOCKS];
static atomic_bool stop;

static void take_all(unsigned char **into, uint64_t random)
{
    for (int i = 0; i < BLOCKS; i++) {
        sizes[i] = 1 + next_random(&random) % 1500;
        into[i] = owl_malloc(sizes[i]);
        check(into[i] != NULL);
        memset(into[i], i, sizes[i]);
    }
}

static void check_all(unsigned char *const *of)
{
    for (int i = 0; i < BLOCKS; i++)
        for (size_t at = 0; at < sizes[i]; at++)
            check(of[i][at] == (unsigned char)i);
}

static void *hammer(void *seed)
{
    static owl_word shared[64];
    void *mine[200] = {NULL};
    uint64_t random = (uintptr_t)seed;
    while (!atomic_load(&stop)) {
        uint64_t r = next_random(&random);
        void **slot = &mine[r % 200];
        owl_free(*slot);
        *slot = owl_malloc(r >> 48 & 15 ? 1 + (r >> 8) % 1500 : 1 + (r >> 8) % 500000);
        check(*slot != NULL);
        if (r >> 40 & 1)
            *slot = (void *)owl_word_swap(&shared[(r >> 32) % 64], (uintptr_t)*slot);
    }
    return NULL;
}

/* No block of those that were taken before is handed out again, and none twice. */
static void blocks_are_whole(void)
{
    static unsigned char *more[BLOCKS];
    owl_trim(0);
    check(slabs_of_others() == 0);
    take_all(more, 7); /* the same sizes */
    check_all(blocks);
    check_all(more);
    for (int i = 0; i < BLOCKS; i++) {
        owl_free(blocks[i]);
        owl_free(more[i]);
    }
    owl_trim(0);
    check(owl_stats_heap_is_valid() && slabs_of_others() == 0);
}

static void caches_of_threads_under_way(void)
{
    pthread_t hammers[HAMMERS];
    take_all(blocks, 7);
    for (uintptr_t i = 0; i < HAMMERS; i++)
        check(pthread_create(&hammers[i], NULL, hammer, (void *)(i + 1)) == 0);
    for (int i = 0; i < RANDOM_ROUNDS(200); i++)
        in_child(blocks_are_whole);
    atomic_store(&stop, true);
    for (int i = 0; i < HAMMERS; i++)
        pthread_join(hammers[i], NULL);
    check_all(blocks);
}

/* --- a thread in the midst of a change of its cache ---------------------------- */

static void *change_by_half(void *unused)
{
    struct owl_cache *c = owl_cache_get();
    owl_free(opaque(owl_malloc(100)));
    owl_cache_enter(c);
    owl_u32_poke(&c->stock.granules, 1);
    pthread_barrier_wait(&asleep);
    pthread_barrier_wait(&asleep);
    owl_u32_poke(&c->stock.granules, 0);
    owl_cache_leave(c);
    return unused;
}

/* At once, and when its slabs are gone. */
static void it_is_valid(void)
{
    check(owl_stats_heap_is_valid());
    owl_trim(0);
    check(slabs_of_others() == 0 && owl_stats_heap_is_valid());
}

static void it_stays_valid(void)
{
    in_child(it_is_valid);
    it_is_valid();
    in_child(it_is_valid);
}

static void a_change_by_half_is_not_looked_at(void)
{
    pthread_t thread;
    owl_free(opaque(owl_malloc(100)));
    check(pthread_barrier_init(&asleep, NULL, 2) == 0);
    check(pthread_create(&thread, NULL, change_by_half, NULL) == 0);
    pthread_barrier_wait(&asleep);
    in_child(it_stays_valid);
    pthread_barrier_wait(&asleep);
    check(pthread_join(thread, NULL) == 0 && owl_stats_heap_is_valid());
}

/* --- signals ------------------------------------------------------------------ */

static volatile sig_atomic_t handled;

/* Both take locks that a fork under way holds. */
static void fork_and_allocate(int number)
{
    (void)number;
    int status = 0;
    void *p[40];
    for (int i = 0; i < 40; i++)
        p[i] = owl_malloc(900);
    for (int i = 0; i < 40; i++)
        owl_free(p[i]);
    owl_trim(0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        _exit(3);
    handled++;
}

/* Of a program with one thread, which is in fork all the time, and never in malloc. */
static void handlers_that_fork_and_allocate(void)
{
    struct sigaction action = {.sa_handler = fork_and_allocate, .sa_flags = SA_RESTART};
    struct itimerval often = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000};
    check(sigaction(SIGPROF, &action, NULL) == 0);
    check(setitimer(ITIMER_PROF, &often, NULL) == 0);
    while (handled < ROUNDS(300)) {
        sigset_t mask;
        pid_t pid = fork();
        check(pid >= 0 && sigprocmask(SIG_BLOCK, NULL, &mask) == 0 &&
              !sigismember(&mask, SIGPROF));
        if (pid == 0)
            _exit(0);
        check(child_wait(pid) == 0);
    }
    check(setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = 0}, NULL) == 0);
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(caches_of_threads_that_sleep),
        child_test(caches_of_threads_under_way),
        child_test(a_change_by_half_is_not_looked_at),
        child_test(handlers_that_fork_and_allocate),
    };
    return cmocka_run_group_tests_name("fork_caches", tests, NULL, NULL);
}
