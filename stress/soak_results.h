/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_results: all runs of owl-soak, and what is told of them.
 *
 * Resident bytes are told without those that the process had before the workload's first call.
 * Figures are medians over the rounds that went well; one that cannot be had is NAN.
 */
#ifndef OWL_STRESS_SOAK_RESULTS_H
#define OWL_STRESS_SOAK_RESULTS_H

#include <stdbool.h>
#include <stdio.h>

#include "alloc_find.h"
#include "soak_options.h"
#include "soak_record.h"

struct soak_run {
    struct soak_summary summary;
    struct soak_sample *sample; /* summary.count of them */
};

struct soak_results {
    const struct soak_options *options;
    struct alloc_choices allocators;
    struct soak_run *run[SOAK_WORKLOADS]; /* allocator by round; NULL: not asked for */
};

struct soak_run *soak_at(const struct soak_results *r, unsigned workload, unsigned allocator,
                         unsigned round);

/* Whether the run was done and nothing went wrong. */
bool soak_good(const struct soak_run *run);

/* A run that went well, to ask what phases there are and what is live; NULL: there is none. */
const struct soak_run *soak_any_good(const struct soak_results *r, unsigned workload);

enum soak_figure {
    SOAK_PEAK,                  /* the kernel's high-water mark, bytes */
    SOAK_MEAN,                  /* resident, over all samples, bytes */
    SOAK_RATIO,                 /* that, over the mean of live bytes */
    SOAK_SLOPE, SOAK_ERROR,     /* of the nights' low-water marks, bytes a day */
    SOAK_RATE,                  /* requests in a second of work */
    SOAK_CPU                    /* processor time of a request, ns */
};

double soak_median(const struct soak_results *r, unsigned workload, unsigned allocator,
                   enum soak_figure figure);

/* The same of one run's live bytes in the place of resident ones. */
double soak_live_figure(const struct soak_run *run, enum soak_figure figure);

/* Resident at that sample, bytes. */
double soak_median_rss(const struct soak_results *r, unsigned workload, unsigned allocator,
                       uint64_t sample);

/* Runs that failed, and allocators that were asked for and are not there. */
unsigned soak_failures(const struct soak_results *r);

void soak_report(FILE *out, const struct soak_results *r, unsigned workload);
void soak_csv(FILE *out, const struct soak_results *r);

/* Has gnuplot draw the first round of days. False: it failed. */
bool soak_plot(const char *file, const struct soak_results *r);

#endif
