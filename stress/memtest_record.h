/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_record: the figures of one run, as the measured process sends them to its parent through
 * a pipe. Both are the same program, so the bytes of the struct are the format; it fits into one
 * atomic write.
 */
#ifndef OWL_STRESS_MEMTEST_RECORD_H
#define OWL_STRESS_MEMTEST_RECORD_H

#include <limits.h>
#include <stdint.h>

#include "alloc_table.h"
#include "figures_memory.h"

struct memtest_record {
    uint64_t ops;
    uint64_t elapsed_ns;                /* from the first thread's start to the last one's end */
    uint64_t cpu_ns;                    /* processor time in that interval, all threads */
    uint64_t faults;                    /* page faults in that interval */
    uint64_t threads;                   /* that took part, from first to last */
    uint64_t threads_at_once;
    uint64_t samples;                   /* single calls that were timed */
    double p50_ns;
    double p99_ns;
    double p999_ns;
    double timer_ns;                    /* the clock's own time, already subtracted */
    uint64_t live_peak;                 /* most bytes that the workload held */
    uint64_t rss_peak;
    struct figures_memory start;        /* before the first call of the workload */
    struct figures_memory ended;        /* all freed, all threads ended */
    struct figures_memory idle;         /* some time later; 0 if not asked for */
    struct figures_memory trimmed;      /* after a call that asks for memory back */
    char trim_call[40];
    char file[ALLOC_FILE_MAX];          /* where the allocator's code comes from */
    char error[ALLOC_ERROR_MAX];        /* why the run failed; empty: it did not */
};

_Static_assert(sizeof(struct memtest_record) <= PIPE_BUF, "a record is one atomic write");

#endif
