/* SPDX-License-Identifier: BSD-2-Clause */
#include "soak_line.h"

#include <math.h>
#include <stdbool.h>

enum { NIGHT_HOURS = 6, DAYS_MOST = 400, LEFT_OUT_FROM = 3 };

/* least[n][h]: the low-water mark of hour h of night n; NAN: none. */
struct nights {
    double least[DAYS_MOST][NIGHT_HOURS];
    unsigned first, end;        /* the nights that count */
};

/* A value at the end of an hour belongs to it: a sample tells of the step before. */
static void collect(struct nights *n, const double *hours, const double *values, size_t count)
{
    bool seen = false;

    for (unsigned d = 0; d < DAYS_MOST; d++)
        for (unsigned h = 0; h < NIGHT_HOURS; h++)
            n->least[d][h] = NAN;
    n->first = n->end = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned hour = (unsigned)(ceil(hours[i] - 1e-6) - 1.0);
        double *least = &n->least[hour / 24 % DAYS_MOST][hour % 24 % NIGHT_HOURS];

        if (hour % 24 >= NIGHT_HOURS)
            continue;
        if (isnan(*least) || values[i] < *least)
            *least = values[i];
        if (!seen)
            n->first = hour / 24 % DAYS_MOST;
        seen = true;
        n->end = hour / 24 % DAYS_MOST + 1;
    }
    if (n->end - n->first >= LEFT_OUT_FROM)
        n->first++;
}

/* The means of day and mark over the nights of one hour, and how many there are. */
static unsigned level(const struct nights *n, unsigned hour, double *day, double *mark)
{
    unsigned count = 0;

    *day = *mark = 0.0;
    for (unsigned d = n->first; d < n->end; d++)
        if (!isnan(n->least[d][hour])) {
            *day += d;
            *mark += n->least[d][hour];
            count++;
        }
    if (count > 0) {
        *day /= count;
        *mark /= count;
    }
    return count;
}

struct soak_line soak_line_fit(const double *hours, const double *values, size_t count)
{
    struct soak_line line = { .slope = NAN, .error = NAN };
    struct nights n;
    double xx = 0.0;
    double xy = 0.0;
    double yy = 0.0;
    int freedom = -1;           /* points less levels less the slope */

    collect(&n, hours, values, count);
    for (unsigned h = 0; h < NIGHT_HOURS; h++) {
        double day;
        double mark;
        unsigned points = level(&n, h, &day, &mark);

        if (points == 0)
            continue;
        freedom += (int)points - 1;
        for (unsigned d = n.first; d < n.end; d++)
            if (!isnan(n.least[d][h])) {
                xx += (d - day) * (d - day);
                xy += (d - day) * (n.least[d][h] - mark);
                yy += (n.least[d][h] - mark) * (n.least[d][h] - mark);
            }
    }
    if (xx > 0.0)
        line.slope = xy / xx;
    if (xx > 0.0 && freedom > 0)
        line.error = sqrt(fmax(yy - xy * xy / xx, 0.0) / freedom / xx);
    return line;
}
