/* SPDX-License-Identifier: BSD-2-Clause */
/* What callers do wrong is found, and reported in one line. */
#include <limits.h>
#include <pthread.h>

#include "alloc.h"
#include "check.h"
#include "death.h"

#define FOREIGN "not memory of this allocator"
#define INTERIOR "points into a block"
#define INVALID "not an allocated block"
#define DOUBLE "double free"
#define SIZE "size larger than the block"

static void *other_frees(void *p)
{
    owl_free(p);
    return NULL;
}

static void *other_takes(void *size)
{
    return owl_malloc((size_t)(uintptr_t)size);
}

/* --- pointers that are none of ours --- */

static void foreign_stack(void)
{
    int on_stack[8] = {0};
    owl_free(owl_malloc(1));
    owl_free(culprit(on_stack));
}

static void foreign_static(void)
{
    static char bytes[64];
    owl_free(culprit(bytes));
}

static void foreign_before_first_call(void)
{
    static char bytes[64];
    owl_free(culprit(bytes + 16));
}

static void foreign_heap(void)
{
    owl_free(culprit(malloc(100)));
}

static void foreign_low(void)
{
    owl_free(owl_malloc(opaque_size(OWL_SPAN_MAX + 1)));
    owl_free(culprit((void *)0x1000));
}

static void foreign_high(void)
{
    owl_free(owl_malloc(1));
    owl_free(culprit((void *)(UINTPTR_MAX - 15)));
}

static void foreign_below_the_range(void)
{
    owl_free(owl_malloc(1));
    owl_free(culprit((char *)owl_page_map.base - 16));
}

static void foreign_above_the_range(void)
{
    owl_free(owl_malloc(1));
    owl_free(culprit((char *)owl_page_map.base + owl_word_load_relaxed(&owl_page_map.accessible)));
}

static void foreign_realloc(void)
{
    static char bytes[64];
    check(owl_realloc(culprit(bytes), 10) == NULL);
}

static void foreign_usable_size(void)
{
    static char bytes[64];
    check(owl_malloc_usable_size(culprit(bytes)) == 0);
}

static void foreign_pointers(void **state)
{
    (void)state;
    expect_death(foreign_stack, FOREIGN);
    expect_death(foreign_static, FOREIGN);
    expect_death(foreign_before_first_call, FOREIGN);
    expect_death(foreign_heap, FOREIGN);
    expect_death(foreign_low, FOREIGN);
    expect_death(foreign_high, FOREIGN);
    expect_death(foreign_below_the_range, FOREIGN);
    expect_death(foreign_above_the_range, FOREIGN);
    expect_death(foreign_realloc, FOREIGN);
    expect_death(foreign_usable_size, FOREIGN);
}

/* --- pointers into blocks --- */

static size_t case_size, case_offset;

static void interior_small(void)
{
    owl_free(culprit((char *)owl_malloc(case_size) + case_offset));
}

static void interior_small_remote(void)
{
    char *p = on_other_thread(other_takes, (void *)(uintptr_t)case_size);
    owl_free(culprit(p + case_offset));
}

static void interior_large(void)
{
    owl_free(culprit((char *)owl_malloc((size_t)1 << 20) + 16));
}

static void interior_large_realloc(void)
{
    check(owl_realloc(culprit((char *)owl_malloc((size_t)1 << 20) + 4096), 1) == NULL);
}

static void interior_mapping(void)
{
    char *p = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    check(p != NULL);
    owl_free(culprit(p + ((size_t)1 << 30)));
}

static void interior_mapping_end(void)
{
    char *p = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    owl_free(culprit(p + owl_malloc_usable_size(p) - 1));
}

static void interior_pointers(void **state)
{
    static const size_t sizes[] = {16, 48, 100, 500, 1000, 5000, 20000, 32768};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t usable = owl_good_size(sizes[i]);
        size_t offsets[] = {1, 8, usable - 1, usable > 16 ? 16 : 4, usable / 2};
        case_size = sizes[i];
        for (size_t k = 0; k < sizeof offsets / sizeof *offsets; k++) {
            case_offset = offsets[k];
            expect_death(interior_small, INTERIOR);
            if (i % 3 == 0)
                expect_death(interior_small_remote, INTERIOR);
        }
    }
    expect_death(interior_large, INTERIOR);
    expect_death(interior_large_realloc, INTERIOR);
    expect_death(interior_mapping, INTERIOR);
    expect_death(interior_mapping_end, INTERIOR);
}

/* --- where no block is --- */

/* What a slab's blocks leave over at its end: at a multiple of the size, and beside one. */
static void slab_tail(void)
{
    char *p = owl_malloc(case_size);
    const struct owl_span *s = owl_span_of(p);
    uintptr_t at = s->last + s->bytes + case_offset;
    check(at < s->start + (s->granules << OWL_GRANULE_SHIFT));
    owl_free(culprit((void *)at));
}

static void freed_large_granule(void)
{
    char *p = owl_malloc((size_t)256 << 10);
    void *keep = owl_malloc((size_t)256 << 10);
    check(keep != NULL);
    owl_free(p);
    owl_free(culprit(p + OWL_GRANULE));
}

static void inside_of_large_granules(void)
{
    owl_free(culprit((char *)owl_malloc((size_t)256 << 10) + OWL_GRANULE));
}

static void large_twice(void)
{
    char *p = owl_malloc((size_t)256 << 10);
    owl_free(p);
    owl_free(culprit(p));
}

static void large_twice_in_between(void)
{
    char *p = owl_malloc((size_t)256 << 10);
    char *q = owl_malloc((size_t)256 << 10);
    owl_free(p);
    owl_free(q);
    owl_free(culprit(q));
}

static void mapping_twice(void)
{
    char *p = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    owl_free(p);
    owl_free(culprit(p));
}

static void ended_slab(void)
{
    void *p = owl_malloc(1000);
    owl_free(p);
    owl_malloc_trim(0);
    owl_free(culprit(p));
}

static void places_without_blocks(void **state)
{
    (void)state;
    case_size = 48;
    case_offset = 0;
    expect_death(slab_tail, INTERIOR);
    case_offset = 8;
    expect_death(slab_tail, INTERIOR);
    case_size = 3000;
    case_offset = 16;
    expect_death(slab_tail, INTERIOR);
    expect_death(freed_large_granule, INVALID);
    expect_death(inside_of_large_granules, INVALID);
    expect_death(large_twice, INVALID);
    expect_death(large_twice_in_between, INVALID);
    expect_death(mapping_twice, FOREIGN);
    expect_death(ended_slab, INVALID);
}

/* --- double frees of small blocks --- */

static void double_at_once(void)
{
    void *p = owl_malloc(case_size);
    owl_free(p);
    owl_free(culprit(p));
}

static void double_after_others(void)
{
    void *p[100];
    for (int i = 0; i < 100; i++)
        p[i] = owl_malloc(case_size);
    for (int i = 0; i < 50; i++)
        owl_free(p[i]);
    owl_free(culprit(p[20]));
}

static void double_after_flush(void)
{
    void *p = owl_malloc(case_size);
    void *q = owl_malloc(case_size);
    check(q != NULL);
    owl_free(p);
    owl_cache_flush(owl_cache_mine());
    owl_free(culprit(p));
}

/* Its page was given back, and the mark with it: the second free is found when it comes home. */
static void double_after_purge(void)
{
    void *p = owl_malloc(64), *q = owl_malloc(64);
    check(q != NULL);
    while (((uintptr_t)q ^ (uintptr_t)p) < owl_os.page)
        q = owl_malloc(64);
    owl_free(p);
    owl_malloc_trim(0);
    owl_free(culprit(p));
    owl_malloc_trim(0);
}

static void double_by_other(void)
{
    void *p = owl_malloc(case_size);
    void *q = owl_malloc(case_size);
    check(q != NULL);
    owl_free(p);
    on_other_thread(other_frees, culprit(p));
}

static void double_after_other(void)
{
    void *p = owl_malloc(case_size);
    void *q = owl_malloc(case_size);
    check(q != NULL);
    on_other_thread(other_frees, p);
    owl_free(culprit(p));
}

static void double_remote(void)
{
    void *p = on_other_thread(other_takes, (void *)(uintptr_t)case_size);
    owl_free(p);
    owl_free(culprit(p));
}

static void double_by_realloc(void)
{
    void *p = owl_malloc(case_size);
    owl_free(p);
    check(owl_realloc(culprit(p), case_size * 3) == NULL);
}

static void double_by_calloc_and_sized(void)
{
    void *p = owl_calloc(1, case_size);
    owl_free(p);
    owl_free_sized(culprit(p), case_size);
}

static void double_frees(void **state)
{
    static const size_t sizes[] = {1, 16, 300, 4096, 32768};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        case_size = sizes[i];
        expect_death(double_at_once, DOUBLE);
        expect_death(double_after_flush, DOUBLE);
        expect_death(double_by_other, DOUBLE);
        expect_death(double_after_other, DOUBLE);
        expect_death(double_remote, DOUBLE);
        expect_death(double_by_realloc, DOUBLE);
        expect_death(double_by_calloc_and_sized, DOUBLE);
    }
    case_size = 64;
    expect_death(double_after_others, DOUBLE);
}

/* --- sizes --- */

static void sized_small(void)
{
    owl_free_sized(culprit(owl_malloc(100)), 113);
}

static void sized_large(void)
{
    owl_free_sized(culprit(owl_malloc(100000)), 200000);
}

static void sized_mapping(void)
{
    owl_free_aligned_sized(culprit(owl_malloc(opaque_size(OWL_SPAN_MAX + 1))), 16,
                           OWL_SPAN_MAX * 2);
}

static void too_large_sizes(void **state)
{
    (void)state;
    expect_death(sized_small, SIZE);
    expect_death(sized_large, SIZE);
    expect_death(sized_mapping, SIZE);
}

/* --- writes where nobody may write any more --- */

static int by_address(const void *a, const void *b)
{
    uintptr_t p = (uintptr_t) * (void *const *)a, q = (uintptr_t) * (void *const *)b;
    return (p > q) - (p < q);
}

/* Debug builds check the marks whenever they walk a cache. */
#ifdef OWL_DEBUG
enum { SPARED = sizeof(struct owl_block) };
#else
enum { SPARED = 0 };
#endif

/* They spoil no block but their own: there is nothing of the allocator's to be hit. */
static void writes_to_free_blocks_lead_nowhere(void)
{
    enum { N = 3000 };
    static const unsigned char patterns[] = {0, 0xff, 'x'};
    static void *p[N];
    for (size_t size = 16; size <= 40000; size = size * 3 + 16) {
        for (size_t i = 0; i < N; i++)
            p[i] = owl_malloc(size);
        for (size_t i = 0; i < N; i += 2) {
            owl_free(p[i]);
            if (size <= OWL_SMALL_MAX)
                memset((char *)opaque(p[i]) + SPARED, patterns[i % 3], size - SPARED);
        }
        if (size > 1000)
            owl_malloc_trim(0);
        for (size_t i = 0; i < N; i += 2) {
            p[i] = owl_malloc(size);
            check(p[i] != NULL && owl_malloc_usable_size(p[i]) >= size);
        }
        qsort(p, N, sizeof *p, by_address);
        for (size_t i = 1; i < N; i++)
            check((char *)p[i - 1] + size <= (char *)p[i]);
        for (size_t i = 0; i < N; i++)
            owl_free(p[i]);
    }
}

/* Who wipes the mark before freeing again is found out when the block comes home. */
static void double_over_wiped_mark(void)
{
    char *p = owl_malloc(64);
    char *q = owl_malloc(64);
    owl_free(p);
    memset(opaque(p), 0, 16);
    owl_free(culprit(p));
    check(q != NULL);
    owl_malloc_trim(0);
}

static void allocate_once_more(int signal_number)
{
    (void)signal_number;
    owl_free(owl_malloc(64));
    owl_free(owl_malloc(100000));
}

/* No lock is held while a fault is reported. */
static void double_with_handler(void)
{
    signal(SIGABRT, allocate_once_more);
    double_over_wiped_mark();
}

static void double_frees_found_at_home(void **state)
{
    (void)state;
    expect_death(double_over_wiped_mark, DOUBLE);
    expect_death(double_with_handler, DOUBLE);
    expect_death(double_after_purge, DOUBLE);
}

/* --- the report itself --- */

static void report_longest(void)
{
    owl_report(OWL_FAULT_DOUBLE, &(struct owl_corruption){.pointer = culprit((void *)UINTPTR_MAX),
                                                          .block = (void *)UINTPTR_MAX,
                                                          .bytes = SIZE_MAX,
                                                          .size_class = INT32_MAX,
                                                          .owner = (void *)UINTPTR_MAX,
                                                          .thread = ULONG_MAX});
}

static void report_shortest(void)
{
    owl_report(OWL_FAULT_SIZE, &(struct owl_corruption){
                                   .pointer = culprit((void *)1), .bytes = 1, .size_class = -1});
}

static void reports_are_one_line(void **state)
{
    (void)state;
    expect_death(report_longest,
                 "(block of 18446744073709551615 bytes at 0xffffffffffffffff, class 2147483647, "
                 "owner 0xffffffffffffffff of thread 0xffffffffffffffff)\n");
    expect_death(report_shortest, "(block of 1 bytes)\n");
}

/* Nothing of all that is seen where nothing is wrong. */
static void no_false_alarms(void)
{
    void *p[64];
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 64; i++) {
            p[i] = owl_malloc(i * 40 + 1);
            memset(opaque(p[i]), 0, i * 40 + 1);
        }
        for (size_t i = 0; i < 64; i++)
            owl_free_sized(p[i * 29 % 64], i * 29 % 64 * 40 + 1);
    }
    owl_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(foreign_pointers),
        cmocka_unit_test(interior_pointers),
        cmocka_unit_test(places_without_blocks),
        cmocka_unit_test(double_frees),
        cmocka_unit_test(too_large_sizes),
        child_test(writes_to_free_blocks_lead_nowhere),
        cmocka_unit_test(double_frees_found_at_home),
        cmocka_unit_test(reports_are_one_line),
        child_test(no_false_alarms),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
