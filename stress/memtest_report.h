/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_report: the table that people read, one for each workload.
 */
#ifndef OWL_STRESS_MEMTEST_REPORT_H
#define OWL_STRESS_MEMTEST_REPORT_H

#include <stdio.h>

#include "memtest_results.h"

void memtest_report(FILE *out, const struct memtest_results *results, unsigned workload);

#endif
