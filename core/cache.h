/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thread caches. A thread's cache holds, for each size class, a magazine of free blocks, the last
 * freed of which is handed out first. It is an array, so that neither call has to touch a block to
 * find the next one:
 *
 *      slots                                   top                    limit
 *        | NULL | oldest | ... | ... | newest   |   room ...            |
 *
 *   empty   the slot below the top holds NULL: some blocks are taken from the slabs
 *   full    the top is the limit: the older half, or the oldest OWL_MAGAZINE_PART, goes home
 *
 * So a thread visits the slabs, with their lock, at most once in as many frees as half a magazine
 * has blocks, or as a part has, and one whose calls swing to and fro does not visit them at all.
 * Magazines are small at first; the limit doubles when a full one is halved, the fill when an empty
 * one is filled. (J. Bonwick and J. Adams, "Magazines and Vmem", 2001, for magazines of arrays that
 * grow.)
 *
 * Blocks of other owners that this thread frees are gathered by owner, and given back together.
 *
 * A cache is used by its own thread alone, without locks; only its `owner` part, the slabs, is
 * shared. (Other threads may flush it, by a claim: cache_inside.h.) The states of a thread are the
 * values of owl_cache_self:
 *
 *   &owl_cache_none   it has not called yet: no block, no room; the first call makes a cache
 *   a cache           from then on; &owl_cache_none for moments, while the cache is claimed
 *                     With hardened calls (owl_cache_harden) it stays at that, and another word of
 *                     the thread leads to the cache.
 *   &owl_cache_gone   its destructor has run: served by the orphans' slabs, one block at a time
 *
 * A cache without a thread is idle, and empty; or it is parked: one that holds little keeps it for
 * the next thread, so that threads that come and go neither fill magazines nor empty them.
 */
#ifndef OWL_CORE_CACHE_H
#define OWL_CORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "due.h"
#include "slab.h"
#include "tune.h"

/* The slots of a magazine, and how it grows. */
struct owl_magazine {
    struct owl_block **slots; /* the array */
    owl_word base;  /* address of the slot below the oldest block, which holds NULL: the first one,
                       or, since blocks were taken away by a claim, a later one */
    uint8_t shift;  /* it has 2^shift slots */
    uint16_t limit; /* blocks that fill it; less than 2^shift; 0: the class was never used */
    uint16_t fill;  /* blocks that an empty one is filled with; at most the limit */
    uint16_t counted; /* blocks that the cache's `room` has of it */
};

/* Blocks on their way home to another owner. */
struct owl_remote {
    struct owl_owner *owner;
    owl_u32 count;
    owl_u32 bytes;
    struct owl_block *blocks[OWL_REMOTE_BLOCKS];
};

/* Free medium blocks, whole spans, by their length in granules, less one. They are linked by
 * `next`, the last freed first. */
struct owl_stock {
    owl_u32 granules; /* of all */
    uint32_t counted; /* most since it was emptied: what the cache's `room` has of it */
    struct owl_span *spans[OWL_STOCK_LENGTHS];
};

/* Blocks of this cache's slabs that other threads have freed, until its own takes them. */
struct owl_inbox {
    struct owl_lock lock;
    owl_u32 count;  /* read without the lock for a hint */
    uint32_t bytes; /* roughly */
    bool open;      /* the cache has a thread, which will take them */
    struct owl_block *blocks[OWL_INBOX_BLOCKS];
} __attribute__((aligned(OWL_CACHE_LINE)));

/* The words are written by the cache's thread alone; statistics peek at them. What every thread has
 * a use for comes first, in one page. */
struct owl_cache {
    struct owl_owner owner;      /* first: its address is the cache's */
    owl_word top[OWL_CLASSES];   /* address of the slot above a magazine's newest block */
    owl_word limit[OWL_CLASSES]; /* the same when it is full */
    struct owl_magazine magazines[OWL_CLASSES];
    owl_word room;  /* bytes that magazines and stock may hold, if used since they were emptied */
    uint32_t noted; /* of these, what owl_due counts */
    struct owl_stock stock;
    uint32_t stock_most; /* granules that the stock may have; 0 where calls are hardened */
    owl_word thread; /* pthread_self() of the thread that has it, as a number; 0: none; the cache:
                        one that takes it, or clears it away after another */
    void *spare[OWL_MAGAZINE_SHIFT + 1]; /* arrays of 2^index slots, linked by their first */
    struct owl_cache *next;              /* in the list of all caches, which only grows */
    struct owl_cache *next_idle;         /* in a list of those without a thread */
    bool seen;                           /* parked, and was so at the last look */
    uintptr_t hand;                      /* the thread (owl_lock_self) that is about to have it, or
                                            not to, or that clears it away; 0: none */
    bool ending;                         /* its thread's destructor has been called once */
    bool torn;                           /* only its slabs and its inbox are whole, for good */

    owl_u32 busy;          /* slow paths of its thread under way, one in another */
    owl_u32 waits;         /* 1: the innermost of these waits for its slabs, and all magazines are
                              whole */
    owl_u32 claimed;       /* 1: another thread is flushing it; written under the lock */
    struct owl_lock claim; /* held by who claims; guards `self` */
    owl_word *self;        /* its thread's owl_cache_self; NULL: it has no thread */
    struct owl_os_thread system; /* the thread, as the system knows it */
    uintptr_t stamp;       /* what it looked like when it was last looked at for being idle */
    struct owl_inbox inbox;
    struct owl_remote remote[OWL_REMOTE_OWNERS];
};

_Static_assert(offsetof(struct owl_cache, inbox.blocks) <= 4096, "what comes first");

/* An address. initial-exec: a word of static TLS, which a dlopened library can still get. */
extern OWL_LOCAL __thread owl_word owl_cache_self __attribute__((tls_model("initial-exec")));
extern OWL_LOCAL struct owl_cache owl_cache_none, owl_cache_gone;

/* Each push or pop begins with a call of this: the cache may be claimed between two. */
static inline struct owl_cache *owl_cache_mine(void)
{
    return (struct owl_cache *)owl_word_once(&owl_cache_self);
}

/* This thread's cache, for one push or pop, or for a slow path. Makes it, and at the first call
 * of all the allocator, if need be. Keeps errno. NULL: the thread has ended, there is no memory
 * for a cache, or the program has no thread key left. */
struct owl_cache *owl_cache_get(void);

/* Takes the options that harden calls from now on: junk, zero_on_free, quarantine, guard, secure.
 * At the start of the program, once, in its only thread. */
void owl_cache_harden(void);

/* A block of a class whose magazine is empty. NULL: no memory. */
void *owl_cache_refill(struct owl_cache *c, unsigned class);

/* Takes in a block of this cache's own slabs though the magazine is full. */
void owl_cache_push_full(struct owl_cache *c, struct owl_block *b);

/* Takes in a block of another owner's slab. */
void owl_cache_push_remote(struct owl_cache *c, struct owl_owner *owner, struct owl_block *b,
                           size_t bytes);

/* Takes a medium block in, of which owl_large_may_retire, though the stock is full: the others
 * leave for it. */
void owl_cache_give_span_full(struct owl_cache *c, struct owl_span *s);

/* Gives all blocks back to the slabs. The cache's own thread. */
void owl_cache_flush(struct owl_cache *c);

/* Gives back the blocks in all caches but the newest of each magazine (cache_inside.h tells why).
 * One whose thread is in a slow path at the moment is left as it is. Whether blocks may be on their
 * way still: such a thread may bring them home, or another that flushes. No lock may be held. */
bool owl_cache_flush_others(void);

/* As owl_cache_flush_others, the caches that look as they did at the last call, so that their
 * threads are idle. Whether others have blocks, which may be had later. One thread at a time. */
bool owl_cache_flush_idle(void);

/*
 * Caches that have no thread and still have blocks and slabs. Most are parked: when a thread ends,
 * a cache that holds little stays as it is for the next thread, which has its blocks at hand then.
 * Others are those of threads that are not here, in a child of fork: most children do not live long
 * enough for a look at these.
 *
 * Before the pool is asked for a slab they are reclaimed: what caches of absent threads and the
 * one that was parked first hold goes home, and their slabs become orphans. If the pool has nothing
 * dirty, slabs that are empty go there, and so does most of what waits among the orphans. Any
 * thread; no lock may be held.
 */
extern OWL_LOCAL owl_u32 owl_cache_deserted; /* how many there may be */
void owl_cache_reclaim(void);

/* The same for all, or for those of them that were here at the last call with `idle`, which one
 * thread at a time does. Whether others are left. */
bool owl_cache_reclaim_all(bool idle);

/* A block for a thread that has no cache. NULL: no memory. */
void *owl_cache_take_uncached(unsigned class);

/* The thread that has the cache, as a number; 0: none. */
static inline unsigned long owl_cache_thread(const struct owl_cache *c)
{
    uintptr_t thread = owl_word_load_relaxed(&c->thread);
    return thread != (uintptr_t)c ? (unsigned long)thread : 0;
}

/* Every cache there is, in use or not: the newest, which leads to the others by `next`. */
struct owl_cache *owl_cache_all(void);

/* Calls visit for every cache there is, in use or not, and for the orphans last. */
void owl_cache_each(void (*visit)(struct owl_owner *o, struct owl_cache *c, void *context),
                    void *context);

/* Free blocks in caches, for statistics: in magazines, by class, and on their way home. */
struct owl_cache_counts {
    size_t blocks, bytes; /* all small ones */
    size_t stock_bytes;   /* medium ones */
    size_t remote_blocks, remote_bytes;
    size_t classes[OWL_CLASSES];
};

/* Adds those of a cache; approximate while its thread runs. */
void owl_cache_count(struct owl_cache *c, struct owl_cache_counts *counts);

/* Every magazine and buffer is as drawn above, and all marks are right; or the cache is torn, and
 * these are not looked at any more. The thread's own cache, or one that is idle. */
bool owl_cache_is_valid(const struct owl_cache *c);

/* The slot above a magazine's newest block. */
static inline struct owl_block **owl_cache_top(struct owl_cache *c, unsigned class)
{
    return (struct owl_block **)owl_word_peek(&c->top[class]);
}

/* Takes the newest block of the magazine; NULL: it is empty. The mark is wiped last: a child of a
 * fork that comes between finds the block either marked and in the magazine, or not there. */
static inline void *owl_cache_pop(struct owl_cache *c, unsigned class)
{
    struct owl_block **top = owl_cache_top(c, class) - 1;
    struct owl_block *b = *top;
    if (__builtin_expect(b == NULL, 0))
        return NULL;
    owl_word_hand(&c->top[class], (uintptr_t)top);
    owl_barrier_compiler();
    owl_block_wipe(b);
    return b;
}

/* Puts a block of this cache's own slabs, which bears its mark, on top of the magazine. */
static inline void owl_cache_put(struct owl_cache *c, unsigned class, struct owl_block **top,
                                 struct owl_block *b)
{
    if (__builtin_expect((uintptr_t)top == owl_word_peek(&c->limit[class]), 0)) {
        owl_cache_push_full(c, b);
        return;
    }
    *top = b;
    owl_word_hand(&c->top[class], (uintptr_t)(top + 1));
}

/* Puts a block of this cache's own slabs into the magazine. */
static inline void owl_cache_push(struct owl_cache *c, unsigned class, struct owl_block *b)
{
    struct owl_block **top = owl_cache_top(c, class);
    owl_block_mark(b);
    owl_cache_put(c, class, top, b);
}

/* Ends a slow path. */
static inline void owl_cache_leave(struct owl_cache *c)
{
    owl_u32_store_release(&c->busy, owl_u32_load_relaxed(&c->busy) - 1);
}

/* Begins a slow path: until the end the cache is its thread's alone. They may be nested. False, and
 * nothing has begun, if there is a claim. The acquire pairs with the release at the end of a claim,
 * the release in owl_cache_leave with the acquire of who claims. */
static inline bool owl_cache_try_enter(struct owl_cache *c)
{
    owl_u32_poke(&c->busy, owl_u32_peek(&c->busy) + 1);
    owl_barrier_compiler();
    if (__builtin_expect(owl_u32_load_acquire(&c->claimed) == 0, 1))
        return true;
    owl_cache_leave(c);
    return false;
}

/* The same for a path that cannot do without: lets claims pass, and begins. */
void owl_cache_await(struct owl_cache *c);

static inline void owl_cache_enter(struct owl_cache *c)
{
    if (!owl_cache_try_enter(c))
        owl_cache_await(c);
}

/* Fibonacci hashing: the upper bits of the product depend on all bits of the address. */
static inline struct owl_remote *owl_remote_for(struct owl_cache *c, const struct owl_owner *owner)
{
    uint64_t product = (uintptr_t)owner / OWL_CACHE_LINE * 0x9e3779b97f4a7c15u;
    return &c->remote[product >> (64 - OWL_REMOTE_OWNERS_SHIFT)];
}

static inline void owl_remote_put(struct owl_remote *r, struct owl_block *b, size_t bytes)
{
    uint32_t count = owl_u32_peek(&r->count);
    owl_block_mark(b);
    r->blocks[count] = b;
    owl_u32_poke(&r->count, count + 1);
    owl_u32_poke(&r->bytes, owl_u32_peek(&r->bytes) + (uint32_t)bytes);
}

static inline bool owl_remote_has_room(const struct owl_remote *r, size_t bytes)
{
    return owl_u32_peek(&r->count) < OWL_REMOTE_BLOCKS &&
           owl_u32_peek(&r->bytes) + bytes <= OWL_REMOTE_BYTES;
}

/* Puts a block of another owner's slab to others that go home to it. False: there is no room for
 * it, or the cache is claimed. */
static inline bool owl_cache_add_remote(struct owl_cache *c, struct owl_owner *owner,
                                        struct owl_block *b, size_t bytes)
{
    struct owl_remote *r = owl_remote_for(c, owner);
    if (r->owner != owner || !owl_cache_try_enter(c))
        return false;
    bool room = owl_remote_has_room(r, bytes);
    if (room)
        owl_remote_put(r, b, bytes);
    owl_cache_leave(c);
    return room;
}

/* The stock holds more than it did since it was emptied. */
void owl_stock_count_room(struct owl_cache *c, uint32_t granules);

/* A medium block of so many granules from the thread's stock. NULL: there is none. */
static inline struct owl_span *owl_cache_take_span(struct owl_cache *c, size_t granules)
{
    struct owl_stock *k = &c->stock;
    struct owl_span *s = NULL;
    if (owl_u32_peek(&k->granules) >= granules && owl_cache_try_enter(c)) {
        s = k->spans[granules - 1];
        if (s != NULL) {
            k->spans[granules - 1] = s->next;
            owl_u32_poke(&k->granules, owl_u32_peek(&k->granules) - (uint32_t)granules);
        }
        owl_cache_leave(c);
    }
    return s;
}

/* Takes in a medium block, of which owl_large_may_retire. False: there is no room. */
static inline bool owl_cache_give_span(struct owl_cache *c, struct owl_span *s)
{
    struct owl_stock *k = &c->stock;
    bool room = false, more = false;
    if (c->stock_most > 0 && owl_cache_try_enter(c)) {
        uint32_t granules = owl_u32_peek(&k->granules) + (uint32_t)s->granules;
        room = granules <= c->stock_most;
        if (room) {
            s->kind = OWL_KIND_STOCK;
            s->next = k->spans[s->granules - 1];
            k->spans[s->granules - 1] = s;
            owl_u32_poke(&k->granules, granules);
            more = granules > k->counted;
            if (__builtin_expect(more, 0))
                owl_stock_count_room(c, granules);
        }
        owl_cache_leave(c);
    }
    if (__builtin_expect(more, 0))
        owl_due_look();
    return room;
}

#endif
