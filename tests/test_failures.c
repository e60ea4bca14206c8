/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The same work again and again, while the first, the second, ... system call of a kind fails, or
 * all from there on, until it passes without a failure. Then each refusal of memory is a NULL with
 * ENOMEM, no other block is harmed, the heap is whole, and it all works again afterwards.
 */
#include <errno.h>

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "pool.h"
#include "stats.h"

enum { SLOTS = 24 };

/* Ranges are so small that a block of this size has a mapping; those that always have one are too
 * large to be copied often. */
#define MAPPING ((size_t)17 << 20)
#define RESERVE_MOST ((size_t)20 << 20)

static const char *const call_names[] = {"reserve", "commit", "purge", "map", "remap", "unmap"};

struct slot {
    unsigned char *block;
    size_t size;
};

static struct slot slots[SLOTS];
static unsigned refusals;

/* A sample of a block's bytes; all of a small one. */
static size_t stride_of(size_t size)
{
    return size < 1000 ? 1 : size / 100;
}

static void stamp(const struct slot *s)
{
    for (size_t i = 0; i < s->size; i += stride_of(s->size))
        s->block[i] = (unsigned char)(i + s->size);
    s->block[s->size - 1] = 99;
}

static bool has_stamp(const struct slot *s, size_t size)
{
    for (size_t i = 0; i < s->size && i < size; i += stride_of(s->size))
        if (s->block[i] != (unsigned char)(i + s->size) && i != s->size - 1)
            return false;
    return size < s->size || s->block[s->size - 1] == 99;
}

static void fill_slot(struct slot *s, size_t size, size_t alignment, bool zero)
{
    errno = 0;
    s->size = size;
    s->block = opaque(zero ? owl_calloc(1, size) : owl_aligned_alloc(alignment, size));
    if (s->block == NULL) {
        check(errno == ENOMEM);
        refusals++;
        return;
    }
    check((uintptr_t)s->block % alignment == 0);
    for (size_t i = 0; zero && i < size; i += stride_of(size))
        check(s->block[i] == 0);
    stamp(s);
}

static void resize_slot(struct slot *s, size_t size)
{
    struct slot old = *s;
    errno = 0;
    s->block = opaque(owl_realloc(old.block, size));
    if (s->block == NULL) {
        check(errno == ENOMEM);
        refusals++;
        *s = old;
        check(has_stamp(s, s->size));
        return;
    }
    check(has_stamp(s, size));
    s->size = size;
    stamp(s);
}

static void empty_slot(struct slot *s)
{
    if (s->block == NULL)
        return;
    check(has_stamp(s, s->size));
    errno = 4711;
    owl_free(s->block);
    check(errno == 4711);
    s->block = NULL;
}

/* Uses every path that ends in a system call. */
static void work(void)
{
    static const size_t sizes[] = {20,     500,     8000,    30000,       70000,
                                   300000, 1000000, 3000000, MAPPING + 5, MAPPING * 2};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (size_t i = 0; i < SLOTS; i++)
        fill_slot(&slots[i], sizes[i % SIZES], i % 4 == 3 ? 65536 : 16, i % 4 == 2);
    for (size_t i = 0; i < SLOTS; i += 3)
        empty_slot(&slots[i]);
    for (size_t i = 1; i < SLOTS; i++)
        if (slots[i].block != NULL)
            resize_slot(&slots[i], i % 2 ? slots[i].size * 2 : slots[i].size / 2);
    owl_malloc_trim(0);
    for (size_t i = 0; i < SLOTS; i += 3)
        if (slots[i].block == NULL)
            fill_slot(&slots[i], sizes[(i + 4) % SIZES], 16, true);
    for (size_t i = 0; i < SLOTS; i++)
        empty_slot(&slots[i]);
    owl_malloc_trim(0);
}

static void check_all_free(void)
{
    struct owl_stats s;
    check(owl_stats_heap_is_valid());
    owl_stats_get(&s);
    check(s.live_bytes == 0);
}

static enum fault_call failing;
static unsigned long first_failing;
static bool and_all_later;

/* Exits with 7 if the call that was to fail was never made. */
static void work_with_failure(void)
{
    faults_install();
    faults.reserve_most = RESERVE_MOST;
    fault_at(failing, first_failing);
    if (and_all_later)
        faults.to[failing] = ULONG_MAX;
    work();
    check_all_free();
    bool reached = calls_of(failing) >= first_failing;
    if (!reached)
        check(refusals == 0);
    faults_clear();
    faults.reserve_most = RESERVE_MOST;
    refusals = 0;
    work();
    check(refusals == 0);
    check_all_free();
    if (!reached)
        _exit(7);
}

static void fail_each(enum fault_call call)
{
    failing = call;
    for (int later = 0; later < 2; later++) {
        and_all_later = later != 0;
        int status = 0;
        unsigned long n = 1;
        for (; status == 0; n += 1 + (SANITIZED ? n : n / 10)) {
            first_failing = n;
            status = child_status(work_with_failure);
            assert_in_range(n, 1, 1000);
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
            fail_msg("failing %s number %lu%s: status %#x", call_names[call], first_failing,
                     later ? " and all later" : "", (unsigned)status);
        /* the work does make such calls */
        assert_true(first_failing > 1);
    }
}

static void reserve_fails(void **state)
{
    (void)state;
    fail_each(FAULT_RESERVE);
}

static void commit_fails(void **state)
{
    (void)state;
    fail_each(FAULT_COMMIT);
}

static void purge_fails(void **state)
{
    (void)state;
    fail_each(FAULT_PURGE);
}

static void map_fails(void **state)
{
    (void)state;
    fail_each(FAULT_MAP);
}

static void remap_fails(void **state)
{
    (void)state;
    fail_each(FAULT_REMAP);
}

static void unmap_fails(void **state)
{
    (void)state;
    fail_each(FAULT_UNMAP);
}

/* No memory from the beginning: the very first calls. */
static void nothing_to_be_had(void)
{
    faults_install();
    faults.reserve_most = 0;
    fault_always(FAULT_MAP);
    errno = 0;
    check(owl_malloc(1) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_malloc(100000) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_calloc(10, 10) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_aligned_alloc(64, 64) == NULL && errno == ENOMEM);
    void *p = &errno;
    errno = 5;
    check(owl_posix_memalign(&p, 64, 64) == ENOMEM && p == &errno && errno == 5);
    owl_malloc_trim(0);
    check(owl_stats_heap_is_valid());
    faults_clear();
    work();
    check(refusals == 0);
    check_all_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reserve_fails), cmocka_unit_test(commit_fails),
        cmocka_unit_test(purge_fails),   cmocka_unit_test(map_fails),
        cmocka_unit_test(remap_fails),   cmocka_unit_test(unmap_fails),
        child_test(nothing_to_be_had),
    };
    return cmocka_run_group_tests_name("failures", tests, NULL, NULL);
}
