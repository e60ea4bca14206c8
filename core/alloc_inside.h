/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What alloc.c and alloc_watched.c share.
 */
#ifndef OWL_CORE_ALLOC_INSIDE_H
#define OWL_CORE_ALLOC_INSIDE_H

#include "alloc.h"

/* Blocks as they come from slabs and spans, or a mapping. NULL with ENOMEM: no memory; a success
 * keeps errno. */
void *owl_alloc_class(unsigned class);
void *owl_alloc_large(size_t size, size_t alignment, bool zero);

/* The smallest class whose blocks all start at multiples of the alignment. OWL_CLASSES: none. */
unsigned owl_aligned_class(size_t alignment, size_t size);

/* Of a block where a tool watches: what was asked for. s: its descriptor, NULL of a mapping. Inside
 * (tools.h), like the next. */
size_t owl_watched_bytes(const struct owl_span *s, const void *p);

/* It is about to be freed, after all checks. */
void owl_watched_end(const struct owl_span *s, void *p);

#endif
