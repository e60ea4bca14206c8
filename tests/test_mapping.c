/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks in mappings of their own, against a shadow table. */
#include <pthread.h>

#include "child.h"
#include "faults.h"
#include "mapping.h"

enum { MAPPINGS = 700, PAGE = 4096 };

static struct {
    unsigned char *start;
    size_t bytes;
} shadow[MAPPINGS];

static void set_up(void)
{
    owl_os_init();
    faults_install();
}

static size_t number_of_all(void)
{
    size_t number, bytes;
    owl_mapping_count(&number, &bytes);
    return number;
}

static size_t bytes_of_all(void)
{
    size_t number, bytes;
    owl_mapping_count(&number, &bytes);
    return bytes;
}

static void blocks_are_zero_and_known(void)
{
    set_up();
    check(owl_mapping_bytes(&shadow) == 0 && !owl_mapping_contains(&shadow));
    check(!owl_mapping_end(&shadow) && number_of_all() == 0);
    unsigned char *p = owl_mapping_make(100001, 16, 0);
    check(p != NULL);
    size_t bytes = owl_mapping_bytes(p);
    check(bytes == owl_round_up(100001, owl_os.page));
    for (size_t i = 0; i < bytes; i++)
        check(p[i] == 0);
    check(owl_mapping_contains(p) && owl_mapping_contains(p + bytes - 1));
    check(!owl_mapping_contains(p + bytes) && !owl_mapping_contains(p - 1));
    check(owl_mapping_bytes(p + 1) == 0 && !owl_mapping_end(p + 4096));
    check(number_of_all() == 1 && bytes_of_all() == bytes);
    check(owl_mapping_end(p));
    check(!owl_mapping_end(p) && owl_mapping_bytes(p) == 0 && !owl_mapping_contains(p));
    check(number_of_all() == 0 && bytes_of_all() == 0);
    check(owl_mapping_bytes(NULL) == 0 && !owl_mapping_end(NULL) && !owl_mapping_contains(NULL));
    /* no trace is left in the table either */
    for (uintptr_t low = 0; low < bytes; low += 16)
        check(!owl_mapping_contains((void *)low));
}

static void starts_are_aligned(void)
{
    set_up();
    for (size_t alignment = 1; alignment <= (size_t)1 << 31; alignment *= 2) {
        unsigned char *p = owl_mapping_make(50000, alignment, 0);
        check(p != NULL && (uintptr_t)p % alignment == 0);
        memset(p, 1, 50000);
        check(owl_mapping_end(p));
    }
    check(owl_mapping_make(50000, (size_t)1 << 62, 0) == NULL);
    check(owl_mapping_make(SIZE_MAX / 2, (size_t)1 << 63, 0) == NULL);
    check(number_of_all() == 0);
}

static void check_all(size_t expected)
{
    size_t bytes = 0, number = 0;
    for (int i = 0; i < MAPPINGS; i++) {
        if (shadow[i].start == NULL)
            continue;
        check(owl_mapping_bytes(shadow[i].start) == shadow[i].bytes);
        check(shadow[i].start[shadow[i].bytes - 1] == (unsigned char)i);
        bytes += shadow[i].bytes;
        number++;
    }
    check(number == expected && number_of_all() == number && bytes_of_all() == bytes);
}

/* The table grows several times, and entries that collided are moved back on removal. */
static void random_calls_keep_the_table_right(void)
{
    uint64_t random = 11;
    size_t expected = 0;
    set_up();
    for (int step = 0; step < 6000; step++) {
        int i = (int)(next_random(&random) % MAPPINGS);
        size_t bytes = PAGE * (1 + next_random(&random) % 4);
        if (shadow[i].start == NULL) {
            shadow[i].start = owl_mapping_make(bytes, 16, 0);
            expected++;
        } else if (next_random(&random) % 3 == 0) {
            void *old = shadow[i].start;
            size_t first = shadow[i].bytes < bytes ? shadow[i].bytes - 1 : 0;
            shadow[i].start = owl_mapping_resize(old, bytes);
            check(shadow[i].start != NULL);
            check(first == 0 || shadow[i].start[first] == (unsigned char)i);
            check(shadow[i].start == old || owl_mapping_bytes(old) == 0);
        } else {
            check(owl_mapping_end(shadow[i].start));
            shadow[i].start = NULL;
            expected--;
            continue;
        }
        check(shadow[i].start != NULL);
        shadow[i].bytes = bytes;
        shadow[i].start[bytes - 1] = (unsigned char)i;
        if (step % 500 == 0)
            check_all(expected);
    }
    check_all(expected);
    for (int i = 0; i < MAPPINGS; i++)
        check(shadow[i].start == NULL || owl_mapping_end(shadow[i].start));
    check(number_of_all() == 0 && bytes_of_all() == 0);
}

/* The table cannot grow: the block that did not get in is not left behind. */
static void refused_maps(void)
{
    set_up();
    fault_at(FAULT_MAP, 1);
    check(owl_mapping_make(PAGE, 16, 0) == NULL);
    fault_at(FAULT_MAP, 2);
    check(owl_mapping_make(PAGE, 16, 0) == NULL);
    check(calls_of(FAULT_MAP) == 2 && calls_of(FAULT_UNMAP) == 1 && number_of_all() == 0);
    fault_never(FAULT_MAP);
    for (int i = 0; i < 128; i++) /* until the table has to grow once more */
        check((shadow[i].start = owl_mapping_make(PAGE, 16, 0)) != NULL);
    fault_at(FAULT_MAP, 2);
    fault_never(FAULT_UNMAP);
    check(owl_mapping_make(PAGE, 16, 0) == NULL);
    check(calls_of(FAULT_UNMAP) == 1 && number_of_all() == 128);
    for (int i = 0; i < 128; i++)
        check(owl_mapping_bytes(shadow[i].start) == PAGE);
    fault_never(FAULT_MAP);
    check(owl_mapping_make(PAGE, 16, 0) != NULL && number_of_all() == 129);
}

static void refused_unmaps_give_the_memory_back(void)
{
    set_up();
    unsigned char *p = owl_mapping_make(10 * PAGE, 16, 0);
    memset(p, 1, 10 * PAGE);
    fault_always(FAULT_UNMAP);
    check(owl_mapping_end(p));
    check(calls_of(FAULT_PURGE) == 1 && p[0] == 0 && p[10 * PAGE - 1] == 0);
    check(number_of_all() == 0);
    check((p = owl_mapping_make(PAGE, (size_t)1 << 20, 0)) != NULL); /* with more around it */
    check((uintptr_t)p % ((size_t)1 << 20) == 0 && owl_mapping_bytes(p) == PAGE);
}

static void refused_remaps_change_nothing(void)
{
    set_up();
    unsigned char *p = owl_mapping_make(PAGE, 16, 0);
    p[7] = 7;
    fault_always(FAULT_REMAP);
    p = owl_mapping_resize(p, 3 * PAGE); /* a new mapping, and the pages move there */
    check(p != NULL && p[7] == 7 && owl_mapping_bytes(p) == 3 * PAGE && number_of_all() == 1);
    fault_always(FAULT_MOVE);
    check(owl_mapping_resize(p, 2 * PAGE) == NULL);
    check(owl_mapping_bytes(p) == 3 * PAGE && p[7] == 7 && number_of_all() == 1);
    fault_never(FAULT_MOVE);
    fault_always(FAULT_MAP);
    check(owl_mapping_resize(p, 2 * PAGE) == NULL && owl_mapping_grow_front(p, PAGE) == NULL);
    check(owl_mapping_bytes(p) == 3 * PAGE && p[7] == 7 && number_of_all() == 1);
    check(owl_mapping_resize(p + 1, PAGE) == NULL);
    fault_never(FAULT_MAP);
    fault_never(FAULT_REMAP);
    p = owl_mapping_resize(p, 2 * PAGE);
    check(p != NULL && p[7] == 7 && owl_mapping_bytes(p) == 2 * PAGE && bytes_of_all() == 2 * PAGE);
}

static void *worker(void *unused)
{
    unsigned char *mine[10] = {NULL};
    uint64_t random = (uintptr_t)&mine | 1;
    (void)unused;
    for (int step = 0; step < RANDOM_ROUNDS(4000); step++) {
        unsigned char **p = &mine[next_random(&random) % 10];
        if (*p == NULL) {
            *p = owl_mapping_make(2 * PAGE, 16, 0);
            check(*p != NULL && **p == 0);
        } else if (step % 2 == 0) {
            *p = owl_mapping_resize(*p, PAGE * (1 + next_random(&random) % 5));
            check(*p != NULL && **p == 1);
        } else {
            check(owl_mapping_bytes(*p) != 0 && **p == 1 && owl_mapping_end(*p));
            *p = NULL;
        }
        if (*p != NULL)
            **p = 1;
    }
    for (int i = 0; i < 10; i++)
        check(mine[i] == NULL || owl_mapping_end(mine[i]));
    return NULL;
}

static void threads_share_the_table(void)
{
    pthread_t threads[4];
    set_up();
    for (int i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, worker, NULL) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    check(number_of_all() == 0 && bytes_of_all() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(blocks_are_zero_and_known),
        child_test(starts_are_aligned),
        child_test(random_calls_keep_the_table_right),
        child_test(refused_maps),
        child_test(refused_unmaps_give_the_memory_back),
        child_test(refused_remaps_change_nothing),
        child_test(threads_share_the_table),
    };
    return cmocka_run_group_tests_name("mapping", tests, NULL, NULL);
}
