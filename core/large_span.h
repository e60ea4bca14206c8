/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of large blocks share: spans and blocks, without a look at what the caller wants.
 */
#ifndef OWL_CORE_LARGE_SPAN_H
#define OWL_CORE_LARGE_SPAN_H

#include "large.h"
#include "memfd.h"
#include "os.h"
#include "pool.h"
#include "range.h"

/* Granules that one page table maps, and the alignment: of one that is moved whole, only the
 * entry that points to it changes. */
#define OWL_TABLE_ORDER 5
#define OWL_TABLE ((size_t)1 << OWL_TABLE_ORDER)

_Static_assert(OWL_GRANULE << OWL_TABLE_ORDER == OWL_RANGE_ALIGNMENT, "a page table's granules");

static inline void *owl_granule_at(const struct owl_span *s, size_t granules)
{
    return (void *)(owl_span_address(s) + (granules << OWL_GRANULE_SHIFT));
}

/* Bytes of the span before the block. */
static inline size_t owl_head(const struct owl_span *s)
{
    return s->start - owl_span_address(s);
}

/* Whether pages of the block are, or may be, others than the range's own. */
static inline bool owl_is_view(const struct owl_span *s)
{
    return s->store != NULL || s->shared;
}

/* Whether pages of the block may be a file's: then a purge does not make them zero. */
static inline bool owl_is_foreign(const struct owl_span *s)
{
    return owl_is_view(s) || s->frozen;
}

/* Whether they are private memory: then it does. */
static inline bool owl_is_private(const struct owl_span *s)
{
    return owl_backing_of(s->range) == OWL_PRIVATE && !owl_is_foreign(s);
}

/* Whether the block is a ring, which shows a store twice. */
static inline bool owl_is_ring(const struct owl_span *s)
{
    return s->shared && s->store != NULL && !s->whole;
}

/* The lock, where what the pages show may change, or a fork change it. (One that freezes the file
 * before the lock is had is found by another look under it; one that has done so before is found in
 * the block, for the first look acquires.) */
static inline bool owl_large_lock(const struct owl_span *s)
{
    bool needed = owl_memfd_is_live(s) || owl_is_foreign(s);
    if (needed)
        owl_memfd_lock();
    return needed;
}

static inline void owl_large_unlock(bool locked)
{
    if (locked)
        owl_memfd_unlock();
}

/* Makes a taken run a block whose pages are the run's own: start and granules are set. */
void owl_large_begin(struct owl_span *s, size_t bytes);

/* Gives granules of a block back to the pool; `foreign`: they show what is not the range's own. */
static inline void owl_large_give(struct owl_span *s, size_t granules, bool foreign)
{
    if (foreign)
        owl_memfd_give(s, granules);
    else
        owl_pool_give(s, granules);
}

/* Moves a block, or what it shows, to a larger run, so many granules from the beginning of that.
 * The new first descriptor; NULL: refused, and nothing has changed. */
struct owl_span *owl_large_move(struct owl_span *s, size_t before, size_t granules);

#endif
