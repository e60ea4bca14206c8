/* SPDX-License-Identifier: BSD-2-Clause */
#include "soak_results.h"

#include <math.h>

#include "figures_stats.h"
#include "soak_line.h"

struct soak_run *soak_at(const struct soak_results *r, unsigned workload, unsigned allocator,
                         unsigned round)
{
    return &r->run[workload][(size_t)allocator * soak_rounds(r->options, workload) + round];
}

bool soak_good(const struct soak_run *run)
{
    return run->summary.error[0] == '\0' && run->summary.count > 0;
}

const struct soak_run *soak_any_good(const struct soak_results *r, unsigned workload)
{
    for (unsigned a = 0; a < r->allocators.count; a++)
        for (unsigned round = 0; round < soak_rounds(r->options, workload); round++)
            if (soak_good(soak_at(r, workload, a, round)))
                return soak_at(r, workload, a, round);
    return NULL;
}

static double less_start(const struct soak_run *run, uint64_t bytes)
{
    return (double)bytes - (double)run->summary.rss_start;
}

static struct soak_line line_of(const struct soak_run *run, bool live)
{
    double hours[SOAK_SAMPLES_MAX];
    double values[SOAK_SAMPLES_MAX];

    for (uint64_t i = 0; i < run->summary.count; i++) {
        hours[i] = run->sample[i].hour;
        values[i] = (double)(live ? run->sample[i].live : run->sample[i].rss);
    }
    return soak_line_fit(hours, values, run->summary.count);
}

static double mean_of(const struct soak_run *run, bool live)
{
    double sum = 0.0;

    for (uint64_t i = 0; i < run->summary.count; i++)
        sum += live ? (double)run->sample[i].live : less_start(run, run->sample[i].rss);
    return sum / (double)run->summary.count;
}

static double figure_of(const struct soak_run *run, enum soak_figure figure)
{
    const struct soak_summary *s = &run->summary;

    switch (figure) {
    case SOAK_PEAK:
        return less_start(run, s->rss_peak);
    case SOAK_MEAN:
        return mean_of(run, false);
    case SOAK_RATIO:
        return mean_of(run, false) / mean_of(run, true);
    case SOAK_SLOPE:
        return line_of(run, false).slope;
    case SOAK_ERROR:
        return line_of(run, false).error;
    case SOAK_RATE:
        return s->busy_ns > 0 ? (double)s->requests / (double)s->busy_ns * 1e9 : NAN;
    case SOAK_CPU:
        return s->requests > 0 ? (double)s->cpu_ns / (double)s->requests : NAN;
    }
    return NAN;
}

double soak_live_figure(const struct soak_run *run, enum soak_figure figure)
{
    double most = 0.0;

    switch (figure) {
    case SOAK_PEAK:
        for (uint64_t i = 0; i < run->summary.count; i++)
            most = fmax(most, (double)run->sample[i].live);
        return most;
    case SOAK_MEAN:
        return mean_of(run, true);
    case SOAK_SLOPE:
        return line_of(run, true).slope;
    case SOAK_ERROR:
        return line_of(run, true).error;
    default:
        return NAN;
    }
}

double soak_median(const struct soak_results *r, unsigned workload, unsigned allocator,
                   enum soak_figure figure)
{
    double values[SOAK_ROUNDS_MAX];
    unsigned count = 0;

    for (unsigned round = 0; round < soak_rounds(r->options, workload); round++) {
        const struct soak_run *run = soak_at(r, workload, allocator, round);
        double value = soak_good(run) ? figure_of(run, figure) : NAN;

        if (!isnan(value))
            values[count++] = value;
    }
    return count > 0 ? figures_median(values, count) : NAN;
}

double soak_median_rss(const struct soak_results *r, unsigned workload, unsigned allocator,
                       uint64_t sample)
{
    double values[SOAK_ROUNDS_MAX];
    unsigned count = 0;

    for (unsigned round = 0; round < soak_rounds(r->options, workload); round++) {
        const struct soak_run *run = soak_at(r, workload, allocator, round);

        if (soak_good(run) && sample < run->summary.count)
            values[count++] = less_start(run, run->sample[sample].rss);
    }
    return count > 0 ? figures_median(values, count) : NAN;
}

unsigned soak_failures(const struct soak_results *r)
{
    unsigned failures = 0;

    for (unsigned a = 0; a < r->allocators.count; a++) {
        const struct alloc_choice *choice = &r->allocators.choice[a];

        if (choice->missing[0] != '\0') {
            failures += !choice->optional;
            continue;
        }
        for (unsigned w = 0; w < SOAK_WORKLOADS; w++)
            for (unsigned round = 0; r->run[w] != NULL && round < soak_rounds(r->options, w);
                 round++)
                failures += !soak_good(soak_at(r, w, a, round));
    }
    return failures;
}
