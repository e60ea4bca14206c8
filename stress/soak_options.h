/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_options: what the user of owl-soak asked for.
 *
 * The parent reads it from its command line; soak_options_argv() turns the part that a run needs
 * back into arguments, which the child process reads with the same parser.
 */
#ifndef OWL_STRESS_SOAK_OPTIONS_H
#define OWL_STRESS_SOAK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "options_parse.h"

/* The workloads: the day, and the patterns. As a set: bit 1 << number. */
enum soak_workload {
    SOAK_DAY, SOAK_SPARSE, SOAK_SIZES, SOAK_STRINGS, SOAK_PRODUCER, SOAK_SLEEPER, SOAK_CHURN,
    SOAK_IDLE, SOAK_WORKLOADS
};

extern const char *const soak_workload_names[SOAK_WORKLOADS + 1]; /* ended by NULL */

enum { SOAK_START_HOUR = 6, SOAK_DAY_MINUTES = 24 * 60, SOAK_THREADS_MAX = 64 };

struct soak_options {
    const char *allocators;     /* as written; NULL: the default list */
    const char *csv, *plot;     /* files; NULL: none */
    unsigned workloads;         /* set of enum soak_workload */
    bool together;              /* contenders run side by side */
    uint64_t days, step, threads, requests, recycle, sessions; /* the day */
    double seconds;             /* what all its days take */
    double scale, idle;         /* patterns */
    uint64_t rounds;            /* 0: the workload's own number, see soak_rounds() */
    uint64_t seed;
    double timeout;
};

/* The number of steps in all days. */
static inline uint64_t soak_steps(const struct soak_options *o)
{
    return o->days * SOAK_DAY_MINUTES / o->step;
}

enum { SOAK_ROUNDS_MAX = 1000, SOAK_PATTERN_ROUNDS = 3 };

static inline unsigned soak_rounds(const struct soak_options *o, unsigned workload)
{
    return o->rounds != 0 ? (unsigned)o->rounds : workload == SOAK_DAY ? 1 : SOAK_PATTERN_ROUNDS;
}

enum options_outcome soak_options_parse(int argc, char **argv, struct soak_options *o);

/* The arguments of a run of one workload. */
void soak_options_argv(const struct soak_options *o, unsigned workload, struct options_argv *out);

#endif
