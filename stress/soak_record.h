/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_record: what one run of owl-soak saw, as the measured process sends it to its parent through
 * a pipe. Both are the same program, so the bytes of the struct are the format.
 */
#ifndef OWL_STRESS_SOAK_RECORD_H
#define OWL_STRESS_SOAK_RECORD_H

#include <stdint.h>

#include "alloc_table.h"

enum { SOAK_SAMPLES_MAX = 8192, SOAK_PHASE_MAX = 24 };

/* In a day a sample is taken at the end of each step of the simulated clock, in a pattern at the
 * end of each phase. No thread of the workload runs while it is taken. */
struct soak_sample {
    char phase[SOAK_PHASE_MAX];
    double seconds;             /* since the workload began */
    double hour;                /* simulated, from the first midnight on; a pattern has none: 0 */
    uint64_t live;              /* bytes that the workload holds, as asked for */
    uint64_t rss;               /* resident bytes of the whole process */
    uint64_t requests;          /* answered since the workload began; 0 in a pattern */
    uint64_t faults;            /* page faults since the workload began */
};

struct soak_summary {
    uint64_t count;             /* of samples */
    uint64_t rss_start;         /* before the workload's first call; its own tables are in it */
    uint64_t rss_peak;          /* the kernel's high-water mark */
    uint64_t requests;
    uint64_t busy_ns;           /* elapsed time in which requests were worked on */
    uint64_t cpu_ns;            /* processor time of the whole process */
    char file[ALLOC_FILE_MAX];
    char error[ALLOC_ERROR_MAX];
};

struct soak_record {
    struct soak_summary summary;
    struct soak_sample sample[SOAK_SAMPLES_MAX];
};

#endif
