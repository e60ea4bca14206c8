/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that have a mapping of their own: those above OWL_SPAN_MAX, and those that no range has
 * room for. They lie in no range, so they are found in a table by their start. Thread-safe.
 */
#ifndef OWL_CORE_MAPPING_H
#define OWL_CORE_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A zeroed block, its start aligned to a power of two. NULL: no memory. `moved` bytes of it are for
 * pages that come from elsewhere: see owl_pool_take_clean. */
void *owl_mapping_make(size_t bytes, size_t alignment, size_t moved);

/* Ends the block that starts at p. False: none does. */
bool owl_mapping_end(void *p);

/* Usable bytes of the block that starts at p; 0: none does. */
size_t owl_mapping_bytes(const void *p);

/* Whether p points into such a block, wherever. */
bool owl_mapping_contains(const void *p);

/* Resizes the block that starts at p, moving page-table entries, not bytes. Where it is now; NULL:
 * refused, and nothing has changed. */
void *owl_mapping_resize(void *p, size_t bytes);

/* Moves the start of the block by `bytes`, a multiple of 16, to the front or back; the end, and
 * what lies between, stay. Where it starts now; NULL: refused, and nothing has changed. */
void *owl_mapping_grow_front(void *p, size_t bytes);
void *owl_mapping_shrink_front(void *p, size_t bytes);

/* Number and bytes of all. */
void owl_mapping_count(size_t *number, size_t *bytes);

void owl_mapping_fork_prepare(void);
void owl_mapping_fork_parent(void);
void owl_mapping_fork_child(void);

#endif
