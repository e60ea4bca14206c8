/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool_inside.h"

#include "os.h"

/* What a block may become where it is: granules. */
#define LONGEST (OWL_SPAN_MAX >> OWL_GRANULE_SHIFT)

/* What so many granules will be when they have doubled as often as there is room for. */
static size_t doubled(size_t granules)
{
    return granules < LONGEST >> OWL_ROOM_DOUBLINGS ? granules << OWL_ROOM_DOUBLINGS : LONGEST;
}

/* Of their room. */
static unsigned order_of(size_t granules)
{
    unsigned order = 64 - (unsigned)__builtin_clzl(doubled(granules) - 1);
    return order > OWL_ROOM_ORDER ? order : OWL_ROOM_ORDER;
}

/* Whether the pool may get more addresses for rooms alone. */
static bool may_add(void)
{
    size_t clean = owl_runs_granules(OWL_FREE_CLEAN);
    return (clean < OWL_ROOM_TOTAL >> OWL_GRANULE_SHIFT ||
            clean / OWL_ROOM_TIMES < owl_pool.used) &&
           !owl_range_is_dear();
}

/* What lies behind a block in its room has no pages, nor has what else is clean, unless they are
 * huge, or locked as soon as they are mapped: then each room costs memory, and there are no more.
 * Looked at before every 2^n-th room, for the time and because some programs forbid themselves the
 * call; and before each longer one. */
static bool have_pages(unsigned order)
{
    struct owl_rooms *rooms = &owl_pool.rooms;
    uint32_t number = ++rooms->looked_for;
    if ((number & (number - 1)) != 0 && order <= OWL_ROOM_ORDER)
        return rooms->have_pages;
    const struct owl_span *behind = rooms->behind;
    if (behind == NULL || behind->free != OWL_FREE_CLEAN)
        behind = owl_runs_largest(OWL_PRIVATE, OWL_FREE_CLEAN);
    if (behind != NULL &&
        owl_os.resident_of((void *)owl_span_address(behind), owl_os.page) > 0)
        rooms->have_pages = true;
    return rooms->have_pages;
}

/* The shortest run that begins a room may be hemmed in; one as long as the room is not. */
static struct owl_span *find_dirty(size_t granules, unsigned order)
{
    size_t room = doubled(granules);
    struct owl_span *s =
        owl_runs_find(OWL_PRIVATE, OWL_FREE_DIRTY, granules, order, OWL_RUN_LOOK);
    if (s == NULL)
        return NULL;
    size_t end = owl_span_index(s) + owl_run_offset(s, order) + room;
    if (owl_runs_end(&owl_ranges[s->range], owl_span_index(s), end) >= end)
        return s;
    return owl_runs_find(OWL_PRIVATE, OWL_FREE_DIRTY, room, order, OWL_RUN_LOOK);
}

static struct owl_span *find_clean(unsigned order)
{
    size_t room = (size_t)1 << order;
    struct owl_span *s = owl_runs_find(OWL_PRIVATE, OWL_FREE_CLEAN, room, order, OWL_RUN_LOOK);
    if (s == NULL && may_add() && owl_runs_grow(OWL_PRIVATE, room, order))
        s = owl_runs_find(OWL_PRIVATE, OWL_FREE_CLEAN, room, order, SIZE_MAX);
    return s;
}

/* When there are no more rooms, a part of one of the longest runs, some way from what ends before
 * it, so that this keeps room as well; unless there is dirty memory. Long blocks are not crowded,
 * and have to begin with a page table. */
static struct owl_span *find_late(size_t granules, size_t *offset)
{
    struct owl_span *s = owl_runs_largest(OWL_PRIVATE, OWL_FREE_CLEAN);
    if (s == NULL || s->run >> OWL_ROOM_DOUBLINGS < granules ||
        granules >= OWL_ALIGN_MIN >> OWL_GRANULE_SHIFT ||
        owl_runs_find(OWL_PRIVATE, OWL_FREE_DIRTY, granules, 0, OWL_RUN_LOOK) != NULL)
        return NULL;
    *offset = s->run / 2 < OWL_ROOM_BETWEEN ? s->run / 2 : OWL_ROOM_BETWEEN;
    return s;
}

struct owl_span *owl_pool_find_room(enum owl_room which, size_t granules, size_t *offset)
{
    struct owl_span *s = NULL;
    unsigned order = order_of(granules);
    if (granules > LONGEST)
        return NULL;
    if (which != OWL_ROOM_CLEAN)
        s = find_dirty(granules, order);
    if (s == NULL && which != OWL_ROOM_DIRTY && !have_pages(order)) {
        s = find_clean(order);
        if (s == NULL && which == OWL_ROOM_ANY)
            return find_late(granules, offset);
    }
    if (s != NULL)
        *offset = owl_run_offset(s, order);
    return s;
}
