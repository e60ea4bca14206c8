/* SPDX-License-Identifier: BSD-2-Clause */
#include "cache.h"

#include <errno.h>
#include <pthread.h>

#include "mapping.h"
#include "os.h"
#include "pool.h"

struct owl_cache owl_cache_none, owl_cache_gone;
__thread struct owl_cache *owl_cache_self __attribute__((tls_model("initial-exec"))) =
    &owl_cache_none;

/* Caches are carved from mappings that are never given up: a stale pointer to one stays a pointer
 * to a cache. The lock guards all fields. */
static struct {
    struct owl_lock lock;
    bool ready;             /* the allocator is set up */
    bool keyed;             /* there is a key; without one, a cache could not be ended */
    pthread_key_t key;      /* its destructor ends a thread's cache */
    struct owl_cache *all;  /* every cache ever made, the newest first */
    struct owl_cache *idle; /* those without a thread */
    char *fresh, *end;      /* room for more caches */
} caches;

/* fork: all locks of rank 1 to 3 are taken before, and let go after in parent and child, so that the
 * child, which has one thread, finds every structure whole and can allocate at once. */
static void fork_prepare(void)
{
    owl_lock(&caches.lock);
    for (struct owl_cache *c = caches.all; c != NULL; c = c->next)
        owl_lock(&c->owner.lock);
    owl_lock(&owl_orphans.lock);
}

static void fork_parent(void)
{
    owl_unlock(&owl_orphans.lock);
    for (struct owl_cache *c = caches.all; c != NULL; c = c->next)
        owl_unlock(&c->owner.lock);
    owl_unlock(&caches.lock);
}

static void fork_child(void)
{
    owl_lock_reset(&owl_orphans.lock);
    for (struct owl_cache *c = caches.all; c != NULL; c = c->next)
        owl_lock_reset(&c->owner.lock);
    owl_lock_reset(&caches.lock);
}

static void thread_ends(void *cache);

/* The very first call, from whichever thread, maybe before any constructor. The handlers for fork
 * are registered here, before those of others, which may allocate: then those run while no lock is
 * held. The handlers of fork's beginning run in reverse, so locks are taken in the order of ranks. */
static void set_up(void)
{
    pthread_atfork(owl_pool_fork_prepare, owl_pool_fork_parent, owl_pool_fork_child);
    pthread_atfork(owl_mapping_fork_prepare, owl_mapping_fork_parent, owl_mapping_fork_child);
    pthread_atfork(fork_prepare, fork_parent, fork_child);
    owl_os_init();
    owl_page_map.secret = owl_os.secret();
    caches.keyed = pthread_key_create(&caches.key, thread_ends) == 0;
    caches.ready = true;
}

static struct owl_cache *carve_cache(void)
{
    if ((size_t)(caches.end - caches.fresh) < sizeof(struct owl_cache)) {
        char *p = owl_os.map(OWL_GRANULE);
        if (p == NULL)
            return NULL;
        caches.fresh = p;
        caches.end = p + OWL_GRANULE;
    }
    struct owl_cache *c = (struct owl_cache *)caches.fresh;
    caches.fresh += sizeof *c;
    c->next = caches.all;
    caches.all = c;
    return c;
}

/* All that the cache holds goes back, and the cache to the next thread. */
static void end_cache(struct owl_cache *c)
{
    owl_cache_flush(c);
    owl_slab_abandon(&c->owner);
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        owl_u32_poke(&c->magazines[class].room, 0);
        owl_u32_poke(&c->magazines[class].limit, 0);
        c->cold[class].fill = 0;
    }
    owl_lock(&caches.lock);
    c->next_idle = caches.idle;
    caches.idle = c;
    owl_unlock(&caches.lock);
}

/* The destructor of the thread's key. Those of other keys run before and after it, in an order that
 * nobody knows, and may allocate; so the first time it only asks to be called again, after all that
 * there are now. What calls even later is served without a cache. */
static void thread_ends(void *cache)
{
    struct owl_cache *c = cache;
    if (!c->ending && pthread_setspecific(caches.key, c) == 0) {
        c->ending = true;
        return;
    }
    owl_cache_self = &owl_cache_gone;
    end_cache(c);
}

/* A cache for this thread: one that another has left, or a new one. */
static struct owl_cache *find_cache(void)
{
    owl_lock(&caches.lock);
    if (!caches.ready)
        set_up();
    struct owl_cache *c = caches.idle;
    if (c != NULL)
        caches.idle = c->next_idle;
    else if (caches.keyed)
        c = carve_cache();
    owl_unlock(&caches.lock);
    return c;
}

struct owl_cache *owl_cache_get(void)
{
    struct owl_cache *c = owl_cache_self;
    if (c != &owl_cache_none)
        return c != &owl_cache_gone ? c : NULL;

    int saved = errno;
    c = find_cache();
    if (c != NULL) {
        owl_cache_self = c;
        c->ending = false;
        /* With the cache in place, for this may allocate. */
        if (pthread_setspecific(caches.key, c) != 0) {
            end_cache(c);
            owl_cache_self = &owl_cache_none;
            c = NULL;
        }
    }
    errno = saved;
    return c;
}

static bool list_is_valid(const struct owl_block *list, int64_t count)
{
    for (const struct owl_block *b = list; b != NULL; b = b->next, count--)
        if (!owl_block_is_marked(b) || count == 0)
            return false;
    return count == 0;
}

bool owl_cache_is_valid(const struct owl_cache *c)
{
    bool valid = true;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_magazine *m = &c->magazines[class];
        const struct owl_cold_magazine *cold = &c->cold[class];
        int64_t hot = (int64_t)owl_u32_peek(&m->limit) - owl_u32_peek(&m->room);
        valid = valid && hot >= 0 && list_is_valid(m->hot, hot) &&
                list_is_valid(cold->blocks, owl_u32_peek(&cold->count));
    }
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++)
        valid = valid && list_is_valid(c->remote[i].blocks, owl_u32_peek(&c->remote[i].count));
    return valid;
}

/* Before all other constructors (the library is linked with -z initfirst): see set_up. */
__attribute__((constructor(101))) static void start(void)
{
    owl_lock(&caches.lock);
    if (!caches.ready)
        set_up();
    owl_unlock(&caches.lock);
}

static uint32_t doubled(uint32_t n, uint32_t first, uint32_t most)
{
    if (n == 0)
        return first;
    return n < most / 2 ? 2 * n : most;
}

void *owl_cache_refill(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    struct owl_cold_magazine *cold = &c->cold[class];
    if (cold->blocks != NULL) {
        m->hot = cold->blocks;
        owl_u32_poke(&m->room, owl_u32_peek(&m->limit) - owl_u32_peek(&cold->count));
        cold->blocks = NULL;
        owl_u32_poke(&cold->count, 0);
    } else {
        const struct owl_class *k = &owl_classes[class];
        cold->fill = doubled(cold->fill, k->first, k->fill);
        if (owl_u32_peek(&m->limit) < cold->fill)
            owl_u32_poke(&m->limit, cold->fill);
        uint32_t taken = owl_slab_take(&c->owner, class, cold->fill, &m->hot);
        owl_u32_poke(&m->room, owl_u32_peek(&m->limit) - taken);
    }
    owl_assert(owl_cache_is_valid(c));
    return owl_cache_pop(c, class);
}

void owl_cache_push_full(struct owl_cache *c, struct owl_magazine *m, struct owl_block *b)
{
    size_t class = (size_t)(m - c->magazines);
    struct owl_cold_magazine *cold = &c->cold[class];
    struct owl_block *surplus = cold->blocks;
    uint32_t limit = owl_u32_peek(&m->limit);
    cold->blocks = m->hot;
    owl_u32_poke(&cold->count, m->hot != NULL ? limit : 0);
    if (surplus != NULL || limit == 0)
        limit = doubled(limit, owl_classes[class].first, owl_classes[class].magazine);
    owl_block_link(b, NULL);
    m->hot = b;
    owl_u32_poke(&m->limit, limit);
    owl_u32_poke(&m->room, limit - 1);
    owl_assert(owl_cache_is_valid(c));
    owl_slab_give(surplus);
}

static void flush_remote(struct owl_remote *r)
{
    struct owl_block *list = r->blocks;
    r->blocks = NULL;
    owl_u32_poke(&r->count, 0);
    owl_u32_poke(&r->bytes, 0);
    owl_slab_give(list);
}

/* Fibonacci hashing: the upper bits of the product depend on all bits of the address. */
static struct owl_remote *remote_for(struct owl_cache *c, const struct owl_owner *owner)
{
    uint64_t product = (uintptr_t)owner / OWL_CACHE_LINE * 0x9e3779b97f4a7c15u;
    return &c->remote[product >> (64 - OWL_REMOTE_OWNERS_SHIFT)];
}

void owl_cache_push_remote(struct owl_cache *c, struct owl_owner *owner, struct owl_block *b,
                           size_t bytes)
{
    struct owl_remote *r = remote_for(c, owner);
    if (r->owner != owner) {
        flush_remote(r);
        r->owner = owner;
    }
    owl_block_link(b, r->blocks);
    r->blocks = b;
    owl_u32_poke(&r->count, owl_u32_peek(&r->count) + 1);
    owl_u32_poke(&r->bytes, owl_u32_peek(&r->bytes) + (uint32_t)bytes);
    if (owl_u32_peek(&r->count) >= OWL_REMOTE_BLOCKS || owl_u32_peek(&r->bytes) >= OWL_REMOTE_BYTES)
        flush_remote(r);
}

void owl_cache_flush(struct owl_cache *c)
{
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++)
        flush_remote(&c->remote[i]);
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        struct owl_magazine *m = &c->magazines[class];
        struct owl_cold_magazine *cold = &c->cold[class];
        struct owl_block *hot = m->hot;
        struct owl_block *cool = cold->blocks;
        m->hot = NULL;
        owl_u32_poke(&m->room, owl_u32_peek(&m->limit));
        cold->blocks = NULL;
        owl_u32_poke(&cold->count, 0);
        owl_slab_give(hot);
        owl_slab_give(cool);
    }
}

void *owl_cache_take_uncached(unsigned class)
{
    struct owl_block *b = NULL;
    if (owl_slab_take(&owl_orphans, class, 1, &b) == 0)
        return NULL;
    b->mark = 0;
    return b;
}

void owl_cache_each(void (*visit)(struct owl_owner *o, struct owl_cache *c, void *context),
                    void *context)
{
    owl_lock(&caches.lock);
    struct owl_cache *all = caches.all;
    owl_unlock(&caches.lock);
    for (struct owl_cache *c = all; c != NULL; c = c->next)
        visit(&c->owner, c, context);
    visit(&owl_orphans, NULL, context);
}

void owl_cache_count(const struct owl_cache *c, size_t *blocks, size_t *bytes)
{
    *blocks = 0;
    *bytes = 0;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_magazine *m = &c->magazines[class];
        uint32_t n = owl_u32_peek(&m->limit) - owl_u32_peek(&m->room) +
                     owl_u32_peek(&c->cold[class].count);
        if (n <= 2 * OWL_MAGAZINE_BLOCKS) { /* as it would be if they were of one moment */
            *blocks += n;
            *bytes += (size_t)n * owl_classes[class].size;
        }
    }
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++) {
        *blocks += owl_u32_peek(&c->remote[i].count);
        *bytes += owl_u32_peek(&c->remote[i].bytes);
    }
}
