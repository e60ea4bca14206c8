/* SPDX-License-Identifier: BSD-2-Clause */
#include "memtest_results.h"

#include <stdlib.h>
#include <string.h>

#include "figures_stats.h"

const char *const memtest_figure_names[FIGURE_COUNT] = {
    [FIGURE_OPS_PER_S] = "ops_per_second",
    [FIGURE_NS_PER_OP] = "ns_per_op",
    [FIGURE_CPU_NS_PER_OP] = "cpu_ns_per_op",
    [FIGURE_FAULTS_PER_KOP] = "page_faults_per_1000_ops",
    [FIGURE_P50_NS] = "call_p50_ns",
    [FIGURE_P99_NS] = "call_p99_ns",
    [FIGURE_P999_NS] = "call_p999_ns",
    [FIGURE_LIVE_PEAK] = "live_peak_bytes",
    [FIGURE_RSS_START] = "rss_start_bytes",
    [FIGURE_RSS_PEAK] = "rss_peak_bytes",
    [FIGURE_RSS_ENDED] = "rss_ended_bytes",
    [FIGURE_RSS_IDLE] = "rss_idle_bytes",
    [FIGURE_RSS_TRIMMED] = "rss_trimmed_bytes",
    [FIGURE_PSS_ENDED] = "pss_ended_bytes",
    [FIGURE_PSS_TRIMMED] = "pss_trimmed_bytes",
    [FIGURE_RSS_PER_LIVE] = "rss_per_live_byte",
};

bool memtest_results_init(struct memtest_results *r)
{
    r->records = calloc((size_t)r->plan->count * r->allocators->count * r->options->rounds,
                        sizeof(r->records[0]));
    return r->records != NULL;
}

void memtest_results_end(struct memtest_results *r)
{
    free(r->records);
}

struct memtest_record *memtest_results_at(const struct memtest_results *r, unsigned workload,
                                          unsigned allocator, unsigned round)
{
    size_t row = (size_t)workload * r->allocators->count + allocator;

    return &r->records[row * r->options->rounds + round];
}

void memtest_figures(const struct memtest_record *record, double figure[FIGURE_COUNT])
{
    double ops = record->ops != 0 ? (double)record->ops : 1.0;
    double grown = (double)record->rss_peak - (double)record->start.rss;

    figure[FIGURE_OPS_PER_S] = (double)record->ops / ((double)record->elapsed_ns / 1e9);
    figure[FIGURE_NS_PER_OP] = (double)record->elapsed_ns / ops;
    figure[FIGURE_CPU_NS_PER_OP] = (double)record->cpu_ns / ops;
    figure[FIGURE_FAULTS_PER_KOP] = (double)record->faults * 1000.0 / ops;
    figure[FIGURE_P50_NS] = record->p50_ns;
    figure[FIGURE_P99_NS] = record->p99_ns;
    figure[FIGURE_P999_NS] = record->p999_ns;
    figure[FIGURE_LIVE_PEAK] = (double)record->live_peak;
    figure[FIGURE_RSS_START] = (double)record->start.rss;
    figure[FIGURE_RSS_PEAK] = (double)record->rss_peak;
    figure[FIGURE_RSS_ENDED] = (double)record->ended.rss;
    figure[FIGURE_RSS_IDLE] = (double)record->idle.rss;
    figure[FIGURE_RSS_TRIMMED] = (double)record->trimmed.rss;
    figure[FIGURE_PSS_ENDED] = (double)record->ended.pss;
    figure[FIGURE_PSS_TRIMMED] = (double)record->trimmed.pss;
    figure[FIGURE_RSS_PER_LIVE] = record->live_peak != 0 ? grown / (double)record->live_peak : 0.0;
}

unsigned memtest_reference(const struct memtest_results *r)
{
    unsigned i = 0;

    while (i + 1 < r->allocators->count && r->allocators->choice[i].missing[0] != '\0')
        i++;
    return i;
}

/* Everything but the ratio. */
static void summarise_alone(const struct memtest_results *r, unsigned workload, unsigned allocator,
                            struct memtest_summary *summary)
{
    unsigned rounds = (unsigned)r->options->rounds;
    double *value = calloc((size_t)rounds * FIGURE_COUNT, sizeof(value[0]));

    memset(summary, 0, sizeof(*summary));
    for (unsigned round = 0; round < rounds && value != NULL; round++) {
        const struct memtest_record *record = memtest_results_at(r, workload, allocator, round);
        double figure[FIGURE_COUNT];

        if (record->error[0] != '\0') {
            summary->failed++;
            summary->error = summary->error != NULL ? summary->error : record->error;
            continue;
        }
        memtest_figures(record, figure);
        for (unsigned i = 0; i < FIGURE_COUNT; i++)
            value[i * rounds + summary->good] = figure[i];
        summary->good++;
    }
    for (unsigned i = 0; i < FIGURE_COUNT && value != NULL; i++)
        summary->figure[i] = figures_median(&value[i * rounds], summary->good);
    if (value != NULL)
        summary->spread = figures_spread(&value[FIGURE_OPS_PER_S * rounds], summary->good);
    free(value);
}

void memtest_summarise(const struct memtest_results *r, unsigned workload, unsigned allocator,
                       struct memtest_summary *summary)
{
    struct memtest_summary reference;

    summarise_alone(r, workload, memtest_reference(r), &reference);
    summarise_alone(r, workload, allocator, summary);
    if (summary->good > 0 && reference.good > 0 && reference.figure[FIGURE_OPS_PER_S] > 0.0)
        summary->ratio = summary->figure[FIGURE_OPS_PER_S] / reference.figure[FIGURE_OPS_PER_S];
}

unsigned memtest_failures(const struct memtest_results *r)
{
    unsigned failures = 0;

    for (unsigned w = 0; w < r->plan->count; w++)
        failures += r->plan->workload[w].missing;
    for (unsigned a = 0; a < r->allocators->count; a++) {
        const struct alloc_choice *choice = &r->allocators->choice[a];

        if (choice->missing[0] != '\0') {
            failures += !choice->optional;
            continue;
        }
        for (unsigned w = 0; w < r->plan->count; w++)
            for (unsigned i = 0; i < r->options->rounds; i++)
                failures += memtest_results_at(r, w, a, i)->error[0] != '\0';
    }
    return failures;
}
