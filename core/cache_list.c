/* SPDX-License-Identifier: BSD-2-Clause */
/* The list of all caches, those without a thread, and fork. */
#include "cache_list.h"

#include <errno.h>
#include <pthread.h>

#include "cache_inside.h"
#include "option.h"
#include "os.h"
#include "tools.h"

/* Caches are carved from mappings that are never given up: a stale pointer to one stays a pointer
 * to a cache. The lock guards all fields, but of `all` the writes alone: a fork that misses the
 * lock walks that list too. A cache's `next` is written before the cache comes there, and never
 * after. */
static struct {
    struct owl_lock lock;
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

void owl_caches_lock(void)
{
    owl_lock(&caches.lock);
}

void owl_caches_unlock(void)
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

void owl_caches_fork_prepare(void)
{
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

void owl_caches_fork_parent(void)
{
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
void owl_caches_fork_child(struct owl_cache *mine)
{
    owl_lock_in_child(&owl_orphans.lock);
    owl_u32_store_relaxed(&owl_cache_carriers, 0);
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next) {
        owl_lock_in_child(&c->owner.lock);
        owl_lock_in_child(&c->inbox.lock);
        if (c != mine && c->hand != owl_lock_self())
            leave(c);
        end_claim_of_another(c);
    }
    owl_os_note_process();
    if (mine != NULL) {
        mine->system = owl_os.thread_self();
        mine->stock.counted = 0; /* who next frees to it looks at what is due: the parent's
                                    scavenger is not here */
    }
    if (owl_lock_is_taken(&caches.lock) || !owl_lock_is_mine(&caches.lock))
        be_late();
    owl_lock_in_child(&caches.lock);
    owl_lock_end_fork();
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
    owl_caches_lock();
    void *p = carve(bytes);
    owl_caches_unlock();
    errno = saved;
    return p;
}

static struct owl_cache *carve_cache(void)
{
    struct owl_cache *c = carve(sizeof *c);
    if (c == NULL)
        return NULL;
    /* First a write: a page that is read first is faulted in twice. */
    c->claim.rank = OWL_RANK_CLAIM;
    c->owner.lock.rank = OWL_RANK_OWNER;
    c->inbox.lock.rank = OWL_RANK_INBOX;
    owl_cache_open(c);
    c->next = owl_cache_all();
    owl_word_store_release(&caches.all, (uintptr_t)c);
    return c;
}

void owl_cache_end(struct owl_cache *c, bool keep)
{
    owl_inbox_open(&c->inbox, false);
    if (keep)
        owl_slab_keep(&c->owner);
    owl_cache_flush(c);
    owl_slab_abandon(&c->owner);
    owl_cache_close(c);
    owl_caches_lock();
    owl_word_store_relaxed(&c->thread, 0);
    c->next_idle = caches.idle;
    caches.idle = c;
    c->hand = 0;
    owl_caches_unlock();
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

bool owl_cache_park(struct owl_cache *c)
{
    owl_inbox_open(&c->inbox, false);
    bool little = holds_little(c);
    owl_caches_lock();
    little = little && owl_u32_load_relaxed(&owl_cache_deserted) < OWL_PARKED;
    if (little)
        desert(&caches.parked, c, false);
    owl_caches_unlock();
    return little;
}

/* The cache that was parked first, unless it has to have been there at the last look and was not.
 * NULL: none. */
static struct owl_cache *take_parked(bool seen)
{
    struct owl_cache *c = NULL;
    owl_caches_lock();
    struct owl_cache **place = &caches.parked;
    while (*place != NULL && (*place)->next_idle != NULL)
        place = &(*place)->next_idle;
    if (*place != NULL && (!seen || (*place)->seen))
        c = take_deserted(place);
    owl_caches_unlock();
    return c;
}

static struct owl_cache *take_torn(void)
{
    owl_caches_lock();
    struct owl_cache *c = caches.torn != NULL ? take_deserted(&caches.torn) : NULL;
    owl_caches_unlock();
    return c;
}

/* They are not used again. */
static void reclaim_torn(void)
{
    for (struct owl_cache *c; (c = take_torn()) != NULL;) {
        owl_inbox_flush(&c->inbox);
        owl_slab_abandon(&c->owner);
        owl_cache_forget_room(c);
        owl_caches_lock();
        owl_word_store_relaxed(&c->thread, 0);
        c->hand = 0;
        owl_caches_unlock();
    }
}

void owl_cache_reclaim(void)
{
    int saved = errno;
    bool keep = owl_due_has_dirty();
    reclaim_torn();
    struct owl_cache *c = take_parked(false);
    if (c != NULL)
        owl_cache_end(c, keep);
    if (!keep)
        owl_slab_end_waiting((size_t)owl_option(OWL_OPTION_DIRTY));
    errno = saved;
}

bool owl_cache_reclaim_all(bool idle)
{
    if (owl_u32_load_relaxed(&owl_cache_deserted) == 0)
        return false;
    int saved = errno;
    reclaim_torn();
    for (struct owl_cache *c; (c = take_parked(idle)) != NULL;)
        owl_cache_end(c, false);
    owl_caches_lock();
    bool left = caches.parked != NULL;
    for (struct owl_cache *c = caches.parked; c != NULL; c = c->next_idle)
        c->seen = true;
    owl_caches_unlock();
    errno = saved;
    return left;
}

struct owl_cache *owl_caches_take(bool fresh)
{
    struct owl_cache *c = caches.idle;
    if (caches.parked != NULL)
        c = take_deserted(&caches.parked);
    else if (c != NULL)
        caches.idle = c->next_idle;
    else if (fresh)
        c = carve_cache();
    if (c != NULL) {
        c->hand = owl_lock_self();
        owl_word_store_relaxed(&c->thread, (uintptr_t)pthread_self());
    }
    return c;
}

void owl_caches_hide(void)
{
    if (caches.end != NULL)
        owl_tools_hide(caches.end - OWL_GRANULE, OWL_GRANULE);
}

void owl_cache_each(void (*visit)(struct owl_owner *o, struct owl_cache *c, void *context),
                    void *context)
{
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        visit(&c->owner, c, context);
    visit(&owl_orphans, NULL, context);
}
