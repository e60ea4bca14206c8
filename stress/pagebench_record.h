/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pagebench_record: the figures of one run of owl-pages-bench, as the measured process sends them
 * to its parent through a pipe. Both are the same program, so the bytes of the struct are the
 * format.
 */
#ifndef OWL_STRESS_PAGEBENCH_RECORD_H
#define OWL_STRESS_PAGEBENCH_RECORD_H

#include <stdint.h>

#include "alloc_table.h"

/* Bin b has the blocks of 2^b up to 2^(b + 1) - 1 bytes. */
enum { PAGEBENCH_BINS = 40 };

/* What is timed: in `ring` the free of the old block and the allocation of the new one, in the
 * other tests the growth and the touch of what was added. */
enum { PAGEBENCH_FIRST, PAGEBENCH_SECOND, PAGEBENCH_PARTS };

struct pagebench_figure {
    uint64_t count;
    double mean_ns, p50_ns, p99_ns; /* without the clock's own time */
};

struct pagebench_record {
    struct pagebench_figure part[PAGEBENCH_PARTS][PAGEBENCH_BINS];
    uint64_t faults;    /* page faults in the timed part of the run */
    uint64_t rss_peak;  /* bytes; of the whole process */
    double clock_ns;    /* what was subtracted from each interval */
    char file[ALLOC_FILE_MAX];
    char error[ALLOC_ERROR_MAX];
};

#endif
