/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks where a tool watches: longer than what was asked for, as tools.h draws them.
 */
#include "alloc_inside.h"

#include <errno.h>
#include <stdint.h>

#include "large.h"
#include "mapping.h"
#include "tools.h"

static bool is_ring(const struct owl_span *s)
{
    return s != NULL && s->kind == OWL_KIND_LARGE && owl_large_is_ring(s);
}

static size_t whole_of(const struct owl_span *s, const void *p)
{
    return s != NULL ? s->bytes : owl_mapping_bytes(p);
}

/* What lies in a range is known as a root by the range's. */
static void *take(size_t whole, size_t alignment, bool zero)
{
    unsigned class = owl_aligned_class(alignment, whole);
    void *p = class < OWL_CLASSES ? owl_alloc_class(class)
                                  : owl_alloc_large(whole, alignment, zero);
    if (p != NULL && owl_span_of(p) == NULL)
        owl_tools_begin_root(p, owl_mapping_bytes(p));
    return p;
}

void *owl_malloc_watched(size_t size, size_t alignment, bool zero)
{
    OWL_TOOLS_INSIDE;
    if (size > PTRDIFF_MAX - OWL_TOOLS_ROOM) {
        errno = ENOMEM;
        return NULL;
    }
    if (size == 0)
        size = 1;
    void *p = take(size + OWL_TOOLS_ROOM, alignment, zero);
    if (p != NULL)
        owl_tools_hand_out(p, whole_of(owl_span_of(p), p), size, zero);
    return p;
}

size_t owl_watched_bytes(const struct owl_span *s, const void *p)
{
    size_t whole = whole_of(s, p);
    return whole == 0 || is_ring(s) ? whole : owl_tools_bytes(p, whole);
}

/* The blocks without a note were not made here. */
void owl_watched_end(const struct owl_span *s, void *p)
{
    size_t whole = whole_of(s, p);
    if (is_ring(s))
        owl_tools_take_in_ring(p);
    else if (owl_tools_take_in(p, whole) && s == NULL)
        owl_tools_end_root(p, whole);
}
