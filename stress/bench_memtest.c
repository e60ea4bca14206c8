/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workloads that owl-memtest has: its frame runs them, with a number of operations in the place of
 * a time, and keeps the time.
 */
#include <stdio.h>
#include <string.h>

#include "bench_work.h"
#include "work.h"

enum { MEMTEST_LIVE = 1000, MEMTEST_CAP = 16000 };

static uint64_t memtest(struct bench *b, const char *workload, uint64_t threads, uint64_t ops)
{
    static struct memtest_record record;
    static struct memtest_options options;

    options = (struct memtest_options){
        .workloads = { workload }, .workload_count = 1, .threads = threads, .ops = ops,
        .live = MEMTEST_LIVE, .cap = MEMTEST_CAP, .seed = b->seed, .rounds = 1
    };
    if (!work_run(&options, 0, &record))
        bench_fail("%s", record.error);
    b->wall_ns = record.elapsed_ns;
    b->kept_rss = record.ended.rss;
    return record.ops;
}

uint64_t bench_memtest_uniform(struct bench *b)
{
    return memtest(b, "uniform", b->threads, bench_share(b, 8e6));
}

uint64_t bench_memtest_small(struct bench *b)
{
    return memtest(b, "small", b->threads, bench_share(b, 20e6));
}

/* Threads are in pairs here, and so are operations. */
uint64_t bench_memtest_producer(struct bench *b)
{
    return memtest(b, "producer", b->threads < 2 ? 2 : b->threads, bench_share(b, 2 * 4e6));
}

/* Whole replays, of the threads that were recorded. */
uint64_t bench_tcl_trace(struct bench *b)
{
    static char spec[4200];

    if (b->trace == NULL)
        bench_fail("--trace: there is no file to replay");
    snprintf(spec, sizeof(spec), "trace:%s", b->trace);
    return memtest(b, spec, 1, bench_count(b, 1e6));
}
