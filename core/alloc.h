/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fast paths of malloc and free, for every name that they have, and their slow doors. The
 * public functions are in include/owl/owl.h.
 *
 * malloc: size to class by a table, pop from the thread's hot magazine.
 * free: address to descriptor, compare the owner, check the pointer, push.
 * Neither has a lock or an atomic read-modify-write.
 */
#ifndef OWL_CORE_ALLOC_H
#define OWL_CORE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#include "block.h"
#include "cache.h"
#include "range.h"
#include "sizeclass.h"

#include <owl/owl.h>

void *owl_malloc_slow(size_t size);
void owl_free_slow(void *p);

/* Where a tool watches (tools.h), what all ways to allocate come to. With `zero` all that is asked
 * for is zero. */
void *owl_malloc_watched(size_t size, size_t alignment, bool zero);

/* Frees a block of another owner's slab, or what else may be there. */
void owl_free_other(void *p, struct owl_span *s, struct owl_cache *c);

static inline void *owl_malloc_fast(size_t size)
{
    if (__builtin_expect(size <= OWL_SMALL_MAX, 1)) {
        void *p = owl_cache_pop(owl_cache_mine(), owl_class_of(size));
        if (__builtin_expect(p != NULL, 1))
            return p;
    }
    return owl_malloc_slow(size);
}

/* p, which points into the slab, points to the start of one of its blocks: sizeclass.h tells why
 * the bits of the product do. It is measured from the last block, so that what lies behind that
 * fails too: a distance of -q * size gives 2^64 - q * e. (There is nothing behind it if e is 0:
 * then the size is a power of two.) */
static inline bool owl_is_block_start(const struct owl_span *s, const void *p)
{
    return (s->last - (uintptr_t)p) * s->reciprocal >> 32 == 0;
}

/* The relaxed load of the owner is the read that slab.h proves right. */
static inline void owl_free_fast(void *p)
{
    struct owl_cache *c = owl_cache_mine();
    uintptr_t distance = (uintptr_t)p - owl_word_peek(&owl_page_map.base);
    if (__builtin_expect(distance < owl_word_peek(&owl_page_map.accessible), 1)) {
        struct owl_span *s = &owl_page_map.map[distance >> OWL_GRANULE_SHIFT];
        struct owl_block *b = p;
        if (__builtin_expect(owl_word_peek(&s->owner) != (uintptr_t)c, 0)) {
            owl_free_other(p, s, c);
            return;
        }
        if (__builtin_expect(owl_is_block_start(s, p) && !owl_block_is_marked(b), 1)) {
            owl_cache_push(c, s->class, b);
            return;
        }
    }
    owl_free_slow(p);
}

#endif
