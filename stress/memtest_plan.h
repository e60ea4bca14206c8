/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_plan: the workloads to run, by the names that the user gave.
 */
#ifndef OWL_STRESS_MEMTEST_PLAN_H
#define OWL_STRESS_MEMTEST_PLAN_H

#include "memtest_options.h"

enum { PLAN_SPEC_MAX = 4200 };

struct plan_workload {
    const char *label;          /* as the user named it */
    char spec[PLAN_SPEC_MAX];   /* what work_find() knows: "uniform", "trace:/absolute/file" */
    bool missing;               /* a default that is not installed */
};

struct memtest_plan {
    unsigned count;
    struct plan_workload workload[OPTIONS_WORKLOADS_MAX];
};

/* Returns false for a name that cannot be meant; the error is printed. */
bool memtest_plan(const struct memtest_options *o, struct memtest_plan *plan);

#endif
