/* SPDX-License-Identifier: BSD-2-Clause */
#include "figures_stats.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;

    return (x > y) - (x < y);
}

double figures_median(double *values, unsigned count)
{
    if (count == 0)
        return 0.0;
    qsort(values, count, sizeof(values[0]), compare_doubles);
    if (count % 2 == 1)
        return values[count / 2];
    return (values[count / 2 - 1] + values[count / 2]) / 2.0;
}

double figures_spread(double *values, unsigned count)
{
    double middle = figures_median(values, count);

    if (count < 2 || middle == 0.0)
        return 0.0;
    return (values[count - 1] - values[0]) / middle;
}
