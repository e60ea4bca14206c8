/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs: spans carved into blocks of one size class, and who owns them.
 *
 * In a slab a block is at home (its bit is one) or out (zero: with a caller, or in some thread's
 * magazine). Every slab has an owner; all of an owner's slabs, their bits and lists are guarded by
 * the owner's lock. An owner is the slab half of a thread cache, or `owl_orphans`, which owns what
 * ended threads left behind. (A cache that is parked for the next thread keeps its slabs.)
 *
 *               take                          give (any thread)
 *     pool  -----------> slab of an owner  --------------------->  the last block came home: pool
 *                          |        ^
 *           owner's thread |        | a take of any thread,
 *           ends (abandon) v        | before it asks the pool
 *                        owl_orphans
 *
 * What a thread leaves when it ends may have all its blocks at home, too, and waits there: the next
 * thread soon wants slabs of the same classes, and in these the pages that it needs have been
 * touched already, and no others. Of spans from the pool it would be others each time.
 *
 * The owner word and the read without a lock. free() compares a slab's owner word with the address
 * of its own thread's owner, and on equality puts the block into its own magazine, with no lock.
 * This is safe because, while a block of the slab is out, the word changes in two ways only:
 *     A. from T to the orphans, by T's own thread when it ends, or while T has no thread;
 *     B. from the orphans to T, by T's own thread when it adopts.
 * (From T to none it changes only when all blocks are at home; and whoever frees a block holds it
 * out.) So T's thread reads "T" exactly if T owns the slab: no other thread can make the word "T",
 * or something else when it is "T". Which writes of the word are seen is decided by the block's
 * own history: it was handed out after the slab got its owner, and what brought the pointer to the
 * freeing thread brought that write along. A slab may change hands between the read and the give
 * only if the reader is not its owner, and there the word is read again under the owner's lock.
 * Owners are never unmapped, so a stale owner's lock may always be taken. A thread has its cache
 * before it reads the word, for caches go from thread to thread.
 *
 * The word has a seal, so that one which was overwritten is not taken for an address: a number that
 * takes the allocator's secret to make. It is looked at where a block does not take the fast path,
 * and when it comes home, under the owner's lock. A reader without a lock may find one of the two
 * words changed and not the other, while the slab changes hands; it looks again under the lock of
 * the orphans, which whoever changes the words of a slab with blocks out has.
 *
 * tests/model/owner.pml is a model of this, which `make check` searches for a counterexample.
 */
#ifndef OWL_CORE_SLAB_H
#define OWL_CORE_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#include "block.h"
#include "lock.h"
#include "range.h"
#include "sizeclass.h"

struct owl_owner {
    struct owl_lock lock;
    owl_word slabs;                              /* number of slabs owned; read without the lock
                                                    for a hint */
    size_t idle;                                 /* bytes at home that may be resident */
    uint32_t noted;                              /* of those, what owl_due counts */
    bool keeps;                                  /* slabs that have all blocks at home */
    struct owl_span *with_free[OWL_CLASSES];     /* slabs with a block at home; one that
                                                    gets its first is put in front */
    struct owl_span *full;                       /* slabs with none */
    uint8_t grown[OWL_CLASSES];                  /* slabs made of each class, less those that ended
                                                    since: as far as can be counted */
    uint64_t random;                             /* with the option `secure`: decides which
                                                    blocks are next; 0: not used yet */
} __attribute__((aligned(OWL_CACHE_LINE)));

/* Owns the slabs of ended threads, and serves threads that have no cache any more. */
extern OWL_LOCAL struct owl_owner owl_orphans;

/* Orphans that have all blocks at home: how many wait. Written with the lock of the orphans, read
 * without it for a hint. */
extern OWL_LOCAL owl_word owl_slab_waiting;

/* Takes up to `want` blocks of a class out of the owner's slabs, in the order of their
 * addresses, and marks them. If the owner has no block at home, it adopts an orphan, or, if `fresh`
 * says so, makes a slab. The number of blocks; 0: there is none, or no memory. Only the owner's own
 * thread may call it; for owl_orphans any thread. */
unsigned owl_slab_take(struct owl_owner *me, unsigned class, unsigned want, bool fresh,
                       struct owl_block **blocks);

/* Takes up to `want` free blocks out of one slab and marks them: any, in any order. The lock of its
 * owner, whose random state this is, is held. Their number. */
unsigned owl_slab_take_random(struct owl_span *s, unsigned want, struct owl_block **blocks,
                              uint64_t *random);

/* Brings n blocks home, whoever owns their slabs, and spoils the array. A slab that has all its
 * blocks at home goes to the pool, unless its owner keeps it (owl_slab_keep). Keeps errno. Any
 * thread; no lock may be held. */
void owl_slab_give(struct owl_block **blocks, size_t n);

/* Gives back the system's pages of an owner's slabs in which all blocks are at home. Orphans of
 * which all blocks are go to the pool as they are. Bytes, which may not all have been resident,
 * without the latter. Any thread. */
size_t owl_slab_purge(struct owl_owner *o);

/* Orphans that wait go to the pool, until no more than so many bytes are at home in all. Whether
 * there were any. Any thread; no lock may be held. */
bool owl_slab_end_waiting(size_t most);

/* As owl_slab_purge, of slabs that were seen without any use by the last call, of which `epoch` was
 * another (1 to OWL_EPOCHS). Whether there are slabs to be purged later. */
enum { OWL_EPOCHS = 254 };
bool owl_slab_purge_idle(struct owl_owner *o, unsigned epoch);

/* The bytes at home in a slab that may be resident. */
static inline size_t owl_slab_idle(const struct owl_span *s)
{
    return (size_t)s->free_blocks * s->bytes - s->dry;
}

/* Whether all blocks of a slab are at home. */
static inline bool owl_slab_is_whole(const struct owl_span *s)
{
    return s->free_blocks == owl_classes[s->class].blocks;
}

/* Ends a slab of which that is so, and puts it in front of a chain of others, linked by `next`,
 * whose spans can go to the pool. The owner's lock is held. */
void owl_slab_end(struct owl_owner *o, struct owl_span *s, struct owl_span **ended);

/* Whether a granule's owner word bears its seal, at this moment. */
static inline bool owl_slab_bears_seal(const struct owl_span *s)
{
    uintptr_t owner = owl_word_load_relaxed(&s->owner);
    return owl_word_load_relaxed(&s->seal) == owl_span_seal_of(s, owner);
}

/* Whether the word is what the allocator wrote. A block of the slab is out. Any thread; no lock may
 * be held. */
bool owl_slab_look_again(const struct owl_span *s);

static inline bool owl_slab_is_sealed(const struct owl_span *s)
{
    return __builtin_expect(owl_slab_bears_seal(s), 1) || owl_slab_look_again(s);
}

/* From now on slabs that have all blocks at home stay with the owner, until owl_slab_abandon. The
 * owner's own thread, when it ends. */
void owl_slab_keep(struct owl_owner *me);

/* Leaves all slabs to the orphans; of those that have all blocks at home only so many as may wait
 * there for the next threads, the others go to the pool. The owner's own thread, when it ends. */
void owl_slab_abandon(struct owl_owner *me);

/* Counts of owners' slabs, for statistics: granules, and what is out. */
struct owl_slab_counts {
    size_t slabs, granules, bytes_out, blocks_out;
    struct {
        size_t slabs, blocks_out;
    } classes[OWL_CLASSES];
};

/* Adds those of an owner. Takes the lock. */
void owl_slab_count(struct owl_owner *o, struct owl_slab_counts *counts);

/* Walks an owner's lists and bits. Takes the lock. */
bool owl_slab_is_valid(struct owl_owner *o);

#endif
