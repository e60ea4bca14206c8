/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_run: do the runs of one workload, each in a process of its own, round after round with
 * all allocators in turn, so that whatever else the machine does meets all of them.
 */
#ifndef OWL_STRESS_MEMTEST_RUN_H
#define OWL_STRESS_MEMTEST_RUN_H

#include "memtest_results.h"

void memtest_run(struct memtest_results *results, unsigned workload);

#endif
