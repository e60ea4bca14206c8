/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_results: the records of all runs, and their medians.
 */
#ifndef OWL_STRESS_MEMTEST_RESULTS_H
#define OWL_STRESS_MEMTEST_RESULTS_H

#include "alloc_find.h"
#include "memtest_options.h"
#include "memtest_plan.h"
#include "memtest_record.h"

struct memtest_results {
    const struct memtest_options *options;
    const struct alloc_choices *allocators;
    const struct memtest_plan *plan;
    struct memtest_record *records;
};

/* The figures of one run, derived from its record; a summary has the median of each. */
enum figure {
    FIGURE_OPS_PER_S,
    FIGURE_NS_PER_OP,           /* elapsed time / operations of all threads */
    FIGURE_CPU_NS_PER_OP,       /* processor time of all threads / operations */
    FIGURE_FAULTS_PER_KOP,      /* page faults in a thousand operations */
    FIGURE_P50_NS,
    FIGURE_P99_NS,
    FIGURE_P999_NS,
    FIGURE_LIVE_PEAK,           /* bytes, as all that follow but the last */
    FIGURE_RSS_START,
    FIGURE_RSS_PEAK,
    FIGURE_RSS_ENDED,
    FIGURE_RSS_IDLE,
    FIGURE_RSS_TRIMMED,
    FIGURE_PSS_ENDED,
    FIGURE_PSS_TRIMMED,
    FIGURE_RSS_PER_LIVE,        /* (peak - start) / live peak */
    FIGURE_COUNT
};

extern const char *const memtest_figure_names[FIGURE_COUNT];

struct memtest_summary {
    unsigned good;              /* runs that worked; 0: the figures mean nothing */
    unsigned failed;
    const char *error;          /* the first failure's reason, or NULL */
    double spread;              /* of the operations per second, see figures_spread() */
    double ratio;               /* operations per second, relative to the reference; 0: unknown */
    double figure[FIGURE_COUNT];
};

/* Room for the records of all runs; false: no memory. */
bool memtest_results_init(struct memtest_results *r);
void memtest_results_end(struct memtest_results *r);

struct memtest_record *memtest_results_at(const struct memtest_results *r, unsigned workload,
                                          unsigned allocator, unsigned round);

void memtest_figures(const struct memtest_record *record, double figure[FIGURE_COUNT]);

/* The first allocator named that can be used: what the ratios refer to. */
unsigned memtest_reference(const struct memtest_results *r);

void memtest_summarise(const struct memtest_results *r, unsigned workload, unsigned allocator,
                       struct memtest_summary *summary);

/* Runs that failed, and allocators and workloads asked for that are missing. */
unsigned memtest_failures(const struct memtest_results *r);

#endif
