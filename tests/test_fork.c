/* SPDX-License-Identifier: BSD-2-Clause */
/* fork: parent and child go on as if nothing had happened, whatever other threads do meanwhile. */
#include <pthread.h>
#include <stdatomic.h>

#include "alloc.h"
#include "child.h"
#include "pool.h"
#include "stats.h"

enum { BLOCKS = 200, HAMMERS = 3 };

static unsigned char *blocks[BLOCKS];
static size_t sizes[BLOCKS];
static atomic_bool stop;

static void take_all(void)
{
    uint64_t random = 21;
    for (int i = 0; i < BLOCKS; i++) {
        sizes[i] = next_random(&random) % (i % 20 == 0 ? 300000 : 2000) + 1;
        blocks[i] = owl_malloc(sizes[i]);
        check(blocks[i] != NULL);
        memset(blocks[i], i, sizes[i]);
    }
}

static void check_blocks(void)
{
    for (int i = 0; i < BLOCKS; i++)
        check(blocks[i][0] == (unsigned char)i && blocks[i][sizes[i] - 1] == (unsigned char)i);
}

static void free_all(void)
{
    for (int i = 0; i < BLOCKS; i++)
        owl_free(blocks[i]);
}

/* A child of a child: the second finds the locks in order too. */
static void fork_again(int depth)
{
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid > 0) {
        check(child_wait(pid) == 0);
        return;
    }
    alarm(30);
    check_blocks();
    if (depth > 0)
        fork_again(depth - 1);
    free_all();
    take_all();
    check_blocks();
    check(owl_stats_heap_is_valid());
    _exit(0);
}

static void child_has_its_own_heap(void)
{
    take_all();
    char *mapping = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    strcpy(mapping, "parent");
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        check(pid >= 0);
        if (pid == 0) {
            alarm(30);
            check_blocks();
            check(strcmp(mapping, "parent") == 0);
            strcpy(mapping, "child");
            owl_free(mapping);
            free_all();
            owl_malloc_trim(0);
            check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
            take_all();
            _exit(0);
        }
        check(child_wait(pid) == 0);
        check_blocks();
        check(strcmp(mapping, "parent") == 0);
        check(owl_stats_heap_is_valid());
    }
    fork_again(2);
    check_blocks();
}

/* Takes and frees without a pause: small and large, its own blocks and others'. */
static void *hammer(void *seed)
{
    void *mine[64] = {NULL};
    uint64_t random = (uintptr_t)seed;
    static owl_word shared[16];
    while (!atomic_load(&stop)) {
        uint64_t r = next_random(&random);
        void **slot = &mine[r % 64];
        owl_free(*slot);
        r >>= 6;
        *slot = owl_malloc(r % 32 == 0 ? r % 200000 : r % 1500);
        check(*slot != NULL);
        owl_free((void *)owl_word_swap(&shared[r % 16], (uintptr_t)*slot));
        *slot = NULL;
    }
    for (int i = 0; i < 64; i++)
        owl_free(mine[i]);
    return NULL;
}

static pthread_t hammers[HAMMERS];

static void start_hammers(void)
{
    for (uintptr_t i = 0; i < HAMMERS; i++)
        check(pthread_create(&hammers[i], NULL, hammer, (void *)(i + 1)) == 0);
}

static void stop_hammers(void)
{
    atomic_store(&stop, true);
    for (int i = 0; i < HAMMERS; i++)
        pthread_join(hammers[i], NULL);
}

/* In the child there is only the thread that forked. The caches of the others are as they were
 * left, in the middle of a call, so they are not looked at. */
static void in_child_of_threads(void)
{
    alarm(30);
    check_blocks();
    check(owl_pool_is_valid());
    free_all();
    take_all();
    void *large = owl_malloc(1 << 20);
    check(large != NULL);
    owl_free(large);
    owl_malloc_trim(0);
    check_blocks();
    check(owl_pool_is_valid() && owl_cache_is_valid(owl_cache_mine()));
    _exit(0);
}

static void while_threads_allocate(void)
{
    take_all();
    start_hammers();
    for (int i = 0; i < RANDOM_ROUNDS(200); i++) {
        pid_t pid = fork();
        check(pid >= 0);
        if (pid == 0)
            in_child_of_threads();
        check(child_wait(pid) == 0);
        check_blocks();
    }
    stop_hammers();
    check_blocks();
    free_all();
    check(owl_stats_heap_is_valid());
}

static void *fork_from_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < RANDOM_ROUNDS(40); i++) {
        pid_t pid = fork();
        check(pid >= 0);
        if (pid == 0) {
            alarm(30);
            for (size_t size = 1; size < 100000; size *= 3)
                owl_free(owl_malloc(size));
            _exit(0);
        }
        check(child_wait(pid) == 0);
    }
    return NULL;
}

/* Several threads fork at once, none of them the first one. */
static void threads_fork_at_once(void)
{
    pthread_t threads[3];
    take_all();
    start_hammers();
    for (int i = 0; i < 3; i++)
        check(pthread_create(&threads[i], NULL, fork_from_thread, NULL) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    stop_hammers();
    free_all();
    check(owl_stats_heap_is_valid());
}

/* fork before the first allocation; the child makes it. */
static void before_the_first_call(void)
{
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        take_all();
        free_all();
        _exit(0);
    }
    check(child_wait(pid) == 0);
    take_all();
    check_blocks();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(child_has_its_own_heap),
        child_test(while_threads_allocate),
        child_test(threads_fork_at_once),
        child_test(before_the_first_call),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
