/* SPDX-License-Identifier: BSD-2-Clause */
/* realloc between all kinds of blocks: contents, addresses, and what is given back. */
#include <errno.h>

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "pool.h"
#include "stats.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 7 + (i >> 8) * 3 + (i >> 16));
}

static void write_pattern(void *p, size_t from, size_t to)
{
    unsigned char *b = opaque(p);
    for (size_t i = from; i < to; i++)
        b[i] = byte_at(i);
}

static bool has_pattern(const void *p, size_t to)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < to; i++)
        if (b[i] != byte_at(i))
            return false;
    return true;
}

static void contents_are_kept(void)
{
    static const size_t sizes[] = {1,          15,         16,         17,        100,
                                   1000,       4096,       32 * KIB,   32 * KIB + 1, 60 * KIB,
                                   64 * KIB,   64 * KIB + 1, 128 * KIB, 200 * KIB, 256 * KIB + 1};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (size_t i = 0; i < SIZES; i++)
        for (size_t k = 0; k < SIZES; k++) {
            void *p = owl_malloc(sizes[i]);
            write_pattern(p, 0, sizes[i]);
            errno = 77;
            void *q = opaque(owl_realloc(p, sizes[k]));
            check(q != NULL && errno == 77);
            check(owl_malloc_usable_size(q) >= sizes[k]);
            check(has_pattern(q, sizes[i] < sizes[k] ? sizes[i] : sizes[k]));
            write_pattern(q, 0, sizes[k]);
            owl_free(q);
        }
    owl_malloc_trim(0);
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void growing_and_shrinking_by_steps(void)
{
    char *p = NULL;
    size_t size = 0;
    for (size_t next = 1; next < 3 * MIB; next += next / 3 + 1) {
        p = owl_realloc(p, next);
        check(p != NULL && has_pattern(p, size));
        write_pattern(p, size, next);
        size = next;
    }
    while (size > 1) {
        size -= size / 4 + 1;
        p = owl_realloc(p, size == 0 ? 1 : size);
        check(p != NULL && has_pattern(p, size));
        check(owl_stats_heap_is_valid());
    }
    owl_free(p);
}

static void small_blocks_stay_where_they_fit(void)
{
    void *p = owl_malloc(1000);
    size_t usable = owl_malloc_usable_size(p);
    for (size_t size = usable / 2; size <= usable; size++)
        check(opaque(owl_realloc(p, size)) == p);
    char *q = opaque(owl_realloc(p, 16));
    check(q != p && owl_malloc_usable_size(q) == 16);
    check(opaque(owl_realloc(q, 1)) == q); /* there is no smaller block */
    owl_free(q);
}

static void shrinking_gives_memory_back(void)
{
    void *p = owl_malloc(8 * MIB);
    write_pattern(p, 0, 8 * MIB);
    size_t full = owl_pool_count().used;
    check(opaque(owl_realloc(p, 3 * MIB)) == p);
    check(owl_pool_count().used < full / 2 && owl_malloc_usable_size(p) == 3 * MIB);
    check(opaque(owl_realloc(p, 65 * KIB)) == p);
    check(owl_pool_count().used == 2);
    check(has_pattern(p, 65 * KIB));
    char *q = owl_realloc(p, 100);
    check(has_pattern(q, 100));
    owl_free(q);
    owl_malloc_trim(0);
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void growing_keeps_the_address_if_what_follows_is_free(void)
{
    char *p = owl_malloc(4 * MIB);
    write_pattern(p, 0, 64 * KIB);
    check(opaque(owl_realloc(p, 64 * KIB)) == p);
    for (size_t size = 64 * KIB; size <= 4 * MIB; size += 100 * KIB)
        check(opaque(owl_realloc(p, size)) == p);
    check(has_pattern(p, 64 * KIB));
    /* now something stands in the way */
    check(opaque(owl_realloc(p, 64 * KIB)) == p);
    void *wall = NULL;
    while (wall != p + 64 * KIB) {
        wall = owl_malloc(64 * KIB);
        check(wall != NULL);
    }
    write_pattern(wall, 0, 64 * KIB);
    char *q = opaque(owl_realloc(p, MIB));
    check(q != NULL && q != p && has_pattern(q, 64 * KIB) && has_pattern(wall, 64 * KIB));
    check(owl_stats_heap_is_valid());
}

/* Sparse: only the ends of the blocks are touched. */
static void across_the_border_of_mappings(void)
{
    size_t small = GIB - 64 * KIB;
    char *p = owl_malloc(opaque_size(small));
    check(p != NULL);
    write_pattern(p, 0, 100 * KIB);
    p[small - 1] = 42;
    char *q = opaque(owl_realloc(p, opaque_size(GIB)));
    check(q != NULL && has_pattern(q, 100 * KIB) && q[small - 1] == 42);
    owl_free(q);

    p = owl_malloc(opaque_size(GIB + MIB));
    check(p != NULL && owl_span_of(p) == NULL);
    write_pattern(p, 0, 100 * KIB);
    p[GIB] = 43;
    p = owl_realloc(p, opaque_size(3 * GIB));
    check(p != NULL && has_pattern(p, 100 * KIB) && p[GIB] == 43 && p[3 * GIB - 1] == 0);
    check(owl_malloc_usable_size(p) == 3 * GIB);
    p = owl_realloc(p, 200 * KIB);
    check(p != NULL && has_pattern(p, 100 * KIB) && owl_malloc_usable_size(p) == 200 * KIB);
    p = owl_realloc(p, 50);
    check(p != NULL && has_pattern(p, 50));
    owl_free(p);
    owl_malloc_trim(0);
    struct owl_stats s;
    owl_stats_get(&s);
    check(s.live_bytes == 0 && owl_stats_heap_is_valid());
}

/* A block that grows past the border copies what was touched at its start and end. */
static void from_span_to_mapping(void)
{
    char *p = owl_malloc(1 * MIB);
    write_pattern(p, 0, MIB);
    char *wall = owl_malloc(1 * MIB);
    check(wall != NULL);
    char *q = owl_realloc(p, opaque_size(GIB + 1));
    check(q != NULL && has_pattern(q, MIB));
    q[GIB] = 1;
    owl_free(q);
    owl_free(wall);
    check(owl_stats_heap_is_valid());
}

static void aligned_blocks_may_be_resized(void)
{
    for (size_t alignment = 32; alignment <= MIB; alignment *= 2) {
        char *p = owl_aligned_alloc(alignment, 1000);
        write_pattern(p, 0, 1000);
        p = owl_realloc(p, 300 * KIB);
        check(p != NULL && has_pattern(p, 1000));
        p = owl_realloc(p, 20);
        check(p != NULL && has_pattern(p, 20));
        owl_free(p);
    }
    owl_malloc_trim(0);
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

/* With no memory at all a block can still shrink, and one that cannot grow is unchanged. */
static void no_memory(void)
{
    char *small = owl_malloc(1000), *large = owl_malloc(MIB);
    char *mapping = owl_malloc(opaque_size(GIB + 1));
    write_pattern(small, 0, 1000);
    write_pattern(large, 0, MIB);
    write_pattern(mapping, 0, MIB);
    faults_install();
    faults.reserve_most = 0;
    fault_always(FAULT_COMMIT);
    fault_always(FAULT_MAP);
    fault_always(FAULT_REMAP);
    errno = 0;
    check(owl_realloc(small, 4 * GIB) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_realloc(large, 900 * MIB) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_realloc(mapping, 4 * GIB) == NULL && errno == ENOMEM);
    check(has_pattern(small, 1000) && has_pattern(large, MIB) && has_pattern(mapping, MIB));
    errno = 3;
    mapping = owl_realloc(mapping, 2 * MIB);
    check(mapping != NULL && has_pattern(mapping, MIB));
    small = owl_realloc(small, 8);
    check(small != NULL && has_pattern(small, 8));
    large = owl_realloc(large, 100);
    check(large != NULL && has_pattern(large, 100));
    check(errno == 3);
    owl_free(small);
    owl_free(large);
    owl_free(mapping);
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(contents_are_kept),
        child_test(growing_and_shrinking_by_steps),
        child_test(small_blocks_stay_where_they_fit),
        child_test(shrinking_gives_memory_back),
        child_test(growing_keeps_the_address_if_what_follows_is_free),
        child_test(across_the_border_of_mappings),
        child_test(from_span_to_mapping),
        child_test(aligned_blocks_may_be_resized),
        child_test(no_memory),
    };
    return cmocka_run_group_tests_name("realloc", tests, NULL, NULL);
}
