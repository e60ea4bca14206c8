/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large blocks: those above OWL_SMALL_MAX, or aligned to more than a class can be. One is a span
 * of the pool, or, above OWL_SPAN_MAX or when no range has room, a mapping of its own. Its usable
 * size is the request rounded up to pages.
 *
 *    granules of the span   |            |            |            |
 *                           | head | block ...               |  . |
 *                                  ^ start           start + bytes
 *
 * The head is room that the block can grow into at its front, less than a granule, so that the
 * first granule's descriptor is found from the start. Blocks begin without a head.
 *
 * The pages of a block are the range's own, private or of a file; or they show a store (memfd.h),
 * some or all of them. Blocks grow where they are if what lies next to them is free; else their
 * pages move to a larger span; or the caller copies, if that is refused, or there is dirty memory
 * to copy to and there are fewer bytes than OWL_MOVE_MIN, or fewer than OWL_COPY_MOST that have
 * pages. The latter are copied there as well if only clean memory lies next to them. Where a block
 * goes that has become longer by half, it has room to grow on:
 *
 *    addresses   | block ...      free, of the next 2^n granules      | the next room of 2^n
 *                ^ a multiple of 2^n granules
 *
 * Thread-safe as long as no two threads work on the same block.
 */
#ifndef OWL_CORE_LARGE_H
#define OWL_CORE_LARGE_H

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

/* A block of at least `bytes` that starts at a multiple of `alignment` (a power of two); with
 * `zero`, it reads as zero. NULL: no memory. */
void *owl_large_alloc(size_t bytes, size_t alignment, bool zero);

/* A large block to which the contents of one that grows are to be copied, where there is room for
 * it to grow on. s: the descriptor of the old one, which may be small; `dense`: what
 * owl_large_resize said of it. NULL: there is no such place, and any will do; or a block of its
 * kind has no use for one. */
void *owl_large_alloc_roomy(const struct owl_span *s, size_t bytes, bool dense);

/* Frees the block whose first granule is s. */
void owl_large_free(struct owl_span *s);

/* The size that owl_large_alloc makes of a request. */
static inline size_t owl_large_good_size(size_t bytes)
{
    return owl_round_up(bytes, owl_os.page);
}

static inline size_t owl_large_granules(size_t bytes)
{
    return owl_round_up(bytes, OWL_GRANULE) >> OWL_GRANULE_SHIFT;
}

/* A thread may keep a medium block whose pages are all its span's own, and private, for itself: it
 * has the kind OWL_KIND_STOCK then, and is begun anew, for a request of as many granules, or
 * released, which frees it. */
static inline bool owl_large_may_retire(const struct owl_span *s)
{
    return s->granules <= OWL_STOCK_MAX >> OWL_GRANULE_SHIFT &&
           owl_backing_of(s->range) == OWL_PRIVATE && s->store == NULL && !s->shared &&
           !s->remapped && !s->roomy;
}

static inline void *owl_large_begin_anew(struct owl_span *s, size_t bytes)
{
    s->kind = OWL_KIND_LARGE;
    s->bytes = owl_large_good_size(bytes);
    s->start = owl_span_address(s);
    s->whole = 0;
    return (void *)s->start;
}

void owl_large_release(struct owl_span *s);

/* Gives a block another size without copying. Where it is now; NULL: it cannot be, and nothing has
 * changed; `*dense` is set if that is because its pages are there, so that a copy in dirty memory
 * is better. */
void *owl_large_resize(struct owl_span *s, size_t bytes, bool *dense);

/* Moves the start of a block by `bytes`, to the front or to the back; the end stays. Where it
 * starts now; NULL: it has to be copied, and nothing has changed. */
void *owl_large_grow_front(struct owl_span *s, size_t bytes);
void *owl_large_shrink_front(struct owl_span *s, size_t bytes);

/* Exchanges the first bytes of two blocks in pages as far as whole pages, or whatever the two
 * can exchange, go: so many bytes; the caller copies what is left. s or t may be NULL, for a
 * mapping. */
size_t owl_large_swap(struct owl_span *s, void *p, struct owl_span *t, void *q, size_t bytes);

/* A block with the same contents that shares the pages until they are written to. NULL: it has
 * to be copied. */
void *owl_large_dup(struct owl_span *s);

/* Makes sure that a block's bytes lie in a row in a file, for others to share, and tells where.
 * A descriptor of the file; or -1 with errno. */
int owl_large_export(struct owl_span *s, size_t *offset);

/* A ring of `bytes`, a multiple of the page size, mapped twice. NULL: no memory. */
void *owl_large_ring(size_t bytes);

/* Whether the block is a ring: another size makes an ordinary block of it, which only a copy can
 * be. */
bool owl_large_is_ring(const struct owl_span *s);

#endif
