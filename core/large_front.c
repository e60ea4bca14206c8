/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large blocks whose start moves, and pairs of them that exchange their pages.
 */
#include "large.h"
#include "large_span.h"
#include "pool.h"
#include "remap.h"

/* What descriptor s says of a block, t says from now on; the granules and the range are set
 * there. */
static void *begin_at(struct owl_span *s, struct owl_span *t, uintptr_t start)
{
    const struct owl_span was = *s;
    s->kind = OWL_KIND_NONE;
    owl_large_begin(t, 1);
    t->start = start;
    t->bytes = was.start + was.bytes - start;
    t->store = was.store;
    t->shared = was.shared;
    t->frozen = was.frozen;
    return (void *)start;
}

/* Addresses of a file next to a block that shows a store there are the file's: it grows
 * elsewhere. */
static void *extend_front(struct owl_span *s, size_t more, uintptr_t start)
{
    if ((s->store != NULL && owl_memfd_is_live(s)) || !owl_memfd_may_grow(s))
        return NULL;
    bool locked = owl_large_lock(s);
    struct owl_span *t = owl_pool_extend_front(s, more);
    void *p = t != NULL ? begin_at(s, t, start) : NULL;
    owl_large_unlock(locked);
    return p;
}

void *owl_large_grow_front(struct owl_span *s, size_t bytes)
{
    size_t head = owl_head(s);
    if (owl_is_ring(s))
        return NULL;
    if (bytes <= head) {
        s->start -= bytes;
        s->bytes += bytes;
        return (void *)s->start;
    }
    size_t more = owl_large_granules(bytes - head);
    if (s->shared || more > OWL_SPAN_MAX >> OWL_GRANULE_SHIFT)
        return NULL;
    void *p = extend_front(s, more, s->start - bytes);
    if (p != NULL)
        return p;
    struct owl_span *t = owl_large_move(s, more, more + s->granules);
    if (t == NULL)
        return NULL;
    t->start -= bytes;
    t->bytes += bytes;
    return (void *)t->start;
}

void *owl_large_shrink_front(struct owl_span *s, size_t bytes)
{
    size_t less = (owl_head(s) + bytes) >> OWL_GRANULE_SHIFT;
    uintptr_t start = s->start + bytes;
    if (s->shared && (less > 0 || owl_is_ring(s)))
        return NULL;
    if (less == 0) {
        s->start = start;
        s->bytes -= bytes;
        return (void *)start;
    }
    bool locked = owl_large_lock(s);
    bool foreign = owl_is_foreign(s);
    struct owl_span *t = s + less;
    t->range = s->range;
    t->remapped = s->remapped;
    t->granules = s->granules - less;
    begin_at(s, t, start);
    owl_large_give(s, less, foreign);
    owl_large_unlock(locked);
    return (void *)start;
}

/* Whether the pages at p may be exchanged: private ones, or ones that are all a file's and whose
 * granules are. A mapping, which has no descriptor, is private. */
static bool may_swap(const struct owl_span *s, const void *p)
{
    return (uintptr_t)p % owl_os.page == 0 &&
           (s == NULL || (!owl_is_foreign(s) && (!owl_memfd_is_live(s) || owl_head(s) == 0)));
}

static bool is_file(const struct owl_span *s)
{
    return s != NULL && owl_memfd_is_live(s);
}

size_t owl_large_swap(struct owl_span *s, void *p, struct owl_span *t, void *q, size_t bytes)
{
    bool file = is_file(s); /* first: what is none any more is found frozen */
    if (file != is_file(t) || !may_swap(s, p) || !may_swap(t, q))
        return 0;
    size_t unit = file ? OWL_GRANULE : owl_os.page;
    bytes &= ~(unit - 1);
    if (bytes < OWL_MOVE_MIN)
        return 0;
    if (!file) {
        if (s != NULL)
            s->remapped = 1;
        if (t != NULL)
            t->remapped = 1;
        return owl_remap_exchange(p, q, bytes, false) == 0 ? bytes : 0;
    }
    owl_memfd_lock();
    bool live = is_file(s) && is_file(t) && s->range == t->range;
    if (!live || owl_memfd_exchange(s, t, bytes >> OWL_GRANULE_SHIFT) != 0)
        bytes = 0;
    owl_memfd_unlock();
    return bytes;
}
