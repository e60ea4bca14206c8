/* SPDX-License-Identifier: BSD-2-Clause */
#include "large.h"

#include <string.h>

#include "mapping.h"
#include "os.h"
#include "pool.h"

static size_t granules_for(size_t bytes)
{
    return owl_round_up(bytes, OWL_GRANULE) >> OWL_GRANULE_SHIFT;
}

size_t owl_large_good_size(size_t bytes)
{
    return owl_round_up(bytes, owl_os.page);
}

static unsigned align_order(size_t alignment)
{
    unsigned shift = (unsigned)__builtin_ctzl(alignment);
    return shift > OWL_GRANULE_SHIFT ? shift - OWL_GRANULE_SHIFT : 0;
}

void *owl_large_alloc(size_t bytes, size_t alignment, bool zero)
{
    bool is_zero = true;
    struct owl_span *s = NULL;
    if (bytes == 0)
        bytes = 1;
    if (bytes <= OWL_SPAN_MAX && alignment <= OWL_RANGE_ALIGNMENT)
        s = owl_pool_take(OWL_PRIVATE, granules_for(bytes), align_order(alignment), &is_zero);
    if (s == NULL)
        return owl_mapping_make(bytes, alignment);
    owl_word_store_relaxed(&s->owner, 0);
    s->kind = OWL_KIND_LARGE;
    s->bytes = owl_large_good_size(bytes);
    void *p = (void *)s->start;
    if (zero && !is_zero)
        memset(p, 0, s->bytes);
    return p;
}

void owl_large_free(struct owl_span *s)
{
    s->kind = OWL_KIND_NONE;
    owl_pool_give(s, s->granules);
}

bool owl_large_resize(struct owl_span *s, size_t bytes)
{
    size_t granules = granules_for(bytes);
    if (granules > s->granules && !owl_pool_extend(s, granules))
        return false;
    if (granules < s->granules) {
        struct owl_span *tail = s + granules;
        tail->range = s->range;
        tail->remapped = s->remapped;
        owl_pool_give(tail, s->granules - granules);
        s->granules = granules;
    }
    s->bytes = owl_large_good_size(bytes);
    return true;
}
