/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The index of free runs: which granules are free, found by length and by place.
 *
 * A run has any number of granules. It is dirty (its pages may be resident and hold anything) or
 * clean (it reads as zero and costs no memory). Its first and its last granule, which are boundary
 * tags, have its state and its length in their descriptors:
 *
 *     used | free: DIRTY  |      |      | free: DIRTY | free: CLEAN | used
 *          | run: 4       |      |      | run: 4      | run: 1      |
 *          | list,        |      |      |             | list        |
 *          | remapped     |      |      |             |             |
 *
 * So what is given back finds both its neighbours in constant time, and joins at once with those
 * of its state: two runs of one state never lie side by side. Nothing joins across the ends of a
 * range, or of the part of it that the pool has.
 *
 * By length, a run is in the list of its backing, state and bin. A bin is one length, up to 15
 * granules; above, there are eight to a doubling. Bits say which lists are not empty.
 *
 * `remapped` goes along with the pages: a joined run has it if one of its parts had, and both parts
 * of a divided one have it if the whole had. Clean runs never have it.
 *
 * All calls are made with the pool's lock held.
 *
 * Boundary tags: D. E. Knuth, The Art of Computer Programming, vol. 1, 2.5, and D. Lea, "A Memory
 * Allocator", 1996. Two levels of bins with bits: M. Masmano et al., "TLSF: a New Dynamic Memory
 * Allocator for Real-Time Systems", 2004.
 */
#ifndef OWL_CORE_POOL_RUNS_H
#define OWL_CORE_POOL_RUNS_H

#include <stdbool.h>
#include <stddef.h>

#include "range.h"

/* The state of a run is OWL_FREE_DIRTY or OWL_FREE_CLEAN. */

/* Granules of all runs of the state. */
size_t owl_runs_granules(enum owl_free state);

/* Makes granules free that are in no run, and joins them with their neighbours. The first of their
 * descriptors has the number of the range, and all are OWL_FREE_NOT. */
void owl_runs_add(struct owl_span *s, size_t granules, enum owl_free state, bool remapped);

/* Divides a free run: `granules` of it, from number `offset` on, are in no run any more. The
 * descriptor of the first of them, with range and remapped set. */
struct owl_span *owl_runs_carve(struct owl_span *run, size_t offset, size_t granules);

/* How far into a free run the first granule is that begins at a multiple of 2^align_order. */
static inline size_t owl_run_offset(const struct owl_span *run, unsigned align_order)
{
    return align_order == 0 ? 0 : -owl_span_index(run) & (((size_t)1 << align_order) - 1);
}

/* The shortest run in which so many granules can be had, at a multiple of 2^align_order: within a
 * bin the shortest of the newest `look`. NULL: there is none, or none among those. */
struct owl_span *owl_runs_find(enum owl_backing backing, enum owl_free state, size_t granules,
                               unsigned align_order, size_t look);

/* Of `look` runs from the highest bins, the one with the highest address in which so many granules
 * can be had. NULL: there is none. */
struct owl_span *owl_runs_find_high(enum owl_backing backing, enum owl_free state,
                                    size_t granules, size_t look);

/* The oldest run in the highest bin that is not empty. NULL: there is no run. */
struct owl_span *owl_runs_largest(enum owl_backing backing, enum owl_free state);

/* Calls visit with every run of at least so many granules. */
void owl_runs_each(enum owl_backing backing, enum owl_free state, size_t granules,
                   void (*visit)(const struct owl_span *run));

/* Which dirty run is given back: the oldest of the largest, so that there are few calls; or a small
 * one, but of a share of what is to be given back, as large ones will be wanted. */
enum owl_runs_which { OWL_RUNS_LARGEST, OWL_RUNS_SMALL };

/* Takes at most so many granules of a dirty run out of the index, on the side where they join a
 * clean run, and else at the end: the beginning is what is handed out next. Of what begins a room
 * always at the end, or who grows there would begin further up each time. NULL: nothing is
 * dirty. */
struct owl_span *owl_runs_cut_dirty(size_t most, enum owl_runs_which which, size_t *granules);

/* The last run of a private range, if it has so many granules, else the highest of some of the
 * largest runs. NULL: there is none. */
struct owl_span *owl_runs_find_top(size_t granules);

/* The free run that ends before a granule of the range, or begins with it. NULL: none does. */
struct owl_span *owl_run_before(const struct owl_range *r, size_t index);
struct owl_span *owl_run_at(const struct owl_range *r, size_t index);

/* How far back from granule `index`, at most to `least`, and how far on, at most to `most`, all is
 * free; or somewhat further. */
size_t owl_runs_begin(const struct owl_range *r, size_t index, size_t least);
size_t owl_runs_end(const struct owl_range *r, size_t index, size_t most);

/* Takes granules [from, to), all of them free, out of their runs, of which the first begins with
 * granule `run`. Whether any was remapped. */
bool owl_runs_carve_all(const struct owl_range *r, size_t run, size_t from, size_t to);

/* Makes a clean run, or a longer one, at the end of a range, in which so many aligned granules can
 * be had, and a range if need be (pool_grow.c). False: no address space, or refused by the
 * system. */
bool owl_runs_grow(enum owl_backing backing, size_t granules, unsigned align_order);

/* The granules of a range below `end` become the pool's, as clean ones. False: the range ends
 * before, or the system refuses. */
bool owl_runs_raise(unsigned range, size_t end);

/* Takes all runs of a backing out of the index. They are chained by `next`, with their lengths in
 * `run`. */
struct owl_span *owl_runs_remove_all(enum owl_backing backing);

/* Walks every list. */
bool owl_runs_are_valid(void);

/* As that, and walks every granule of the pool: those with a tag are the ends of the runs in the
 * lists. */
bool owl_runs_are_all(void);

#endif
