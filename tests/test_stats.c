/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts against allocations that are known. */
#include <pthread.h>

#include "alloc.h"
#include "child.h"
#include "pool.h"
#include "stats.h"

static struct owl_stats counts(void)
{
    struct owl_stats s;
    owl_stats_get(&s);
    return s;
}

static void nothing_counts_nothing(void)
{
    struct owl_stats s = counts();
    check(owl_stats_live(&s) == 0 && s.threads == 0 && s.slabs == 0 && s.slab_bytes == 0);
    check(s.dirty_bytes == 0 && s.clean_bytes == 0 && s.mapping_blocks == 0);
    check(owl_stats_heap_is_valid());
}

static void small_blocks_are_counted(void)
{
    static void *blocks[3000];
    size_t bytes = 0, n = 0;
    for (size_t i = 0; i < 3000; i++) {
        blocks[i] = owl_malloc(i % 500);
        bytes += owl_malloc_usable_size(blocks[i]);
        struct owl_stats s = counts();
        check(s.small_blocks == i + 1 && s.small_bytes == bytes);
        check(owl_stats_live(&s) == bytes);
    }
    n = 3000;
    for (size_t i = 0; i < 3000; i += 2, n--) {
        bytes -= owl_malloc_usable_size(blocks[i]);
        owl_free(blocks[i]);
        struct owl_stats s = counts();
        check(s.small_blocks == n - 1 && s.small_bytes == bytes);
    }
    struct owl_stats s = counts();
    check(s.slabs >= 24 && s.slab_bytes >= s.small_bytes + s.cached_bytes);
    check(s.threads == 1 && s.large_bytes == 0 && s.cached_bytes > 0);
    owl_malloc_trim(0);
    s = counts();
    check(s.cached_bytes == 0 && s.small_bytes == bytes && s.dirty_bytes == 0);
    for (size_t i = 1; i < 3000; i += 2)
        owl_free(blocks[i]);
    owl_malloc_trim(0);
    s = counts();
    check(owl_stats_live(&s) == 0 && s.slabs == 0 && s.slab_bytes == 0 && s.small_blocks == 0);
    check(owl_stats_heap_is_valid());
}

static void large_blocks_are_counted_in_granules(void)
{
    void *p = owl_malloc(100000), *q = owl_malloc(1 << 20);
    struct owl_stats s = counts();
    check(s.large_bytes == 2 * OWL_GRANULE + (1 << 20));
    check(s.small_blocks == 0 && s.mapping_blocks == 0);
    owl_free(p);
    s = counts();
    check(s.large_bytes == 1 << 20 && s.dirty_bytes == 2 * OWL_GRANULE);
    owl_free(q);
    s = counts();
    check(s.large_bytes == 0 && owl_stats_live(&s) == 0);
}

static void mappings_are_counted(void)
{
    void *p = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    void *q = owl_malloc(opaque_size(OWL_SPAN_MAX * 2));
    struct owl_stats s = counts();
    check(s.mapping_blocks == 2);
    check(s.mapping_bytes == owl_malloc_usable_size(p) + owl_malloc_usable_size(q));
    check(owl_stats_live(&s) == s.mapping_bytes);
    owl_free(p);
    owl_free(q);
    s = counts();
    check(s.mapping_blocks == 0 && s.mapping_bytes == 0);
}

static void *take_for_others(void *blocks)
{
    for (int i = 0; i < 100; i++)
        ((void **)blocks)[i] = owl_malloc(64);
    return NULL;
}

static void orphans_and_remote_frees_are_counted(void)
{
    static void *blocks[100];
    pthread_t thread;
    check(pthread_create(&thread, NULL, take_for_others, blocks) == 0);
    pthread_join(thread, NULL);
    struct owl_stats s = counts();
    check(s.small_blocks == 100 && s.small_bytes == 6400 && s.slabs == 1);
    check(s.cached_bytes == 0);
    for (size_t i = 0; i < 100; i++) {
        owl_free(blocks[i]);
        s = counts();
        check(s.small_blocks == 99 - i && s.small_bytes == 6400 - 64 * (i + 1));
    }
    owl_malloc_trim(0);
    s = counts();
    check(s.slabs == 0 && s.threads == 1);
}

/* Counts may be asked for at any time. */
static void *churn(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS(30000); i++)
        owl_free(owl_malloc((size_t)i % 3000));
    return NULL;
}

static void counts_while_threads_allocate(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        check(pthread_create(&threads[i], NULL, churn, NULL) == 0);
    for (int i = 0; i < 100; i++) {
        struct owl_stats s = counts();
        check(s.small_bytes < (size_t)1 << 30 && s.cached_bytes < (size_t)1 << 30);
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct owl_stats s = counts();
    check(owl_stats_live(&s) == 0);
}

/* The walks see what is wrong. */
static void invalid_heaps_are_seen(void)
{
    void *p = owl_malloc(64);
    void *large = owl_malloc(100000);
    struct owl_span *s = owl_span_of(p);
    check(owl_stats_heap_is_valid());
    s->free_blocks++;
    check(!owl_stats_heap_is_valid());
    s->free_blocks--;
    owl_span_bits(s)[s->first_word] ^= (uint64_t)1 << 63;
    check(!owl_stats_heap_is_valid());
    owl_span_bits(s)[s->first_word] ^= (uint64_t)1 << 63;
    s->class++;
    check(!owl_stats_heap_is_valid());
    s->class--;
    check(owl_stats_heap_is_valid());
    struct owl_span *f = owl_span_of(large);
    owl_free(large);
    f->order++;
    check(!owl_stats_heap_is_valid());
    f->order--;
    f->free = OWL_FREE_CLEAN;
    check(!owl_pool_is_valid());
    f->free = OWL_FREE_DIRTY;
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(nothing_counts_nothing),
        child_test(small_blocks_are_counted),
        child_test(large_blocks_are_counted_in_granules),
        child_test(mappings_are_counted),
        child_test(orphans_and_remote_frees_are_counted),
        child_test(counts_while_threads_allocate),
        child_test(invalid_heaps_are_seen),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
