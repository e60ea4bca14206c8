/* SPDX-License-Identifier: BSD-2-Clause */
/* Random calls of the pool, of both backings, against a model: for each granule, who has it, and
 * whether its pages are mapped in other ways than its range's. */
#include "child.h"
#include "faults.h"
#include "pool.h"
#include "pool_stamp.h"

enum { GRANULES = 1 << 14, RUNS = 200 };

/* Range 0 is private, range 1 a file. */
static struct {
    uint8_t owner[GRANULES]; /* number of the run that has it; 0: none */
    bool moved[GRANULES];
} model[OWL_BACKINGS];

static struct run runs[RUNS + 1];
static uint64_t random_state = 42;
enum kind { DIRTY, CLEAN, LATE, KINDS };
static size_t roomy[KINDS]; /* runs with room */

static size_t any(size_t below)
{
    return next_random(&random_state) % below;
}

/* Nobody has the pages that go back to the system. */
static bool *moves_of(const void *start, size_t bytes)
{
    const struct owl_span *s = owl_span_of(start);
    for (size_t i = 0; i < bytes >> OWL_GRANULE_SHIFT; i++)
        check(model[s->range].owner[owl_span_index(s) + i] == 0);
    return &model[s->range].moved[owl_span_index(s)];
}

/* Pages that were moved would not be the range's own after this. */
static int model_purge(void *start, size_t bytes)
{
    const bool *moved = moves_of(start, bytes);
    for (size_t i = 0; i < bytes >> OWL_GRANULE_SHIFT; i++)
        check(!moved[i]);
    return fault_purge(start, bytes);
}

static void forget_moves(const void *start, size_t bytes)
{
    memset(moves_of(start, bytes), 0, bytes >> OWL_GRANULE_SHIFT);
}

static int model_reset(void *start, size_t bytes)
{
    forget_moves(start, bytes);
    return fault_reset(start, bytes);
}

/* Stands for what a file in memory does. */
static int model_punch(void *start, size_t bytes)
{
    forget_moves(start, bytes);
    memset(start, 0, bytes);
    return 0;
}

static void set_up(void)
{
    owl_os_init();
    faults_install();
    owl_os.purge = model_purge;
    owl_os.reset = model_reset;
    owl_os.punch = model_punch;
}

static void own(const struct owl_span *s, size_t from, size_t to, size_t before, size_t after)
{
    size_t first = owl_span_index(s);
    check(first + to <= GRANULES);
    for (size_t i = first + from; i < first + to; i++) {
        check(model[s->range].owner[i] == before);
        model[s->range].owner[i] = (uint8_t)after;
    }
}

static bool any_moved(const struct owl_span *s, size_t granules)
{
    for (size_t i = 0; i < granules; i++)
        if (model[s->range].moved[owl_span_index(s) + i])
            return true;
    return false;
}

/* Whose pages were moved, knows it; and now and then some more are. */
static void check_moves(const struct run *r)
{
    check(r->span->remapped || !any_moved(r->span, r->granules));
    if (any(8) > 0)
        return;
    r->span->remapped = 1;
    model[r->span->range].moved[owl_span_index(r->span) + any(r->granules)] = true;
}

static size_t any_length(void)
{
    return 1 + any((size_t)1 << any(8));
}

static bool is_free(const struct owl_span *s, size_t first, size_t granules)
{
    for (size_t i = first; i < first + granules; i++)
        if (model[s->range].owner[i] != 0)
            return false;
    return true;
}

/* Room is free: to the next place where one begins, or, behind what is dirty, for two doublings;
 * or, where nothing dirty is and no more addresses may be had, some on both sides. */
static void take_roomy(size_t i)
{
    struct run *r = &runs[i];
    enum owl_room which = (enum owl_room)any(3);
    r->granules = any_length();
    size_t dirty = owl_pool_count().dirty;
    bool scarce = !owl_pool_has_dirty(OWL_PRIVATE, r->granules);
    r->span = owl_pool_take_roomy(which, r->granules, 0);
    if (r->span == NULL)
        return;
    unsigned order = OWL_ROOM_ORDER;
    while ((size_t)1 << order < 4 * r->granules)
        order++;
    bool was_dirty = owl_pool_count().dirty < dirty;
    check(which == OWL_ROOM_ANY || was_dirty == (which == OWL_ROOM_DIRTY));
    size_t index = owl_span_index(r->span), room = was_dirty ? 4 * r->granules : (size_t)1 << order;
    bool begins = index % ((size_t)1 << order) == 0 && is_free(r->span, index, room);
    size_t twice = 2 * r->granules, left = twice < OWL_ROOM_BETWEEN ? twice : OWL_ROOM_BETWEEN;
    check(begins || (which == OWL_ROOM_ANY && scarce && index >= left &&
                     is_free(r->span, index - left, left + twice)));
    enum kind kind = !begins ? LATE : was_dirty ? DIRTY : CLEAN;
    check(r->span->range == 0);
    check(r->span->granules == r->granules && r->span->start == owl_span_address(r->span));
    own(r->span, 0, r->granules, 0, i);
    if (kind != DIRTY)
        check(is_zero((void *)r->span->start, r->granules * OWL_GRANULE) && !r->span->remapped);
    roomy[kind]++;
    check_moves(r);
    stamp(r, next_random(&random_state));
}

static void take(size_t i)
{
    struct run *r = &runs[i];
    enum owl_backing backing = any(3) == 0 ? OWL_MEMFD : OWL_PRIVATE;
    unsigned align = any(4) == 0 ? (unsigned)any(6) : 0;
    bool zero;
    r->granules = any_length();
    if (backing == OWL_PRIVATE && align == 0 && any(4) == 0)
        r->span = owl_pool_take_high(r->granules, &zero);
    else
        r->span = owl_pool_take(backing, r->granules, align, &zero);
    check(r->span != NULL && r->span->range == backing);
    check(r->span->granules == r->granules && r->span->start == owl_span_address(r->span));
    check(r->span->start % (OWL_GRANULE << align) == 0);
    own(r->span, 0, r->granules, 0, i);
    if (zero)
        check(is_zero((void *)r->span->start, r->granules * OWL_GRANULE) && !r->span->remapped);
    check_moves(r);
    stamp(r, next_random(&random_state));
}

static void give_all(size_t i)
{
    struct run *r = &runs[i];
    struct owl_span *s = r->span;
    check(has_stamp(r));
    own(s, 0, r->granules, i, 0);
    r->span = NULL;
    if (any(8) > 0) {
        owl_pool_give(s, r->granules);
        return;
    }
    memset((void *)owl_span_address(s), 0, r->granules * OWL_GRANULE);
    memset(&model[s->range].moved[owl_span_index(s)], 0, r->granules);
    owl_pool_give_clean(s, r->granules);
}

static void give_tail(size_t i)
{
    struct run *r = &runs[i];
    size_t keep = 1 + any(r->granules);
    struct owl_span *tail = r->span + keep;
    if (keep == r->granules)
        return;
    tail->range = r->span->range;
    tail->remapped = r->span->remapped;
    own(r->span, keep, r->granules, i, 0);
    owl_pool_give(tail, r->granules - keep);
    r->granules = keep;
    r->span->granules = keep;
    check(has_stamp(r));
}

static void extend(size_t i)
{
    struct run *r = &runs[i];
    size_t more = any_length();
    bool room = is_free(r->span, owl_span_index(r->span) + r->granules, more);
    struct owl_pool_counts before = owl_pool_count();
    check(owl_pool_extend(r->span, r->granules + more) == room);
    check(owl_pool_count().used == before.used + (room ? more : 0));
    check(has_stamp(r));
    if (!room)
        return;
    own(r->span, r->granules, r->granules + more, 0, i);
    r->granules += more;
    check(r->span->granules == r->granules);
    check_moves(r);
    stamp(r, r->tag);
}

static void extend_front(size_t i)
{
    struct run *r = &runs[i];
    size_t more = any_length();
    size_t index = owl_span_index(r->span);
    bool room = more <= index && is_free(r->span, index - more, more);
    size_t used = owl_pool_count().used;
    struct owl_span *first = owl_pool_extend_front(r->span, more);
    check(has_stamp(r) && (first != NULL) == room);
    check(owl_pool_count().used == used + (room ? more : 0));
    if (!room)
        return;
    check(first == r->span - more && first->start == owl_span_address(first));
    own(first, 0, more, 0, i);
    r->span = first;
    r->granules += more;
    check(first->granules == r->granules);
    check_moves(r);
    stamp(r, r->tag);
}

static void random_calls_agree_with_the_model(void)
{
    set_up();
    for (int step = 0; step < RANDOM_ROUNDS(8000); step++) {
        size_t i = 1 + any(RUNS);
        size_t what = any(9);
        if (runs[i].span == NULL && any(6) == 0)
            take_roomy(i);
        else if (runs[i].span == NULL)
            take(i);
        else if (what < 2)
            extend(i);
        else if (what < 4)
            extend_front(i);
        else if (what < 5)
            give_tail(i);
        else
            give_all(i);
        if (any(256) == 0)
            faults.strict = !faults.strict; /* addresses are dear */
        if (any(64) == 0)
            owl_pool_purge(any(64) * OWL_GRANULE);
        check(owl_pool_is_valid());
    }
    check(roomy[DIRTY] > 0 && roomy[CLEAN] > 0 && roomy[LATE] > 0);
    check(calls_of(FAULT_PURGE) > 0 && calls_of(FAULT_RESET) > 0);
    for (size_t i = 1; i <= RUNS; i++)
        if (runs[i].span != NULL)
            give_all(i);
    check(owl_pool_count().used == 0);
    owl_pool_purge(0);
    check(owl_pool_is_valid() && owl_pool_count().dirty == 0);
    for (int range = 0; range < 2; range++) {
        const struct owl_range *r = &owl_ranges[range];
        check(r->map[0].free == OWL_FREE_CLEAN && r->map[0].run == r->top);
        check(!any_moved(&r->map[0], r->top));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(random_calls_agree_with_the_model),
    };
    return cmocka_run_group_tests_name("pool_model", tests, NULL, NULL);
}
