/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counts, derived on the spot from slabs, caches and the pool: nothing on the fast paths counts.
 * The public functions are in include/owl/stats.h.
 */
#ifndef OWL_CORE_STATS_H
#define OWL_CORE_STATS_H

#include <owl/stats.h>
#include <stdbool.h>

/* As owl_stats, but without a system call: the resident bytes are 0. */
void owl_stats_get(struct owl_stats *s);

/* Every structure of the heap walked. For tests and debug builds; no other thread may allocate. */
bool owl_stats_heap_is_valid(void);

#endif
