/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* popen */
#include "outputs.h"
#include "soak_results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB 1048576.0

enum { WIDTH = 1100, HEIGHT = 560 };

static void put_data(FILE *out, const char *name, const struct soak_run *run, bool live)
{
    fprintf(out, "$%s << EOD\n", name);
    for (uint64_t i = 0; i < run->summary.count; i++) {
        const struct soak_sample *s = &run->sample[i];

        fprintf(out, "%.4f %.3f\n", s->hour, (live ? (double)s->live
                : (double)s->rss - (double)run->summary.rss_start) / MIB);
    }
    fprintf(out, "EOD\n");
}

/* What is live as an area, then a line for each contender. */
static void put_plot(FILE *out, const struct soak_results *r, const struct soak_run *any)
{
    char name[16];

    put_data(out, "live", any, true);
    for (unsigned a = 0; a < r->allocators.count; a++) {
        snprintf(name, sizeof(name), "d%u", a);
        if (soak_good(soak_at(r, SOAK_DAY, a, 0)))
            put_data(out, name, soak_at(r, SOAK_DAY, a, 0), false);
    }
    fprintf(out, "plot $live with filledcurves x1 fillcolor rgb '#c8c8c8' title 'live'");
    for (unsigned a = 0; a < r->allocators.count; a++)
        if (soak_good(soak_at(r, SOAK_DAY, a, 0))) {
            fprintf(out, ", $d%u with lines linewidth 1.5 title ", a);
            outputs_quote(out, r->allocators.choice[a].name);
        }
    fputc('\n', out);
}

bool soak_plot(const char *file, const struct soak_results *r)
{
    const struct soak_run *any = soak_any_good(r, SOAK_DAY);
    FILE *out = any != NULL ? popen("gnuplot", "w") : NULL;

    if (out == NULL)
        return false;
    fprintf(out, "set terminal svg size %d,%d background 'white' noenhanced\nset output ", WIDTH,
            HEIGHT);
    outputs_quote(out, file);
    fprintf(out, "\nset grid\nset key outside\nset yrange [0:*]\nset xtics 6\n"
            "set xlabel 'simulated hours'\nset ylabel 'resident MiB'\n");
    put_plot(out, r, any);
    fprintf(out, "set output\n");
    return pclose(out) == 0;
}
