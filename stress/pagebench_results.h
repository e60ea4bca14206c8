/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pagebench_results: all runs of owl-pages-bench, and what is told of them.
 *
 * A series is a test with its variants, such as the ring with even sizes, touched. Contenders take
 * turns in every round of a series; figures are medians over the rounds that went well.
 */
#ifndef OWL_STRESS_PAGEBENCH_RESULTS_H
#define OWL_STRESS_PAGEBENCH_RESULTS_H

#include <stdbool.h>
#include <stdio.h>

#include "alloc_find.h"
#include "pagebench_calls.h"
#include "pagebench_options.h"
#include "pagebench_record.h"

enum { SERIES_MAX = TESTS - 1 + 2 * GENERATORS, SERIES_NAME_MAX = 40 };

struct pagebench_series {
    enum pagebench_test test;
    enum pagebench_generator generator;
    bool touch;
    char name[SERIES_NAME_MAX];
};

struct pagebench_results {
    const struct pagebench_options *options;
    struct alloc_choices allocators;
    const struct pagebench_special *special[ALLOC_CHOICES_MAX]; /* NULL: its malloc is measured */
    struct pagebench_series series[SERIES_MAX];
    unsigned series_count;
    struct pagebench_record *records; /* series by allocator by round */
};

struct pagebench_record *pagebench_at(const struct pagebench_results *r, unsigned series,
                                      unsigned allocator, unsigned round);

/* Whether the allocator is there and the test has a meaning for it. */
bool pagebench_takes_part(const struct pagebench_results *r, unsigned series, unsigned allocator);

/* What a cell of a table says of a part's bin: of PAGEBENCH_PARTS, the sum of the parts. */
enum pagebench_kind { KIND_MEAN, KIND_P50 };

/* The median over the rounds, in ns. Negative: there is none. */
double pagebench_time(const struct pagebench_results *r, unsigned series, unsigned allocator,
                      int part, unsigned bin, enum pagebench_kind kind);

/* Medians of page faults and of the peak of resident bytes. Negative: there are none. */
double pagebench_faults(const struct pagebench_results *r, unsigned series, unsigned allocator);
double pagebench_peak(const struct pagebench_results *r, unsigned series, unsigned allocator);

/* The tables of a series. */
void pagebench_report(FILE *out, const struct pagebench_results *r, unsigned series);

/* All runs, a line for each part and bin. */
void pagebench_csv(FILE *out, const struct pagebench_results *r);

/* Has gnuplot draw the medians. False: it failed. */
bool pagebench_plot(const char *file, const struct pagebench_results *r);

/* Runs that failed, and allocators that were asked for and are not there. */
unsigned pagebench_failures(const struct pagebench_results *r);

#endif
