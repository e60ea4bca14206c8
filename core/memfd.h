/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory in a file: ranges whose granules are mapped, shared, from a sparse file in memory (a
 * memfd), one file a range. What private memory cannot do, this can: show the same bytes at several
 * addresses (a ring), in other processes (an export), and as private copies of which the kernel
 * copies only the pages that are written to (a duplicate).
 *
 *    addresses of a memfd range      | A      | B  |  S         |     granule g shows granule
 *    the file                        | A      | B  |  bytes     |     g + shift of the file
 *                                                     ^     ^
 *    addresses of blocks, anywhere            | view      | view      |    mapped privately
 *
 * To begin with granule g of a range shows granule g of its file. Pages of two runs may be
 * exchanged (large.c moves blocks so): then the shifts tell. It is always a permutation, so the
 * memory of the file is in the pool's hands by the addresses that show it.
 *
 * A *store* is a taken run whose bytes no caller reads at its own addresses: blocks show them
 * elsewhere, `users` of them, by private mappings (duplicates; the bytes must not change) or by
 * shared ones.
 *
 * fork. A child must not share what the parent writes. So before a fork all blocks in these ranges
 * are mapped privately, in the parent: from then on both sides copy what they write to. (A writer
 * in another thread is never wrong: before the change it writes to the file, which the child will
 * see as it was then; after it, to its own copy.) The bytes in the file must not change any more,
 * though the parent may free them, because the child looks at them: the ranges become private ones,
 * of which the blocks are remapped until they are freed, and the file lives until the last mapping
 * of it has ended. Shared blocks stay shared. (A fork in a handler of a signal may come when the
 * pool, or this lock, is in the middle of a change: then what cannot be done is done at its end.)
 *
 * The descriptor is needed to map anew: for duplicates, exports, rings, and at a fork; not to
 * allocate, move and free. So a program that closes all descriptors loses only these: duplicates
 * are copies then, and at a fork the blocks are copied to private memory.
 *
 * The lock guards shifts, stores and their users, and all changes of these mappings.
 */
#ifndef OWL_CORE_MEMFD_H
#define OWL_CORE_MEMFD_H

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

/* Whether a new block of so many bytes goes into the file, by the option `backing`. */
bool owl_memfd_is_wanted(size_t bytes);

/* A run of granules from a file, as owl_pool_take. NULL also if files in memory are not to be
 * had. With `populate` the memory is there, or NULL: who may not be sure that a touch finds
 * memory asks. */
struct owl_span *owl_memfd_take(size_t granules, unsigned align_order, bool *zero);

/* As owl_pool_take_clean, likewise. */
struct owl_span *owl_memfd_take_clean(size_t granules, unsigned align_order);

/* Holds and lets go the lock. The functions below are called with it held. */
void owl_memfd_lock(void);
void owl_memfd_unlock(void);

/* Maps bytes of a file, those that the run `from` shows first, at other addresses too. 0; or -1:
 * refused, and some of the addresses may show them by now. */
int owl_memfd_map(const struct owl_span *from, size_t bytes, void *at, bool shared);

/* Gives granules back to the pool that show what is not the range's own: first that is ended. If
 * the system refuses they are out of use from then on: addresses, but no memory. */
void owl_memfd_give(struct owl_span *s, size_t granules);

/* Exchanges the pages of two runs of granules of one range. 0; or -1: unchanged. */
int owl_memfd_exchange(struct owl_span *a, struct owl_span *b, size_t granules);

/* Moves the pages of a, which lie in a row in the file, to b, whose own hold no memory; a shows
 * them still, but privately from then on. 0; or -1: a is unchanged, and b is to be given back by
 * owl_memfd_give. */
int owl_memfd_move(struct owl_span *a, struct owl_span *b, size_t granules);

/* Where in its file the bytes of a run begin, if they lie there in a row; else false. */
bool owl_memfd_offset(const struct owl_span *s, size_t granules, size_t *offset);

/* Whether the run lies in a file still, and no fork has frozen it. */
bool owl_memfd_is_live(const struct owl_span *s);

/* Whether pages of the block may be a file's: because it lies in one or shows one, or did so before
 * a fork. */
bool owl_memfd_is_behind(const struct owl_span *s);

/* Whether memory of the pool may be added to a block of the run's range, though nobody looks
 * whether a touch will find it. */
bool owl_memfd_may_grow(const struct owl_span *s);

/* One user less of a store; the last one's end gives it back to the pool. */
void owl_memfd_drop(struct owl_span *store);

/* The pool is held and released with it. */
void owl_memfd_fork_prepare(void);
void owl_memfd_fork_parent(void);
void owl_memfd_fork_child(void);

#endif
