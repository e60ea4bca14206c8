/* SPDX-License-Identifier: BSD-2-Clause */
/* Medium blocks that a thread keeps for itself: what is not on the short way. */
#include "cache_inside.h"

#include "large.h"
#include "option.h"
#include "pool.h"

void owl_stock_open(struct owl_cache *c)
{
    size_t most = (size_t)owl_option(OWL_OPTION_MAGAZINE) * (OWL_STOCK_BYTES / OWL_MAGAZINE_BYTES);
    c->stock_most = (uint32_t)(most >> OWL_GRANULE_SHIFT);
}

void owl_stock_count_room(struct owl_cache *c, uint32_t granules)
{
    size_t more = (size_t)(granules - c->stock.counted) << OWL_GRANULE_SHIFT;
    c->stock.counted = granules;
    owl_cache_count_room(c, more);
}

struct owl_span *owl_stock_empty(struct owl_stock *k)
{
    struct owl_span *all = NULL;
    if (owl_u32_peek(&k->granules) == 0)
        return NULL;
    for (unsigned i = 0; i < OWL_STOCK_LENGTHS; i++) {
        struct owl_span *s = k->spans[i];
        k->spans[i] = NULL;
        for (struct owl_span *next; s != NULL; s = next) {
            next = s->next;
            s->next = all;
            all = s;
        }
    }
    owl_u32_poke(&k->granules, 0);
    return all;
}

void owl_stock_release(struct owl_span *all)
{
    for (struct owl_span *s = all; s != NULL; s = s->next)
        s->kind = OWL_KIND_NONE;
    if (all != NULL)
        owl_pool_give_all(all);
}

void owl_cache_give_span_full(struct owl_cache *c, struct owl_span *s)
{
    owl_cache_enter(c);
    struct owl_span *all = owl_stock_empty(&c->stock);
    owl_cache_leave(c);
    owl_stock_release(all);
    if (!owl_cache_give_span(c, s))
        owl_large_release(s);
}

bool owl_stock_is_valid(const struct owl_stock *k)
{
    size_t granules = 0;
    for (unsigned i = 0; i < OWL_STOCK_LENGTHS; i++)
        for (const struct owl_span *s = k->spans[i]; s != NULL; s = s->next) {
            if (s->kind != OWL_KIND_STOCK || s->granules != i + 1)
                return false;
            granules += s->granules;
        }
    return granules == owl_u32_peek(&k->granules);
}
