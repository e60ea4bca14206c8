/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operations of owl/large.h on blocks of all sizes and backings, against what they should hold.
 */
#include <errno.h>
#include <unistd.h>

#include "reshape_block.h"

static void fronts(size_t bytes)
{
    struct block b = make(bytes, 1);
    grow_front(&b, 16);
    check(holds(&b));
    grow_front(&b, 100 * 16);
    check(holds(&b));
    grow_front(&b, 70 * KIB);
    check(holds(&b));
    shrink_front(&b, 80);
    check(holds(&b));
    grow_front(&b, 2 * MIB);
    grow_front(&b, 64 * KIB);
    check(holds(&b));
    resize(&b, b.bytes + 64 * KIB);
    check(holds(&b));
    shrink_front(&b, 2 * MIB);
    resize(&b, 3 * b.bytes);
    check(holds(&b));
    shrink_front(&b, (b.bytes - 16) / 16 * 16);
    resize(&b, 64);
    check(holds(&b));
    owl_free(b.start);
}

static void fronts_move(void)
{
    for_all(fronts);
}

static void swaps(size_t bytes)
{
    struct block a = make(bytes, 1);
    struct block b = make(bytes + bytes / 3, 2);
    check(owl_swap(a.start, b.start, bytes) == 0);
    struct block a2 = {.start = a.start, .bytes = bytes, .number = 2};
    struct block b2 = {.start = b.start, .bytes = bytes, .number = 1};
    check(holds(&a2) && holds(&b2));
    check(owl_swap(a.start, b.start, bytes / 2) == 0);
    a2.bytes = b2.bytes = bytes / 2;
    a2.number = 1;
    b2.number = 2;
    check(holds(&a2) && holds(&b2));
    errno = 0;
    check(owl_swap(a.start, a.start, 1) == -1 && errno == EINVAL);
    errno = 0;
    check(owl_swap(a.start, b.start, owl_malloc_usable_size(a.start) + 1) == -1 && errno == EINVAL);
    owl_free(a.start);
    struct block after = make(bytes, 3); /* memory that was exchanged serves as any */
    check(holds(&after));
    owl_free(after.start);
    owl_free(b.start);
}

static void swaps_exchange(void)
{
    for_all(swaps);
}

/* Duplicates are blocks like others: they grow, at both ends, and shrink, and are exchanged. */
static void dups_reshape(size_t bytes)
{
    struct block a = make(bytes, 1);
    struct block b = duplicate(&a);
    resize(&a, 2 * bytes);
    grow_front(&b, 100 * KIB);
    check(holds(&a) && holds(&b));
    struct block c = duplicate(&a);
    struct block d = duplicate(&b);
    check(owl_swap(a.start, c.start, bytes) == 0);
    shrink_front(&c, bytes / 32 * 16);
    resize(&d, d.bytes / 2);
    check(holds(&a) && holds(&b) && holds(&c) && holds(&d));
    struct block e = duplicate(&c);
    change(&c, 4);
    resize(&c, 1000);
    check(holds(&a) && holds(&b) && holds(&c) && holds(&d) && holds(&e));
    owl_free(a.start);
    owl_free(b.start);
    check(holds(&c) && holds(&d) && holds(&e));
    owl_free(c.start);
    owl_free(d.start);
    owl_free(e.start);
}

static void dups_grow_and_shrink(void)
{
    for_all(dups_reshape);
}

enum { LIVE = 24 };

static void step(struct block *live, uint64_t *random)
{
    struct block *b = &live[next_random(random) % LIVE];
    struct block *other = &live[next_random(random) % LIVE];
    size_t some = next_random(random) % (MIB / 16) * 16;
    if (b->start == NULL) {
        *b = make(sizes[next_random(random) % SIZES] + next_random(random) % 10000,
                  next_random(random));
        return;
    }
    check(holds(b));
    switch (next_random(random) % 8) {
    case 0:
        owl_free(b->start);
        b->start = NULL;
        break;
    case 1:
        grow_front(b, some);
        break;
    case 2:
        if (some < b->bytes)
            shrink_front(b, some);
        break;
    case 3:
        resize(b, b->bytes + some);
        break;
    case 4:
        resize(b, b->bytes / 2 + 1);
        break;
    case 5:
        change(b, next_random(random));
        break;
    default:
        if (b != other && other->start == NULL)
            *other = duplicate(b);
        else if (b != other && b->bytes == other->bytes && b->front == other->front) {
            check(owl_swap(b->start, other->start, b->bytes) == 0);
            uint64_t number = b->number;
            b->number = other->number;
            other->number = number;
        }
    }
}

static void anything_goes(void)
{
    uint64_t random = 20;
    for (size_t k = 0; k < sizeof backings / sizeof *backings; k++) {
        struct block live[LIVE] = {{.start = NULL}};
        set_up(backings[k]);
        for (int i = 0; i < RANDOM_ROUNDS(1000); i++)
            step(live, &random);
        check(owl_stats_heap_is_valid());
        for (int i = 0; i < LIVE; i++)
            if (live[i].start != NULL) {
                check(holds(&live[i]));
                owl_free(live[i].start);
            }
        check(owl_stats_heap_is_valid());
    }
}

/* Calls that may fail, each kind and each number of them, in turn; or at random. What fails is
 * copied, and nobody notices. */
static void failures_are_not_seen(void)
{
    static const enum fault_call calls[] = {FAULT_MOVE,  FAULT_CARRY,     FAULT_FILL,
                                            FAULT_RESET, FAULT_FILE_MAKE, FAULT_FILE_MAP,
                                            FAULT_PUNCH, FAULT_CHANGED};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (unsigned long n = 1; n <= 12; n++) {
            set_up(OWL_BACKING_MEMFD);
            fault_at(calls[i], n);
            dups_reshape(2 * MIB);
            swaps(2 * MIB);
            fronts(2 * MIB);
            faults_clear();
            check(owl_stats_heap_is_valid());
        }
}

static void without_moves_there_are_copies(void)
{
    set_up(OWL_BACKING_MEMFD);
    fault_always(FAULT_MOVE);
    fault_always(FAULT_CARRY);
    fault_always(FAULT_FILE_MAP);
    for (size_t k = 0; k < SIZES; k++) {
        dups_reshape(sizes[k]);
        swaps(sizes[k]);
        fronts(sizes[k]);
    }
    check(owl_stats_heap_is_valid());
}

static void arguments_are_checked(void)
{
    set_up(OWL_BACKING_AUTO);
    size_t offset;
    char *small = owl_malloc(100);
    char *large = owl_malloc(MIB);
    errno = 0;
    check(owl_grow_front(large, 8) == NULL && errno == EINVAL);
    errno = 0;
    check(owl_grow_front(large, SIZE_MAX - 15) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_shrink_front(large, MIB) == NULL && errno == EINVAL);
    errno = 0;
    check(owl_shrink_front(large, 24) == NULL && errno == EINVAL);
    errno = 0;
    check(owl_grow_front(NULL, 16) == NULL && errno == EINVAL);
    check(owl_dup(NULL) == NULL && owl_swap(NULL, large, 1) == -1);
    errno = 0;
    check(owl_export(small, &offset) == -1 && errno == EINVAL);
    check(owl_export(NULL, &offset) == -1);
    errno = 0;
    check(owl_ring(100) == NULL && errno == EINVAL);
    check(owl_ring(0) == NULL && owl_ring(SIZE_MAX & ~(owl_os.page - 1)) == NULL);
    large = owl_grow_front(large, 16);
    errno = 0;
    check(owl_export(large, &offset) == -1 && errno == EINVAL);
    owl_free(small);
    owl_free(large);
}

static void errno_is_kept(void)
{
    size_t offset;
    set_up(OWL_BACKING_MEMFD);
    errno = 77;
    fault_always(FAULT_FILE_MAKE);
    char *p = owl_malloc(40 * MIB);
    check(p != NULL && errno == 77);
    faults_clear();
    char *q = owl_malloc(40 * MIB);
    check(owl_swap(p, q, 40 * MIB) == 0 && errno == 77);
    char *d = owl_dup(p);
    check(d != NULL && errno == 77);
    p = owl_realloc(p, 60 * MIB);
    p = owl_grow_front(p, MIB);
    p = owl_shrink_front(p, MIB);
    char *ring = owl_ring(MIB);
    check(p != NULL && ring != NULL && errno == 77);
    int descriptor = owl_export(q, &offset);
    check(descriptor >= 0 && errno == 77);
    owl_free(ring);
    owl_free(d);
    owl_free(q);
    owl_free(p);
    check(errno == 77);
    close(descriptor);
}

static void above_a_gigabyte(void)
{
    set_up(OWL_BACKING_AUTO);
    struct block b = {.start = owl_malloc(1025 * MIB), .bytes = 40 * MIB, .number = 1};
    if (b.start == NULL)
        return; /* less memory than that */
    fill(&b, 0, b.bytes);
    size_t usable = owl_malloc_usable_size(b.start);
    grow_front(&b, 48);
    check(holds(&b) && owl_malloc_usable_size(b.start) == usable + 48);
    grow_front(&b, 8 * KIB);
    shrink_front(&b, 10 * KIB);
    grow_front(&b, 3 * MIB);
    check(holds(&b));
    b.start = owl_realloc(b.start, 1100 * MIB);
    check(b.start != NULL && holds(&b));
    struct block c = make(40 * MIB, 2);
    shrink_front(&b, 3 * MIB + 6 * KIB + 48);
    shrink_front(&b, 2000);
    check(holds(&b));
    grow_front(&b, 2000);
    check(owl_swap(b.start, c.start, 30 * MIB) == 0);
    b.bytes = c.bytes = 30 * MIB;
    b.number = 2;
    c.number = 1;
    int64_t front = b.front;
    b.front = c.front;
    c.front = front;
    check(holds(&b) && holds(&c));
    owl_free(b.start);
    /* and from a span to there */
    struct block d = make(40 * MIB, 3);
    resize(&d, 50 * MIB);
    d.start = owl_realloc(d.start, 1026 * MIB);
    check(d.start != NULL && holds(&d));
    d.start = owl_realloc(d.start, 1200 * MIB);
    check(d.start != NULL && holds(&d));
    owl_free(d.start);
    owl_free(c.start);
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(fronts_move),
        child_test(swaps_exchange),
        child_test(dups_grow_and_shrink),
        child_test(anything_goes),
        child_test(failures_are_not_seen),
        child_test(without_moves_there_are_copies),
        child_test(arguments_are_checked),
        child_test(errno_is_kept),
        child_test(above_a_gigabyte),
    };
    return cmocka_run_group_tests_name("reshape", tests, NULL, NULL);
}
