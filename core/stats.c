/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include "cache.h"
#include "mapping.h"
#include "pool.h"

struct totals {
    struct owl_slab_counts slabs;
    size_t caches, cached_blocks, cached_bytes;
};

static void add_cache(struct owl_owner *o, struct owl_cache *c, void *context)
{
    struct totals *t = context;
    size_t blocks, bytes;
    owl_slab_count(o, &t->slabs);
    if (c == NULL)
        return;
    owl_cache_count(c, &blocks, &bytes);
    t->caches++;
    t->cached_blocks += blocks;
    t->cached_bytes += bytes;
}

/* a - b for counts that were not taken at the same moment. */
static size_t less(size_t a, size_t b)
{
    return a > b ? a - b : 0;
}

void owl_stats_get(struct owl_stats *s)
{
    struct totals t = {.caches = 0};
    owl_cache_each(add_cache, &t);
    struct owl_pool_counts pool = owl_pool_count();
    size_t slab_bytes = t.slabs.granules << OWL_GRANULE_SHIFT;
    *s = (struct owl_stats){
        .threads = t.caches,
        .slabs = t.slabs.slabs,
        .slab_bytes = slab_bytes,
        .small_blocks = less(t.slabs.blocks_out, t.cached_blocks),
        .small_bytes = less(t.slabs.bytes_out, t.cached_bytes),
        .cached_bytes = t.cached_bytes,
        .large_bytes = less(pool.used << OWL_GRANULE_SHIFT, slab_bytes),
        .dirty_bytes = pool.dirty << OWL_GRANULE_SHIFT,
        .clean_bytes = pool.clean << OWL_GRANULE_SHIFT,
    };
    owl_mapping_count(&s->mapping_blocks, &s->mapping_bytes);
}

size_t owl_stats_live(const struct owl_stats *s)
{
    return s->small_bytes + s->large_bytes + s->mapping_bytes;
}

static void check_cache(struct owl_owner *o, struct owl_cache *c, void *context)
{
    bool *valid = context;
    *valid = *valid && owl_slab_is_valid(o) && (c == NULL || owl_cache_is_valid(c));
}

bool owl_stats_heap_is_valid(void)
{
    bool valid = true;
    owl_cache_each(check_cache, &valid);
    return valid && owl_pool_is_valid();
}
