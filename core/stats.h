/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counts, derived on the spot from slabs, caches and the pool: nothing on the fast paths counts.
 */
#ifndef OWL_CORE_STATS_H
#define OWL_CORE_STATS_H

#include <stdbool.h>
#include <stddef.h>

struct owl_stats {
    size_t threads;         /* caches in use or kept for the next thread */
    size_t slabs;           /* slabs in use, those of orphans included */
    size_t slab_bytes;      /* memory of all slabs */
    size_t small_blocks;    /* small blocks that callers hold */
    size_t small_bytes;     /* and the bytes of these */
    size_t cached_bytes;    /* free small blocks in caches */
    size_t large_bytes;     /* large blocks in spans */
    size_t mapping_blocks;  /* large blocks in mappings */
    size_t mapping_bytes;   /* and the bytes of these */
    size_t dirty_bytes;     /* free spans that may be resident */
    size_t clean_bytes;     /* free spans that are not */
};

/* Thread-safe; exact only while no other thread allocates. */
void owl_stats_get(struct owl_stats *s);

/* Bytes that callers hold. */
size_t owl_stats_live(const struct owl_stats *s);

/* Every structure of the heap walked. For tests and debug builds; no other thread may allocate. */
bool owl_stats_heap_is_valid(void);

#endif
