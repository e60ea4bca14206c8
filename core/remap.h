/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages that change places: whole runs of them move from one address to another by their page-table
 * entries, at a price that hardly grows with their number.
 *
 * Each move may split mappings, and a process has a bounded number of these (vm.max_map_count),
 * which its threads, libraries and files need as well. So moves leave one part in
 * OWL_MAPPINGS_SHARE of it alone. How many mappings there are is known by an estimate, which never
 * is too low by what is done here: the last look, plus the most that the moves since then can have
 * added. When it reaches the bound a new look is taken; while that finds too many, no moves are
 * made but for a new look once in a while, and callers copy.
 *
 * Thread-safe, as long as no two threads move the same pages.
 */
#ifndef OWL_CORE_REMAP_H
#define OWL_CORE_REMAP_H

#include <stdbool.h>
#include <stddef.h>

/* Whether there may be the mappings that one more move, or mapping of a file into a span, adds;
 * they are counted then. */
bool owl_remap_may(void);

/* Moves whole pages of private memory to addresses that nobody uses. What was there is gone; what
 * stays behind is mapped still, and no longer used. 0; or -1: refused, or too many mappings; the
 * pages have not moved, but at `to` there may be anything, mapped in any private way. */
int owl_remap_move(void *from, void *to, size_t bytes);

/*
 * Moves pages of private memory, without a file behind it, so that there is more: to to_bytes of
 * addresses that nobody uses. Above what is moved these read as zero, and belong to its last
 * mapping: a block that grows again and again stays in as many mappings as it was in. But that
 * leaves a hole for a moment, so it is for addresses that lie apart (os.h). What is at `from`
 * afterwards:
 */
enum owl_remap_left {
    OWL_REMAP_REFUSED = -1, /* the pages still, as after a refusal of owl_remap_move */
    OWL_REMAP_STALE,        /* what owl_remap_move leaves */
    OWL_REMAP_FRESH,        /* private memory, mapped as if nothing had ever been moved */
    OWL_REMAP_LOST,         /* somebody else's mapping, or a hole: it must not be used any more */
};
enum owl_remap_left owl_remap_grow(void *from, size_t bytes, void *to, size_t to_bytes);

/*
 * Exchanges the pages of two places, both of which may be in use; `file`: they are shared pages of
 * a file. 0; or -1: unchanged. OWL_REMAP_TORN, with `file` only: refused halfway, and either place
 * may show pages of the other by now, or private memory; the caller maps the file anew.
 *
 *      a      b    aside
 *      A      B      -
 *      A      .      B      1  b is moved aside
 *      .      A      B      2  a is moved to b
 *      B      A      -      3  what is aside is carried to a
 *
 * A dot is what a move leaves: zeroes in private memory; of a file, the same bytes as before.
 */
enum { OWL_REMAP_TORN = -2 };
int owl_remap_exchange(void *a, void *b, size_t bytes, bool file);

#endif
