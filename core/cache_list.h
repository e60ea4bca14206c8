/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list of all caches, and those that have no thread: empty ones, parked ones and, in a child of
 * fork, torn ones (cache.h). One lock, which a fork takes before all other locks of caches.
 */
#ifndef OWL_CORE_CACHE_LIST_H
#define OWL_CORE_CACHE_LIST_H

#include "cache.h"

/* Holds the lists still, and lets them go, when what is late is done (below). */
void owl_caches_lock(void);
void owl_caches_unlock(void);

/* A cache for the calling thread, in its hand: one that another has left, with blocks rather than
 * without, or, if it may be, a fresh one. The lock is held. NULL: none. */
struct owl_cache *owl_caches_take(bool fresh);

/* All that a cache, which is in the calling thread's hand, holds goes back, and the cache to the
 * next thread. `keep`: that thread soon wants such slabs, too (owl_slab_keep). */
void owl_cache_end(struct owl_cache *c, bool keep);

/* Leaves a cache in hand that holds little to the next thread as it is. False: it holds much, or
 * enough of them are parked. */
bool owl_cache_park(struct owl_cache *c);

/* What memcheck is not to see: the memory that caches are in until now. */
void owl_caches_hide(void);

/* fork: all locks up to the orphans' are taken before, and let go after in parent and child, so
 * that the child, which has one thread, finds every structure whole and can allocate at once. No
 * signal is handled meanwhile: a handler that forks or allocates would wait for its own thread. A
 * fork in a handler which came earlier, in the middle of a slow path, is told of in lock.h: what
 * the child cannot do then it does late, when that slow path lets the lock go. */
void owl_caches_fork_prepare(void);
void owl_caches_fork_parent(void);
void owl_caches_fork_child(struct owl_cache *mine);

#endif
