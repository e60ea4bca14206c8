/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * False sharing, and threads that are born and end.
 *
 * The idea of the first two, not the code: E. Berger, K. McKinley, R. Blumofe and P. Wilson, Hoard
 * (2000). A byte is written many times in blocks of 8 bytes; if two threads have blocks in one
 * cache line, this takes many times as long.
 */
#include "bench_work.h"

enum { SCRATCH_SIZE = 8, SCRATCH_WRITES = 300, CHURN_BLOCKS = 150, CHURN_LEFT = 16 };

static void scratch_loop(struct bench_thread *t, double blocks)
{
    for (uint64_t left = bench_share(t->bench, blocks); left > 0; left--) {
        volatile unsigned char *p = bench_malloc(SCRATCH_SIZE);

        for (unsigned i = 0; i < SCRATCH_SIZE; i++)
            p[i] = 0;
        for (unsigned i = 0; i < SCRATCH_WRITES; i++)
            p[i % SCRATCH_SIZE]++;
        t->sum += p[0];
        free((void *)p);
    }
}

static void thrash_life(struct bench_thread *t)
{
    scratch_loop(t, 1.5e6);
}

uint64_t bench_cache_thrash(struct bench *b)
{
    return bench_crew_all(b, thrash_life, NULL);
}

/* Each thread frees a block of the main thread's first, which an allocator may give it again. */
static void scratch_life(struct bench_thread *t)
{
    unsigned char **first = t->shared;

    free(first[t->index]);
    scratch_loop(t, 1.5e6);
}

uint64_t bench_cache_scratch(struct bench *b)
{
    unsigned char **first = bench_map(b->threads * sizeof(first[0]));

    for (unsigned i = 0; i < b->threads; i++)
        first[i] = bench_new(SCRATCH_SIZE);
    return bench_crew_all(b, scratch_life, first);
}

/* --- threads that come and go ------------------------------------------------------ */

struct churn {
    uint64_t random;
    uint64_t sum;
    struct bench_block left[CHURN_LEFT];        /* what the thread before has left */
};

/* A short life: free what was left, allocate and free, leave a few blocks to the next thread. */
static void *churn_life(void *argument)
{
    struct churn *c = argument;
    struct bench_block block[CHURN_BLOCKS];

    bench_empty_all(c->left, CHURN_LEFT);
    for (unsigned i = 0; i < CHURN_BLOCKS; i++) {
        bench_fill(&block[i], bench_skewed(&c->random, 16, 6));
        c->sum += block[i].size;
    }
    for (unsigned i = 0; i < CHURN_BLOCKS; i++)
        if (i < CHURN_LEFT)
            c->left[i] = block[i];
        else
            bench_empty(&block[i]);
    return NULL;
}

static void churn_lane(struct bench_thread *t)
{
    struct churn *c = bench_map(sizeof(*c));

    c->random = t->random;
    for (uint64_t left = bench_share(t->bench, 20e3); left > 0; left--)
        pthread_join(bench_start(churn_life, c), NULL);
    bench_empty_all(c->left, CHURN_LEFT);
    t->sum = c->sum;
}

uint64_t bench_thread_churn(struct bench *b)
{
    return bench_crew_all(b, churn_lane, NULL);
}
