/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Room for blocks to grow: who gets it and where, that what grows there neither moves nor calls the
 * system, that it is found again, and what it may cost.
 */
#include <owl/option.h>
#include <sys/resource.h>

#include "child.h"
#include "faults.h"
#include "filled.h"
#include "large.h"
#include "option.h"
#include "pool.h"
#include "stats.h"

#define ROOM (OWL_GRANULE << OWL_ROOM_ORDER)

enum { VECTORS = 8 };

static void set_up(void)
{
    owl_free(owl_malloc(1));
    faults_install();
    check(owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    check(owl_option_set("dirty", 1 << 30) == 0); /* purges are asked for */
}

/* The number of the room that a block begins in, and whether that begins with it. */
static size_t room_of(const void *p)
{
    return owl_span_index(owl_span_of(p)) >> OWL_ROOM_ORDER;
}

static bool begins_room(const void *p)
{
    return owl_span_index(owl_span_of(p)) % ((size_t)1 << OWL_ROOM_ORDER) == 0;
}

static unsigned long calls(void)
{
    return calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) + calls_of(FAULT_FILL) +
           calls_of(FAULT_RESET) + calls_of(FAULT_PURGE) + calls_of(FAULT_COMMIT);
}

/* Bytes that the pool has, used or free. */
static size_t total(void)
{
    struct owl_pool_counts c = owl_pool_count();
    return (c.used + c.dirty + c.clean) << OWL_GRANULE_SHIFT;
}

/* The bytes that a vector has just got. */
static void fill(char *p, size_t from, size_t to, int with)
{
    memset(p + from, with, to - from);
}

/* Side by side, by doubling. How many of them moved once they had 64 KiB. */
static size_t grow_all(char **vectors, int count, size_t least, size_t most)
{
    size_t moved = 0;
    for (size_t bytes = least; bytes <= most; bytes *= 2)
        for (int i = 0; i < count; i++) {
            char *p = owl_realloc(vectors[i], bytes);
            size_t before = vectors[i] != NULL ? bytes / 2 : 0;
            check(p != NULL && (before == 0 || holds(p, before, i + 1)));
            moved += bytes > 2 * OWL_SMALL_MAX && p != vectors[i];
            fill(p, before, bytes, i + 1);
            vectors[i] = p;
        }
    return moved;
}

static void free_all(char **vectors, int count)
{
    for (int i = 0; i < count; i++) {
        owl_free(vectors[i]);
        vectors[i] = NULL;
    }
}

static void vectors_have_a_room_each(void)
{
    char *vectors[VECTORS] = {NULL};
    set_up();
    check(grow_all(vectors, VECTORS, 64, 2 * OWL_SMALL_MAX) == 0);
    for (int i = 0; i < VECTORS; i++)
        for (int k = 0; k < i; k++)
            check(room_of(vectors[i]) != room_of(vectors[k]));
    unsigned long before = calls();
    check(grow_all(vectors, VECTORS, 4 * OWL_SMALL_MAX, ROOM) == 0 && calls() == before);
    free_all(vectors, VECTORS);
    check(owl_stats_heap_is_valid());
}

/* Also those that a thread's stock would keep, and those that only others are free behind. */
static void rooms_are_found_again(void)
{
    static const size_t most[] = {256 << 10, 1 << 20, ROOM / 4};
    set_up();
    for (size_t m = 0; m < sizeof most / sizeof *most; m++) {
        char *vectors[VECTORS] = {NULL};
        grow_all(vectors, VECTORS, 64, most[m]);
        free_all(vectors, VECTORS);
        size_t all = total();
        unsigned long before = calls();
        for (int round = 0; round < 20; round++) {
            check(grow_all(vectors, VECTORS, 64, most[m]) == 0);
            check(owl_pool_count().dirty == 0); /* what is dirty is what they have */
            free_all(vectors, VECTORS);
        }
        check(total() == all && calls() == before);
        check(owl_stats_heap_is_valid());
    }
}

/* What grows by less than half may be a string: it stays with the others. */
static void little_growth_gets_no_room(void)
{
    set_up();
    char *p = owl_malloc(3 * OWL_GRANULE), *wall = owl_malloc(OWL_GRANULE);
    check(p + 3 * OWL_GRANULE == wall);
    p = owl_realloc(p, 4 * OWL_GRANULE);
    check(p != NULL && !begins_room(p));
    char *q = owl_malloc(OWL_SMALL_MAX);
    q = owl_realloc(q, OWL_SMALL_MAX + 1);
    check(q != NULL && !begins_room(q) && owl_stats_heap_is_valid());
}

/* A vector that stays; whether it has a room. */
static bool gets_room(void)
{
    char *p = owl_malloc(OWL_SMALL_MAX / 2);
    p = owl_realloc(p, 2 * OWL_SMALL_MAX);
    check(p != NULL);
    return begins_room(p);
}

static size_t rooms_of(int vectors)
{
    size_t rooms = 0;
    for (int i = 0; i < vectors; i++)
        rooms += gets_room();
    check(owl_stats_heap_is_valid());
    return rooms;
}

static void limit(int resource)
{
    struct rlimit r = {(rlim_t)1 << 45, (rlim_t)1 << 45};
    check(setrlimit(resource, &r) == 0);
}

/* Where the system counts addresses no more of them are taken for rooms than a step. */
static void addresses_that_count_are_spared(void)
{
    set_up();
    faults.strict = true;
    check(rooms_of(40) < 40 && total() <= OWL_COMMIT_STEP + 40 * OWL_GRANULE);
    faults.strict = false;
    check(rooms_of(40) == 40 && total() >= 40 * ROOM);
}

static void data_that_counts_is_spared(void)
{
    set_up();
    size_t all = total();
    limit(RLIMIT_DATA);
    check(rooms_of(40) <= 1 && total() < all + ROOM);
}

static void addresses_under_a_limit_are_spared(void)
{
    set_up();
    size_t all = total();
    limit(RLIMIT_AS);
    check(rooms_of(40) <= 1 && total() < all + ROOM);
}

/* Many that grow a little have rooms only so far. */
static void rooms_are_bounded(void)
{
    enum { MANY = 1000 };
    set_up();
    size_t rooms = rooms_of(MANY);
    check(rooms >= OWL_ROOM_TOTAL / ROOM / 2 && rooms <= OWL_ROOM_TOTAL / ROOM * 9 / 8);
    check(total() <= OWL_ROOM_TOTAL + (size_t)2 * MANY * OWL_GRANULE);
}

/* In a room that only a wall further up leaves, there is less to grow into, but it is one. */
static void a_wall_leaves_part_of_a_room(void)
{
    set_up();
    bool zero;
    size_t room = (size_t)1 << OWL_ROOM_ORDER;
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, room, OWL_ROOM_ORDER, &zero);
    check(s != NULL);
    for (size_t wall = 3; wall <= 16; wall++) {
        s[wall + 1].range = s->range;
        owl_pool_give(s, wall);
        struct owl_span *t = owl_pool_take_roomy(OWL_FREE_DIRTY, 1, OWL_ROOM_ORDER, 0);
        check((t != NULL) == (wall >= 4) && (t == NULL || t == s));
        if (t != NULL)
            owl_pool_give(t, 1);
        check(owl_pool_take(OWL_PRIVATE, wall, 0, &zero) == s && !zero);
    }
    check(owl_pool_is_valid());
}

/* Pages that move there count once, also at the limit; a copy counts besides what it is made of. */
static void rooms_obey_the_limit(void)
{
    set_up();
    bool zero;
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 16, 0, &zero);
    size_t bytes = 16 * OWL_GRANULE;
    check(owl_option_set("limit", (long long)(owl_pool_count().in_use + bytes / 2)) == 0);
    check(owl_pool_take_roomy(OWL_FREE_CLEAN, 16, OWL_ROOM_ORDER, 0) == NULL);
    size_t in_use = owl_pool_count().in_use;
    check(owl_pool_take_roomy(OWL_FREE_CLEAN, 25, OWL_ROOM_ORDER, bytes) == NULL);
    check(owl_pool_count().in_use == in_use);
    struct owl_span *t = owl_pool_take_roomy(OWL_FREE_CLEAN, 24, OWL_ROOM_ORDER, bytes);
    check(t != NULL);
    check(owl_pool_take_roomy(OWL_FREE_CLEAN, 1, OWL_ROOM_ORDER, 0) == NULL);
    owl_pool_give_clean(s, 16);
    owl_pool_end_move(bytes);
    check(owl_pool_take_roomy(OWL_FREE_CLEAN, 1, OWL_ROOM_ORDER, 0) == NULL);
    owl_pool_give(t, 24);
    check(owl_pool_is_valid() );
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(vectors_have_a_room_each),
        child_test(rooms_are_found_again),
        child_test(little_growth_gets_no_room),
        child_test(addresses_that_count_are_spared),
        child_test(data_that_counts_is_spared),
        child_test(addresses_under_a_limit_are_spared),
        child_test(rooms_are_bounded),
        child_test(a_wall_leaves_part_of_a_room),
        child_test(rooms_obey_the_limit),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
