/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large blocks: those above OWL_SMALL_MAX, or aligned to more than a class can be. One is a span
 * of the pool, or, above OWL_SPAN_MAX or when no range has room, a mapping of its own. Its usable
 * size is the request rounded up to pages. Thread-safe as long as no two threads work on the same
 * block.
 */
#ifndef OWL_CORE_LARGE_H
#define OWL_CORE_LARGE_H

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

/* A block of at least `bytes` that starts at a multiple of `alignment` (a power of two); with
 * `zero`, it reads as zero. NULL: no memory. */
void *owl_large_alloc(size_t bytes, size_t alignment, bool zero);

/* The size that owl_large_alloc makes of a request. */
size_t owl_large_good_size(size_t bytes);

/* Frees the block whose first granule is s. */
void owl_large_free(struct owl_span *s);

/* Gives the block another size where it stands. False: it cannot be, and nothing has changed. */
bool owl_large_resize(struct owl_span *s, size_t bytes);

#endif
