/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * More live blocks that grow by moving pages than a process may have mappings.
 */
#include <stdio.h>

#include "child.h"
#include "os.h"
#include "stats.h"

#include <owl/owl.h>

enum { BLOCKS = 100000, LEAST = 40 << 10, MOST = 200 << 10 };

static struct {
    unsigned *start;
    size_t bytes;
} live[BLOCKS];

/* A page of each block is resident, and some more while it grows. */
#define NEEDED ((size_t)1 << 30)

static size_t available(void)
{
    char line[128];
    unsigned long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %lu", &kilobytes) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kilobytes << 10;
}

static void blocks_grow_at_random(void)
{
    uint64_t random = 11;
    unsigned moved = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        live[i].bytes = LEAST + next_random(&random) % 1000;
        live[i].start = owl_malloc(live[i].bytes);
        check(live[i].start != NULL);
        *live[i].start = i;
    }
    for (unsigned step = 0; step < BLOCKS; step++) {
        unsigned i = (unsigned)(next_random(&random) % BLOCKS);
        unsigned *before = live[i].start;
        live[i].bytes += next_random(&random) % (MOST - LEAST);
        live[i].start = owl_realloc(before, live[i].bytes);
        check(live[i].start != NULL && *live[i].start == i);
        moved += live[i].start != before;
    }
    check(moved > BLOCKS / 4);
    check(owl_os.mapping_count() < owl_os.mapping_limit());
    for (unsigned i = 0; i < BLOCKS; i++) {
        check(*live[i].start == i);
        owl_free(live[i].start);
    }
    owl_trim(0);
    check(owl_stats_heap_is_valid());
}

static void many_blocks(void **state)
{
    (void)state;
    /* with all walks that check the heap it would take hours */
    if (SANITIZED || available() < NEEDED || owl_os.mapping_limit() == 0)
        skip();
    assert_true(child_succeeds(blocks_grow_at_random));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_blocks)};
    return cmocka_run_group_tests_name("many_blocks", tests, NULL, NULL);
}
