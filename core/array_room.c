/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the elements of arrays lie, and how room is made for more.
 */
#include <errno.h>
#include <owl/large.h>
#include <owl/owl.h>
#include <string.h>

#include "array.h"
#include "array_space.h"
#include "check.h"
#include "os.h"
#include "pool.h"
#include "remap.h"
#include "scavenger.h"
#include "tools.h"
#include "tune.h"

static char *round_down(char *p, size_t unit)
{
    return (char *)((uintptr_t)p & ~(uintptr_t)(unit - 1));
}

static char *round_up(char *p, size_t unit)
{
    return (char *)owl_round_up((uintptr_t)p, unit);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void set_elements(struct owl_array_body *b, char *first, size_t length)
{
    b->face.first = first;
    b->face.end = first + length;
}

/* --- addresses of its own --------------------------------------------------- */

/* Takes over a fresh space; nothing of it is accessible yet. */
static void enter_space(struct owl_array_body *b, const struct owl_array_space *s, size_t length)
{
    b->own_space = true;
    b->base = s->base;
    b->bytes = s->bytes;
    b->commit_lo = b->open_lo = round_down(s->first, owl_os.page);
    b->commit_hi = b->open_hi = b->commit_lo;
    set_elements(b, s->first, length);
}

/* Makes [lo, hi) accessible, along with what is. Steps are as large as what is accessible
 * already, so that there are few; a refused one is tried again as small as it can be. */
static bool commit(struct owl_array_body *b, char *lo, char *hi)
{
    size_t step = larger((size_t)(b->commit_hi - b->commit_lo), OWL_ARRAY_COMMIT_STEP);
    lo = lo < b->commit_lo ? lo : b->commit_lo;
    hi = hi > b->commit_hi ? hi : b->commit_hi;
    char *far_lo = lo, *far_hi = hi;
    if (lo < b->commit_lo)
        far_lo = lo - smaller((size_t)(lo - b->base) & ~(owl_os.page - 1), step);
    if (hi > b->commit_hi)
        far_hi = hi + smaller((size_t)(b->base + b->bytes - hi), step);
    if (far_lo == b->commit_lo && far_hi == b->commit_hi)
        return true;
    if (owl_os.commit(far_lo, (size_t)(far_hi - far_lo)) != 0) {
        if (owl_os.commit(lo, (size_t)(hi - lo)) != 0)
            return false;
        far_lo = lo;
        far_hi = hi;
    }
    b->commit_lo = far_lo;
    b->commit_hi = far_hi;
    return true;
}

/* What is open counts for the limit: it is charged to the pool before it is opened. False: it would
 * pass the limit. */
static bool charge_open(const struct owl_array_body *b, const char *lo, const char *hi)
{
    return owl_pool_charge((size_t)(hi - lo) - (size_t)(b->open_hi - b->open_lo), 0);
}

static void discharge_open(const struct owl_array_body *b, const char *lo, const char *hi)
{
    owl_pool_discharge((size_t)(hi - lo) - (size_t)(b->open_hi - b->open_lo));
}

/* Opens all from lo to hi, along with what is open. False: nothing has changed. */
static bool open_pages(struct owl_array_body *b, char *lo, char *hi)
{
    lo = lo < b->open_lo ? lo : b->open_lo;
    hi = hi > b->open_hi ? hi : b->open_hi;
    if (!charge_open(b, lo, hi))
        return false;
    if (!commit(b, lo, hi)) {
        discharge_open(b, lo, hi);
        return false;
    }
    b->open_lo = lo;
    b->open_hi = hi;
    return true;
}

/* How much is opened at once beyond what is needed, so that the slow door is used seldom: a
 * share of the elements, for as much may stay unused. */
static size_t open_step(size_t length, bool grows)
{
    if (!grows)
        return 0;
    size_t share = owl_round_up(length / OWL_ARRAY_OPEN_SHARE, owl_os.page);
    return larger(OWL_ARRAY_OPEN_MIN, smaller(share, OWL_ARRAY_OPEN_MAX));
}

/* Pages that will be written to one after the other are faulted in by one call. Only if the
 * array has shown that it grows, and not if it grows by so much that the pages would have left
 * the processor's cache before they are written to. A refusal does no harm: then each faults by
 * itself. (Huge pages made appending a gigabyte take 0.6 of the time in most runs, but twice as
 * long in others, when the system, or the one that it is a guest of, had to look for them; so
 * none are asked for.) */
static void populate(char *lo, char *hi, size_t length)
{
    if (length >= OWL_ARRAY_POPULATE_MIN && (size_t)(hi - lo) <= 2 * OWL_ARRAY_OPEN_MAX && lo < hi)
        owl_os.populate(lo, (size_t)(hi - lo));
}

static bool open_space(struct owl_array_body *b, size_t front, size_t back, bool grows)
{
    size_t length = owl_array_bytes(b), step = open_step(length, grows);
    char *stop = b->base + b->bytes;
    char *need_lo = round_down(owl_array_first(b) - front, owl_os.page);
    char *need_hi = round_up(owl_array_end(b) + back, owl_os.page);
    char *old_lo = b->open_lo, *old_hi = b->open_hi;
    char *lo = old_lo, *hi = old_hi;
    if (need_lo < lo)
        lo = need_lo - smaller((size_t)(need_lo - b->base), step);
    if (need_hi > hi)
        hi = need_hi + smaller((size_t)(stop - need_hi), step);
    bool open = open_pages(b, lo, hi) || open_pages(b, need_lo, need_hi);
    struct owl_rescue r = {.bytes = (size_t)(need_hi - need_lo)};
    while (!open && owl_scavenger_rescue(&r))
        open = open_pages(b, need_lo, need_hi);
    if (!open)
        return false;
    if (grows) {
        populate(b->open_lo, old_lo, length);
        populate(old_hi, b->open_hi, length);
    }
    return true;
}

/* Moves the elements within their addresses. The pages they leave are given back; those that are
 * not taken stay open. */
static bool slide(struct owl_array_body *b, size_t front, size_t back)
{
    size_t length = owl_array_bytes(b);
    struct owl_array_space s = {.base = b->base, .bytes = b->bytes};
    if (!owl_array_space_fit(&s, front, length, back, owl_array_first(b)))
        return false;
    char *lo = round_down(s.first, owl_os.page), *hi = round_up(s.first + length, owl_os.page);
    if (!open_pages(b, lo, hi))
        return false;
    memmove(s.first, owl_array_first(b), length);
    set_elements(b, s.first, length);
    owl_array_give_back(b);
    return true;
}

/* Opens a new space for elements, whose pages come from addresses that are open already if the
 * array has a space of its own. */
static bool open_to_move(struct owl_array_body *n, char *to_end, bool own_space)
{
    size_t bytes = (size_t)(to_end - n->open_lo), moved = own_space ? bytes : 0;
    bool charged = owl_pool_charge(bytes, moved);
    for (struct owl_rescue r = {.bytes = bytes}; !charged && owl_scavenger_rescue(&r);)
        charged = owl_pool_charge(bytes, moved);
    if (!charged)
        return false;
    if (!commit(n, n->open_lo, to_end)) {
        owl_pool_end_move(moved);
        owl_pool_discharge(bytes);
        return false;
    }
    n->open_hi = to_end;
    return true;
}

/* Moves the elements to a larger space: their pages, or, if the system does not do that, their
 * bytes. */
static bool move_out(struct owl_array_body *b, size_t front, size_t back)
{
    struct owl_array_body n = *b;
    struct owl_array_space s;
    size_t length = owl_array_bytes(b);
    size_t wish = b->bytes > PTRDIFF_MAX / 2 ? PTRDIFF_MAX : 2 * b->bytes;
    if (!owl_array_space_make(&s, front, length, back, wish, owl_array_first(b)))
        return false;
    enter_space(&n, &s, length);
    char *to = n.open_lo, *to_end = round_up(s.first + length, owl_os.page);
    if (!open_to_move(&n, to_end, b->own_space)) {
        owl_array_space_end(s.base, s.bytes);
        return false;
    }
    char *from = round_down(owl_array_first(b), owl_os.page);
    if (length > 0 && (!b->own_space || owl_remap_move(from, to, (size_t)(to_end - to)) != 0))
        memcpy(s.first, owl_array_first(b), length);
    if (b->own_space)
        owl_pool_end_move((size_t)(to_end - to));
    owl_array_drop(b);
    *b = n;
    return true;
}

static bool room_in_space(struct owl_array_body *b, size_t front, size_t back, bool grows)
{
    size_t length = owl_array_bytes(b);
    size_t has_front = (size_t)(owl_array_first(b) - b->base);
    size_t has_back = (size_t)(b->base + b->bytes - owl_array_end(b));
    if (front > has_front || back > has_back) {
        /* Sliding pays if what it moves is little against the room it makes. */
        bool little = length <= b->bytes / 4;
        if (!(little && slide(b, front, back)) && !move_out(b, front, back) &&
            !slide(b, front, back))
            return false;
    }
    return open_space(b, front, back, grows);
}

/* --- a block ---------------------------------------------------------------- */

static void enter_block(struct owl_array_body *b, char *block, size_t before, size_t length)
{
    b->own_space = false;
    b->base = b->commit_lo = b->open_lo = block;
    b->bytes = owl_malloc_usable_size(block);
    b->commit_hi = b->open_hi = block + b->bytes;
    set_elements(b, block + before, length);
}

/* sum = a + b + c if that is a size. */
static bool add(size_t a, size_t b, size_t c, size_t *sum)
{
    return !__builtin_add_overflow(a, b, sum) && !__builtin_add_overflow(*sum, c, sum) &&
           *sum <= PTRDIFF_MAX;
}

/* At the front a block grows by multiples of 16, so that elements stay aligned. */
static bool grow_front(struct owl_array_body *b, size_t bytes, size_t more)
{
    size_t before = (size_t)(owl_array_first(b) - b->base), length = owl_array_bytes(b), sum;
    if (!add(bytes, more, OWL_QUANTUM, &sum))
        return false;
    size_t gain = owl_round_up(bytes + more, OWL_QUANTUM);
    char *block = owl_grow_front(b->base, gain);
    if (block == NULL && more > 0) {
        gain = owl_round_up(bytes, OWL_QUANTUM);
        block = owl_grow_front(b->base, gain);
    }
    if (block == NULL)
        return false;
    enter_block(b, block, before + gain, length);
    return true;
}

static bool grow_back(struct owl_array_body *b, size_t bytes, size_t more)
{
    size_t before = (size_t)(owl_array_first(b) - b->base), length = owl_array_bytes(b);
    size_t least, best;
    if (!add(before, length, bytes, &least))
        return false;
    char *block = add(least, more, 0, &best) ? owl_realloc(b->base, best) : NULL;
    if (block == NULL)
        block = owl_realloc(b->base, least);
    if (block == NULL)
        return false;
    enter_block(b, block, before, length);
    return true;
}

static bool fresh_block(struct owl_array_body *b, size_t front, size_t length, size_t back,
                        size_t more)
{
    size_t before = front < PTRDIFF_MAX ? owl_round_up(front, OWL_QUANTUM) : front, least, best;
    if (!add(before, length, back, &least))
        return false;
    char *block = add(least, more, 0, &best) ? owl_malloc(best) : NULL;
    if (block == NULL)
        block = owl_malloc(least);
    if (block == NULL)
        return false;
    enter_block(b, block, before, length);
    owl_array_close_room(b);
    return true;
}

/* A block that is half empty, at the other end, is not made larger: its elements go to the
 * middle. By a multiple of 16, so that they stay aligned. */
static bool slide_in_block(struct owl_array_body *b, size_t front, size_t back)
{
    size_t length = owl_array_bytes(b), spare = b->bytes - length;
    size_t phase = (uintptr_t)owl_array_first(b) % OWL_QUANTUM;
    if (length > spare || front > spare / 4 || back > spare / 4 || spare < 8 * OWL_QUANTUM)
        return false;
    char *to = b->base + ((spare / 2) & ~(OWL_QUANTUM - 1)) + phase;
    memmove(to, owl_array_first(b), length);
    set_elements(b, to, length);
    return true;
}

static bool room_in_block(struct owl_array_body *b, size_t front, size_t back, bool grows)
{
    size_t length = owl_array_bytes(b);
    size_t more = grows ? larger(length / 2, OWL_ARRAY_BLOCK_MORE) : 0;
    if (b->base == NULL)
        return fresh_block(b, front, 0, back, more);
    size_t has_front = (size_t)(owl_array_first(b) - b->base);
    size_t has_back = (size_t)(b->base + b->bytes - owl_array_end(b));
    if ((front <= has_front && back <= has_back) || slide_in_block(b, front, back))
        return true;
    if (front > has_front && !grow_front(b, front - has_front, more))
        return false;
    return back <= has_back || grow_back(b, back, more);
}

/* --- both ------------------------------------------------------------------- */

bool owl_array_place(struct owl_array_body *b, size_t front, size_t length, size_t back)
{
    struct owl_array_space s;
    set_elements(b, NULL, 0);
    if (b->wish < OWL_ARRAY_SPACE_MIN)
        return (front == 0 && length == 0 && back == 0) || fresh_block(b, front, length, back, 0);
    size_t wish = b->wish > PTRDIFF_MAX / 4 ? PTRDIFF_MAX / 2 : 2 * b->wish;
    wish += smaller(length, wish);
    if (!owl_array_space_make(&s, front, length, back, wish, NULL))
        return false;
    enter_space(b, &s, 0);
    if (open_space(b, 0, length, false)) {
        set_elements(b, s.first, length);
        owl_array_close_room(b);
        return true;
    }
    owl_array_drop(b);
    return false;
}

/* The copy has the same room as the block has, used or not. */
static bool share(struct owl_array_body *n, const struct owl_array_body *b, size_t from, size_t to)
{
    if (b->own_space || owl_tools.on || to - from < OWL_ARRAY_DUP_MIN || to - from < b->bytes / 2)
        return false;
    char *block = owl_dup(b->base);
    if (block == NULL)
        return false;
    enter_block(n, block, (size_t)(owl_array_first(b) - b->base) + from, to - from);
    return true;
}

bool owl_array_copy(struct owl_array_body *n, const struct owl_array_body *b, size_t from,
                    size_t to, size_t front, size_t back)
{
    if (!share(n, b, from, to)) {
        if (!owl_array_place(n, front, to - from, back))
            return false;
        if (to > from)
            memcpy(owl_array_first(n), owl_array_first(b) + from, to - from);
    }
    if (owl_array_room(n, front, back, false))
        return true;
    owl_array_drop(n);
    return false;
}

/* In a space whose place has not changed all that was not open is zero still; in a new one all
 * but the pages of the elements. */
void owl_array_zero(const struct owl_array_body *b, const struct owl_array_open *before, char *to,
                    size_t bytes)
{
    char *lo = to, *hi = to + bytes;
    if (b->own_space) {
        char *dirty_lo = round_down(owl_array_first(b), owl_os.page);
        char *dirty_hi = round_up(owl_array_end(b), owl_os.page);
        if (b->base == before->base) {
            dirty_lo = dirty_lo < before->open_lo ? dirty_lo : before->open_lo;
            dirty_hi = dirty_hi > before->open_hi ? dirty_hi : before->open_hi;
        }
        lo = lo > dirty_lo ? lo : dirty_lo;
        hi = hi < dirty_hi ? hi : dirty_hi;
    }
    if (lo < hi)
        memset(lo, 0, (size_t)(hi - lo));
    owl_tools_filled(to, bytes);
}

bool owl_array_room(struct owl_array_body *b, size_t front, size_t back, bool grows)
{
    bool made = b->base != NULL && front <= (size_t)(owl_array_first(b) - b->open_lo) &&
                back <= (size_t)(b->open_hi - owl_array_end(b));
    if (!made) {
        owl_array_open_room(b);
        made = b->own_space ? room_in_space(b, front, back, grows)
                            : room_in_block(b, front, back, grows);
        owl_array_close_room(b);
    }
    if (made)
        owl_array_open_part(b, front, back);
    owl_assert(owl_array_is_valid(b));
    return made;
}

bool owl_array_stretch(struct owl_array_body *b, size_t front, size_t back)
{
    if (!b->own_space && front < OWL_ARRAY_SPACE_MIN && back < OWL_ARRAY_SPACE_MIN)
        return owl_array_room(b, front, back, false);
    if (b->own_space && front <= (size_t)(owl_array_first(b) - b->base) &&
        back <= (size_t)(b->base + b->bytes - owl_array_end(b)))
        return true;
    owl_array_open_room(b);
    bool moved = move_out(b, front, back);
    owl_array_close_room(b);
    if (!moved)
        return false;
    b->wish = larger(b->wish, larger(front, back));
    return true;
}

/* Only what is between lo and hi stays open; but pages that the system does not take do, for they
 * are not zero. */
static void purge_open(struct owl_array_body *b, char *lo, char *hi)
{
    char *old_lo = b->open_lo, *old_hi = b->open_hi;
    if (lo > old_lo && owl_os.purge(old_lo, (size_t)(lo - old_lo)) == 0)
        b->open_lo = lo;
    if (hi < old_hi && owl_os.purge(hi, (size_t)(old_hi - hi)) == 0)
        b->open_hi = hi;
    discharge_open(b, old_lo, old_hi);
}

void owl_array_give_back_front(struct owl_array_body *b)
{
    char *lo = round_down(owl_array_first(b), owl_os.page);
    if (!b->own_space || lo <= b->open_lo ||
        (size_t)(lo - b->open_lo) <= owl_array_bytes(b) + OWL_ARRAY_KEEP)
        return;
    int saved = errno;
    purge_open(b, lo, b->open_hi);
    errno = saved;
}

static void give_back_pages(struct owl_array_body *b)
{
    purge_open(b, round_down(owl_array_first(b), owl_os.page),
               round_up(owl_array_end(b), owl_os.page));
}

void owl_array_give_back(struct owl_array_body *b)
{
    size_t length = owl_array_bytes(b);
    owl_array_open_room(b);
    if (b->own_space) {
        give_back_pages(b);
    } else if (length == 0) {
        owl_array_drop(b);
        set_elements(b, NULL, 0);
    } else {
        size_t before = (size_t)(owl_array_first(b) - b->base) & ~(OWL_QUANTUM - 1);
        size_t rest = (size_t)(owl_array_first(b) - b->base) - before;
        char *block = before > 0 ? owl_shrink_front(b->base, before) : b->base;
        if (block != NULL)
            enter_block(b, block, rest, length);
        before = (size_t)(owl_array_first(b) - b->base);
        block = owl_realloc(b->base, before + length);
        if (block != NULL)
            enter_block(b, block, before, length);
    }
    owl_array_close_room(b);
    owl_assert(owl_array_is_valid(b));
}

void owl_array_drop(struct owl_array_body *b)
{
    owl_array_open_room(b);
    if (!b->own_space)
        owl_free(b->base);
    else if (owl_array_space_end(b->base, b->bytes) != 0)
        owl_os.purge(b->commit_lo, (size_t)(b->commit_hi - b->commit_lo));
    if (b->own_space)
        owl_pool_discharge((size_t)(b->open_hi - b->open_lo));
    b->own_space = false;
    b->base = b->commit_lo = b->commit_hi = b->open_lo = b->open_hi = NULL;
    b->bytes = 0;
}

bool owl_array_is_valid(const struct owl_array_body *b)
{
    const char *first = owl_array_first(b), *end = owl_array_end(b);
    bool ordered = b->base <= b->commit_lo && b->commit_lo <= b->open_lo && b->open_lo <= first &&
                   first <= end && end <= b->open_hi && b->open_hi <= b->commit_hi &&
                   b->commit_hi <= b->base + b->bytes;
    size_t corners = (uintptr_t)b->base | (uintptr_t)b->commit_lo | (uintptr_t)b->open_lo |
                     (uintptr_t)b->open_hi | (uintptr_t)b->commit_hi | b->bytes;
    bool pages = !b->own_space || corners % owl_os.page == 0;
    bool window = b->face.element_bytes == 0 || owl_array_bytes(b) % b->face.element_bytes == 0;
    return ordered && pages && window;
}
