/* SPDX-License-Identifier: BSD-2-Clause */
#include "large.h"

#include <string.h>

#include "large_span.h"
#include "mapping.h"
#include "os.h"
#include "pool.h"
#include "remap.h"

static unsigned align_order(size_t alignment)
{
    unsigned shift = (unsigned)__builtin_ctzl(alignment);
    return shift > OWL_GRANULE_SHIFT ? shift - OWL_GRANULE_SHIFT : 0;
}

void owl_large_begin(struct owl_span *s, size_t bytes)
{
    owl_word_store_relaxed(&s->owner, 0);
    s->kind = OWL_KIND_LARGE;
    s->bytes = owl_large_good_size(bytes);
    s->store = NULL;
    s->shared = 0;
    s->whole = 0;
    s->frozen = 0;
    s->roomy = 0;
}

/* A fork must find a run of a file free, or a block: hence the lock. */
static struct owl_span *take_file(size_t bytes, unsigned order, bool *zero)
{
    owl_memfd_lock();
    struct owl_span *s = owl_memfd_take(owl_large_granules(bytes), order, zero);
    if (s != NULL)
        owl_large_begin(s, bytes);
    owl_memfd_unlock();
    return s;
}

/* Blocks of many page tables begin with one, so that two of them can exchange theirs. */
static unsigned order_for(size_t bytes, size_t alignment)
{
    if (bytes >= OWL_ALIGN_MIN && alignment < OWL_RANGE_ALIGNMENT)
        alignment = OWL_RANGE_ALIGNMENT;
    return align_order(alignment);
}

static struct owl_span *take_private(size_t bytes, unsigned order, bool *zero)
{
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, owl_large_granules(bytes), order, zero);
    if (s != NULL)
        owl_large_begin(s, bytes);
    return s;
}

void *owl_large_alloc(size_t bytes, size_t alignment, bool zero)
{
    bool is_zero = true;
    struct owl_span *s = NULL;
    if (bytes == 0)
        bytes = 1;
    if (bytes <= OWL_SPAN_MAX && alignment <= OWL_RANGE_ALIGNMENT) {
        unsigned order = order_for(bytes, alignment);
        if (owl_memfd_is_wanted(bytes))
            s = take_file(bytes, order, &is_zero);
        if (s == NULL)
            s = take_private(bytes, order, &is_zero);
    }
    if (s == NULL)
        return owl_mapping_make(bytes, alignment, 0);
    void *p = (void *)s->start;
    if (zero && !is_zero)
        memset(p, 0, s->bytes);
    return p;
}

/* A fork must find a run of a file a block, or free: hence the lock. */
void owl_large_free(struct owl_span *s)
{
    struct owl_span *store = s->store;
    bool locked = owl_large_lock(s);
    s->kind = OWL_KIND_NONE;
    owl_large_give(s, s->granules, owl_is_foreign(s));
    if (store != NULL)
        owl_memfd_drop(store);
    owl_large_unlock(locked);
}

void owl_large_release(struct owl_span *s)
{
    s->kind = OWL_KIND_NONE;
    owl_pool_give(s, s->granules);
}

/* Whether a hole may be left among the block's pages for a moment, none of which are a file's. */
static bool lies_apart(const struct owl_span *s)
{
    return owl_ranges[s->range].apart && !owl_memfd_is_behind(s);
}

/* Moves private pages, and those that show a store, to where there is room for so many bytes. */
static enum owl_remap_left move_to(const struct owl_span *s, void *to, size_t room)
{
    void *from = owl_granule_at(s, 0);
    size_t bytes = s->granules << OWL_GRANULE_SHIFT;
    if (room > bytes && lies_apart(s))
        return owl_remap_grow(from, bytes, to, room);
    return owl_remap_move(from, to, bytes) == 0 ? OWL_REMAP_STALE : OWL_REMAP_REFUSED;
}

/* What they have left where they were: zeroes, unless they show a store, or did; and mappings that
 * are better joined again. Addresses that were lost stay in use, for ever. */
static void give_left_behind(struct owl_span *s, enum owl_remap_left left)
{
    if (left == OWL_REMAP_LOST)
        return;
    if (left == OWL_REMAP_FRESH)
        s->remapped = 0;
    if (s->remapped || owl_is_foreign(s))
        owl_memfd_give(s, s->granules);
    else
        owl_pool_give_clean(s, s->granules);
}

/* Private pages, and those that show a store, go to private memory. That is given back if they
 * cannot. */
static int move_private(struct owl_span *s, struct owl_span *t, size_t before)
{
    size_t room = (t->granules - before) << OWL_GRANULE_SHIFT;
    enum owl_remap_left left = move_to(s, owl_granule_at(t, before), room);
    t->remapped = 1;
    owl_pool_end_move(s->granules << OWL_GRANULE_SHIFT);
    if (left == OWL_REMAP_REFUSED) { /* a part of the pages may have been there */
        owl_large_give(t, t->granules, owl_is_foreign(s));
        return -1;
    }
    give_left_behind(s, left);
    return 0;
}

/* Pages of a file change places with those of the new run, which is given back if they cannot. */
static int move_file(struct owl_span *s, struct owl_span *t, size_t before)
{
    bool exchanged =
        t->range == s->range && owl_memfd_exchange(s, t + before, s->granules) == 0;
    owl_pool_end_move(s->granules << OWL_GRANULE_SHIFT);
    if (!exchanged) {
        owl_pool_give_clean(t, t->granules);
        return -1;
    }
    owl_pool_give_clean(s, s->granules);
    return 0;
}

/* The part of a taken run that begins so many granules later. */
static struct owl_span *cut(struct owl_span *s, size_t granules)
{
    struct owl_span *part = s + granules;
    part->range = s->range;
    part->remapped = s->remapped;
    return part;
}

/* Of a taken run, `granules` from number `skip` on; the rest, clean, goes back. */
static struct owl_span *trim(struct owl_span *t, size_t skip, size_t granules, size_t rest)
{
    struct owl_span *first = cut(t, skip);
    struct owl_span *tail = rest > skip ? cut(first, granules) : NULL;
    if (rest > 0)
        owl_pool_end_move(rest << OWL_GRANULE_SHIFT);
    if (skip > 0)
        owl_pool_give_clean(t, skip);
    if (tail != NULL)
        owl_pool_give_clean(tail, rest - skip);
    first->granules = granules;
    first->start = (uintptr_t)owl_granule_at(first, 0);
    return first;
}

/* Whether a block that gets so much longer will grow on. */
static bool grows_on(size_t from, size_t to)
{
    return to > from && (to - from) * OWL_ROOM_SHARE >= from;
}

/*
 * A run to which the pages of s can move, so many granules from its start. Whole page tables (2
 * MiB) move by one entry, if they lie in the same way at both places: so a longer run is taken, and
 * cut at both ends. A block that has none yet, but will, begins with one: then all of it moves so
 * the next time. The granules of s count once until the caller ends the move.
 */
static struct owl_span *take_beside(const struct owl_span *s, enum owl_backing backing,
                                    size_t before, size_t granules)
{
    size_t phase = s->granules >= OWL_TABLE ? owl_span_index(s) % OWL_TABLE : 0;
    size_t moved = s->granules << OWL_GRANULE_SHIFT;
    struct owl_span *t = NULL;
    if (backing == OWL_PRIVATE && before == 0 && grows_on(s->granules, granules))
        t = owl_pool_take_roomy(OWL_ROOM_CLEAN, granules + phase,
                                moved + (phase << OWL_GRANULE_SHIFT));
    if (t != NULL)
        return trim(t, phase, granules, phase);
    size_t spare = granules >= OWL_TABLE ? OWL_TABLE - 1 : 0;
    t = owl_pool_take_clean(backing, granules + spare, 0, moved + (spare << OWL_GRANULE_SHIFT));
    if (t == NULL)
        return NULL;
    return trim(t, (phase - owl_span_index(t) - before) & spare, granules, spare);
}

/* Whether the block's pages are its span's own, and a copy's would be, too: one that shows a store
 * would share it no more, and a file has no use for private memory that is dirty. */
static bool stays_private(const struct owl_span *s, size_t granules)
{
    return owl_is_private(s) && !owl_memfd_is_wanted(granules << OWL_GRANULE_SHIFT);
}

/* A place whose pages are there comes first; one without, only for what is as soon copied as
 * moved, and not where other dirty memory is better. */
void *owl_large_alloc_roomy(const struct owl_span *s, size_t bytes, bool dense)
{
    size_t granules = owl_large_granules(bytes);
    bool small = s->kind == OWL_KIND_SLAB;
    if (bytes > OWL_SPAN_MAX || !grows_on(s->bytes, bytes) ||
        !(small ? !owl_memfd_is_wanted(bytes) : stays_private(s, granules)))
        return NULL;
    bool little = small || (s->granules << OWL_GRANULE_SHIFT < OWL_MOVE_MIN && !dense);
    struct owl_span *t =
        owl_pool_take_roomy(little ? OWL_ROOM_ANY : OWL_ROOM_DIRTY, granules, 0);
    if (t == NULL)
        return NULL;
    owl_large_begin(t, bytes);
    t->roomy = 1;
    return (void *)t->start;
}

/* The block is no block for a moment: its old descriptor is given away with the old run. */
static struct owl_span *move_locked(struct owl_span *s, size_t before, size_t granules)
{
    bool file = owl_memfd_is_live(s) && !owl_is_view(s);
    if (s->shared || (file && !owl_memfd_may_grow(s)))
        return NULL;
    struct owl_span *t = take_beside(s, file ? OWL_MEMFD : OWL_PRIVATE, before, granules);
    if (t == NULL)
        return NULL;
    const struct owl_span was = *s;
    s->kind = OWL_KIND_NONE;
    if ((file ? move_file(s, t, before) : move_private(s, t, before)) != 0) {
        s->kind = OWL_KIND_LARGE;
        return NULL;
    }
    owl_large_begin(t, was.bytes);
    t->bytes = was.bytes;
    t->start = (uintptr_t)owl_granule_at(t, before) + (was.start & (OWL_GRANULE - 1));
    t->store = was.store;
    t->frozen = was.frozen;
    return t;
}

/* Whether most of the block's pages are there. */
static bool is_dense(const struct owl_span *s)
{
    size_t bytes = owl_round_up(owl_head(s) + s->bytes, owl_os.page);
    return owl_os.resident_of(owl_granule_at(s, 0), bytes) >= bytes - bytes / OWL_COPY_MISSING;
}

/* Whether a block that grows is not too long to be copied, if it is dense. */
static bool is_copied_if_dense(const struct owl_span *s, size_t granules)
{
    return s->granules << OWL_GRANULE_SHIFT < OWL_COPY_MOST && stays_private(s, granules);
}

/* Whether to copy its bytes takes less time than to move its pages, as it is little or dense and
 * dirty memory is to be had. */
static bool is_better_copied(const struct owl_span *s, size_t granules)
{
    bool little = s->granules << OWL_GRANULE_SHIFT < OWL_MOVE_MIN;
    return (little || is_copied_if_dense(s, granules)) &&
           owl_pool_has_dirty(OWL_PRIVATE, granules) && (little || is_dense(s));
}

/* Whether it takes less time than to grow where the block is, into clean memory: what is dense now
 * will be written to there as well, which takes longer. */
static bool is_better_elsewhere(const struct owl_span *s, size_t granules)
{
    return is_copied_if_dense(s, granules) && owl_pool_has_dirtier(s, granules) && is_dense(s);
}

struct owl_span *owl_large_move(struct owl_span *s, size_t before, size_t granules)
{
    if (is_better_copied(s, granules))
        return NULL;
    bool locked = owl_large_lock(s);
    struct owl_span *t = move_locked(s, before, granules);
    owl_large_unlock(locked);
    return t;
}

/* What is in a file does not change while a fork looks through it: so with the files' lock. A block
 * that shows a store at addresses of a file grows elsewhere: what follows it is the file's. */
static bool grow_in_place(struct owl_span *s, size_t granules)
{
    bool extended = false;
    bool locked = owl_large_lock(s);
    if (!s->shared && (s->store == NULL || !owl_memfd_is_live(s)) && owl_memfd_may_grow(s))
        extended = owl_pool_extend(s, granules);
    owl_large_unlock(locked);
    return extended;
}

static void shrink(struct owl_span *s, size_t granules)
{
    bool locked = owl_large_lock(s);
    struct owl_span *tail = cut(s, granules);
    owl_large_give(tail, s->granules - granules, owl_is_foreign(s));
    s->granules = granules;
    owl_large_unlock(locked);
}

/* A mapping has no range that others' mappings stay out of: so what is in several mappings, of
 * which the first cannot be moved as one, goes there piece by piece, without a hole. */
static enum owl_remap_left move_to_mapping(const struct owl_span *s, void *to, size_t room)
{
    void *from = owl_granule_at(s, 0);
    size_t bytes = s->granules << OWL_GRANULE_SHIFT;
    if (owl_os.piece(from, bytes) == bytes)
        return move_to(s, to, room);
    return owl_remap_move(from, to, bytes) == 0 ? OWL_REMAP_STALE : OWL_REMAP_REFUSED;
}

/* A span that becomes longer than one may be gets a mapping, whose pages are private. */
static void *move_out(struct owl_span *s, size_t bytes)
{
    if (owl_memfd_is_live(s) || owl_is_foreign(s) || owl_head(s) != 0)
        return NULL;
    size_t moved = s->granules << OWL_GRANULE_SHIFT;
    void *p = owl_mapping_make(bytes, OWL_QUANTUM, moved);
    if (p == NULL)
        return NULL;
    enum owl_remap_left left = move_to_mapping(s, p, owl_round_up(bytes, owl_os.page));
    owl_pool_end_move(moved);
    if (left == OWL_REMAP_REFUSED) {
        owl_mapping_end(p);
        return NULL;
    }
    s->kind = OWL_KIND_NONE;
    give_left_behind(s, left);
    return p;
}

void *owl_large_resize(struct owl_span *s, size_t bytes, bool *dense)
{
    size_t granules = owl_large_granules(owl_head(s) + bytes);
    if (granules > s->granules && bytes > OWL_SPAN_MAX)
        return move_out(s, bytes);
    if (s->shared && (granules != s->granules || owl_is_ring(s)))
        return NULL;
    *dense = granules > s->granules && is_better_elsewhere(s, granules);
    if (*dense)
        return NULL;
    if (granules > s->granules && !grow_in_place(s, granules)) {
        s = owl_large_move(s, 0, granules);
        if (s == NULL)
            return NULL;
    }
    if (granules < s->granules)
        shrink(s, granules);
    s->whole = s->whole && s->granules == s->store->granules;
    s->bytes = owl_round_up(owl_head(s) + bytes, owl_os.page) - owl_head(s);
    return (void *)s->start;
}
