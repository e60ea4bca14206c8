/* SPDX-License-Identifier: BSD-2-Clause */
/* Flushing the caches of other threads: what it takes, what it leaves, and that nobody notices. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/time.h>
#include <time.h>

#include "cache_inside.h"

#include "alloc.h"
#include "child.h"
#include "pool.h"
#include "stats.h"

enum { CLASS = 10, BLOCKS = 2100, SLEEPERS = 3, WORKERS = 4, SLOTS = 64, EXCHANGE = 64 };

static size_t cached_by(struct owl_cache *c)
{
    struct owl_cache_counts counts = {.blocks = 0};
    owl_cache_count(c, &counts);
    return counts.blocks;
}

/* A thread that does as it is told, and sleeps in between. */
struct sleeper {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    void (*order)(struct sleeper *s);
    bool ends;
    struct owl_cache *cache;
    void *blocks[BLOCKS];
};

static void *obey(void *argument)
{
    struct sleeper *s = argument;
    pthread_mutex_lock(&s->mutex);
    while (!s->ends) {
        if (s->order != NULL) {
            s->order(s);
            s->order = NULL;
            pthread_cond_broadcast(&s->changed);
        }
        pthread_cond_wait(&s->changed, &s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void tell(struct sleeper *s, void (*order)(struct sleeper *s))
{
    pthread_mutex_lock(&s->mutex);
    s->order = order;
    pthread_cond_broadcast(&s->changed);
    while (s->order != NULL)
        pthread_cond_wait(&s->changed, &s->mutex);
    pthread_mutex_unlock(&s->mutex);
}

static struct sleeper *start_sleeper(void)
{
    struct sleeper *s = calloc(1, sizeof *s);
    check(s != NULL);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    check(pthread_create(&s->thread, NULL, obey, s) == 0);
    return s;
}

static void end_sleeper(struct sleeper *s)
{
    pthread_mutex_lock(&s->mutex);
    s->ends = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    check(pthread_join(s->thread, NULL) == 0);
    free(s);
}

static void take_all(struct sleeper *s)
{
    for (int i = 0; i < BLOCKS; i++) {
        s->blocks[i] = owl_malloc(owl_classes[CLASS].size);
        check(s->blocks[i] != NULL);
    }
    s->cache = owl_cache_get();
}

static void free_all(struct sleeper *s)
{
    for (int i = 0; i < BLOCKS; i++)
        owl_free(s->blocks[i]);
}

static void take_and_free_all(struct sleeper *s)
{
    take_all(s);
    free_all(s);
}

static void expect_newest_first(struct sleeper *s)
{
    void *p = owl_malloc(owl_classes[CLASS].size);
    check(p == s->blocks[BLOCKS - 1]);
    owl_free(p);
    check(owl_cache_is_valid(owl_cache_get()));
}

static void all_but_the_newest_go_home(void)
{
    struct sleeper *s = start_sleeper();
    tell(s, take_and_free_all);
    check(cached_by(s->cache) > 20);
    owl_cache_flush_others();
    check(cached_by(s->cache) == 1);
    check(s->cache->owner.slabs == 1);
    tell(s, expect_newest_first);
    tell(s, take_and_free_all);
    check(cached_by(s->cache) > 20);
    end_sleeper(s);
    check(owl_stats_heap_is_valid());
}

/* What lies above a raised base is moved down by the next slow path, and not before. */
static void fill_up(struct sleeper *s)
{
    size_t most = s->cache->magazines[CLASS].limit;
    take_all(s);
    owl_cache_flush(s->cache);
    for (size_t i = 0; i < most && i < BLOCKS; i++)
        owl_free(s->blocks[i]);
}

static void free_more(struct sleeper *s)
{
    size_t most = s->cache->magazines[CLASS].limit;
    check(most < BLOCKS);
    struct owl_cache *c = s->cache;
    struct owl_block **slots = c->magazines[CLASS].slots;
    check(owl_word_peek(&c->magazines[CLASS].base) == (uintptr_t)(slots + most - 1));
    owl_free(s->blocks[most]);
    check(owl_word_peek(&c->magazines[CLASS].base) == (uintptr_t)slots && cached_by(c) == 2);
    for (size_t i = most + 1; i < BLOCKS; i++) {
        owl_free(s->blocks[i]);
        check(owl_cache_is_valid(c));
    }
}

static void a_magazine_without_bottom_fills_up_again(void)
{
    struct sleeper *s = start_sleeper();
    tell(s, take_and_free_all);
    tell(s, fill_up);
    check(cached_by(s->cache) == s->cache->magazines[CLASS].limit);
    owl_cache_flush_others();
    check(cached_by(s->cache) == 1 && owl_cache_is_valid(s->cache));
    tell(s, free_more);
    end_sleeper(s);
    check(owl_stats_heap_is_valid());
}

static void take_and_free_small(struct sleeper *s)
{
    s->cache = owl_cache_get();
    for (int i = 0; i < BLOCKS; i++)
        check((s->blocks[i] = owl_malloc(16)) != NULL);
    for (int i = 0; i < BLOCKS; i++)
        owl_free(s->blocks[i]);
}

/* More blocks than are taken under one claim. */
static void a_long_magazine_is_taken_in_parts(void)
{
    struct sleeper *s = start_sleeper();
    do
        tell(s, take_and_free_small);
    while (cached_by(s->cache) <= 1025);
    owl_cache_flush_others();
    check(cached_by(s->cache) == 1 && owl_cache_is_valid(s->cache));
    tell(s, take_and_free_small);
    end_sleeper(s);
    check(owl_stats_heap_is_valid());
}

static struct sleeper *first, *second;

static void free_those_of_the_second(struct sleeper *s)
{
    s->cache = owl_cache_get();
    for (int i = 0; i < OWL_REMOTE_BLOCKS / 2; i++)
        owl_free(second->blocks[i]);
}

static void blocks_of_others_go_home(void)
{
    first = start_sleeper();
    second = start_sleeper();
    tell(second, take_all);
    tell(first, free_those_of_the_second);
    check(cached_by(first->cache) == OWL_REMOTE_BLOCKS / 2);
    struct owl_slab_counts before = {.slabs = 0}, after = {.slabs = 0};
    owl_slab_count(&second->cache->owner, &before);
    owl_cache_flush_others();
    owl_slab_count(&second->cache->owner, &after);
    check(cached_by(first->cache) == 0);
    check(after.blocks_out <= before.blocks_out - OWL_REMOTE_BLOCKS / 2);
    end_sleeper(first);
    end_sleeper(second);
}

static void who_is_busy_is_left_alone(void)
{
    struct sleeper *s = start_sleeper();
    tell(s, take_and_free_all);
    size_t before = cached_by(s->cache);
    owl_cache_enter(s->cache);
    check(owl_cache_flush_others());
    check(cached_by(s->cache) == before);
    owl_cache_leave(s->cache);
    check(!owl_cache_flush_others());
    check(cached_by(s->cache) == 1);
    end_sleeper(s);
}

static int no_barrier(void)
{
    return -1;
}

static void without_a_barrier_nothing_is_taken(void)
{
    struct sleeper *s = start_sleeper();
    tell(s, take_and_free_all);
    size_t before = cached_by(s->cache);
    owl_os.barrier = no_barrier;
    owl_cache_flush_others();
    check(cached_by(s->cache) == before);
    tell(s, expect_newest_first);
    end_sleeper(s);
}

static void take_one(struct sleeper *s)
{
    s->blocks[0] = owl_malloc(owl_classes[CLASS].size);
}

static void only_the_idle_are_flushed(void)
{
    struct sleeper *s = start_sleeper();
    tell(s, take_and_free_all);
    size_t before = cached_by(s->cache);
    check(owl_cache_flush_idle());
    check(cached_by(s->cache) == before);
    tell(s, take_one);
    check(owl_cache_flush_idle());
    check(cached_by(s->cache) == before - 1);
    owl_cache_flush_idle();
    check(cached_by(s->cache) == 1);
    check(!owl_cache_flush_idle());
    end_sleeper(s);
}

/* What can never be had is not waited for. Without a barrier that is all; and in the child of a
 * fork, where what absent threads had is flushed whole, without one, nothing. */
static void what_is_out_of_reach_is_not_left(void)
{
    struct sleeper *s = start_sleeper();
    tell(s, take_and_free_all);
    size_t before = cached_by(s->cache);
    owl_os.barrier = no_barrier;
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        check(!owl_cache_flush_idle());
        check(cached_by(s->cache) == 0);
        _exit(0);
    }
    check(child_wait(child) == 0);
    check(owl_cache_flush_idle());
    check(!owl_cache_flush_idle());
    check(cached_by(s->cache) == before);
    end_sleeper(s);
}

static void trim_reaches_all_threads(void)
{
    struct sleeper *s[SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++) {
        s[i] = start_sleeper();
        tell(s[i], take_and_free_all);
    }
    owl_trim(0);
    for (int i = 0; i < SLEEPERS; i++)
        check(cached_by(s[i]->cache) == 1);
    for (int i = 0; i < SLEEPERS; i++)
        end_sleeper(s[i]);
    check(owl_stats_heap_is_valid());
}

/* --- threads that end without a word: the first call is made in the last round of destructors
 * --- */

enum { STACK = 256 << 10 };

static pthread_key_t late;
static struct owl_cache *left_behind;

static void last_round(void *round)
{
    uintptr_t number = (uintptr_t)round;
    if (number < PTHREAD_DESTRUCTOR_ITERATIONS) {
        check(pthread_setspecific(late, (void *)(number + 1)) == 0);
        return;
    }
    static struct sleeper s;
    take_and_free_all(&s);
    left_behind = s.cache;
}

static void *only_end(void *unused)
{
    (void)unused;
    check(pthread_setspecific(late, (void *)1) == 0);
    return NULL;
}

static void run_on(void *stack, void *(*body)(void *))
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    check(pthread_attr_setstack(&attributes, stack, STACK) == 0);
    check(pthread_create(&thread, &attributes, body, NULL) == 0);
    check(pthread_join(thread, NULL) == 0);
}

/* It has its thread-local variables where those of the one before it were. */
static void *keep_its_cache(void *unused)
{
    (void)unused;
    struct owl_cache *mine = owl_cache_get();
    check(mine != left_behind && mine->self == left_behind->self);
    owl_cache_flush_others();
    owl_cache_flush_idle();
    owl_cache_flush_idle();
    check(owl_cache_mine() == mine && left_behind->self == NULL);
    return NULL;
}

static void leave_a_cache(void *stack)
{
    left_behind = NULL;
    run_on(stack, only_end);
    check(left_behind != NULL && left_behind->self != NULL);
}

/* The sanitizers' own destructors have run by then, and their calls are not possible any more. */
static void who_has_no_thread_is_left_alone(void)
{
    if (SANITIZED)
        return;
    check(pthread_key_create(&late, last_round) == 0);
    void *stack = owl_os.map(STACK);
    check(stack != NULL);
    leave_a_cache(stack);
    run_on(stack, keep_its_cache);
    leave_a_cache(stack);
    check(owl_os.unmap(stack, STACK) == 0);
    owl_cache_flush_others();
    check(left_behind->self == NULL);
    check(owl_stats_heap_is_valid());
}

/* --- under load: every block bears its holder's pattern --- */

static owl_word exchange[EXCHANGE];
static owl_u32 stop;

static void sign(void *block, size_t size, uint64_t seed)
{
    uint64_t *words = opaque(block);
    words[0] = seed;
    words[1] = size;
    for (size_t i = 2; i < size / 8; i++)
        words[i] = seed + i;
}

static void check_signed(const void *block)
{
    const uint64_t *words = block;
    for (size_t i = 2; i < words[1] / 8; i++)
        check(words[i] == words[0] + i);
}

static void end_block(void *block)
{
    if (block != NULL) {
        check_signed(block);
        owl_free(block);
    }
}

static void *work(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    void *slots[SLOTS] = {NULL};
    for (int round = 0; round < RANDOM_ROUNDS(40000); round++) {
        uint64_t r = next_random(&random);
        void **slot = &slots[r % SLOTS];
        end_block(*slot);
        size_t size = 16 + (r >> 8) % (r >> 32 & 1 ? 100 : 1000);
        *slot = owl_malloc(size);
        check(*slot != NULL);
        sign(*slot, size, r);
        if (r >> 40 & 1)
            *slot = (void *)owl_word_swap(&exchange[(r >> 16) % EXCHANGE], (uintptr_t)*slot);
    }
    for (int i = 0; i < SLOTS; i++)
        end_block(slots[i]);
    return NULL;
}

static void *work_in_generations(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    while (!owl_u32_load_relaxed(&stop)) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, work, (void *)next_random(&random)) == 0);
        check(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

/* The caches of the child's other threads are as fork found them, in the middle of anything. */
static void fork_and_work(void)
{
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        owl_cache_flush_others();
        work((void *)77);
        _exit(owl_pool_is_valid() && owl_cache_is_valid(owl_cache_get()) ? 0 : 1);
    }
    int status;
    check(waitpid(child, &status, 0) == child && status == 0);
}

/* A fast path lies below it for several claims. */
static void sleep_for_a_while(int number)
{
    struct timespec t = {.tv_nsec = 300000};
    int saved = errno;
    (void)number;
    nanosleep(&t, NULL);
    errno = saved;
}

static void interrupt_often(void)
{
    struct sigaction action = {.sa_handler = sleep_for_a_while, .sa_flags = SA_RESTART};
    struct itimerval often = {.it_interval.tv_usec = 1000, .it_value.tv_usec = 1000};
    check(sigaction(SIGPROF, &action, NULL) == 0);
    check(setitimer(ITIMER_PROF, &often, NULL) == 0);
}

static void nobody_notices(void)
{
    pthread_t workers[WORKERS];
    interrupt_often();
    for (uintptr_t i = 0; i < WORKERS; i++)
        check(pthread_create(&workers[i], NULL, work_in_generations, (void *)(i + 1)) == 0);
    for (int i = 0; i < RANDOM_ROUNDS(20000); i++) {
        if (i % 3 == 0)
            owl_cache_flush_others();
        else
            owl_cache_flush_idle();
        if (i % 1000 == 0)
            fork_and_work();
        if (i % 16 == 0)
            sched_yield();
    }
    owl_u32_store_relaxed(&stop, 1);
    for (int i = 0; i < WORKERS; i++)
        check(pthread_join(workers[i], NULL) == 0);
    for (int i = 0; i < EXCHANGE; i++)
        end_block((void *)owl_word_swap(&exchange[i], 0));
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(all_but_the_newest_go_home),
        child_test(a_magazine_without_bottom_fills_up_again),
        child_test(a_long_magazine_is_taken_in_parts),
        child_test(blocks_of_others_go_home),
        child_test(who_is_busy_is_left_alone),
        child_test(without_a_barrier_nothing_is_taken),
        child_test(only_the_idle_are_flushed),
        child_test(what_is_out_of_reach_is_not_left),
        child_test(trim_reaches_all_threads),
        child_test(who_has_no_thread_is_left_alone),
        child_test(nobody_notices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
