/* SPDX-License-Identifier: BSD-2-Clause */
#include "memtest_report.h"

#include <inttypes.h>
#include <string.h>

#define MIB (1024.0 * 1024.0)

/* Not --threads: a trace has its own number, and threads of `producer` come in pairs. */
static uint64_t threads_used(const struct memtest_results *r, unsigned workload)
{
    for (unsigned a = 0; a < r->allocators->count; a++)
        for (unsigned i = 0; i < r->options->rounds; i++)
            if (memtest_results_at(r, workload, a, i)->threads_at_once != 0)
                return memtest_results_at(r, workload, a, i)->threads_at_once;
    return r->options->threads;
}

static void print_heading(FILE *out, const struct memtest_results *r, unsigned workload)
{
    const struct memtest_options *o = r->options;
    const struct plan_workload *w = &r->plan->workload[workload];
    uint64_t threads = threads_used(r, workload);

    fprintf(out, "%s: %" PRIu64 " thread%s", w->label, threads, threads == 1 ? "" : "s");
    if (strncmp(w->spec, "trace:", 6) != 0)
        fprintf(out, ", %" PRIu64 " blocks each", o->live);
    if (o->ops != 0)
        fprintf(out, ", %" PRIu64 " operations each", o->ops);
    else
        fprintf(out, ", %g s", o->seconds);
    if (o->rounds > 1)
        fprintf(out, ", median of %" PRIu64 " rounds", o->rounds);
    if (o->verify)
        fprintf(out, ", with verification (its time is in the figures)");
    fprintf(out, "\n");
}

static void print_columns(FILE *out, const struct memtest_results *r)
{
    bool idle = r->options->idle > 0.0;

    fprintf(out, "%-11s %8s%15s  %7s%8s  %6s%14s  %7s%s\n", "", "speed", "", "time,", " ns",
            "one", " call, ns     ", "", "resident, MiB");
    fprintf(out, "%-11s %8s %6s %7s  %7s %7s  %6s %6s %7s  %7s %7s %s%7s %6s\n", "allocator",
            "Mops/s", "ratio", "spread", "per op", "CPU", "p50", "p99", "p99.9", "peak", "ended",
            idle ? "   idle " : "", "trimmed", "/live");
}

static void print_row(FILE *out, const struct memtest_results *r, const char *name,
                      const struct memtest_summary *s)
{
    const double *f = s->figure;
    char ratio[16] = "-";
    char spread[16] = "";

    if (s->ratio > 0.0)
        snprintf(ratio, sizeof(ratio), "%.2f", s->ratio);
    if (s->good > 1)
        snprintf(spread, sizeof(spread), "%.0f%%", s->spread * 100.0);
    fprintf(out, "%-11s %8.3f %6s %7s  %7.1f %7.1f  %6.0f %6.0f %7.0f  %7.1f %7.1f ", name,
            f[FIGURE_OPS_PER_S] / 1e6, ratio, spread, f[FIGURE_NS_PER_OP], f[FIGURE_CPU_NS_PER_OP],
            f[FIGURE_P50_NS], f[FIGURE_P99_NS], f[FIGURE_P999_NS], f[FIGURE_RSS_PEAK] / MIB,
            f[FIGURE_RSS_ENDED] / MIB);
    if (r->options->idle > 0.0)
        fprintf(out, "%7.1f ", f[FIGURE_RSS_IDLE] / MIB);
    fprintf(out, "%7.1f %6.2f\n", f[FIGURE_RSS_TRIMMED] / MIB, f[FIGURE_RSS_PER_LIVE]);
}

/* What all allocators' runs have in common, as far as it is worth knowing beside the figures. */
static void print_foot(FILE *out, const struct memtest_results *r, unsigned workload)
{
    struct memtest_summary s;
    unsigned reference = memtest_reference(r);

    memtest_summarise(r, workload, reference, &s);
    if (s.good > 0)
        fprintf(out, "  The ratio is to %s. It held %.1f MiB live at the peak, and %.1f MiB were "
                "resident at the start.\n", r->allocators->choice[reference].name,
                s.figure[FIGURE_LIVE_PEAK] / MIB, s.figure[FIGURE_RSS_START] / MIB);
    fputc('\n', out);
}

void memtest_report(FILE *out, const struct memtest_results *results, unsigned workload)
{
    if (results->plan->workload[workload].missing) {
        fprintf(out, "%s: the trace is not installed\n\n", results->plan->workload[workload].label);
        return;
    }
    print_heading(out, results, workload);
    print_columns(out, results);
    for (unsigned a = 0; a < results->allocators->count; a++) {
        const struct alloc_choice *choice = &results->allocators->choice[a];
        struct memtest_summary s;

        if (choice->missing[0] != '\0') {
            fprintf(out, "%-11s not available: %s\n", choice->name, choice->missing);
            continue;
        }
        memtest_summarise(results, workload, a, &s);
        if (s.good > 0)
            print_row(out, results, choice->name, &s);
        if (s.failed > 0)
            fprintf(out, "%-11s FAILED %u of %u: %s\n", choice->name, s.failed, s.failed + s.good,
                    s.error);
    }
    print_foot(out, results, workload);
    fflush(out);
}
