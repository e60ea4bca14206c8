/* SPDX-License-Identifier: BSD-2-Clause */
/* The public functions, one thread: what owl.h says of each. */
#include <errno.h>

#include "alloc.h"
#include "child.h"
#include "os.h"
#include "pool.h"
#include "stats.h"

enum { ERRNO_MARK = 12345 };

static const size_t sizes[] = {0,     1,     15,    16,    17,     127,     128,     129,     500,
                               1024,  4095,  4096,  8000,  32767,  32768,   32769,   65535,   65536,
                               65537, 98304, 98305, 1u << 20, (1u << 20) + 1, 5u << 20};
#define SIZES (sizeof sizes / sizeof *sizes)

/* Every byte that may be used is used. */
static void fill(void *p, int byte)
{
    memset(opaque(p), byte, owl_malloc_usable_size(p));
}

static bool is_filled(const void *p, int byte, size_t bytes)
{
    const unsigned char *b = p;
    return bytes == 0 || (b[0] == (unsigned char)byte && memcmp(b, b + 1, bytes - 1) == 0);
}

static void malloc_gives_blocks_apart(void)
{
    unsigned char *blocks[SIZES * 4];
    for (size_t i = 0; i < SIZES * 4; i++) {
        size_t size = sizes[i % SIZES];
        blocks[i] = opaque(owl_malloc(size));
        check(blocks[i] != NULL);
        check((uintptr_t)blocks[i] % 16 == 0);
        check(owl_malloc_usable_size(blocks[i]) >= size);
        check(owl_malloc_usable_size(blocks[i]) > 0);
        fill(blocks[i], (int)i);
    }
    for (size_t i = 0; i < SIZES * 4; i++)
        check(is_filled(blocks[i], (int)i, owl_malloc_usable_size(blocks[i])));
    check(owl_stats_heap_is_valid());
    for (size_t i = 0; i < SIZES * 4; i++)
        owl_free(blocks[i]);
    check(owl_stats_heap_is_valid());
    owl_free(NULL);
}

static void size_zero_gives_a_block(void)
{
    void *blocks[100];
    for (int i = 0; i < 100; i++) {
        blocks[i] = owl_malloc(0);
        check(blocks[i] != NULL);
        for (int j = 0; j < i; j++)
            check(opaque(blocks[i]) != opaque(blocks[j]));
    }
    for (int i = 0; i < 100; i++)
        owl_free(blocks[i]);
    void *p = owl_calloc(0, 8);
    void *q = owl_calloc(8, 0);
    check(p != NULL && q != NULL && opaque(p) != opaque(q));
    owl_free(p);
    owl_free(q);
    p = owl_realloc(NULL, 0);
    check(p != NULL);
    owl_free(p);
}

/* A size of 0 at every alignment, too: such a block still needs a place of its own. */
static void size_zero_at_any_alignment(void)
{
    for (size_t alignment = 1; alignment <= (size_t)2 << 30; alignment *= 2) {
        void *p = owl_aligned_alloc(alignment, opaque_size(0));
        void *q = owl_aligned_alloc(alignment, opaque_size(0));
        check(p != NULL && q != NULL && opaque(p) != opaque(q));
        check((uintptr_t)p % alignment == 0 && (uintptr_t)q % alignment == 0);
        check(owl_stats_heap_is_valid());
        owl_free(p);
        owl_free(q);
        check(owl_stats_heap_is_valid());
    }
}

static void realloc_to_zero_frees(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        owl_malloc_trim(0);
        void *p = owl_malloc(sizes[i]);
        errno = ERRNO_MARK;
        check(owl_realloc(p, 0) == NULL);
        check(errno == ERRNO_MARK);
        owl_malloc_trim(0);
        check(owl_pool_count().used == 0);
    }
}

static void aligned_alloc_any_size(void)
{
    static const size_t some[] = {1, 24, 100, 4096, 5000, 32768, 32769, 100000, 1u << 20};
    for (size_t alignment = 1; alignment <= (size_t)16 << 20; alignment *= 2)
        for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
            unsigned char *blocks[3];
            for (int k = 0; k < 3; k++) {
                blocks[k] = opaque(owl_aligned_alloc(alignment, some[i]));
                check(blocks[k] != NULL);
                check((uintptr_t)blocks[k] % alignment == 0);
                check(owl_malloc_usable_size(blocks[k]) >= some[i]);
                memset(blocks[k], k, some[i]);
            }
            for (int k = 0; k < 3; k++)
                check(is_filled(blocks[k], k, some[i]));
            for (int k = 0; k < 3; k++)
                owl_free(blocks[k]);
        }
    owl_malloc_trim(0);
    check(owl_pool_count().used == 0);
    check(owl_stats_heap_is_valid());
}

static void aligned_alloc_refuses_odd_alignments(void)
{
    static const size_t odd[] = {0, 3, 24, 48, 4097, SIZE_MAX, ((size_t)1 << 63) + 1};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        errno = 0;
        check(owl_aligned_alloc(odd[i], 64) == NULL);
        check(errno == EINVAL);
    }
    errno = 0;
    check(owl_aligned_alloc((size_t)1 << 63, 64) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_aligned_alloc((size_t)1 << 62, 64) == NULL && errno == ENOMEM);
}

static void posix_memalign_reports_by_result(void)
{
    void *const untouched = &errno;
    void *p = untouched;
    errno = ERRNO_MARK;
    check(owl_posix_memalign(&p, 0, 8) == EINVAL);
    check(owl_posix_memalign(&p, 3, 8) == EINVAL);
    check(owl_posix_memalign(&p, 4, 8) == EINVAL);
    check(owl_posix_memalign(&p, 24, 8) == EINVAL);
    check(owl_posix_memalign(&p, 64, opaque_size(SIZE_MAX)) == ENOMEM);
    check(owl_posix_memalign(&p, 8, opaque_size(PTRDIFF_MAX)) == ENOMEM);
    check(owl_posix_memalign(&p, (size_t)1 << 63, 8) == ENOMEM);
    check(p == untouched);
    for (size_t alignment = sizeof(void *); alignment <= (size_t)4 << 20; alignment *= 2) {
        check(owl_posix_memalign(&p, alignment, 1000) == 0);
        check(p != untouched && p != NULL && (uintptr_t)p % alignment == 0);
        owl_free(p);
        p = untouched;
    }
    check(errno == ERRNO_MARK);
}

static void memalign_rounds_alignments_up(void)
{
    for (size_t alignment = 0; alignment < 300; alignment++) {
        size_t wanted = 1;
        while (wanted < alignment)
            wanted *= 2;
        void *p = owl_memalign(alignment, 10);
        check(p != NULL && (uintptr_t)p % wanted == 0);
        owl_free(p);
    }
    void *p = owl_memalign(((size_t)1 << 20) - 1, 1);
    check((uintptr_t)p % ((size_t)1 << 20) == 0);
    owl_free(p);
    errno = 0;
    check(owl_memalign(SIZE_MAX, 1) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_memalign(((size_t)1 << 63) - 1, 1) == NULL && errno == ENOMEM);
}

static void valloc_and_pvalloc(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < SIZES; i++) {
        void *p = owl_valloc(sizes[i]);
        void *q = owl_pvalloc(sizes[i]);
        check(p != NULL && (uintptr_t)p % page == 0 && owl_malloc_usable_size(p) >= sizes[i]);
        check(q != NULL && (uintptr_t)q % page == 0);
        check(owl_malloc_usable_size(q) >= owl_round_up(sizes[i], page));
        owl_free(p);
        owl_free(q);
    }
}

static void check_refused(const void *p)
{
    check(p == NULL);
    check(errno == ENOMEM);
    errno = 0;
}

static void impossible_sizes_are_refused(void)
{
    static const size_t huge[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 4095,
                                  SIZE_MAX - 65535, PTRDIFF_MAX, PTRDIFF_MAX - 4096,
                                  (size_t)1 << 62};
    void *p = owl_malloc(100);
    fill(p, 7);
    errno = 0;
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        size_t n = opaque_size(huge[i]);
        check_refused(owl_malloc(n));
        check_refused(owl_calloc(1, n));
        check_refused(owl_calloc(n, 1));
        check_refused(owl_realloc(NULL, n));
        check_refused(owl_realloc(p, n));
        check_refused(owl_reallocarray(p, 1, n));
        check_refused(owl_aligned_alloc(16, n));
        check_refused(owl_aligned_alloc(4096, n));
        check_refused(owl_aligned_alloc((size_t)1 << 40, n));
        check_refused(owl_memalign(64, n));
        check_refused(owl_valloc(n));
        check_refused(owl_pvalloc(n));
        check(owl_good_size(n) == 0 || n <= PTRDIFF_MAX);
    }
    check(is_filled(p, 7, owl_malloc_usable_size(p)));
    owl_free(p);
}

static void overflowing_products_are_refused(void)
{
    size_t half = opaque_size((size_t)1 << 32);
    void *p = owl_malloc(100);
    fill(p, 9);
    errno = 0;
    check_refused(owl_calloc(half, half));
    check_refused(owl_calloc(opaque_size(SIZE_MAX / 2), 3));
    check_refused(owl_calloc(half + 1, half));
    check_refused(owl_reallocarray(p, half, half));
    check_refused(owl_reallocarray(p, half + 1, half));
    check_refused(owl_reallocarray(NULL, opaque_size(SIZE_MAX / 2), 3));
    check(is_filled(p, 9, owl_malloc_usable_size(p)));
    p = owl_reallocarray(p, 100, 100);
    check(p != NULL && is_filled(p, 9, 100) && owl_malloc_usable_size(p) >= 10000);
    check(owl_reallocarray(p, 0, 100) == NULL);
}

/* Blocks are used and freed first, so that calloc gets used ones. */
static void calloc_is_zero_on_used_memory(void)
{
    for (size_t round = 0; round < 3; round++)
        for (size_t size = 1; size < (size_t)3 << 20; size += size / 9 + 1) {
            void *used[4];
            for (int i = 0; i < 4; i++) {
                used[i] = owl_malloc(size);
                fill(used[i], 0xa5);
            }
            for (int i = 0; i < 4; i++)
                owl_free(used[i]);
            for (int i = 0; i < 4; i++) {
                used[i] = round == 0 ? owl_calloc(1, size) : owl_calloc(size, 1);
                check(is_filled(used[i], 0, size));
                fill(used[i], 0x5a);
            }
            for (int i = 0; i < 4; i++)
                owl_free(used[i]);
            if (round == 2)
                owl_malloc_trim(0);
        }
}

static int purge_failing(void *start, size_t bytes)
{
    (void)start;
    (void)bytes;
    errno = EPERM;
    return -1;
}

/* Freeing 64 MiB makes the pool purge, with and without success. */
static void free_keeps_errno(void)
{
    void *blocks[64];
    for (int round = 0; round < 2; round++) {
        if (round == 1)
            owl_os.purge = purge_failing;
        for (int i = 0; i < 64; i++)
            blocks[i] = owl_malloc((size_t)1 << 20);
        for (int i = 0; i < 64; i++) {
            errno = ERRNO_MARK;
            owl_free(blocks[i]);
            check(errno == ERRNO_MARK);
        }
        void *huge = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
        void *small = owl_malloc(24);
        check(huge != NULL);
        errno = ERRNO_MARK;
        owl_free_sized(small, 24);
        owl_free(huge);
        owl_free(NULL);
        owl_malloc_trim(0);
        check(errno == ERRNO_MARK);
    }
}

static void good_size_is_usable_size(void)
{
    size_t step = SANITIZED ? 64 : 512;
    for (size_t n = 0; n <= (size_t)4 << 20; n += 1 + n / step) {
        void *p = owl_malloc(n);
        size_t usable = owl_malloc_usable_size(p);
        check(usable >= n);
        check(owl_good_size(n) == usable);
        check(owl_good_size(usable) == usable);
        owl_free(p);
    }
    void *p = owl_malloc(opaque_size(OWL_SPAN_MAX + 5000));
    check(owl_malloc_usable_size(p) == owl_good_size(OWL_SPAN_MAX + 5000));
    owl_free(p);
    check(owl_malloc_usable_size(NULL) == 0);
    check(owl_good_size((size_t)PTRDIFF_MAX + 1) == 0);
}

static void good_size_may_be_the_first_call(void)
{
    check(owl_good_size(100001) == owl_round_up(100001, (size_t)sysconf(_SC_PAGESIZE)));
}

static void sized_frees_take_true_sizes(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        owl_free_sized(owl_malloc(sizes[i]), sizes[i]);
        owl_free_aligned_sized(owl_aligned_alloc(256, sizes[i]), 256, sizes[i]);
    }
    owl_free_sized(NULL, 100);
    owl_free_aligned_sized(NULL, 64, 100);
    owl_malloc_trim(0);
    check(owl_pool_count().used == 0);
}

static void trim_gives_memory_back(void)
{
    check(owl_malloc_trim(0) == 0);
    void *p = owl_malloc((size_t)4 << 20);
    void *q = owl_malloc(100);
    fill(p, 1);
    owl_free(p);
    owl_free(q);
    check(owl_malloc_trim((size_t)64 << 20) == 0);
    check(owl_pool_count().dirty > 0);
    check(owl_malloc_trim(0) == 1);
    check(owl_pool_count().dirty == 0 && owl_pool_count().used == 0);
    check(owl_malloc_trim(0) == 0);
}

static void version_is_that_of_the_header(void)
{
    check(strcmp(owl_version(), OWL_VERSION) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(malloc_gives_blocks_apart),
        child_test(size_zero_gives_a_block),
        child_test(size_zero_at_any_alignment),
        child_test(realloc_to_zero_frees),
        child_test(aligned_alloc_any_size),
        child_test(aligned_alloc_refuses_odd_alignments),
        child_test(posix_memalign_reports_by_result),
        child_test(memalign_rounds_alignments_up),
        child_test(valloc_and_pvalloc),
        child_test(impossible_sizes_are_refused),
        child_test(overflowing_products_are_refused),
        child_test(calloc_is_zero_on_used_memory),
        child_test(free_keeps_errno),
        child_test(good_size_is_usable_size),
        child_test(good_size_may_be_the_first_call),
        child_test(sized_frees_take_true_sizes),
        child_test(trim_gives_memory_back),
        child_test(version_is_that_of_the_header),
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
