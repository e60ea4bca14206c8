/* SPDX-License-Identifier: BSD-2-Clause */
#include "pagebench_results.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CELL = 14, CELL_TEXT = 24 };

#define MIB 1048576.0

/* Three digits, and the unit that suits. */
static void put_time(FILE *out, double ns)
{
    static const char *const units[] = { "ns", "us", "ms", "s" };
    unsigned unit = 0;
    char text[CELL_TEXT];

    while (ns >= 999.5 && unit < 3) {
        ns /= 1000.0;
        unit++;
    }
    if (ns < 0.0)
        snprintf(text, sizeof(text), "-");
    else
        snprintf(text, sizeof(text), "%.*f %s", ns < 9.995 ? 2 : ns < 99.95 ? 1 : 0, ns,
                 units[unit]);
    fprintf(out, "%*s", CELL, text);
}

static void put_size(FILE *out, unsigned bin)
{
    static const char units[] = " KMGT";
    char text[CELL_TEXT];

    snprintf(text, sizeof(text), "%u%c", 1u << bin % 10, units[bin / 10]);
    fprintf(out, "%-8s", text);
}

static void put_names(FILE *out, const struct pagebench_results *r, unsigned series)
{
    fprintf(out, "%-8s", "");
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (pagebench_takes_part(r, series, a))
            fprintf(out, "%*s", CELL, r->allocators.choice[a].name);
    fputc('\n', out);
}

static bool has_bin(const struct pagebench_results *r, unsigned series, int part, unsigned bin)
{
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (pagebench_time(r, series, a, part, bin, KIND_MEAN) >= 0.0)
            return true;
    return false;
}

static void put_table(FILE *out, const struct pagebench_results *r, unsigned series, int part,
                      enum pagebench_kind kind, const char *title)
{
    fprintf(out, "%s: %s\n", r->series[series].name, title);
    put_names(out, r, series);
    for (unsigned bin = 0; bin < PAGEBENCH_BINS; bin++) {
        if (!has_bin(r, series, part, bin))
            continue;
        put_size(out, bin);
        for (unsigned a = 0; a < r->allocators.count; a++)
            if (pagebench_takes_part(r, series, a))
                put_time(out, pagebench_time(r, series, a, part, bin, kind));
        fputc('\n', out);
    }
}

/* The slowest bin over the fastest. */
static double flatness(const struct pagebench_results *r, unsigned series, unsigned allocator,
                       int part)
{
    double least = 0.0;
    double most = 0.0;

    for (unsigned bin = 0; bin < PAGEBENCH_BINS; bin++) {
        double time = pagebench_time(r, series, allocator, part, bin, KIND_MEAN);

        if (time < 0.0)
            continue;
        if (least == 0.0 || time < least)
            least = time;
        if (time > most)
            most = time;
    }
    return least > 0.0 ? most / least : 0.0;
}

/* Below the columns of a table: what concerns all sizes. */
static void put_foot(FILE *out, const struct pagebench_results *r, unsigned series, int part)
{
    fprintf(out, "%-8s", "flat");
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (pagebench_takes_part(r, series, a))
            fprintf(out, "%*.2f", CELL, flatness(r, series, a, part));
    fprintf(out, "\n%-8s", "faults");
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (pagebench_takes_part(r, series, a))
            fprintf(out, "%*.0f", CELL, pagebench_faults(r, series, a));
    fprintf(out, "\n%-8s", "peak MiB");
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (pagebench_takes_part(r, series, a))
            fprintf(out, "%*.1f", CELL, pagebench_peak(r, series, a) / MIB);
    fputs("\n\n", out);
}

static void put_errors(FILE *out, const struct pagebench_results *r, unsigned series)
{
    for (unsigned a = 0; a < r->allocators.count; a++) {
        const struct alloc_choice *choice = &r->allocators.choice[a];
        const char *error = NULL;
        unsigned failed = 0;

        if (choice->missing[0] != '\0')
            fprintf(out, "%s not available: %s\n", choice->name, choice->missing);
        if (!pagebench_takes_part(r, series, a))
            continue;
        for (unsigned round = 0; round < r->options->rounds; round++)
            if (pagebench_at(r, series, a, round)->error[0] != '\0') {
                failed++;
                error = pagebench_at(r, series, a, round)->error;
            }
        if (failed > 0)
            fprintf(out, "%s FAILED %u of %" PRIu64 ": %s\n", choice->name, failed,
                    r->options->rounds, error);
    }
}

void pagebench_report(FILE *out, const struct pagebench_results *r, unsigned series)
{
    if (r->series[series].test == TEST_RING) {
        put_table(out, r, series, PAGEBENCH_PARTS, KIND_MEAN, "free and allocate, mean");
        put_foot(out, r, series, PAGEBENCH_PARTS);
        put_table(out, r, series, PAGEBENCH_PARTS, KIND_P50,
                  "free and allocate, sum of the medians of either");
    } else {
        put_table(out, r, series, PAGEBENCH_FIRST, KIND_MEAN, "growth to this size, mean");
        put_foot(out, r, series, PAGEBENCH_FIRST);
        put_table(out, r, series, PAGEBENCH_PARTS, KIND_MEAN,
                  "growth and touch of what was added, mean");
    }
    put_errors(out, r, series);
    fputc('\n', out);
    fflush(out);
}

static void csv_run(FILE *out, const struct pagebench_results *r, unsigned series, unsigned a,
                    unsigned round)
{
    static const char *const parts[2][PAGEBENCH_PARTS] = {
        { "free", "alloc" }, { "grow", "touch" }
    };
    const struct pagebench_series *s = &r->series[series];
    const struct pagebench_record *record = pagebench_at(r, series, a, round);

    for (int part = 0; part < PAGEBENCH_PARTS; part++)
        for (unsigned bin = 0; bin < PAGEBENCH_BINS; bin++) {
            const struct pagebench_figure *f = &record->part[part][bin];

            if (f->count == 0)
                continue;
            fprintf(out, "%s,%s,%s,%s,%u,%s,%" PRIu64 ",%" PRIu64 ",%.2f,%.2f,%.2f,%" PRIu64 ",%"
                    PRIu64 ",%.2f\n", pagebench_tests[s->test],
                    s->test == TEST_RING ? pagebench_generators[s->generator] : "",
                    s->test == TEST_RING ? pagebench_touches[s->touch] : "",
                    r->allocators.choice[a].name, round + 1, parts[s->test != TEST_RING][part],
                    (uint64_t)1 << bin, f->count, f->mean_ns, f->p50_ns, f->p99_ns,
                    record->faults, record->rss_peak, record->clock_ns);
        }
}

void pagebench_csv(FILE *out, const struct pagebench_results *r)
{
    fprintf(out, "test,generator,touch,allocator,round,part,bytes,count,mean_ns,p50_ns,p99_ns,"
            "run_faults,run_rss_peak_bytes,clock_ns\n");
    for (unsigned s = 0; s < r->series_count; s++)
        for (unsigned a = 0; a < r->allocators.count; a++)
            for (unsigned round = 0; round < r->options->rounds; round++)
                if (pagebench_takes_part(r, s, a)
                    && pagebench_at(r, s, a, round)->error[0] == '\0')
                    csv_run(out, r, s, a, round);
}
