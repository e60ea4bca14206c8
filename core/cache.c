/* SPDX-License-Identifier: BSD-2-Clause */
#include "cache.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>

#include "check.h"
#include "mapping.h"
#include "memfd.h"
#include "option.h"
#include "os.h"
#include "pool.h"

/* The slots of a magazine that has no room: it is empty and full. */
static struct owl_block *no_slots[1];
#define NO_ROOM {[0 ... OWL_CLASSES - 1] = (uintptr_t)&no_slots[1]}

struct owl_cache owl_cache_none = {.top = NO_ROOM, .limit = NO_ROOM};
struct owl_cache owl_cache_gone = {.top = NO_ROOM, .limit = NO_ROOM};
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

/* fork: all locks of rank 1 to 3 are taken before, and let go after in parent and child, so that
 * the child, which has one thread, finds every structure whole and can allocate at once. */
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
    for (struct owl_cache *c = caches.all; c != NULL; c = c->next) {
        owl_lock_reset(&c->owner.lock);
        if (c != owl_cache_self)
            owl_word_store_relaxed(&c->thread, 0);
    }
    owl_lock_reset(&caches.lock);
}

static void thread_ends(void *cache);

/* The very first call, from whichever thread, maybe before any constructor. The handlers for
 * fork are registered here, before those of others, which may allocate: then those run while no
 * lock is held. The handlers of fork's beginning run in reverse, so locks are taken in the order
 * of ranks. */
static void set_up(void)
{
    pthread_atfork(owl_memfd_fork_prepare, owl_memfd_fork_parent, owl_memfd_fork_child);
    pthread_atfork(owl_mapping_fork_prepare, owl_mapping_fork_parent, owl_mapping_fork_child);
    pthread_atfork(fork_prepare, fork_parent, fork_child);
    owl_os_init();
    owl_page_map.secret = owl_os.secret();
    caches.keyed = pthread_key_create(&caches.key, thread_ends) == 0;
    caches.ready = true;
}

_Static_assert(sizeof(struct owl_cache) <= OWL_GRANULE &&
                   (sizeof(void *) << OWL_MAGAZINE_SHIFT) <= OWL_GRANULE,
               "a mapping has room for whatever is carved");

/* Zeroed memory for caches and slots, for good. The lock is held. NULL: no memory. */
static void *carve(size_t bytes)
{
    if ((size_t)(caches.end - caches.fresh) < bytes) {
        char *p = owl_os.map(OWL_GRANULE);
        if (p == NULL)
            return NULL;
        caches.fresh = p;
        caches.end = p + OWL_GRANULE;
    }
    void *p = caches.fresh;
    caches.fresh += bytes;
    return p;
}

/* Slots for a magazine: some that the cache has to spare, or new ones. NULL: no memory. */
static struct owl_block **find_slots(struct owl_cache *c, unsigned shift)
{
    void **slots = c->spare[shift];
    if (slots != NULL) {
        c->spare[shift] = *slots;
    } else {
        owl_lock(&caches.lock);
        slots = carve(sizeof *slots << shift);
        owl_unlock(&caches.lock);
    }
    return (struct owl_block **)slots;
}

static void use_slots(struct owl_cache *c, unsigned class, struct owl_block **slots, size_t count)
{
    owl_word_poke(&c->magazines[class].slots, (uintptr_t)slots);
    owl_word_poke(&c->top[class], (uintptr_t)(slots + 1 + count));
    owl_word_poke(&c->limit[class], (uintptr_t)(slots + 1 + c->magazines[class].limit));
}

static struct owl_block **slots_of(const struct owl_cache *c, unsigned class)
{
    return (struct owl_block **)owl_word_peek(&c->magazines[class].slots);
}

/* Blocks in a magazine. Of another thread's this is a guess, which may be far off. */
static size_t count_of(const struct owl_cache *c, unsigned class)
{
    return (owl_word_peek(&c->top[class]) - owl_word_peek(&c->magazines[class].slots)) /
               sizeof(struct owl_block *) -
           1;
}

static void spare_slots(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    if (m->limit > 0) {
        void **slots = (void **)slots_of(c, class);
        *slots = c->spare[m->shift];
        c->spare[m->shift] = slots;
    }
}

/* Back to no room; what was in the magazine has been taken care of. */
static void close_magazine(struct owl_cache *c, unsigned class)
{
    spare_slots(c, class);
    c->magazines[class].limit = 0;
    c->magazines[class].fill = 0;
    use_slots(c, class, no_slots, 0);
}

static struct owl_cache *carve_cache(void)
{
    struct owl_cache *c = carve(sizeof *c);
    if (c == NULL)
        return NULL;
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        use_slots(c, class, no_slots, 0);
    c->next = caches.all;
    caches.all = c;
    return c;
}

/* All that the cache holds goes back, and the cache to the next thread. */
static void end_cache(struct owl_cache *c)
{
    owl_cache_flush(c);
    owl_slab_abandon(&c->owner);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        close_magazine(c, class);
    owl_lock(&caches.lock);
    owl_word_store_relaxed(&c->thread, 0);
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
    if (c != NULL)
        owl_word_store_relaxed(&c->thread, (uintptr_t)pthread_self());
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

static bool all_marked(struct owl_block *const *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (blocks[i] == NULL || !owl_block_is_marked(blocks[i]))
            return false;
    return true;
}

static bool magazine_is_valid(const struct owl_cache *c, unsigned class)
{
    const struct owl_magazine *m = &c->magazines[class];
    struct owl_block **slots = slots_of(c, class);
    return slots[0] == NULL && m->fill <= m->limit && (m->limit == 0 || m->limit < 1u << m->shift) &&
           owl_word_peek(&c->limit[class]) == (uintptr_t)(slots + 1 + m->limit) &&
           count_of(c, class) <= m->limit && all_marked(slots + 1, count_of(c, class));
}

bool owl_cache_is_valid(const struct owl_cache *c)
{
    bool valid = true;
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        valid = valid && magazine_is_valid(c, class);
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++)
        valid = valid && all_marked(c->remote[i].blocks, owl_u32_peek(&c->remote[i].count));
    return valid;
}

/* Before all other constructors (the library is linked with -z initfirst): see set_up. glibc hands
 * constructors the arguments of main; at this point its own `environ` may not be set yet. A program
 * with other rights than its caller's does not let that one choose. */
__attribute__((constructor(101))) static void start(int count, char **arguments, char **environment)
{
    (void)count;
    (void)arguments;
    if (environment != NULL && getauxval(AT_SECURE) == 0)
        owl_option_read(environment);
    owl_lock(&caches.lock);
    if (!caches.ready)
        set_up();
    owl_unlock(&caches.lock);
}

static uint16_t doubled(unsigned n, unsigned first, unsigned most)
{
    if (n == 0)
        return (uint16_t)first;
    return (uint16_t)(n < most / 2 ? 2 * n : most);
}

/* Most blocks that a magazine of the class may have. */
static uint16_t most_blocks(unsigned class)
{
    const struct owl_class *k = &owl_classes[class];
    size_t wanted = (size_t)owl_option(OWL_OPTION_MAGAZINE) / k->size;
    if (wanted >= k->magazine)
        return k->magazine;
    return wanted > 0 ? (uint16_t)wanted : 1;
}

/* The limit after this one. It is never lower, though what the first calls made, before the options
 * were read, may be past what these allow. */
static uint16_t next_limit(const struct owl_magazine *m, unsigned class)
{
    uint16_t most = most_blocks(class);
    uint16_t limit = doubled(m->limit, 2u * owl_classes[class].first, most);
    if (limit > most)
        limit = most;
    return limit > m->limit ? limit : m->limit;
}

/* Doubles a magazine's limit. False: it has no slots, and there is no memory for them. */
static bool grow(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    uint16_t limit = next_limit(m, class);
    struct owl_block **slots = slots_of(c, class);
    size_t count = count_of(c, class);
    if (m->limit == 0 || limit >= 1u << m->shift) {
        unsigned shift = OWL_MAGAZINE_MIN_SHIFT;
        while (limit >= 1u << shift)
            shift++;
        struct owl_block **more = find_slots(c, shift);
        if (more == NULL)
            return m->limit > 0;
        memcpy(more + 1, slots + 1, count * sizeof *slots);
        more[0] = NULL;
        spare_slots(c, class);
        m->shift = (uint8_t)shift;
        slots = more;
    }
    m->limit = limit;
    use_slots(c, class, slots, count);
    return true;
}

static void reverse(struct owl_block **blocks, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        struct owl_block *b = blocks[i];
        blocks[i] = blocks[n - 1 - i];
        blocks[n - 1 - i] = b;
    }
}

void *owl_cache_refill(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    const struct owl_class *k = &owl_classes[class];
    if (m->limit == 0 && !grow(c, class))
        return owl_cache_take_uncached(class);
    m->fill = doubled(m->fill, k->first, k->fill);
    if (m->fill > m->limit && (!grow(c, class) || m->fill > m->limit))
        m->fill = m->limit;
    struct owl_block **blocks = slots_of(c, class) + 1;
    size_t taken = owl_slab_take(&c->owner, class, m->fill, blocks);
    reverse(blocks, taken);
    owl_word_poke(&c->top[class], (uintptr_t)(blocks + taken));
    owl_assert(owl_cache_is_valid(c));
    return owl_cache_pop(c, class);
}

/* The older half goes home. It is taken out first: a report of what is wrong with it may end in a
 * handler that allocates. */
void owl_cache_push_full(struct owl_cache *c, struct owl_block *b)
{
    struct owl_block *older[OWL_MAGAZINE_BLOCKS / 2 + 2];
    unsigned class = owl_span_of(b)->class;
    size_t count = count_of(c, class), half = (count + 1) / 2;
    struct owl_block **blocks = slots_of(c, class) + 1;
    memcpy(older, blocks, half * sizeof *blocks);
    memmove(blocks, blocks + half, (count - half) * sizeof *blocks);
    owl_word_poke(&c->top[class], (uintptr_t)(blocks + count - half));
    if (grow(c, class))
        owl_cache_push(c, class, b);
    else
        older[half++] = b;
    owl_assert(owl_cache_is_valid(c));
    owl_slab_give(older, half);
}

static void flush_remote(struct owl_remote *r)
{
    size_t count = owl_u32_peek(&r->count);
    owl_u32_poke(&r->count, 0);
    owl_u32_poke(&r->bytes, 0);
    owl_slab_give(r->blocks, count);
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
    uint32_t count = owl_u32_peek(&r->count);
    owl_block_mark(b);
    r->blocks[count] = b;
    owl_u32_poke(&r->count, count + 1);
    owl_u32_poke(&r->bytes, owl_u32_peek(&r->bytes) + (uint32_t)bytes);
    if (count + 1 == OWL_REMOTE_BLOCKS || owl_u32_peek(&r->bytes) >= OWL_REMOTE_BYTES)
        flush_remote(r);
}

void owl_cache_flush(struct owl_cache *c)
{
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++)
        flush_remote(&c->remote[i]);
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        struct owl_block **blocks = slots_of(c, class) + 1;
        size_t count = count_of(c, class);
        owl_word_poke(&c->top[class], (uintptr_t)blocks);
        owl_slab_give(blocks, count);
    }
}

void *owl_cache_take_uncached(unsigned class)
{
    struct owl_block *b = NULL;
    if (owl_slab_take(&owl_orphans, class, 1, &b) == 0)
        return NULL;
    owl_block_wipe(b);
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

void owl_cache_count(const struct owl_cache *c, struct owl_cache_counts *counts)
{
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        size_t n = count_of(c, class);
        if (n <= OWL_MAGAZINE_BLOCKS) { /* as it would be if they were of one moment */
            counts->blocks += n;
            counts->bytes += n * owl_classes[class].size;
            counts->classes[class] += n;
        }
    }
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++) {
        size_t blocks = owl_u32_peek(&c->remote[i].count);
        size_t bytes = owl_u32_peek(&c->remote[i].bytes);
        counts->blocks += blocks;
        counts->bytes += bytes;
        counts->remote_blocks += blocks;
        counts->remote_bytes += bytes;
    }
}
