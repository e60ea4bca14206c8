/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All calls at random, from threads that exchange blocks and come and go. Every block is filled
 * with a pattern of its own over all its usable bytes, so that blocks that overlap, or bytes that
 * the allocator changes, are seen.
 */
#include <owl/option.h>
#include <pthread.h>

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "pool.h"
#include "stats.h"

enum { SLOTS = 100, EXCHANGE = 256, THREADS = 6 };

/* The first two words of a block say how it is filled. */
struct header {
    uint64_t seed;
    size_t words; /* the two included */
};

static owl_word exchange[EXCHANGE];

static void fill(void *block, uint64_t seed)
{
    uint64_t *words = opaque(block);
    size_t n = owl_malloc_usable_size(block) / 8;
    words[0] = seed;
    words[1] = n;
    for (size_t i = 2; i < n; i += n > 1000 ? 61 : 1)
        words[i] = seed + i;
}

static void check_filled(const void *block)
{
    const uint64_t *words = block;
    const struct header h = {words[0], words[1]};
    check((uintptr_t)block % 16 == 0);
    check(h.words == owl_malloc_usable_size(block) / 8);
    for (size_t i = 2; i < h.words; i += h.words > 1000 ? 61 : 1)
        check(words[i] == h.seed + i);
}

/* Mostly small sizes, as in programs. */
static size_t random_size(uint64_t *random)
{
    uint64_t r = next_random(random);
    size_t most = r % 200 == 0 ? 1000000 : r % 20 == 0 ? 50000 : r % 4 == 0 ? 2000 : 200;
    return next_random(random) % most;
}

static void *random_take(uint64_t *random)
{
    size_t size = random_size(random);
    void *p = NULL;
    switch (next_random(random) % 8) {
    case 0:
        p = owl_calloc(1, size);
        for (size_t i = 0; p != NULL && i < size; i++)
            check(((char *)p)[i] == 0);
        break;
    case 1: {
        size_t alignment = (size_t)16 << next_random(random) % 10;
        p = owl_aligned_alloc(alignment, size);
        check((uintptr_t)p % alignment == 0);
        break;
    }
    default:
        p = owl_malloc(size);
    }
    check(p != NULL && owl_malloc_usable_size(p) >= size);
    fill(p, next_random(random));
    return p;
}

static void *random_resize(void *block, uint64_t *random)
{
    size_t size = random_size(random) + 16;
    check_filled(block);
    struct header h = *(struct header *)block;
    uint64_t *words = opaque(owl_realloc(block, size));
    check(words != NULL && owl_malloc_usable_size(words) >= size);
    size_t kept = size / 8 < h.words ? size / 8 : h.words;
    check(words[0] == h.seed && words[1] == h.words);
    for (size_t i = 2; i < kept; i += h.words > 1000 ? 61 : 1)
        check(words[i] == h.seed + i);
    fill(words, next_random(random));
    return words;
}

static void checked_free(void *block)
{
    if (block != NULL)
        check_filled(block);
    owl_free(block);
}

static void *swap_at_exchange(void *block, uint64_t *random)
{
    return (void *)owl_word_swap(&exchange[next_random(random) % EXCHANGE], (uintptr_t)block);
}

static void *work(void *argument)
{
    void *slots[SLOTS] = {NULL};
    uint64_t random = (uintptr_t)argument;
    for (int step = 0; step < RANDOM_ROUNDS(6000); step++) {
        void **slot = &slots[next_random(&random) % SLOTS];
        switch (next_random(&random) % 4) {
        case 0:
            *slot = swap_at_exchange(*slot, &random);
            break;
        case 1:
            if (*slot != NULL)
                *slot = random_resize(*slot, &random);
            break;
        default:
            checked_free(*slot);
            *slot = random_take(&random);
        }
    }
    /* half of what is left is left to others, if they have room */
    for (int i = 0; i < SLOTS; i++)
        checked_free(i % 2 ? slots[i] : swap_at_exchange(slots[i], &random));
    if (next_random(&random) % 4 == 0)
        owl_malloc_trim(0);
    return NULL;
}

static void check_nothing_is_left(void)
{
    struct owl_stats s;
    for (int i = 0; i < EXCHANGE; i++)
        checked_free((void *)owl_word_swap(&exchange[i], 0));
    owl_malloc_trim(0);
    owl_stats_get(&s);
    check(s.live_bytes == 0 && s.small_blocks == 0 && s.slabs == 0 && s.cached_bytes == 0);
    check(owl_pool_count().used == 0 && owl_pool_count().dirty == 0);
    check(owl_stats_heap_is_valid());
}

static void one_thread(void)
{
    for (uintptr_t seed = 1; seed <= 5; seed++) {
        work((void *)seed);
        check(owl_stats_heap_is_valid());
    }
    check_nothing_is_left();
}

static void threads_exchange_blocks(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t wave = 0; wave < 4; wave++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            check(pthread_create(&threads[i], NULL, work, (void *)(wave * 100 + i + 1)) == 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        check(owl_stats_heap_is_valid());
    }
    check_nothing_is_left();
}

/* Many short lives, so that slabs are abandoned and adopted while blocks are on their way home. */
static void *live_shortly(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    for (int i = 0; i < 200; i++) {
        void *p = owl_malloc(16 + next_random(&random) % 300);
        check(p != NULL);
        fill(p, next_random(&random));
        checked_free(swap_at_exchange(p, &random));
    }
    return NULL;
}

static void *start_short_lives(void *argument)
{
    for (uintptr_t i = 0; i < RANDOM_ROUNDS(300); i++) {
        pthread_t thread;
        check(pthread_create(&thread, NULL, live_shortly,
                             (void *)((uintptr_t)argument * 1000 + i + 1)) == 0);
        check(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

static void short_lives(void)
{
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, start_short_lives, (void *)(i + 1)) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    check(owl_stats_heap_is_valid());
    check_nothing_is_left();
}

/* One thread only takes, others only free. */
enum { PIPELINE = 20000 };

static owl_word ended;

static void *produce(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    for (int i = 0; i < RANDOM_ROUNDS(PIPELINE);) {
        owl_word *place = &exchange[next_random(&random) % EXCHANGE];
        if (owl_word_load_relaxed(place) != 0) {
            sched_yield();
            continue;
        }
        void *p = owl_malloc(16 + next_random(&random) % 1000);
        fill(p, next_random(&random));
        checked_free((void *)owl_word_swap(place, (uintptr_t)p));
        i++;
    }
    owl_word_store_release(&ended, 1);
    return NULL;
}

static void *consume(void *unused)
{
    (void)unused;
    while (owl_word_load_acquire(&ended) == 0)
        for (int i = 0; i < EXCHANGE; i++)
            checked_free((void *)owl_word_swap(&exchange[i], 0));
    return NULL;
}

static void producer_and_consumers(void)
{
    pthread_t threads[3];
    check(pthread_create(&threads[0], NULL, produce, (void *)(uintptr_t)1) == 0);
    check(pthread_create(&threads[1], NULL, consume, NULL) == 0);
    check(pthread_create(&threads[2], NULL, consume, NULL) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    check_nothing_is_left();
}

static atomic_bool purging;

static int slow_purge(void *start, size_t bytes)
{
    atomic_store(&purging, true);
    usleep(50000);
    return faults.real.purge(start, bytes);
}

static void *purge_all(void *unused)
{
    owl_pool_purge(0);
    return unused;
}

/* All that is free is being purged, and there are no more addresses: whoever wants memory has to
 * wait, because it is not true that there is none. */
static void takes_do_not_fail_while_another_purges(void)
{
    pthread_t thread;
    bool zero;
    owl_os_init();
    faults_install();
    check(owl_option_set("dirty", PTRDIFF_MAX) == 0); /* what is given back stays dirty */
    faults.reserve_most = (size_t)20 << 20;
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    faults.reserve_most = 0;
    struct owl_span *all = owl_pool_take(OWL_PRIVATE, owl_ranges[0].granules, 0, &zero);
    check(all != NULL);
    owl_pool_give(all, owl_ranges[0].granules);
    owl_os.purge = slow_purge;
    check(pthread_create(&thread, NULL, purge_all, NULL) == 0);
    while (!atomic_load(&purging))
        sched_yield();
    check(owl_pool_take(OWL_PRIVATE, 1, 0, &zero) != NULL);
    pthread_join(thread, NULL);
    check(owl_pool_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(one_thread),
        child_test(threads_exchange_blocks),
        child_test(short_lives),
        child_test(producer_and_consumers),
        child_test(takes_do_not_fail_while_another_purges),
    };
    return cmocka_run_group_tests_name("stress", tests, NULL, NULL);
}
