/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of all caches; the first call of all, fork, and the start and end of threads. */
#include "cache_inside.h"

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>

#include "careful.h"
#include "fault.h"
#include "guard.h"
#include "mapping.h"
#include "memfd.h"
#include "option.h"
#include "os.h"
#include "pool.h"
#include "tools.h"

/* With hardened calls owl_cache_self stays at &owl_cache_none, so that each call finds no block and
 * no room and comes to a slow door; this has the thread's cache in its place, for claims too. */
static __thread owl_word veiled_self __attribute__((tls_model("initial-exec"))) =
    (uintptr_t)&owl_cache_none;
static bool hardened; /* written once, before there are threads */

/* The cache of this thread, though it may be claimed. */
static __thread struct owl_cache *own __attribute__((tls_model("initial-exec")));

/* Caches are carved from mappings that are never given up: a stale pointer to one stays a pointer
 * to a cache. The lock guards all fields, but of `all` the writes alone: a fork that misses the
 * lock walks that list too. A cache's `next` is written before the cache comes there, and never
 * after. */
static struct {
    struct owl_lock lock;
    bool ready;             /* the allocator is set up */
    bool keyed;             /* there is a key; without one, a cache could not be ended */
    pthread_key_t key;      /* its destructor ends a thread's cache */
    owl_word all;           /* every cache ever made, the newest first */
    struct owl_cache *idle; /* those without a thread, empty */
    struct owl_cache *parked; /* without a thread, with blocks and slabs, the last first */
    struct owl_cache *torn; /* in a child of fork: those that are */
    struct owl_cache *late_parked, *late_torn; /* to be put there when the lock is let go */
    char *fresh, *end;      /* room for more caches */
} caches = {.lock.rank = OWL_RANK_CACHES};

owl_u32 owl_cache_deserted;

/* Acquires what the release in carve_cache published. */
struct owl_cache *owl_cache_all(void)
{
    return (struct owl_cache *)owl_word_load_acquire(&caches.all);
}

/* One cache more, or less, that has no thread and is not empty. The lock is held. */
static void count_deserted(uint32_t more)
{
    owl_u32_store_relaxed(&owl_cache_deserted, owl_u32_load_relaxed(&owl_cache_deserted) + more);
}

/* `seen`: it need not wait for a look of the scavenger. The lock is held. */
static void desert(struct owl_cache **list, struct owl_cache *c, bool seen)
{
    owl_word_store_relaxed(&c->thread, 0);
    c->seen = seen;
    c->next_idle = *list;
    *list = c;
    count_deserted(1);
    c->hand = 0;
}

static void desert_all(struct owl_cache **list, struct owl_cache **late)
{
    while (*late != NULL) {
        struct owl_cache *c = *late;
        *late = c->next_idle;
        desert(list, c, true);
    }
}

static void be_late(void)
{
    desert_all(&caches.parked, &caches.late_parked);
    desert_all(&caches.torn, &caches.late_torn);
}

static void unlock_caches(void)
{
    be_late();
    owl_unlock(&caches.lock);
}

/* Takes a cache out of a list, for this thread. It counts as that of a thread from then on, so that
 * a child of a fork that comes now knows that it may be torn. The lock is held. */
static struct owl_cache *take_deserted(struct owl_cache **place)
{
    struct owl_cache *c = *place;
    c->hand = owl_lock_self();
    *place = c->next_idle;
    owl_u32_store_relaxed(&c->busy, 0);
    owl_u32_store_relaxed(&c->waits, 0);
    owl_word_store_relaxed(&c->thread, (uintptr_t)c);
    count_deserted(-1u);
    return c;
}

/* fork: all locks up to the orphans' are taken before, and let go after in parent and child, so
 * that the child, which has one thread, finds every structure whole and can allocate at once. No
 * signal is handled meanwhile: a handler that forks or allocates would wait for its own thread. A
 * fork in a handler which came earlier, in the middle of a slow path, is told of in lock.h. */
static void fork_prepare(void)
{
    OWL_TOOLS_INSIDE;
    owl_lock_begin_fork();
    owl_lock_before_fork(&caches.lock);
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        owl_lock_before_fork(&c->claim);
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        owl_lock_before_fork(&c->owner.lock);
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        owl_lock_before_fork(&c->inbox.lock);
    owl_lock_before_fork(&owl_orphans.lock);
}

static void fork_parent(void)
{
    OWL_TOOLS_INSIDE;
    owl_lock_after_fork(&owl_orphans.lock);
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next) {
        owl_lock_after_fork(&c->inbox.lock);
        owl_lock_after_fork(&c->owner.lock);
        owl_lock_after_fork(&c->claim);
    }
    owl_lock_after_fork(&caches.lock);
    owl_lock_end_fork();
}

/*
 * In the child, a cache whose thread is not here. Of what that thread wrote, in the order of its
 * code, the child has all up to some moment, and nothing that came after. Was it in no slow path
 * then, or in one that waits for its slabs, the magazines are whole: a fast path changes them by
 * its last store, of `top`. What it had in its hands, blocks on their way home too, is lost. It was
 * starting or ending if it had no owl_cache_self: of such a cache only the slabs and the inbox are
 * whole, whose locks are held here; of any, if a lock was missed (lock.h).
 *
 * This thread, under a handler, may be about to claim the cache, so `busy` stays; and to change the
 * lists of caches, so this one comes there when the lock of those is let go.
 */
static void leave(struct owl_cache *c)
{
    uint32_t busy = owl_u32_load_relaxed(&c->busy);
    bool waits = busy == 1 && owl_u32_load_relaxed(&c->waits) != 0;
    bool whole = c->self != NULL && (busy == 0 || waits) && !owl_lock_fork_missed();
    if (owl_word_load_relaxed(&c->thread) != 0) {
        struct owl_cache **late = whole ? &caches.late_parked : &caches.late_torn;
        c->torn = !whole;
        owl_word_store_relaxed(&c->thread, 0);
        c->next_idle = *late;
        *late = c;
    }
    c->hand = 0;
    c->self = NULL;
    c->inbox.open = false;
}

/* A claim that is under way may be by a thread which is not here. */
static void end_claim_of_another(struct owl_cache *c)
{
    owl_lock_in_child(&c->claim);
    if (owl_lock_is_mine(&c->claim) || owl_u32_load_relaxed(&c->claimed) == 0)
        return;
    owl_u32_store_relaxed(&c->claimed, 0);
    if (c->self != NULL)
        owl_word_store_relaxed(c->self, (uintptr_t)c);
}

/* The other threads are not here, nor is what their owl_cache_self were. */
static void fork_child(void)
{
    OWL_TOOLS_INSIDE;
    owl_lock_in_child(&owl_orphans.lock);
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next) {
        owl_lock_in_child(&c->owner.lock);
        owl_lock_in_child(&c->inbox.lock);
        if (c != own && c->hand != owl_lock_self())
            leave(c);
        end_claim_of_another(c);
    }
    owl_os_note_process();
    if (own != NULL)
        own->system = owl_os.thread_self();
    if (owl_lock_is_taken(&caches.lock) || !owl_lock_is_mine(&caches.lock))
        be_late();
    owl_lock_in_child(&caches.lock);
    owl_lock_end_fork();
}

static void thread_ends(void *cache);

/* The very first call, from whichever thread, maybe before any constructor. The handlers for
 * fork are registered here, before those of others, which may allocate: then those run while no
 * lock is held. The handlers of fork's beginning run in reverse, so locks are taken in the order
 * of ranks. */
static void set_up(void)
{
    pthread_atfork(owl_guard_fork_prepare, owl_guard_fork_parent, owl_guard_fork_child);
    pthread_atfork(owl_careful_fork_prepare, owl_careful_fork_parent, owl_careful_fork_child);
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
    owl_tools_hide(p, bytes);
    return p;
}

/* A free that finds no memory for more slots does without, and keeps errno. */
void *owl_cache_carve(size_t bytes)
{
    int saved = errno;
    owl_lock(&caches.lock);
    void *p = carve(bytes);
    unlock_caches();
    errno = saved;
    return p;
}

static struct owl_cache *carve_cache(void)
{
    struct owl_cache *c = carve(sizeof *c);
    if (c == NULL)
        return NULL;
    owl_cache_open(c);
    c->claim.rank = OWL_RANK_CLAIM;
    c->owner.lock.rank = OWL_RANK_OWNER;
    c->inbox.lock.rank = OWL_RANK_INBOX;
    c->next = owl_cache_all();
    owl_word_store_release(&caches.all, (uintptr_t)c);
    return c;
}

/* All that the cache, which is in hand, holds goes back, and the cache to the next thread. */
static void end_cache(struct owl_cache *c)
{
    owl_inbox_open(&c->inbox, false);
    owl_cache_flush(c);
    owl_slab_abandon(&c->owner);
    owl_cache_close(c);
    owl_lock(&caches.lock);
    owl_word_store_relaxed(&c->thread, 0);
    c->next_idle = caches.idle;
    caches.idle = c;
    c->hand = 0;
    unlock_caches();
}

/* Few blocks may lie in many slabs, which cannot go to the pool then. */
static bool holds_little(struct owl_cache *c)
{
    bool little = owl_cache_shrink(c) <= OWL_PARKED_BYTES;
    owl_lock(&c->owner.lock);
    little = little && c->owner.idle <= OWL_PARKED_IDLE;
    owl_unlock(&c->owner.lock);
    return little;
}

/* Leaves a cache that holds little to the next thread as it is. False: it holds much, or enough of
 * them are parked. */
static bool park(struct owl_cache *c)
{
    owl_inbox_open(&c->inbox, false);
    bool little = holds_little(c);
    owl_lock(&caches.lock);
    little = little && owl_u32_load_relaxed(&owl_cache_deserted) < OWL_PARKED;
    if (little)
        desert(&caches.parked, c, false);
    unlock_caches();
    return little;
}

/* The cache that was parked first, unless it has to have been there at the last look and was not.
 * NULL: none. */
static struct owl_cache *take_parked(bool seen)
{
    struct owl_cache *c = NULL;
    owl_lock(&caches.lock);
    struct owl_cache **place = &caches.parked;
    while (*place != NULL && (*place)->next_idle != NULL)
        place = &(*place)->next_idle;
    if (*place != NULL && (!seen || (*place)->seen))
        c = take_deserted(place);
    unlock_caches();
    return c;
}

static struct owl_cache *take_torn(void)
{
    owl_lock(&caches.lock);
    struct owl_cache *c = caches.torn != NULL ? take_deserted(&caches.torn) : NULL;
    unlock_caches();
    return c;
}

/* They are not used again. */
static void reclaim_torn(void)
{
    for (struct owl_cache *c; (c = take_torn()) != NULL;) {
        owl_inbox_flush(&c->inbox);
        owl_slab_abandon(&c->owner);
        owl_cache_forget_room(c);
        owl_lock(&caches.lock);
        owl_word_store_relaxed(&c->thread, 0);
        c->hand = 0;
        unlock_caches();
    }
}

void owl_cache_reclaim(void)
{
    int saved = errno;
    reclaim_torn();
    struct owl_cache *c = take_parked(false);
    if (c != NULL)
        end_cache(c);
    errno = saved;
}

bool owl_cache_reclaim_all(bool idle)
{
    if (owl_u32_load_relaxed(&owl_cache_deserted) == 0)
        return false;
    int saved = errno;
    reclaim_torn();
    for (struct owl_cache *c; (c = take_parked(idle)) != NULL;)
        end_cache(c);
    owl_lock(&caches.lock);
    bool left = caches.parked != NULL;
    for (struct owl_cache *c = caches.parked; c != NULL; c = c->next_idle)
        c->seen = true;
    unlock_caches();
    errno = saved;
    return left;
}

/* A thread is or is not the one that has the cache. */
static void make_own(struct owl_cache *c)
{
    owl_lock(&c->claim);
    own = c;
    c->self = hardened ? &veiled_self : &owl_cache_self;
    owl_barrier_compiler();
    c->hand = 0;
    c->system = owl_os.thread_self();
    owl_word_store_relaxed(c->self, (uintptr_t)c);
    owl_unlock(&c->claim);
}

static void disown(struct owl_cache *c, const struct owl_cache *next)
{
    owl_lock(&c->claim);
    c->hand = owl_lock_self();
    owl_barrier_compiler();
    own = NULL;
    c->self = NULL;
    owl_word_store_relaxed(&owl_cache_self, (uintptr_t)next);
    owl_word_store_relaxed(&veiled_self, (uintptr_t)&owl_cache_none);
    owl_unlock(&c->claim);
}

/* The destructor of the thread's key. Those of other keys run before and after it, in an order that
 * nobody knows, and may allocate; so the first time it only asks to be called again, after all that
 * there are now. What calls even later is served without a cache. */
static void thread_ends(void *cache)
{
    OWL_TOOLS_INSIDE;
    struct owl_cache *c = cache;
    if (!c->ending && pthread_setspecific(caches.key, c) == 0) {
        c->ending = true;
        return;
    }
    disown(c, &owl_cache_gone);
    if (!park(c))
        end_cache(c);
    owl_pool_settle();
}

/* A cache for this thread: one that another has left, with blocks rather than without, or a new
 * one. */
static struct owl_cache *find_cache(void)
{
    owl_lock(&caches.lock);
    if (!caches.ready)
        set_up();
    struct owl_cache *c = caches.idle;
    if (caches.parked != NULL)
        c = take_deserted(&caches.parked);
    else if (c != NULL)
        caches.idle = c->next_idle;
    else if (caches.keyed)
        c = carve_cache();
    if (c != NULL) {
        c->hand = owl_lock_self();
        owl_word_store_relaxed(&c->thread, (uintptr_t)pthread_self());
    }
    unlock_caches();
    return c;
}

static inline struct owl_cache *mine(void)
{
    struct owl_cache *c = owl_cache_mine();
    return hardened && c == &owl_cache_none ? (struct owl_cache *)owl_word_once(&veiled_self) : c;
}

struct owl_cache *owl_cache_get(void)
{
    OWL_TOOLS_INSIDE;
    struct owl_cache *c = mine();
    while (c == &owl_cache_none && own != NULL) { /* it is claimed */
        owl_lock(&own->claim);
        owl_unlock(&own->claim);
        c = mine();
    }
    if (c != &owl_cache_none)
        return c != &owl_cache_gone ? c : NULL;

    int saved = errno;
    c = find_cache();
    if (c != NULL) {
        owl_inbox_open(&c->inbox, true);
        if (!hardened)
            owl_stock_open(c);
        make_own(c);
        c->ending = false;
        /* With the cache in place, for this may allocate. */
        if (pthread_setspecific(caches.key, c) != 0) {
            disown(c, &owl_cache_none);
            end_cache(c);
            c = NULL;
        }
    }
    errno = saved;
    return c;
}

static unsigned long thread_of(const void *owner)
{
    if (owner == &owl_orphans)
        return 0;
    return owl_cache_thread(owner);
}

/* What memcheck is not to see: what the allocator has until now. The hidden thread is none that it
 * would know. */
static void hide(void)
{
    if (!owl_tools.memcheck)
        return;
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    owl_range_hide();
    if (caches.end != NULL)
        owl_tools_hide(caches.end - OWL_GRANULE, OWL_GRANULE);
}

void owl_cache_harden(void)
{
    bool secure = owl_option(OWL_OPTION_SECURE) != 0;
    uint32_t rate = (uint32_t)owl_option(OWL_OPTION_GUARD);
    owl_fault_begin(thread_of);
    owl_tools_begin();
    OWL_TOOLS_INSIDE;
    hide();
    owl_careful_begin();
    if (owl_tools.on)
        rate = 0;
    hardened = owl_careful.on || owl_tools.on || rate != 0;
    if (own != NULL && hardened) {
        owl_word_store_relaxed(&owl_cache_self, (uintptr_t)&owl_cache_none);
        own->stock_most = 0;
        make_own(own);
    }
    if (secure)
        owl_check_close();
    if (secure && rate == 0 && !owl_tools.on)
        rate = OWL_GUARD_SECURE;
    if (rate != 0)
        owl_guard_begin(rate, hardened);
}

/* Before all other constructors (the library is linked with -z initfirst): see set_up. glibc hands
 * constructors the arguments of main; at this point its own `environ` may not be set yet. A program
 * with other rights than its caller's does not let that one choose. */
__attribute__((constructor(101))) static void start(int count, char **arguments, char **environment)
{
    (void)count;
    (void)arguments;
    if (getauxval(AT_SECURE) != 0)
        owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    else if (environment != NULL)
        owl_option_read(environment);
    owl_lock(&caches.lock);
    if (!caches.ready)
        set_up();
    unlock_caches();
    owl_range_begin();
    owl_cache_harden();
}

void owl_cache_each(void (*visit)(struct owl_owner *o, struct owl_cache *c, void *context),
                    void *context)
{
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        visit(&c->owner, c, context);
    visit(&owl_orphans, NULL, context);
}
