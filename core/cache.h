/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Thread caches. A thread's cache holds, for each size class, two magazines of free blocks: the
 * hot one, from which its blocks are taken last in first out, and the cold one.
 *
 *      malloc <---+                              hot empty: the cold one becomes the hot one;
 *                 | hot  <----->  cold           both empty: some blocks are taken from the slabs
 *      free   ----+                              hot full: the cold one is given back to the
 *                                                slabs, and the hot one becomes the cold one
 *
 * So a thread that frees visits the slabs, with their lock, at most once in as many calls as a
 * magazine has blocks, one whose calls swing to and fro around a full or empty magazine does not
 * visit them at all, and no list is ever walked to be cut. (J. Bonwick and J. Adams, "Magazines and
 * Vmem", 2001.) Magazines are small at first; the limit doubles when a cold one is given back, the
 * fill when an empty one is filled.
 *
 * Blocks of other owners that this thread frees are gathered by owner, and given back together.
 *
 * A cache is used by its own thread alone, without locks; only its `owner` part, the slabs, is
 * shared. The states of a thread are the values of owl_cache_self:
 *
 *   &owl_cache_none   it has not called yet: no block, no room; the first call makes a cache
 *   a cache           from then on
 *   &owl_cache_gone   its destructor has run: served by the orphans' slabs, one block at a time
 */
#ifndef OWL_CORE_CACHE_H
#define OWL_CORE_CACHE_H

#include <stdbool.h>
#include <stddef.h>

#include "slab.h"
#include "tune.h"

/* The numbers are written by the cache's thread alone; statistics peek at them. */
struct owl_magazine {
    struct owl_block *hot;
    owl_u32 room;  /* blocks that the hot magazine can still take */
    owl_u32 limit; /* blocks in a full magazine; 0: the class was never used */
};

struct owl_cold_magazine {
    struct owl_block *blocks;
    owl_u32 count;
    uint32_t fill; /* blocks that an empty magazine is filled with; at most limit */
};

/* Blocks on their way home to another owner. */
struct owl_remote {
    struct owl_owner *owner;
    struct owl_block *blocks;
    owl_u32 count;
    owl_u32 bytes;
};

struct owl_cache {
    struct owl_owner owner; /* first: its address is the cache's */
    struct owl_magazine magazines[OWL_CLASSES];
    struct owl_cold_magazine cold[OWL_CLASSES];
    struct owl_remote remote[OWL_REMOTE_OWNERS];
    struct owl_cache *next;      /* in the list of all caches, which only grows */
    struct owl_cache *next_idle; /* in the list of those without a thread */
    bool ending;                 /* its thread's destructor has been called once */
};

/* initial-exec: one pointer of static TLS, which a dlopened library can still get. */
extern __thread struct owl_cache *owl_cache_self __attribute__((tls_model("initial-exec")));
extern struct owl_cache owl_cache_none, owl_cache_gone;

/* This thread's cache. Makes it, and at the first call of all the allocator, if need be. Keeps errno.
 * NULL: the thread has ended, there is no memory for a cache, or the program has no thread key
 * left. */
struct owl_cache *owl_cache_get(void);

/* A block of a class whose hot magazine is empty. NULL: no memory. */
void *owl_cache_refill(struct owl_cache *c, unsigned class);

/* Takes in a block of this cache's own slabs though the hot magazine is full. */
void owl_cache_push_full(struct owl_cache *c, struct owl_magazine *m, struct owl_block *b);

/* Takes in a block of another owner's slab. */
void owl_cache_push_remote(struct owl_cache *c, struct owl_owner *owner, struct owl_block *b,
                           size_t bytes);

/* Gives all blocks back to the slabs. */
void owl_cache_flush(struct owl_cache *c);

/* A block for a thread that has no cache. NULL: no memory. */
void *owl_cache_take_uncached(unsigned class);

/* Calls visit for every cache there is, in use or not, and for the orphans last. */
void owl_cache_each(void (*visit)(struct owl_owner *o, struct owl_cache *c, void *context),
                    void *context);

/* Free blocks and bytes in a cache's magazines and on their way; approximate while its thread
 * runs. */
void owl_cache_count(const struct owl_cache *c, size_t *blocks, size_t *bytes);

/* The counts of a cache's magazines are those of their lists, and all marks are right. The
 * thread's own cache, or one that is idle. */
bool owl_cache_is_valid(const struct owl_cache *c);

/* Takes the newest block of the hot magazine; NULL: it is empty. */
static inline void *owl_cache_pop(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    struct owl_block *b = m->hot;
    if (__builtin_expect(b == NULL, 0))
        return NULL;
    m->hot = owl_block_next(b);
    owl_u32_poke(&m->room, owl_u32_peek(&m->room) + 1);
    b->mark = 0;
    return b;
}

/* Puts a block of this cache's own slabs into the hot magazine. */
static inline void owl_cache_push(struct owl_cache *c, unsigned class, struct owl_block *b)
{
    struct owl_magazine *m = &c->magazines[class];
    /* Decremented first, so that it is one instruction; below zero it is put right at once. */
    int32_t room = (int32_t)owl_u32_peek(&m->room) - 1;
    owl_u32_poke(&m->room, (uint32_t)room);
    if (__builtin_expect(room < 0, 0)) {
        owl_cache_push_full(c, m, b);
        return;
    }
    owl_block_link(b, m->hot);
    m->hot = b;
}

#endif
