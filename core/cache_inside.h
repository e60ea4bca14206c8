/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the room `cache` share.
 *
 * A cache belongs to its thread, which uses it without locks. Another thread that wants to flush it
 * claims it for a moment:
 *
 *   the other thread                              the cache's thread
 *     takes the lock `claim`
 *     claimed = 1, the thread's owl_cache_self      fast path: c = owl_cache_self, once;
 *       = &owl_cache_none                             then one push or pop on c
 *     makes all threads pass a memory barrier       slow path: busy++; claimed? then busy--,
 *     busy != 0? then not now                         wait for the lock, again; ...; busy--
 *     takes blocks out, but the newest of each
 *       magazine
 *     owl_cache_self = c, claimed = 0,
 *     lets the lock go
 *
 * Since the barrier, each slow path either was seen busy or sees the claim: one of the two writes
 * comes before the other side's read. And no fast path that begins after it finds the cache: it
 * finds one without blocks and room, goes to its slow path, and waits there for the lock
 * (owl_cache_get). What can still be under way is one single fast path that had read owl_cache_self
 * before, and perhaps lies for long under a signal handler, or waits for a processor. It may pop
 * the newest block of one magazine, or push one on top: it reads `top`, reads or writes the slot on
 * either side of it, and writes `top`. So these are left alone: the other thread never writes
 * `top`, leaves the newest block, and takes those below by raising the magazine's base, under the
 * newest. The stores of all fast paths before that one are seen, because the barrier came after
 * them.
 *
 * The barrier is the system's (membarrier(2)): it costs the threads that run an interrupt, the
 * others nothing, and the fast paths no instruction. Where the system has none, nothing is claimed.
 *
 * tests/model/claim.pml is a model of this, which `make check` searches for a counterexample.
 */
#ifndef OWL_CORE_CACHE_INSIDE_H
#define OWL_CORE_CACHE_INSIDE_H

#include "cache.h"

/* Threads that have blocks in their hands which they took out of other threads' caches. For a hint:
 * in a child of a fork that came over one, it is too low. */
extern OWL_LOCAL owl_u32 owl_cache_carriers;

/* Gives a cache that is all zero its empty magazines, without room; ends those of one that was
 * flushed, and keeps their slots for later. */
void owl_cache_open(struct owl_cache *c);
void owl_cache_close(struct owl_cache *c);

/* Gives all back but what each magazine was last filled with, at most. The bytes that stay. */
size_t owl_cache_shrink(struct owl_cache *c);

/* Zeroed memory for slots, for good. NULL: no memory. */
void *owl_cache_carve(size_t bytes);

/* The inbox: what other threads free for a cache, whose thread frees it once more, as its own, when
 * it needs blocks. So all that slab.h proves of that holds; until then, blocks there are out. One
 * that is open is its thread's; all of this may be done by any thread, which holds no lock. */
void owl_inbox_open(struct owl_inbox *in, bool open);

/* A hint; certain when nobody else can know of the inbox. */
static inline bool owl_inbox_is_empty(const struct owl_inbox *in)
{
    return owl_u32_load_relaxed(&in->count) == 0;
}

/* Leaves blocks, of so many bytes. False: there is no room, or the inbox is closed. */
bool owl_inbox_post(struct owl_inbox *in, struct owl_block *const *blocks, unsigned n,
                    uint32_t bytes);

/* Takes out the newest, at most OWL_INBOX_TAKEN. Their number. */
unsigned owl_inbox_take(struct owl_inbox *in, struct owl_block **blocks);

/* Brings all blocks home. */
void owl_inbox_flush(struct owl_inbox *in);

/* Adds what there is. */
void owl_inbox_count(struct owl_inbox *in, struct owl_cache_counts *counts);

/* Magazines or stock may hold so many bytes more. */
static inline void owl_cache_count_room(struct owl_cache *c, size_t more)
{
    size_t room = owl_word_peek(&c->room) + more;
    owl_word_poke(&c->room, room);
    owl_due_note(&owl_due.caches, &c->noted, room);
}

/* All magazines are empty now, or nearly so, and the stock is. */
void owl_cache_forget_room(struct owl_cache *c);

/* The stock of a cache that has a thread now. */
void owl_stock_open(struct owl_cache *c);

/* Takes all spans out of a stock, for owl_stock_release when nothing is held. */
struct owl_span *owl_stock_empty(struct owl_stock *k);
void owl_stock_release(struct owl_span *all);

bool owl_stock_is_valid(const struct owl_stock *k);

/* Takes all blocks out of a buffer. Their number. */
unsigned owl_cache_empty_remote(struct owl_remote *r, struct owl_block **blocks);

#endif
