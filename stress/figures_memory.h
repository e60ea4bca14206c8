/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * figures_memory: what this process occupies, as the kernel tells it. No call here allocates.
 */
#ifndef OWL_STRESS_FIGURES_MEMORY_H
#define OWL_STRESS_FIGURES_MEMORY_H

#include <stdint.h>

struct figures_memory {
    uint64_t rss;       /* resident bytes: private, file and shared memory */
    uint64_t pss;       /* the same, each page divided by the number of its mappings */
};

/*
 * Counted page by page (smaps_rollup): the kernel's running counters are off by up to some hundred
 * kilobytes a processor. Where that file is missing, VmRSS serves for both.
 */
struct figures_memory figures_memory_now(void);

/* The most that was ever resident in this process (VmHWM), in bytes. */
uint64_t figures_memory_peak(void);

#endif
