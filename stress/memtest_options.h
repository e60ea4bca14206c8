/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_options: what the user asked for.
 *
 * The parent reads it from its command line; memtest_options_argv() turns the part that a run needs
 * back into arguments, which the child process reads with the same parser.
 */
#ifndef OWL_STRESS_MEMTEST_OPTIONS_H
#define OWL_STRESS_MEMTEST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "options_parse.h"

enum { OPTIONS_WORKLOADS_MAX = 32 };

struct memtest_options {
    const char *allocators;             /* as written; NULL: the default list */
    const char *workloads[OPTIONS_WORKLOADS_MAX];
    unsigned workload_count;            /* 0: the default list */
    const char *json;                   /* NULL: none; "-": standard output */
    uint64_t threads;
    uint64_t ops;                       /* per thread; 0: until `seconds` have passed */
    double seconds;
    uint64_t live;                      /* blocks per thread */
    uint64_t cap;                       /* largest size of `uniform`; 0: no cap */
    uint64_t seed;
    uint64_t rounds;
    double idle;                        /* seconds to wait after the threads ended; 0: do not */
    double timeout;                     /* seconds after which a run counts as hanging */
    bool verify;
};

enum options_outcome memtest_options_parse(int argc, char **argv, struct memtest_options *o);

/* The arguments of one run of `workload`. */
void memtest_options_argv(const struct memtest_options *o, const char *workload,
                          struct options_argv *out);

#endif
