/* SPDX-License-Identifier: BSD-2-Clause */
#include "soak_results.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#define MIB 1048576.0

enum { FIRST = 18, CELL = 11, LIVE_CELL = 9, PHASE_CELL = 16, RATIO_LEAST = 1 << 16 };

static bool takes_part(const struct soak_results *r, unsigned allocator)
{
    return r->allocators.choice[allocator].missing[0] == '\0';
}

static void put_number(FILE *out, int width, int digits, double value)
{
    if (isnan(value))
        fprintf(out, "%*s", width, "-");
    else
        fprintf(out, "%*.*f", width, digits, value);
}

static void put_day_row(FILE *out, const char *name,
                        double (*figure)(const void *of, enum soak_figure figure), const void *of)
{
    static const struct {
        enum soak_figure figure;
        int digits;
        double unit;
    } columns[] = {
        { SOAK_PEAK, 1, MIB }, { SOAK_MEAN, 1, MIB }, { SOAK_RATIO, 2, 1.0 },
        { SOAK_SLOPE, 2, MIB }, { SOAK_ERROR, 2, MIB }, { SOAK_RATE, 0, 1.0 },
        { SOAK_CPU, 1, 1e3 }
    };

    fprintf(out, "%-*s", FIRST, name);
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++)
        put_number(out, CELL, columns[i].digits,
                   figure(of, columns[i].figure) / columns[i].unit);
    fputc('\n', out);
}

static double live_figure(const void *run, enum soak_figure figure)
{
    return soak_live_figure(run, figure);
}

struct contender {
    const struct soak_results *results;
    unsigned allocator;
};

static double contender_figure(const void *of, enum soak_figure figure)
{
    const struct contender *c = of;

    return soak_median(c->results, SOAK_DAY, c->allocator, figure);
}

static void put_days(FILE *out, const struct soak_results *r, const struct soak_run *any)
{
    const struct soak_options *o = r->options;

    fprintf(out, "%" PRIu64 " days in %g s each run, %" PRIu64 " threads, seed %" PRIu64 "\n",
            o->days, o->seconds, o->threads, o->seed);
    fprintf(out, "%-*s%*s%*s%*s%*s%*s%*s%*s\n", FIRST, "", CELL, "peak MiB", CELL, "mean MiB", CELL,
            "mean/live", CELL, "MiB a day", CELL, "std error", CELL, "requests/s", CELL, "CPU us");
    put_day_row(out, "live", live_figure, any);
    for (unsigned a = 0; a < r->allocators.count; a++) {
        const struct contender c = { .results = r, .allocator = a };

        if (takes_part(r, a))
            put_day_row(out, r->allocators.choice[a].name, contender_figure, &c);
    }
    fputc('\n', out);
}

static void put_names(FILE *out, const struct soak_results *r, int width)
{
    fprintf(out, "%-*s%*s", FIRST, "", LIVE_CELL, "live");
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (takes_part(r, a))
            fprintf(out, "%*s", width, r->allocators.choice[a].name);
    fputc('\n', out);
}

/* A sample after which work begins again, or nothing comes. */
static bool idle_ends(const struct soak_run *run, uint64_t i)
{
    return strcmp(run->sample[i].phase, "idle") == 0
        && (i + 1 == run->summary.count || strcmp(run->sample[i + 1].phase, "idle") != 0);
}

static void put_idle_ends(FILE *out, const struct soak_results *r, const struct soak_run *any)
{
    fprintf(out, "resident MiB at the end of each idle phase\n");
    put_names(out, r, CELL);
    for (uint64_t i = 0; i < any->summary.count; i++) {
        unsigned minutes = (unsigned)lround(any->sample[i].hour * 60.0);
        char name[SOAK_PHASE_MAX];

        if (!idle_ends(any, i))
            continue;
        snprintf(name, sizeof(name), "day %u, %u:%02u",
                 (minutes / 60 - SOAK_START_HOUR) / 24 + 1, minutes / 60 % 24, minutes % 60);
        fprintf(out, "%-*s", FIRST, name);
        put_number(out, LIVE_CELL, 1, (double)any->sample[i].live / MIB);
        for (unsigned a = 0; a < r->allocators.count; a++)
            if (takes_part(r, a))
                put_number(out, CELL, 1, soak_median_rss(r, SOAK_DAY, a, i) / MIB);
        fputc('\n', out);
    }
}

/* Resident MiB, and how many times what is live. Of very little that would say nothing. */
static void put_resident(FILE *out, double rss, uint64_t live)
{
    put_number(out, LIVE_CELL, 1, rss / MIB);
    put_number(out, PHASE_CELL - LIVE_CELL, 2, live >= RATIO_LEAST ? rss / (double)live : NAN);
}

static void put_pattern(FILE *out, const struct soak_results *r, unsigned workload,
                        const struct soak_run *any)
{
    fprintf(out, "%s: resident MiB and resident/live, seed %" PRIu64 "\n",
            soak_workload_names[workload], r->options->seed);
    put_names(out, r, PHASE_CELL);
    for (uint64_t i = 0; i < any->summary.count; i++) {
        fprintf(out, "%-*s", FIRST, any->sample[i].phase);
        put_number(out, LIVE_CELL, 1, (double)any->sample[i].live / MIB);
        for (unsigned a = 0; a < r->allocators.count; a++)
            if (takes_part(r, a))
                put_resident(out, soak_median_rss(r, workload, a, i), any->sample[i].live);
        fputc('\n', out);
    }
    fprintf(out, "%-*s%*s", FIRST, "(highest)", LIVE_CELL, "");
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (takes_part(r, a)) {
            put_number(out, LIVE_CELL, 1, soak_median(r, workload, a, SOAK_PEAK) / MIB);
            fprintf(out, "%*s", PHASE_CELL - LIVE_CELL, "");
        }
    fputc('\n', out);
}

static void put_errors(FILE *out, const struct soak_results *r, unsigned workload)
{
    unsigned rounds = soak_rounds(r->options, workload);

    for (unsigned a = 0; a < r->allocators.count; a++) {
        const struct alloc_choice *choice = &r->allocators.choice[a];
        const char *error = NULL;
        unsigned failed = 0;

        if (!takes_part(r, a)) {
            fprintf(out, "%s not available: %s\n", choice->name, choice->missing);
            continue;
        }
        for (unsigned round = 0; round < rounds; round++)
            if (!soak_good(soak_at(r, workload, a, round))) {
                failed++;
                error = soak_at(r, workload, a, round)->summary.error;
            }
        if (failed > 0)
            fprintf(out, "%s FAILED %u of %u: %s\n", choice->name, failed, rounds, error);
    }
}

void soak_report(FILE *out, const struct soak_results *r, unsigned workload)
{
    const struct soak_run *any = soak_any_good(r, workload);

    if (any != NULL && workload == SOAK_DAY) {
        put_days(out, r, any);
        put_idle_ends(out, r, any);
    } else if (any != NULL) {
        put_pattern(out, r, workload, any);
    }
    put_errors(out, r, workload);
    fputc('\n', out);
    fflush(out);
}

static void csv_run(FILE *out, const struct soak_results *r, unsigned workload, unsigned a,
                    unsigned round)
{
    const struct soak_run *run = soak_at(r, workload, a, round);

    for (uint64_t i = 0; i < run->summary.count; i++) {
        const struct soak_sample *s = &run->sample[i];

        fprintf(out, "%.3f,%.4f,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%s,%u,%s,%"
                PRIu64 ",%" PRIu64 "\n", s->seconds, s->hour, r->allocators.choice[a].name,
                s->live, s->rss, run->summary.rss_start, run->summary.rss_peak,
                soak_workload_names[workload], round + 1, s->phase, s->requests, s->faults);
    }
}

void soak_csv(FILE *out, const struct soak_results *r)
{
    fprintf(out, "seconds,sim_hour,allocator,live_bytes,rss_bytes,run_rss_start_bytes,"
            "run_rss_peak_bytes,workload,round,phase,requests,faults\n");
    for (unsigned w = 0; w < SOAK_WORKLOADS; w++)
        for (unsigned a = 0; r->run[w] != NULL && a < r->allocators.count; a++)
            for (unsigned round = 0; round < soak_rounds(r->options, w); round++)
                if (takes_part(r, a) && soak_good(soak_at(r, w, a, round)))
                    csv_run(out, r, w, a, round);
}
