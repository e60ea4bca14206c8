/* SPDX-License-Identifier: BSD-2-Clause */
#include "stats.h"

#include <errno.h>

#include "cache.h"
#include "mapping.h"
#include "os.h"
#include "pool.h"
#include "tools.h"

struct totals {
    struct owl_slab_counts slabs;
    struct owl_cache_counts cached;
    size_t caches, threads;
};

static void add_cache(struct owl_owner *o, struct owl_cache *c, void *context)
{
    struct totals *t = context;
    owl_slab_count(o, &t->slabs);
    if (c == NULL)
        return;
    owl_cache_count(c, &t->cached);
    t->caches++;
    t->threads += owl_cache_thread(c) != 0;
}

/* a - b for counts that were not taken at the same moment. */
static size_t less(size_t a, size_t b)
{
    return a > b ? a - b : 0;
}

void owl_stats_get(struct owl_stats *s)
{
    OWL_TOOLS_INSIDE;
    struct totals t = {.caches = 0};
    owl_cache_each(add_cache, &t);
    struct owl_pool_counts pool = owl_pool_count();
    size_t slab_bytes = t.slabs.granules << OWL_GRANULE_SHIFT;
    *s = (struct owl_stats){
        .small_blocks = less(t.slabs.blocks_out, t.cached.blocks),
        .small_bytes = less(t.slabs.bytes_out, t.cached.bytes),
        .large_bytes = less(pool.used << OWL_GRANULE_SHIFT, slab_bytes + t.cached.stock_bytes),
        .cached_bytes = t.cached.bytes + t.cached.stock_bytes,
        .medium_cached_bytes = t.cached.stock_bytes,
        .remote_bytes = t.cached.remote_bytes,
        .slabs = t.slabs.slabs,
        .slab_bytes = slab_bytes,
        .dirty_bytes = pool.dirty << OWL_GRANULE_SHIFT,
        .clean_bytes = pool.clean << OWL_GRANULE_SHIFT,
        .peak_bytes = pool.peak,
        .threads = t.threads,
        .caches = t.caches,
    };
    owl_mapping_count(&s->mapping_blocks, &s->mapping_bytes);
    s->live_bytes = s->small_bytes + s->large_bytes + s->mapping_bytes;
}

void owl_stats(struct owl_stats *stats)
{
    int saved = errno;
    owl_stats_get(stats);
    stats->resident_bytes = owl_os.resident();
    errno = saved;
}

static void class_rows(const struct totals *t, struct owl_stats_class rows[OWL_CLASSES])
{
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        size_t out = t->slabs.classes[class].blocks_out;
        size_t blocks = less(out, t->cached.classes[class]);
        rows[class] = (struct owl_stats_class){
            .block_bytes = owl_classes[class].size,
            .slabs = t->slabs.classes[class].slabs,
            .blocks = blocks,
            .cached = out - blocks,
        };
    }
}

/* A walk by thread: who is told, and what no thread has, so far. */
struct by_thread {
    void (*visit)(const struct owl_stats_thread *row, void *context);
    void *context;
    struct totals rest;
};

static void tell(const struct by_thread *walk, unsigned long thread, const struct totals *t)
{
    struct owl_stats_class rows[OWL_CLASSES];
    struct owl_stats_thread row = {
        .thread = thread,
        .slabs = t->slabs.slabs,
        .slab_bytes = t->slabs.granules << OWL_GRANULE_SHIFT,
        .out_bytes = t->slabs.bytes_out,
        .cached_bytes = t->cached.bytes + t->cached.stock_bytes,
        .classes = rows,
        .class_count = OWL_CLASSES,
    };
    class_rows(t, rows);
    walk->visit(&row, walk->context);
}

static void visit_cache(struct owl_owner *o, struct owl_cache *c, void *context)
{
    struct by_thread *walk = context;
    unsigned long thread = c != NULL ? owl_cache_thread(c) : 0;
    if (thread == 0) {
        add_cache(o, c, &walk->rest);
        return;
    }
    struct totals t = {.caches = 0};
    add_cache(o, c, &t);
    tell(walk, thread, &t);
}

void owl_stats_threads(void (*visit)(const struct owl_stats_thread *row, void *context),
                       void *context)
{
    OWL_TOOLS_INSIDE;
    int saved = errno;
    struct by_thread walk = {.visit = visit, .context = context};
    owl_cache_each(visit_cache, &walk);
    tell(&walk, 0, &walk.rest);
    errno = saved;
}

void owl_stats_classes(void (*visit)(const struct owl_stats_class *row, void *context),
                       void *context)
{
    OWL_TOOLS_INSIDE;
    int saved = errno;
    struct totals t = {.caches = 0};
    struct owl_stats_class rows[OWL_CLASSES];
    owl_cache_each(add_cache, &t);
    class_rows(&t, rows);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        visit(&rows[class], context);
    errno = saved;
}

static void check_cache(struct owl_owner *o, struct owl_cache *c, void *context)
{
    bool *valid = context;
    *valid = *valid && owl_slab_is_valid(o) && (c == NULL || owl_cache_is_valid(c));
}

bool owl_stats_heap_is_valid(void)
{
    OWL_TOOLS_INSIDE;
    bool valid = true;
    owl_cache_each(check_cache, &valid);
    return valid && owl_pool_is_valid();
}
