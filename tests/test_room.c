/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Room for blocks to grow: who gets it and where, that what grows there neither moves nor calls the
 * system, that it is found again, and what it may cost.
 */
#include <owl/option.h>
#include <sys/resource.h>

#include "cache.h"
#include "child.h"
#include "faults.h"
#include "filled.h"
#include "large.h"
#include "option.h"
#include "pool_inside.h"
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

/* Where the system counts addresses no more of them are taken for rooms than steps that are taken
 * at once. */
static void addresses_that_count_are_spared(void)
{
    set_up();
    faults.strict = true;
    check(rooms_of(60) < 40 && total() <= 2 * OWL_COMMIT_STEP);
}

static void data_that_counts_is_spared(void)
{
    set_up();
    limit(RLIMIT_DATA);
    check(rooms_of(60) < 40 && total() <= 2 * OWL_COMMIT_STEP);
}

static void addresses_under_a_limit_are_spared(void)
{
    set_up();
    limit(RLIMIT_AS);
    check(rooms_of(60) < 40 && total() <= 2 * OWL_COMMIT_STEP);
}

static void ranges_under_a_limit_have_no_rooms(void)
{
    limit(RLIMIT_AS);
    set_up();
    size_t all = total();
    check(rooms_of(60) <= 1 && total() < all + ROOM);
}

static size_t all_resident(void *start, size_t bytes)
{
    (void)start;
    return bytes;
}

/* As with huge pages, and with memory that is locked from the first on. */
static void rooms_that_have_pages_are_not_used(void)
{
    set_up();
    check(gets_room());
    owl_os.resident_of = all_resident;
    check(rooms_of(40) == 0);
}

/* Nor the first, which may be a long one; nor any other place that is made for growth. */
static void free_memory_that_has_pages_is_no_room(void)
{
    set_up();
    owl_os.resident_of = all_resident;
    check(rooms_of(40) == 0);
    check(owl_pool_take_roomy(OWL_ROOM_ANY, 1, 0) == NULL);
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

/* What is long has one all the same, as long as it may become. */
static void long_blocks_have_room(void)
{
    set_up();
    char *p = owl_malloc(OWL_SPAN_MAX / 8), *wall = owl_malloc(OWL_SPAN_MAX / 4);
    check(wall == p + OWL_SPAN_MAX / 8);
    check((p = owl_realloc(p, OWL_SPAN_MAX / 4)) != NULL && begins_room(p));
    unsigned long before = calls();
    check(owl_realloc(p, OWL_SPAN_MAX / 2) == p && owl_realloc(p, OWL_SPAN_MAX) == p);
    check(calls() == before && total() <= 2 * OWL_SPAN_MAX);
    owl_free(p);
    check(owl_stats_heap_is_valid());
}

/* When there are no more, those that grow at once do so in what is left of the others' rooms, and
 * none is in the next one's way. */
static void late_rooms_are_shared(void)
{
    enum { MANY = 1000, AT_ONCE = 4 };
    static char *kept[MANY];
    size_t late = 0;
    set_up();
    for (int i = 0; i < MANY; i += AT_ONCE) {
        unsigned long before = calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY);
        check(grow_all(kept + i, AT_ONCE, OWL_SMALL_MAX / 2, 8 * OWL_SMALL_MAX) == 0);
        check(calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) == before);
        for (int k = i; k < i + AT_ONCE; k++)
            late += !begins_room(kept[k]);
    }
    check(late > MANY / 2 && total() <= OWL_ROOM_TOTAL + (size_t)3 * 8 * MANY * OWL_SMALL_MAX);
    free_all(kept, MANY);
    check(owl_stats_heap_is_valid());
}

/* Long ones, too, end within the run that they get, which has what is the next one's behind it. */
static void late_rooms_hold_what_they_are_for(void)
{
    static const size_t most = OWL_SPAN_MAX >> OWL_GRANULE_SHIFT;
    const size_t lengths[] = {1,        255,          most / 4, most / 4 + 1,
                              most / 2, most / 2 + 1, most - 1, most};
    bool zero;
    set_up();
    for (size_t run = most; run <= 4 * most; run += most / 2) {
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, run + 1, 0, &zero);
        check(s != NULL && owl_pool_take(OWL_PRIVATE, 1, 0, &zero) != NULL);
        faults.strict = true; /* no more addresses, once that is noticed */
        check(owl_pool_take(OWL_PRIVATE, OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT, 0, &zero) != NULL);
        s[1].range = s->range;
        owl_pool_give_clean(s + 1, run);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            struct owl_span *t = owl_pool_take_roomy(OWL_ROOM_ANY, lengths[i], 0);
            check(t == NULL || (t > s && t + lengths[i] <= s + 1 + run));
            check(t != NULL || lengths[i] >= OWL_ALIGN_MIN >> OWL_GRANULE_SHIFT);
            if (t != NULL)
                owl_pool_give_clean(t, lengths[i]);
        }
        check(owl_pool_take_roomy(OWL_ROOM_ANY, most + 1, 0) == NULL && owl_pool_is_valid());
        check(owl_pool_take(OWL_PRIVATE, run, 0, &zero) == s + 1);
    }
}

/* What fills its room to the end of all there is has nothing behind it. */
static void nothing_may_lie_behind_a_room(void)
{
    static const size_t most = OWL_SPAN_MAX >> OWL_GRANULE_SHIFT;
    set_up();
    struct owl_span *s = owl_pool_take_roomy(OWL_ROOM_CLEAN, most, 0);
    check(s != NULL && owl_span_index(s) + most == owl_ranges[s->range].top);
    check(owl_pool.rooms.behind == NULL && rooms_of(4) == 4);
}

/* Those of many page tables begin with one, also where there is no room. */
static void long_blocks_begin_with_a_page_table(void)
{
    enum { MANY = 40, MORE = 20 };
    static char *holes[MANY];
    set_up();
    for (int i = 0; i < MANY; i++)
        holes[i] = owl_malloc(17 * MIB);
    faults.strict = true;
    bool zero;
    check(owl_pool_take(OWL_PRIVATE, OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT, 0, &zero) != NULL);
    free_all(holes, MANY);
    owl_pool_purge(0);
    for (int i = 0; i < MORE; i++) {
        char *p = owl_realloc(owl_malloc(1000), 20 * MIB);
        check(p != NULL && (uintptr_t)p % (2 * MIB) == 0);
    }
    check(owl_stats_heap_is_valid());
}

/* Each that is longer than most is looked at first: it would cost more. */
static void long_rooms_are_looked_at(void)
{
    set_up();
    check(rooms_of(4) == 4);
    owl_os.resident_of = all_resident;
    check(gets_room());
    check(owl_pool_take_roomy(OWL_ROOM_CLEAN, (size_t)1 << OWL_ROOM_ORDER, 0) == NULL);
    check(rooms_of(4) == 0);
}

/* Who has much has more of them. */
static void rooms_grow_with_what_is_in_use(void)
{
    bool zero;
    set_up();
    check(owl_pool_take(OWL_PRIVATE, OWL_ROOM_TOTAL >> OWL_GRANULE_SHIFT, 0, &zero) != NULL);
    check(rooms_of((int)(2 * OWL_ROOM_TOTAL / ROOM)) == 2 * OWL_ROOM_TOTAL / ROOM);
}

/* A vector that is gone and comes again does not go further up each time, whatever was purged in
 * between. */
static void rooms_do_not_wander(void)
{
    static const size_t most[] = {MIB, 16 * MIB, 32 * MIB, 48 * MIB}, filled_to = 8 * MIB;
    owl_free(owl_malloc(1));
    check(owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    for (size_t m = 0; m < sizeof most / sizeof *most; m++) {
        size_t all = 0;
        for (int round = 0; round < 40; round++) {
            char *p = NULL;
            size_t done = 0;
            for (size_t bytes = OWL_SMALL_MAX / 2; bytes <= most[m]; bytes *= 2) {
                check((p = owl_realloc(p, bytes)) != NULL);
                size_t to = bytes < filled_to ? bytes : filled_to;
                fill(p, done, to, 3);
                done = to;
            }
            check(holds(p, done, 3));
            owl_free(p);
            if (round == 5)
                all = total();
        }
        check(total() == all && owl_stats_heap_is_valid());
    }
}

/* Pages move to a room by whole tables, if they are so many, as elsewhere. */
static void moves_keep_the_place_in_a_page_table(void)
{
    set_up();
    for (size_t phase = 1; phase < 32; phase += 15) {
        bool zero;
        struct owl_span *s = owl_pool_take(OWL_PRIVATE, 256, 5, &zero);
        owl_pool_give(s + phase, 48);
        char *p = filled(48 * OWL_GRANULE, 1);
        check(owl_span_of(p) == s + phase && phase + 48 < 256);
        char *q = owl_realloc(p, 96 * OWL_GRANULE);
        check(q != p && owl_span_index(owl_span_of(q)) % 32 == owl_span_index(s + phase) % 32);
        check(holds(q, 48 * OWL_GRANULE, 1));
        owl_free(q);
        owl_pool_purge(0); /* or the next is copied there */
        check(owl_stats_heap_is_valid());
    }
}

/* What is long is not copied to where it would have to be faulted in. */
static void long_blocks_are_copied_to_dirty_memory(void)
{
    bool zero;
    set_up();
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 64, 5, &zero);
    char *p = filled(8 * OWL_GRANULE, 1), *wall = filled(OWL_GRANULE, 2);
    check(wall == p + 8 * OWL_GRANULE);
    memset((void *)owl_span_address(s + 20), 3, 16 * OWL_GRANULE);
    s[20].range = s->range;
    owl_pool_give(s + 20, 16);
    char *q = owl_realloc(p, 16 * OWL_GRANULE);
    check(q == (char *)owl_span_address(s + 20) && holds(q, 8 * OWL_GRANULE, 1));
    check(owl_stats_heap_is_valid());
}

/* A block of n granules in its room, behind which as many are free, and twice as many dirty ones
 * elsewhere. Whether it goes there when it gets n more. */
static bool goes_elsewhere(size_t n, bool dense, bool dirty_behind)
{
    bool zero;
    char *p = owl_realloc(filled(OWL_SMALL_MAX / 2, 1), n * OWL_GRANULE);
    struct owl_span *block = owl_span_of(p);
    check(begins_room(p));
    if (dense)
        memset(p, 1, n * OWL_GRANULE);
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 64, 5, &zero);
    check(owl_pool_extend(block, 2 * n));
    block->granules = n;
    block[n].range = s[20].range = s->range;
    (dirty_behind ? owl_pool_give : owl_pool_give_clean)(block + n, n);
    owl_pool_give(s + 20, 2 * n);
    char *q = owl_realloc(p, 2 * n * OWL_GRANULE);
    check(q == p || q == (char *)owl_span_address(s + 20));
    check(holds(q, OWL_SMALL_MAX / 2, 1));
    owl_free(q);
    owl_pool_purge(0);
    return q != p;
}

/* What was written to in whole is copied to dirty memory, though it could grow in place into clean;
 * what was not, or has dirty memory behind it, stays. */
static void dense_blocks_go_where_pages_are(void)
{
    set_up();
    for (size_t n = 2; n <= 8; n *= 2) {
        check(goes_elsewhere(n, true, false) && !goes_elsewhere(n, true, true));
        check(!goes_elsewhere(n, false, false) && !goes_elsewhere(n, false, true));
    }
    check(owl_stats_heap_is_valid());
}

/* Blocks that are to lie in a file do; and the longest have a mapping of their own. */
static void other_blocks_stay_what_they_are(void)
{
    bool zero;
    set_up();
    check(owl_pool_take(OWL_PRIVATE, OWL_SPAN_MAX >> OWL_GRANULE_SHIFT, 0, &zero) != NULL);
    check(owl_pool_take(OWL_PRIVATE, OWL_SPAN_MAX >> OWL_GRANULE_SHIFT, 0, &zero) != NULL);
    char *p = owl_realloc(filled(OWL_SMALL_MAX / 2, 1), OWL_SPAN_MAX + 1);
    check(p == NULL || (owl_span_of(p) == NULL && holds(p, OWL_SMALL_MAX / 2, 1)));
    owl_free(p);
    check(owl_option_set("backing", OWL_BACKING_MEMFD) == 0);
    for (size_t bytes = 2 * OWL_SMALL_MAX; bytes <= MIB; bytes *= 2) {
        char *q = filled(bytes, 2);
        check((p = owl_realloc(filled(OWL_SMALL_MAX / 2, 1), bytes)) != NULL);
        check(owl_backing_of(owl_span_of(p)->range) == owl_backing_of(owl_span_of(q)->range));
        p = owl_realloc(p, 2 * bytes);
        check(owl_backing_of(owl_span_of(p)->range) == owl_backing_of(owl_span_of(q)->range));
        check(holds(p, OWL_SMALL_MAX / 2, 1));
    }
    check(owl_stats_heap_is_valid());
}

static void what_is_new_in_a_room_is_junk_if_wanted(void)
{
    owl_option_force(OWL_OPTION_JUNK, 1);
    owl_cache_harden();
    char *p = filled(OWL_SMALL_MAX / 2, 1);
    p = owl_realloc(p, 4 * OWL_SMALL_MAX);
    check(begins_room(p) && holds(p, OWL_SMALL_MAX / 2, 1));
    check(holds(p + OWL_SMALL_MAX, 3 * OWL_SMALL_MAX, OWL_JUNK_OUT));
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
        struct owl_span *t = owl_pool_take_roomy(OWL_ROOM_DIRTY, 1, 0);
        check((t != NULL) == (wall >= 4) && (t == NULL || t == s));
        if (t != NULL)
            owl_pool_give(t, 1);
        check(owl_pool_take(OWL_PRIVATE, wall, 0, &zero) == s && !zero);
    }
    check(owl_pool_is_valid());
}

/* One that is too short to have room does not hide another that has. */
static void a_longer_run_is_found_behind_a_shorter(void)
{
    bool zero;
    set_up();
    size_t room = (size_t)1 << OWL_ROOM_ORDER;
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 2 * room, OWL_ROOM_ORDER, &zero);
    check(s != NULL);
    s[room].range = s->range;
    owl_pool_give(s, 2);
    owl_pool_give(s + room, 20);
    check(owl_pool_take_roomy(OWL_ROOM_DIRTY, 1, 0) == s + room);
    check(owl_pool_is_valid());
}

/* Their addresses are no fresh memory that others take: what is purged and wanted again is told by
 * what is taken of clean memory. */
static void rooms_are_not_taken_for_fresh_memory(void)
{
    set_up();
    size_t taken = owl_pool.taken_clean;
    check(rooms_of(40) == 40);
    check(owl_pool.taken_clean - taken < 40 * OWL_GROW_GRANULES);
}

/* Pages that move there count once, also at the limit; a copy counts besides what it is made of. */
static void rooms_obey_the_limit(void)
{
    set_up();
    bool zero;
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, 16, 0, &zero);
    size_t bytes = 16 * OWL_GRANULE;
    check(owl_option_set("limit", (long long)(owl_pool_count().in_use + bytes / 2)) == 0);
    check(owl_pool_take_roomy(OWL_ROOM_CLEAN, 16, 0) == NULL);
    size_t in_use = owl_pool_count().in_use;
    check(owl_pool_take_roomy(OWL_ROOM_CLEAN, 25, bytes) == NULL);
    check(owl_pool_count().in_use == in_use);
    struct owl_span *t = owl_pool_take_roomy(OWL_ROOM_CLEAN, 24, bytes);
    check(t != NULL);
    check(owl_pool_take_roomy(OWL_ROOM_CLEAN, 1, 0) == NULL);
    owl_pool_give_clean(s, 16);
    owl_pool_end_move(bytes);
    check(owl_pool_take_roomy(OWL_ROOM_CLEAN, 1, 0) == NULL);
    owl_pool_give(t, 24);
    check(owl_pool_is_valid());
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
        child_test(ranges_under_a_limit_have_no_rooms),
        child_test(rooms_that_have_pages_are_not_used),
        child_test(free_memory_that_has_pages_is_no_room),
        child_test(rooms_are_bounded),
        child_test(long_blocks_have_room),
        child_test(late_rooms_are_shared),
        child_test(late_rooms_hold_what_they_are_for),
        child_test(nothing_may_lie_behind_a_room),
        child_test(long_blocks_begin_with_a_page_table),
        child_test(long_rooms_are_looked_at),
        child_test(rooms_grow_with_what_is_in_use),
        child_test(rooms_do_not_wander),
        child_test(moves_keep_the_place_in_a_page_table),
        child_test(long_blocks_are_copied_to_dirty_memory),
        child_test(dense_blocks_go_where_pages_are),
        child_test(other_blocks_stay_what_they_are),
        child_test(what_is_new_in_a_room_is_junk_if_wanted),
        child_test(a_wall_leaves_part_of_a_room),
        child_test(a_longer_run_is_found_behind_a_shorter),
        child_test(rooms_are_not_taken_for_fresh_memory),
        child_test(rooms_obey_the_limit),
    };
    return cmocka_run_group_tests_name("room", tests, NULL, NULL);
}
