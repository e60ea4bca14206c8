/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* popen */
#include "outputs.h"
#include "pagebench_results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PANEL_WIDTH = 760, PANEL_HEIGHT = 460 };

static int part_of(const struct pagebench_series *s)
{
    return s->test == TEST_RING ? PAGEBENCH_PARTS : PAGEBENCH_FIRST;
}

/* A block of data for each allocator, of its bins. A time of nothing has no logarithm: it is drawn
 * as a tenth of a nanosecond. The allocators that have data, as a set. */
static unsigned put_data(FILE *out, const struct pagebench_results *r, unsigned series)
{
    unsigned drawn = 0;

    for (unsigned a = 0; a < r->allocators.count; a++) {
        fprintf(out, "$d%u << EOD\n", a);
        for (unsigned bin = 0; bin < PAGEBENCH_BINS; bin++) {
            double time = pagebench_time(r, series, a, part_of(&r->series[series]), bin, KIND_MEAN);

            if (time < 0.0)
                continue;
            fprintf(out, "%.0f %.2f\n", (double)((uint64_t)1 << bin), time < 0.1 ? 0.1 : time);
            drawn |= 1u << a;
        }
        fprintf(out, "EOD\n");
    }
    return drawn;
}

static void put_panel(FILE *out, const struct pagebench_results *r, unsigned series)
{
    unsigned drawn = put_data(out, r, series);
    const char *before = "plot ";

    if (drawn == 0)
        return;
    fprintf(out, "set title ");
    outputs_quote(out, r->series[series].name);
    fputc('\n', out);
    for (unsigned a = 0; a < r->allocators.count; a++) {
        if ((drawn >> a & 1) == 0)
            continue;
        fprintf(out, "%s$d%u with linespoints title ", before, a);
        outputs_quote(out, r->allocators.choice[a].name);
        before = ", ";
    }
    fputc('\n', out);
}

bool pagebench_plot(const char *file, const struct pagebench_results *r)
{
    FILE *out = popen("gnuplot", "w");

    if (out == NULL)
        return false;
    fprintf(out, "set terminal svg size %d,%u background 'white' noenhanced\nset output ",
            PANEL_WIDTH, PANEL_HEIGHT * r->series_count);
    outputs_quote(out, file);
    fprintf(out, "\nset multiplot layout %u,1\nset logscale x 2\nset logscale y\nset grid\n"
            "set key outside\nset xlabel 'bytes'\nset ylabel 'ns'\nset format x '%%.0b %%BB'\n",
            r->series_count);
    for (unsigned s = 0; s < r->series_count; s++)
        put_panel(out, r, s);
    fprintf(out, "unset multiplot\nset output\n");
    return pclose(out) == 0;
}
