/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool: free granules, shared by all threads, in runs of any length (pool_runs.h).
 *
 * The shortest run in which a request fits serves it, a dirty one before a clean one, because its
 * pages need no page faults, and the last freed of those of one length. Fresh address space comes
 * after both. What is cut off stays free.
 *
 * What the dirty runs hold is bounded, softly by two options and past that by what is in use: past
 * a bound the oldest of the largest are purged, or as much of them as is too much.
 *
 * Invariants (owl_pool_is_valid walks them):
 *   - every granule below the top of a range is in use, being purged or in one free run
 *   - no two free runs of one state lie side by side
 *   - every free run is in the list of its backing, state and length; the sums of the lists are the
 *     counts
 *
 * The limit, an option, holds for what is handed out, dirty or being purged, and for memory outside
 * of the pool that is charged to it. What is handed out counts in whole, whether it is resident or
 * not. What would pass the limit purges dirty memory first, and an eighth of its bound besides, so
 * that not every take at the limit has to purge; where even without all of that memory the limit
 * would be passed, it is refused.
 *
 *   in use = handed out + charged - moved    <= limit, after each success
 *   in use + dirty + being purged            <= limit, after each success that takes clean memory
 *
 * Thread-safe: one lock.
 */
#ifndef OWL_CORE_POOL_H
#define OWL_CORE_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

struct owl_pool_counts {
    size_t used;   /* granules handed out */
    size_t dirty;  /* granules in dirty runs, of both backings */
    size_t clean;  /* granules in clean runs */
    size_t peak;   /* bytes: the most that were handed out and in mappings at once */
    size_t in_use; /* bytes that count for the limit and that no purge gives back */
};

/* A run of granules, aligned to 2^align_order granules; its descriptor has start, granules, range
 * and remapped set and its kind is the caller's to set. *zero: whether it reads as zero. NULL: no
 * memory or address space is left, or refused by the system. */
struct owl_span *owl_pool_take(enum owl_backing backing, size_t granules, unsigned align_order,
                               bool *zero);

/* As owl_pool_take, but clean memory, with room behind it as a rule: for callers who put other
 * pages there, so that resident ones would be lost, and who may want more. NULL also if only
 * dirty memory is left. `moved` bytes of it are for pages that come from elsewhere, where they
 * count already: they do not count for the limit until owl_pool_end_move is called with the same
 * number. That is to be before the other place, or this one, is given back: a limit that is passed
 * for a moment in the counts alone is one that holds. */
struct owl_span *owl_pool_take_clean(enum owl_backing backing, size_t granules,
                                     unsigned align_order, size_t moved);
void owl_pool_end_move(size_t moved);

/* As owl_pool_take, of private memory, with room for so many granules to double OWL_ROOM_DOUBLINGS
 * times, up to OWL_SPAN_MAX: the run begins at a multiple of 2^n granules, all of which are free;
 * or as many as it needs for that, if it is dirty. So no two that have as much room begin side by
 * side; others may get of it what fits them best. OWL_ROOM_ANY: what is dirty comes first; and when
 * no more addresses may be had for rooms, it begins within a long clean run, unless it has to be
 * aligned or there is other dirty memory. `moved` is as for owl_pool_take_clean. NULL: none is
 * quickly found, or it would pass the limit. */
enum owl_room { OWL_ROOM_DIRTY, OWL_ROOM_CLEAN, OWL_ROOM_ANY };
struct owl_span *owl_pool_take_roomy(enum owl_room which, size_t granules, size_t moved);

/* Whether a run of so many granules would now be taken from dirty memory, and not refused. */
bool owl_pool_has_dirty(enum owl_backing backing, size_t granules);

/* As owl_pool_take, of private memory, from the highest free addresses that are quickly found: for
 * callers who want to be out of the way of others. */
struct owl_span *owl_pool_take_high(size_t granules, bool *zero);

/* Gives back a run of granules that was taken, or a part of one; their kind is none by now. The
 * first descriptor has range set, and says by `remapped` whether pages of the run may be. */
void owl_pool_give(struct owl_span *s, size_t granules);

/* As owl_pool_give, of whole spans in a chain, linked by `next`. */
void owl_pool_give_all(struct owl_span *chain);

/* As owl_pool_give_all, of what has not been used for as long as owl_pool_decay waits for: that
 * need not wait again. */
void owl_pool_give_idle(struct owl_span *chain);

/* As owl_pool_give; the granules read as zero, hold no memory, and none is remapped. */
void owl_pool_give_clean(struct owl_span *s, size_t granules);

/* Extends a taken span in place to so many granules if what follows is free. That may be dirty, and
 * remapped. False also past the limit. */
bool owl_pool_extend(struct owl_span *s, size_t granules);

/* Whether a run of so many granules would now be taken from dirty memory, but not all that the span
 * needs to be extended to as many: what follows it is in use, or clean. */
bool owl_pool_has_dirtier(const struct owl_span *s, size_t granules);

/* Extends a taken span in place by `more` granules in front, if they are free: the new first
 * descriptor, with start, granules, range and remapped set; what else the old one says is the
 * caller's to copy. NULL: they are not free, or past the limit. */
struct owl_span *owl_pool_extend_front(struct owl_span *s, size_t more);

/* Purges dirty runs until at most `keep` bytes are dirty, or until the pool is to be held for a
 * fork. Bytes purged. */
size_t owl_pool_purge(size_t keep);

/* A thread has ended. What it has freed is not wanted again as what comes and goes in a storm is:
 * if more is dirty than the softer bound allows, purges down to half of that. But not if as much of
 * it was taken meanwhile, in a storm of others; nor each time where threads come and go. */
void owl_pool_settle(void);

/* Purges as much as has been dirty ever since the last call, and was not used. Whether there is
 * more that is dirty, for later calls: not what the system refuses to take, as it does of locked
 * memory. */
bool owl_pool_decay(void);

/* Gives back what describes long clean runs. */
void owl_pool_purge_metadata(void);

/* Gives back addresses that are reserved, if RLIMIT_AS was set below them. */
void owl_pool_obey_address_limit(void);

struct owl_pool_counts owl_pool_count(void);

/* Counts bytes of memory that is not the pool's for the limit, before they are had, and after they
 * are gone. False: they would pass the limit. `moved` is as for owl_pool_take_clean. */
bool owl_pool_charge(size_t bytes, size_t moved);
void owl_pool_discharge(size_t bytes);

/* The bytes of memory in use that is not the pool's, mappings; for the peak. */
void owl_pool_note_mapped(size_t bytes);

/* Walks every list and the page map. Takes the lock. */
bool owl_pool_is_valid(void);

/* For fork: hold the pool still, and let it go again in parent and child. While it is held nothing
 * is being purged. */
void owl_pool_fork_prepare(void);
void owl_pool_fork_parent(void);
void owl_pool_fork_child(void);

/* With the pool held: the free runs of ranges of backing OWL_MEMFD, and these ranges, are private
 * from now on, and the runs clean. A run for which the system refuses this is out of use for ever,
 * and counts as used. These ranges do not grow any more. */
void owl_pool_make_private(void);

#endif
