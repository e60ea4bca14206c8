/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts against allocations that are known. */
#include <errno.h>
#include <owl/option.h>
#include <pthread.h>

#include "alloc.h"
#include "child.h"
#include "os.h"
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
    check(s.live_bytes == 0 && s.threads == 0 && s.slabs == 0 && s.slab_bytes == 0);
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
        check(s.live_bytes == bytes);
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
    check(s.live_bytes == 0 && s.slabs == 0 && s.slab_bytes == 0 && s.small_blocks == 0);
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
    check(s.large_bytes == 1 << 20 && s.cached_bytes == 2 * OWL_GRANULE && s.dirty_bytes == 0);
    owl_cache_flush(owl_cache_mine());
    s = counts();
    check(s.large_bytes == 1 << 20 && s.cached_bytes == 0 && s.dirty_bytes == 2 * OWL_GRANULE);
    owl_free(q);
    s = counts();
    check(s.large_bytes == 0 && s.live_bytes == 0 && s.cached_bytes == 1 << 20);
}

static void mappings_are_counted(void)
{
    void *p = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    void *q = owl_malloc(opaque_size(OWL_SPAN_MAX * 2));
    struct owl_stats s = counts();
    check(s.mapping_blocks == 2);
    check(s.mapping_bytes == owl_malloc_usable_size(p) + owl_malloc_usable_size(q));
    check(s.live_bytes == s.mapping_bytes);
    owl_free(p);
    owl_free(q);
    s = counts();
    check(s.mapping_blocks == 0 && s.mapping_bytes == 0);
}

static pthread_barrier_t told;

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
    check(s.cached_bytes > 0); /* by the cache that the next thread will get */
    owl_cache_reclaim_all(false);
    s = counts();
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

static void *hold_until_told(void *blocks)
{
    take_for_others(blocks);
    pthread_barrier_wait(&told);
    pthread_barrier_wait(&told);
    return NULL;
}

struct rows {
    struct owl_stats_thread rows[8];
    size_t n;
};

static void add_row(const struct owl_stats_thread *row, void *context)
{
    struct rows *r = context;
    size_t slabs = 0, out = 0, cached = 0;
    check(row->class_count == OWL_CLASSES);
    for (size_t i = 0; i < row->class_count; i++) {
        const struct owl_stats_class *class = &row->classes[i];
        check(class->block_bytes == owl_classes[i].size);
        slabs += class->slabs;
        out += (class->blocks + class->cached) * class->block_bytes;
        cached += class->cached * class->block_bytes;
    }
    check(slabs == row->slabs && out == row->out_bytes && cached <= row->cached_bytes);
    check(r->n < 8);
    r->rows[r->n++] = *row;
}

static struct rows thread_rows(void)
{
    struct rows r = {.n = 0};
    owl_stats_threads(add_row, &r);
    check(r.n > 0 && r.rows[r.n - 1].thread == 0);
    return r;
}

static const struct owl_stats_thread *row_of(const struct rows *r, pthread_t thread)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->rows[i].thread == (unsigned long)thread)
            return &r->rows[i];
    return NULL;
}

/* The rows of all threads come to the counts of the whole. */
static void rows_add_up(const struct rows *r)
{
    struct owl_stats s = counts();
    size_t slabs = 0, bytes = 0, out = 0, cached = 0, threads = 0;
    for (size_t i = 0; i < r->n; i++) {
        slabs += r->rows[i].slabs;
        bytes += r->rows[i].slab_bytes;
        out += r->rows[i].out_bytes;
        cached += r->rows[i].cached_bytes;
        threads += r->rows[i].thread != 0;
    }
    check(slabs == s.slabs && bytes == s.slab_bytes && threads == s.threads);
    check(cached == s.cached_bytes && out == s.small_bytes + s.cached_bytes);
}

static void each_thread_has_its_row(void)
{
    static void *blocks[100];
    pthread_t thread;
    void *mine = owl_malloc(64);
    pthread_barrier_init(&told, NULL, 2);
    check(pthread_create(&thread, NULL, hold_until_told, blocks) == 0);
    pthread_barrier_wait(&told);
    struct rows r = thread_rows();
    const struct owl_stats_thread *his = row_of(&r, thread), *own = row_of(&r, pthread_self());
    check(r.n == 3 && his != NULL && own != NULL && counts().threads == 2);
    check(his->slabs == 1 && his->slab_bytes == OWL_GRANULE);
    check(his->out_bytes == 6400 + his->cached_bytes);
    check(own->slabs == 1 && own->out_bytes == 64 + own->cached_bytes);
    check(r.rows[2].slabs == 0 && r.rows[2].out_bytes == 0);
    rows_add_up(&r);

    /* What is gathered for another thread counts as cached, and as remote. */
    size_t cached = own->cached_bytes;
    for (int i = 0; i < 10; i++)
        owl_free(blocks[i]);
    check(counts().remote_bytes == 640 && counts().small_bytes == 5760 + 64);
    r = thread_rows();
    check(row_of(&r, pthread_self())->cached_bytes == cached + 640);
    rows_add_up(&r);

    pthread_barrier_wait(&told);
    pthread_join(thread, NULL);
    owl_cache_reclaim_all(false);
    r = thread_rows();
    check(r.n == 2 && r.rows[0].thread == (unsigned long)pthread_self());
    check(r.rows[1].slabs == 1 && r.rows[1].out_bytes == 6400 && r.rows[1].cached_bytes == 0);
    check(counts().threads == 1 && counts().caches == 2);
    rows_add_up(&r);
    owl_free(mine);
}

/* In a child of fork there is one thread; what the others had belongs to no thread. */
static void a_forked_child_counts_its_one_thread(void)
{
    static void *blocks[100];
    pthread_t thread;
    owl_free(owl_malloc(64));
    pthread_barrier_init(&told, NULL, 2);
    check(pthread_create(&thread, NULL, hold_until_told, blocks) == 0);
    pthread_barrier_wait(&told);
    check(counts().threads == 2);
    pid_t pid = fork();
    if (pid == 0) {
        struct rows r = thread_rows();
        check(counts().threads == 1 && r.n == 2 && r.rows[1].slabs == 1);
        check(r.rows[0].thread == (unsigned long)pthread_self());
        rows_add_up(&r);
        _exit(0);
    }
    check(child_wait(pid) == 0);
    check(counts().threads == 2);
    pthread_barrier_wait(&told);
    pthread_join(thread, NULL);
}

struct class_sums {
    size_t rows, slabs, bytes, cached, last;
    struct owl_stats_class of64, of1024;
};

static void add_class(const struct owl_stats_class *row, void *context)
{
    struct class_sums *sums = context;
    check(row->block_bytes > sums->last);
    sums->last = row->block_bytes;
    sums->rows++;
    sums->slabs += row->slabs;
    sums->bytes += row->blocks * row->block_bytes;
    sums->cached += row->cached * row->block_bytes;
    if (row->block_bytes == 64)
        sums->of64 = *row;
    if (row->block_bytes == 1024)
        sums->of1024 = *row;
}

static struct class_sums class_sums(void)
{
    struct class_sums sums = {.rows = 0};
    owl_stats_classes(add_class, &sums);
    struct owl_stats s = counts();
    check(sums.rows == OWL_CLASSES && sums.last == OWL_SMALL_MAX && sums.slabs == s.slabs);
    check(sums.bytes == s.small_bytes + s.remote_bytes);
    check(sums.cached == s.cached_bytes - s.remote_bytes);
    return sums;
}

static void each_class_has_its_row(void)
{
    static void *blocks[100];
    pthread_t thread;
    void *p[200];
    check(class_sums().slabs == 0);
    for (int i = 0; i < 200; i++)
        p[i] = owl_malloc(1000);
    struct class_sums c = class_sums();
    check(c.of1024.blocks == 200 && c.of1024.slabs == 4 && c.of64.slabs == 0);
    for (int i = 0; i < 50; i++)
        owl_free(p[i]);
    c = class_sums();
    check(c.of1024.blocks == 150 && c.of1024.cached >= 10);

    check(pthread_create(&thread, NULL, take_for_others, blocks) == 0);
    pthread_join(thread, NULL);
    owl_cache_reclaim_all(false);
    c = class_sums();
    check(c.of64.blocks == 100 && c.of64.cached == 0 && c.of64.slabs == 1);
    for (int i = 0; i < 10; i++)
        owl_free(blocks[i]);
    c = class_sums();
    check(c.of64.blocks == 100 && counts().remote_bytes == 640); /* on their way */
    owl_trim(0);
    c = class_sums();
    check(c.of64.blocks == 90 && c.of64.cached == 0 && counts().remote_bytes == 0);
}

/* The peak is that of spans and mappings together, and stays. */
static void the_peak_is_the_most_there_was(void)
{
    check(counts().peak_bytes == 0);
    void *p = owl_malloc(10 << 20);
    owl_free(p);
    check(counts().peak_bytes == 10 << 20);
    owl_free(owl_malloc(5 << 20));
    check(counts().peak_bytes == 10 << 20);
    p = owl_realloc(owl_malloc(5 << 20), 12 << 20);
    check(counts().peak_bytes >= 12 << 20 && counts().peak_bytes <= 17 << 20);
    size_t before = counts().peak_bytes;
    void *q = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    size_t mapped = owl_malloc_usable_size(q);
    check(counts().peak_bytes == mapped + (12 << 20) && mapped > before);
    q = owl_realloc(q, 2 * OWL_SPAN_MAX);
    check(counts().peak_bytes == 2 * OWL_SPAN_MAX + (12 << 20));
    owl_free(q);
    owl_free(p);
    owl_trim(0);
    check(counts().peak_bytes == 2 * OWL_SPAN_MAX + (12 << 20) && counts().live_bytes == 0);
    owl_free(owl_malloc(10 << 20));
    check(counts().peak_bytes == 2 * OWL_SPAN_MAX + (12 << 20));
}

static size_t no_resident(void)
{
    errno = ENOENT;
    return 0;
}

static void resident_is_that_of_the_process(void)
{
    struct owl_stats s;
    char *p = owl_malloc(64 << 20);
    owl_stats(&s);
    size_t before = s.resident_bytes;
    check(before > 0 && s.large_bytes == 64 << 20);
    memset(p, 1, 64 << 20);
    owl_stats(&s);
    check(s.resident_bytes > before + (60 << 20));
    owl_free(p);
    owl_trim(0);
    owl_stats(&s);
    check(SANITIZED || s.resident_bytes < before + (4 << 20));
    owl_os.resident = no_resident;
    memset(&s, 0xff, sizeof s);
    errno = 9;
    owl_stats(&s);
    check(s.resident_bytes == 0 && errno == 9 && s.peak_bytes == 64 << 20);
    for (size_t i = 0; i < sizeof s.reserved / sizeof *s.reserved; i++)
        check(s.reserved[i] == 0);
}

static void trim_says_what_it_gave_back(void)
{
    check(owl_trim(0) == 0 && owl_option_set("dirty", 8 << 20) == 0);
    owl_free(owl_malloc(8 << 20));
    check(owl_trim(8 << 20) == 0);
    check(owl_trim(3 << 20) >= 5 << 20);
    size_t dirty = counts().dirty_bytes;
    check(dirty <= 3 << 20);
    errno = 9;
    check(owl_trim(0) == dirty && errno == 9 && counts().dirty_bytes == 0);
    owl_free(owl_malloc(64));
    check(counts().cached_bytes > 0);
    check(owl_trim(0) == OWL_GRANULE && counts().cached_bytes == 0 && counts().slabs == 0);
}

/* A visitor may allocate. */
static void allocate_for_row(const struct owl_stats_thread *row, void *blocks)
{
    check(row->slabs < 1000);
    void **end = blocks;
    while (*end != NULL)
        end++;
    *end = owl_malloc(500);
}

static void visitors_may_allocate(void)
{
    void *blocks[4] = {owl_malloc(100)};
    owl_stats_threads(allocate_for_row, blocks);
    check(blocks[2] != NULL && blocks[3] == NULL);
    check(owl_stats_heap_is_valid());
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
        struct rows r = thread_rows();
        check(r.n <= 4);
        owl_stats_classes(add_class, &(struct class_sums){.rows = 0});
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    struct owl_stats s = counts();
    check(s.live_bytes == 0);
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
    f->granules++;
    check(!owl_stats_heap_is_valid());
    f->granules--;
    owl_cache_flush(owl_cache_mine());
    f->run++;
    check(!owl_stats_heap_is_valid());
    f->run--;
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
        child_test(each_thread_has_its_row),
        child_test(a_forked_child_counts_its_one_thread),
        child_test(each_class_has_its_row),
        child_test(the_peak_is_the_most_there_was),
        child_test(resident_is_that_of_the_process),
        child_test(trim_says_what_it_gave_back),
        child_test(visitors_may_allocate),
        child_test(counts_while_threads_allocate),
        child_test(invalid_heaps_are_seen),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
