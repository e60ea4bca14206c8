/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_work: what the workloads of owl-bench-work have in common. It is the process that
 * stress/bench measures, one workload with one allocator, which is whatever malloc is in it.
 *
 * A workload is a function and a line in the table of bench_work.c. It makes a number of calls that
 * follows from --scale, --threads and --seed alone, in threads of its own, which have ended when it
 * returns; its sum then tells what it did, and must be the same with every allocator. Tables come
 * from bench_map(); all else comes from malloc, called directly, and nothing prints.
 */
#ifndef OWL_STRESS_BENCH_WORK_H
#define OWL_STRESS_BENCH_WORK_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "work_random.h"

enum { BENCH_THREADS_MAX = 256 };

struct bench {
    uint64_t threads;
    uint64_t seed;
    double scale;
    const char *trace;          /* a file, for the workload that replays one; NULL: none */
    uint64_t wall_ns;           /* set by a workload that has a clock of its own */
    uint64_t kept_rss;          /* resident at the point that bench_kept() marked, or at the end */
};

struct bench_kind {
    const char *name;
    const char *about;
    bool threaded;              /* heeds --threads */
    uint64_t (*run)(struct bench *b);
};

/* One thread of a workload. Its fields are its own until it has ended. */
struct bench_thread {
    struct bench *bench;
    void *shared;               /* the workload's own */
    unsigned index;
    uint64_t random;
    uint64_t sum;
    pthread_t id;
    void (*life)(struct bench_thread *t);
} __attribute__((aligned(128)));

/* A live block, as tables have it; p is NULL where there is none. */
struct bench_block {
    unsigned char *p;
    uint32_t size;
};

/* The workloads, by file. */
uint64_t bench_alloc_uniform(struct bench *b), bench_alloc_skewed(struct bench *b),
         bench_sh6(struct bench *b), bench_sh8(struct bench *b),
         bench_glibc_simple(struct bench *b), bench_glibc_thread(struct bench *b),
         bench_realloc(struct bench *b);
uint64_t bench_larson(struct bench *b), bench_mstress(struct bench *b),
         bench_rptest(struct bench *b);
uint64_t bench_xmalloc_pairs(struct bench *b), bench_xmalloc_funnel(struct bench *b);
uint64_t bench_cache_scratch(struct bench *b), bench_cache_thrash(struct bench *b),
         bench_thread_churn(struct bench *b);
uint64_t bench_large(struct bench *b), bench_medium(struct bench *b),
         bench_medium_full(struct bench *b), bench_fragmentation(struct bench *b);
uint64_t bench_bignum(struct bench *b);
uint64_t bench_cubes(struct bench *b);
uint64_t bench_tree(struct bench *b);
uint64_t bench_memtest_uniform(struct bench *b), bench_memtest_small(struct bench *b),
         bench_memtest_producer(struct bench *b), bench_tcl_trace(struct bench *b);

/* End the process, with a reason on standard error. Any thread; allocates nothing. */
void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Zeroed memory that is resident already, from the system. */
void *bench_map(size_t bytes);

/* --scale times `count`, at least 1. */
uint64_t bench_count(const struct bench *b, double count);

/* A thread's share of that, where `count` is for all threads together; at least 1. */
uint64_t bench_share(const struct bench *b, double count);

/* Where random numbers start, for thread or step `index`. */
uint64_t bench_seed(const struct bench *b, uint64_t index);

/*
 * Start `count` threads (at most BENCH_THREADS_MAX) that each do life(t) with t->shared as given,
 * wait for their ends, and return the total of their sums.
 */
uint64_t bench_crew(struct bench *b, unsigned count, void (*life)(struct bench_thread *t),
                    void *shared);

/* As many as --threads says. */
uint64_t bench_crew_all(struct bench *b, void (*life)(struct bench_thread *t), void *shared);

/* A thread, or the end of the process. */
pthread_t bench_start(void *(*life)(void *argument), void *argument);

/* Note what is resident now. */
void bench_kept(struct bench *b);

/* A block is marked at both ends with its size, and the marks are checked before it is freed. */
static inline void bench_mark(unsigned char *p, size_t size)
{
    p[0] = (unsigned char)size;
    p[size - 1] = (unsigned char)size;
}

static inline void bench_check(const unsigned char *p, size_t size)
{
    if (__builtin_expect(p[0] != (unsigned char)size || p[size - 1] != (unsigned char)size, 0))
        bench_fail("a block of %zu bytes was damaged", size);
}

/* malloc, or the end of the process. `size` is not 0. */
static inline void *bench_malloc(size_t size)
{
    void *p = malloc(size);

    if (__builtin_expect(p == NULL, 0))
        bench_fail("malloc of %zu bytes returned NULL", size);
    return p;
}

static inline unsigned char *bench_new(size_t size)
{
    unsigned char *p = bench_malloc(size);

    bench_mark(p, size);
    return p;
}

static inline void bench_end(unsigned char *p, size_t size)
{
    bench_check(p, size);
    free(p);
}

/* Put a new block where there is none. */
static inline void bench_fill(struct bench_block *b, size_t size)
{
    b->p = bench_new(size);
    b->size = (uint32_t)size;
}

/* Free the block that is there, if there is one. */
static inline void bench_empty(struct bench_block *b)
{
    if (b->p != NULL)
        bench_end(b->p, b->size);
    b->p = NULL;
}

static inline void bench_empty_all(struct bench_block *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bench_empty(&b[i]);
}

/* A number below `bound`. */
static inline uint32_t bench_below(uint64_t *random, uint32_t bound)
{
    return work_below(work_random(random), bound);
}

/*
 * A size from `least` to least << powers, less one: each power of two is as frequent as the next,
 * so that small sizes are as many times more frequent than large ones as they are smaller.
 */
static inline size_t bench_skewed(uint64_t *random, size_t least, unsigned powers)
{
    uint64_t number = work_random(random);
    size_t from = least << ((number & 0xFFFF) * powers >> 16);

    return from + work_below(number, (uint32_t)from);
}

#endif
