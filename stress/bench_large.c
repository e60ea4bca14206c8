/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Medium and large blocks, and fragmentation. Large blocks in a server are an idea of the authors
 * of mimalloc's benchmarks, freeing most and taking other sizes is from B. Powers et al., Mesh
 * (2019).
 */
#include <string.h>

#include "bench_work.h"

enum {
    KIB = 1024, MIB = 1024 * 1024, PAGE = 4096,
    LARGE_KEPT = 20, MEDIUM_SLOTS = 24,
    FRAGMENT_FIRST = 1200000, FRAGMENT_LEAST = 16, FRAGMENT_SPAN = 225
};

/* The first quarter of each block is touched, page by page. */
uint64_t bench_large(struct bench *b)
{
    struct bench_block *kept = bench_map(LARGE_KEPT * sizeof(kept[0]));
    uint64_t random = bench_seed(b, 0);
    uint64_t sum = 0;

    for (uint64_t left = bench_count(b, 2000); left > 0; left--) {
        size_t size = MIB + bench_below(&random, 24 * MIB);
        struct bench_block block;

        bench_fill(&block, size);
        for (size_t at = PAGE; at < size / 4; at += PAGE)
            block.p[at] = 1;
        sum += size;
        if (bench_below(&random, 4) == 0) {
            struct bench_block *old = &kept[bench_below(&random, LARGE_KEPT)];

            bench_empty(old);
            *old = block;
        } else {
            bench_empty(&block);
        }
    }
    bench_empty_all(kept, LARGE_KEPT);
    return sum;
}

/* --- medium ------------------------------------------------------------------------ */

static void medium_loop(struct bench_thread *t, uint64_t count, bool full)
{
    struct bench_block *slot = bench_map(MEDIUM_SLOTS * sizeof(slot[0]));

    for (; count > 0; count--) {
        struct bench_block *one = &slot[bench_below(&t->random, MEDIUM_SLOTS)];
        size_t size = bench_skewed(&t->random, 32 * KIB, 5);

        bench_empty(one);
        bench_fill(one, size);
        if (full) {
            memset(one->p, (unsigned char)size, size);
            /* The compiler has to believe that somebody reads it. */
            __asm__ volatile("" : : "r"(one->p) : "memory");
        }
        t->sum += size;
    }
    bench_empty_all(slot, MEDIUM_SLOTS);
}

static void medium_life(struct bench_thread *t)
{
    medium_loop(t, bench_share(t->bench, 600e3), false);
}

static void medium_full_life(struct bench_thread *t)
{
    medium_loop(t, bench_share(t->bench, 30e3), true);
}

uint64_t bench_medium(struct bench *b)
{
    return bench_crew_all(b, medium_life, NULL);
}

uint64_t bench_medium_full(struct bench *b)
{
    return bench_crew_all(b, medium_full_life, NULL);
}

/* --- fragmentation ------------------------------------------------------------------- */

/*
 * About 150 MB in small blocks; nine in ten, at random, are freed; then as many bytes are taken in
 * sizes from 256 to 2,047. What is resident then is what is noted. The first sizes are below 256,
 * so that a block's mark is its size.
 */
uint64_t bench_fragmentation(struct bench *b)
{
    uint64_t count = bench_count(b, FRAGMENT_FIRST);
    uint64_t room = count / 8 + 1;
    unsigned char **first = bench_map(count * sizeof(first[0]));
    struct bench_block *second = bench_map(room * sizeof(second[0]));
    uint64_t random = bench_seed(b, 0);
    uint64_t sum = 0;
    uint64_t freed = 0;
    uint64_t taken = 0;

    for (uint64_t i = 0; i < count; i++) {
        first[i] = bench_new(FRAGMENT_LEAST + bench_below(&random, FRAGMENT_SPAN));
        sum += first[i][0];
    }
    for (uint64_t i = 0; i < count; i++)
        if (bench_below(&random, 10) != 0) {
            freed += first[i][0];
            bench_end(first[i], first[i][0]);
            first[i] = NULL;
        }
    while (taken < room && freed > 0) {
        size_t size = 256 + bench_below(&random, 1792);

        bench_fill(&second[taken++], size);
        memset(second[taken - 1].p, (unsigned char)size, size);
        sum += 3 * size;
        freed -= freed < size ? freed : size;
    }
    bench_kept(b);
    for (uint64_t i = 0; i < count; i++)
        if (first[i] != NULL)
            bench_end(first[i], first[i][0]);
    bench_empty_all(second, taken);
    return sum;
}
