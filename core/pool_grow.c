/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the pool's clean runs come from: ranges, of which more and more granules become its own.
 */
#include "pool_runs.h"

#include "os.h"

enum growth { GROWN, FULL, REFUSED };

static enum growth raise_top(unsigned number, size_t end)
{
    struct owl_range *r = &owl_ranges[number];
    size_t from = r->top;
    if (end > r->granules)
        return FULL;
    if (owl_range_commit(number, end) != 0)
        return REFUSED;
    r->top = end;
    r->map[from].range = (uint8_t)number;
    owl_runs_add(&r->map[from], end - from, OWL_FREE_CLEAN, false);
    return GROWN;
}

/* Makes a range end with a clean run in which so many aligned granules can be had. */
static enum growth grow_range(unsigned number, size_t granules, unsigned align_order)
{
    struct owl_range *r = &owl_ranges[number];
    const struct owl_span *run = owl_run_before(r, r->top);
    size_t start = r->top;
    if (run != NULL && run->free == OWL_FREE_CLEAN)
        start -= run->run;
    size_t end = owl_round_up(start, (size_t)1 << align_order) + granules;
    if (end <= r->top)
        return GROWN;
    if (end - r->top < OWL_GROW_GRANULES && r->top + OWL_GROW_GRANULES <= r->granules)
        end = owl_round_up(end, OWL_GROW_GRANULES);
    return raise_top(number, end);
}

bool owl_runs_raise(unsigned range, size_t end)
{
    return raise_top(range, end) == GROWN;
}

/* A range that a fork has ended, and of which all is free, gets a file again: for there are only so
 * many ranges, but there may be any number of forks. FULL: it is not such a range. */
static enum growth renew(unsigned number, size_t granules)
{
    struct owl_range *r = &owl_ranges[number];
    size_t top = r->top;
    if (!owl_range_has_ended(number) || owl_word_load_relaxed(&r->committed) < granules ||
        owl_runs_end(r, 0, top) < top)
        return FULL;
    size_t dirty = owl_runs_granules(OWL_FREE_DIRTY);
    bool remapped = owl_runs_carve_all(r, 0, 0, top);
    bool clean = owl_runs_granules(OWL_FREE_DIRTY) == dirty;
    r->top = 0;
    enum owl_range_renewed renewed = owl_range_renew(number);
    if (renewed == OWL_RANGE_RENEWED)
        return GROWN;
    clean |= renewed == OWL_RANGE_CLEAN; /* or who purges what is dirty would try for ever */
    if (top > 0 && renewed != OWL_RANGE_GONE) {
        r->top = top;
        owl_runs_add(r->map, top, clean ? OWL_FREE_CLEAN : OWL_FREE_DIRTY, !clean && remapped);
    }
    return REFUSED;
}

/* A range is added only for want of addresses, not of memory. The first one, which is found
 * fastest, is always private. */
bool owl_runs_grow(enum owl_backing backing, size_t granules, unsigned align_order)
{
    enum growth growth = FULL;
    if (owl_u32_load_relaxed(&owl_range_count) == 0 && backing != OWL_PRIVATE &&
        owl_range_add(OWL_PRIVATE, 1) < 0)
        return false;
    uint32_t count = owl_u32_load_relaxed(&owl_range_count);
    for (unsigned i = 0; i < count && growth == FULL; i++)
        if (owl_backing_of(i) == backing)
            growth = grow_range(i, granules, align_order);
    /* A range begins at granule 0, a multiple of any alignment. */
    for (unsigned i = 1; i < count && growth == FULL && backing == OWL_MEMFD; i++)
        if ((growth = renew(i, granules)) == GROWN)
            growth = grow_range(i, granules, align_order);
    if (growth == FULL) {
        int added = owl_range_add(backing, granules);
        growth = added >= 0 ? grow_range((unsigned)added, granules, align_order) : REFUSED;
    }
    return growth == GROWN;
}
