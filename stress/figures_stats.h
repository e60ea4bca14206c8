/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * figures_stats: medians and spread over the rounds.
 */
#ifndef OWL_STRESS_FIGURES_STATS_H
#define OWL_STRESS_FIGURES_STATS_H

/* The median of `count` values (which get sorted); the mean of the middle two; 0 for none. */
double figures_median(double *values, unsigned count);

/* (largest - smallest) / median of the values, 0 for fewer than two (they get sorted). */
double figures_spread(double *values, unsigned count);

#endif
