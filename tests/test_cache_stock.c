/* SPDX-License-Identifier: BSD-2-Clause */
/* Medium blocks that threads keep for themselves. */
#include <owl/large.h>
#include <owl/option.h>
#include <owl/pages.h>
#include <pthread.h>

#include "alloc.h"
#include "child.h"
#include "death.h"
#include "due.h"
#include "option.h"
#include "pool.h"
#include "stats.h"

enum { KIB = 1 << 10, MIB = 1 << 20, MANY = 64 };

static void *blocks[MANY];

static size_t stocked(void)
{
    struct owl_cache_counts counts = {.blocks = 0};
    owl_cache_count(owl_cache_get(), &counts);
    return counts.stock_bytes;
}

static size_t used(void)
{
    return owl_pool_count().used << OWL_GRANULE_SHIFT;
}

/* Of every length, without the pool: what was freed last comes first. */
static void freed_blocks_are_handed_out_again(void)
{
    for (size_t n = 1; n <= OWL_STOCK_LENGTHS / 2; n++) {
        size_t bytes = n << OWL_GRANULE_SHIFT;
        char *p = owl_malloc(bytes), *q = owl_malloc(bytes - 5000);
        size_t all = used();
        check(p != NULL && q != NULL);
        owl_free(p);
        owl_free(q);
        check(stocked() == 2 * bytes && used() == all);
        check(owl_stats_heap_is_valid());
        check(owl_malloc(bytes - 100) == q && owl_malloc_usable_size(q) == bytes);
        check(owl_malloc(bytes - 8000) == p && owl_malloc_usable_size(p) <= bytes - 4096);
        check(stocked() == 0 && used() == all);
        owl_free(p);
        owl_free(q);
        owl_cache_flush(owl_cache_mine());
        check(stocked() == 0 && used() == 0);
    }
}

static void other_lengths_are_not(void)
{
    void *p = owl_malloc(300 * KIB);
    owl_free(p);
    check(stocked() == 320 * KIB);
    check(owl_malloc(200 * KIB) != p && owl_malloc(400 * KIB) != p);
    check(stocked() == 320 * KIB && owl_malloc(257 * KIB) == p);
}

static void zeroed_and_aligned(void)
{
    unsigned char *p = owl_malloc(200 * KIB);
    memset(p, 0xff, 200 * KIB);
    owl_free(p);
    check(owl_calloc(50 * KIB, 4) == p);
    for (size_t i = 0; i < 200 * KIB; i++)
        check(p[i] == 0);
    owl_free(p);
    void *q = owl_aligned_alloc(128 * KIB, 200 * KIB);
    check((uintptr_t)q % (128 * KIB) == 0);
}

/* Past the bound the others leave. */
static void it_is_bounded(void)
{
    for (size_t n = 1; n <= OWL_STOCK_LENGTHS; n++) {
        for (int i = 0; i < MANY; i++)
            check((blocks[i] = owl_malloc(n << OWL_GRANULE_SHIFT)) != NULL);
        for (int i = 0; i < MANY; i++) {
            owl_free(blocks[i]);
            check(stocked() > 0 && stocked() <= OWL_STOCK_BYTES);
        }
        check(owl_stats_heap_is_valid());
    }
    owl_free(owl_malloc(OWL_STOCK_MAX + 1));
    check(stocked() <= OWL_STOCK_BYTES);
    owl_cache_flush(owl_cache_mine());
    check(used() == 0);
}

static void *free_one(void *p)
{
    owl_free(p);
    check(stocked() == 128 * KIB);
    return NULL;
}

/* Whoever frees a block has it, for as long as the thread lives. */
static void the_freeing_thread_has_it(void)
{
    void *p = owl_malloc(100 * KIB);
    on_other_thread(free_one, p);
    check(stocked() == 0 && used() == 0);
}

static void *sleeping(void *barrier)
{
    owl_free(owl_malloc(512 * KIB));
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static void a_trim_takes_those_of_others(void)
{
    pthread_t thread;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    check(pthread_create(&thread, NULL, sleeping, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    check(used() == 512 * KIB);
    owl_trim(0);
    check(used() == 0);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}

static void they_are_due(void)
{
    void *p = owl_malloc(MIB);
    owl_trim(0);
    check(owl_due_now() == 0);
    owl_free(p);
    check(owl_due_now() == 1);
    check(owl_malloc(MIB) == p && owl_due_now() == 1);
    owl_trim(0);
    check(owl_due_now() == 0);
    owl_free(p);
    check(owl_due_now() == 1);
}

static void pages_use_it_too(void)
{
    void *p = owl_pages_alloc(100, 0);
    owl_pages_free(p, 0);
    check(stocked() > 0 && owl_pages_alloc(100, OWL_PAGES_RECYCLED) == p && stocked() == 0);
}

/* Their pages are not, or may not be, their span's own. */
static void shared_and_moved_ones_are_not_kept(void)
{
    void *p = owl_malloc(500 * KIB);
    memset(p, 1, 500 * KIB);
    void *q = owl_dup(p);
    check(q != NULL);
    owl_free(p);
    owl_free(q);
    void *ring = owl_ring(128 * KIB);
    check(ring != NULL);
    owl_free(ring);
    for (int i = 0; i < 2; i++)
        check((blocks[i] = owl_malloc(768 * KIB)) != NULL);
    memset(blocks[0], 1, 768 * KIB);
    owl_free(owl_realloc(blocks[0], MIB));
    const char *r = owl_malloc(MIB);
    owl_cache_flush(owl_cache_mine());
    check(r != NULL && owl_stats_heap_is_valid());
}

static void free_twice(void)
{
    void *p = culprit(owl_malloc(100 * KIB));
    owl_free(p);
    owl_free(p);
}

static void a_double_free_is_reported(void **state)
{
    (void)state;
    assert_death("free_twice", free_twice, "not an allocated block");
}

static void none_if_the_option_says_so(void)
{
    owl_option_force(OWL_OPTION_MAGAZINE, 0);
    owl_free(owl_malloc(100 * KIB));
    check(stocked() == 0 && used() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(freed_blocks_are_handed_out_again),
        child_test(other_lengths_are_not),
        child_test(zeroed_and_aligned),
        child_test(it_is_bounded),
        child_test(the_freeing_thread_has_it),
        child_test(a_trim_takes_those_of_others),
        child_test(they_are_due),
        child_test(pages_use_it_too),
        child_test(shared_and_moved_ones_are_not_kept),
        cmocka_unit_test(a_double_free_is_reported),
        child_test(none_if_the_option_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
