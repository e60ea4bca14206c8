/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_line: whether memory grows from day to day.
 *
 * A low-water mark is the least value in one hour of one night, from 0:00 to 6:00. The hours of a
 * night differ, so each hour has a level of its own; what is fitted, by least squares, is one slope
 * common to all. If there are three nights or more, the first is left out: a program that has just
 * started grows once.
 *
 * The hours of a night go together, so the standard error is too small where nights are few.
 */
#ifndef OWL_STRESS_SOAK_LINE_H
#define OWL_STRESS_SOAK_LINE_H

#include <stddef.h>

struct soak_line {
    double slope, error;        /* a day; NAN: fewer than two nights */
};

/* Value i was seen at hours[i], counted from a midnight on; in order of time. */
struct soak_line soak_line_fit(const double *hours, const double *values, size_t count);

#endif
