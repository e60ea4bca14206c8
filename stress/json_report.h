/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json_report: everything that was measured, and where, as JSON. README.md describes the members.
 */
#ifndef OWL_STRESS_JSON_REPORT_H
#define OWL_STRESS_JSON_REPORT_H

#include <stdio.h>

#include "memtest_results.h"

void json_report(FILE *out, const struct memtest_results *results);

#endif
