/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operations of owl/large.h on blocks of all sizes and backings, against what they should hold.
 */
#include <errno.h>
#include <owl/large.h>
#include <owl/option.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "child.h"
#include "faults.h"
#include "option.h"
#include "stats.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* What a block should hold: words at every stride, told by a number and their distance from an
 * origin, which moves as the block grows and shrinks at its front. */
struct block {
    char *start;
    size_t bytes;  /* from the start on; the usable size may be more */
    int64_t front; /* how far the start lies before the origin */
    uint64_t number;
};

#define STRIDE ((size_t)1024)

static uint64_t word_at(const struct block *b, size_t at)
{
    return b->number * 0x9e3779b97f4a7c15u + (uint64_t)((int64_t)at - b->front);
}

/* Words lie at multiples of the stride from the origin, so that a move of the start keeps them. */
static size_t first_word(const struct block *b)
{
    int64_t at = b->front % (int64_t)STRIDE;
    return (size_t)(at < 0 ? at + (int64_t)STRIDE : at);
}

static void fill(struct block *b, size_t from, size_t to)
{
    for (size_t at = first_word(b); at + 8 <= to; at += STRIDE)
        if (at + 8 > from)
            *(uint64_t *)(void *)(b->start + at) = word_at(b, at);
}

static bool holds(const struct block *b)
{
    for (size_t at = first_word(b); at + 8 <= b->bytes; at += STRIDE)
        if (*(uint64_t *)(void *)(b->start + at) != word_at(b, at))
            return false;
    return owl_malloc_usable_size(b->start) >= b->bytes;
}

static struct block make(size_t bytes, uint64_t number)
{
    struct block b = {.start = owl_malloc(bytes), .bytes = bytes, .number = number};
    check(b.start != NULL);
    fill(&b, 0, bytes);
    return b;
}

static void grow_front(struct block *b, size_t bytes)
{
    b->start = owl_grow_front(b->start, bytes);
    check(b->start != NULL && (uintptr_t)b->start % 16 == 0);
    b->bytes += bytes;
    b->front += (int64_t)bytes;
    check(b->bytes <= owl_malloc_usable_size(b->start));
    fill(b, 0, bytes);
}

static void shrink_front(struct block *b, size_t bytes)
{
    b->start = owl_shrink_front(b->start, bytes);
    check(b->start != NULL && (uintptr_t)b->start % 16 == 0);
    b->bytes -= bytes;
    b->front -= (int64_t)bytes;
}

static void resize(struct block *b, size_t bytes)
{
    size_t before = b->bytes;
    b->start = owl_realloc(b->start, bytes);
    check(b->start != NULL);
    b->bytes = bytes;
    fill(b, before, bytes);
}

static struct block duplicate(const struct block *b)
{
    struct block d = *b;
    d.start = owl_dup(b->start);
    check(d.start != NULL && d.start != b->start);
    check(owl_malloc_usable_size(d.start) >= owl_malloc_usable_size(b->start));
    return d;
}

/* Gives a block other contents, all of it or a part. */
static void change(struct block *b, uint64_t number)
{
    b->number = number;
    fill(b, 0, b->bytes);
}

static const size_t sizes[] = {100,       5000,     32 * KIB, 33 * KIB, 200 * KIB,
                               300 * KIB, 3 * MIB, 20 * MIB, 33 * MIB, 40 * MIB};
enum { SIZES = sizeof sizes / sizeof *sizes };

static const int backings[] = {OWL_BACKING_AUTO, OWL_BACKING_PRIVATE, OWL_BACKING_MEMFD};

static void set_up(int backing)
{
    if (faults.real.page == 0) {
        owl_free(owl_malloc(1));
        faults_install();
    }
    faults_clear();
    check(owl_option_set("backing", backing) == 0);
}

static size_t used_bytes(void)
{
    struct owl_stats stats;
    owl_stats(&stats);
    return stats.large_bytes + stats.mapping_bytes;
}

/* Whatever a test makes it frees, and with the blocks go the stores that they show. */
static void for_all(void (*body)(size_t bytes))
{
    for (size_t i = 0; i < sizeof backings / sizeof *backings; i++) {
        set_up(backings[i]);
        size_t before = used_bytes();
        for (size_t k = 0; k < SIZES; k++)
            body(sizes[k]);
        check(used_bytes() == before);
        check(owl_stats_heap_is_valid());
    }
}

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

static void dups(size_t bytes)
{
    struct block a = make(bytes, 1);
    struct block b = duplicate(&a);
    struct block c = duplicate(&a);
    struct block d = duplicate(&b);
    check(holds(&a) && holds(&b) && holds(&c) && holds(&d));
    change(&a, 5);
    check(holds(&a) && holds(&b) && holds(&c) && holds(&d));
    change(&c, 6);
    struct block e = duplicate(&a);
    struct block f = duplicate(&c);
    check(holds(&a) && holds(&b) && holds(&c) && holds(&d) && holds(&e) && holds(&f));
    owl_free(a.start);
    change(&b, 7);
    change(&e, 8);
    check(holds(&b) && holds(&c) && holds(&d) && holds(&e) && holds(&f));
    owl_free(c.start);
    owl_free(d.start);
    struct block g = make(bytes, 9); /* in the memory of those */
    check(holds(&b) && holds(&e) && holds(&f) && holds(&g));
    owl_free(b.start);
    owl_free(f.start);
    owl_free(g.start);
    check(holds(&e));
    owl_free(e.start);
}

static void dups_are_independent(void)
{
    for_all(dups);
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
        for (int i = 0; i < ROUNDS(4000); i++)
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

static void pages_move_and_bytes_do_not(void)
{
    set_up(OWL_BACKING_AUTO);
    struct block a = make(40 * MIB, 1);
    struct block b = make(40 * MIB, 2);
    struct block wall = make(40 * MIB, 3);
    unsigned long moves = calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY);
    check(owl_swap(a.start, b.start, 40 * MIB) == 0);
    check(calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) == moves + 3);
    a.number = 2;
    b.number = 1;
    struct block d = duplicate(&a);
    check(calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) == moves + 6);
    check(calls_of(FAULT_CHANGED) == 0);
    struct block e = duplicate(&a); /* unchanged: only a look at its pages, and a mapping */
    check(calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) == moves + 6);
    check(calls_of(FAULT_CHANGED) > 0);
    check(holds(&a) && holds(&b) && holds(&d) && holds(&e) && holds(&wall));
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

static void exports(size_t bytes)
{
    size_t offset;
    struct block a = make(bytes, 1);
    int descriptor = owl_export(a.start, &offset);
    bool private = owl_option(OWL_OPTION_BACKING) == OWL_BACKING_PRIVATE;
    if (private || owl_malloc_usable_size(a.start) <= 32 * KIB) {
        check(descriptor == -1);
        owl_free(a.start);
        return;
    }
    check(descriptor >= 0 && offset % owl_os.page == 0);
    size_t mapped = owl_round_up(bytes, owl_os.page);
    struct block b = a;
    b.start = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, (off_t)offset);
    check(b.start != MAP_FAILED);
    check(memcmp(a.start, b.start, bytes) == 0);
    change(&b, 2);
    a.number = 2;
    check(holds(&a));
    size_t again;
    int second = owl_export(a.start, &again);
    check(second >= 0 && again == offset);
    struct block c = duplicate(&a);
    change(&a, 3);
    check(holds(&c) && memcmp(a.start, b.start, bytes) == 0);
    resize(&a, 2 * bytes); /* is its own from now on */
    check(holds(&a));
    owl_free(a.start);
    owl_free(c.start);
    munmap(b.start, mapped);
    close(descriptor);
    close(second);
}

static void exports_are_shared(void)
{
    for_all(exports);
}

static void rings_become_blocks(void)
{
    set_up(OWL_BACKING_AUTO);
    size_t bytes = 60 * KIB;
    char *ring = owl_ring(bytes);
    volatile char *block = owl_realloc(ring, 2 * bytes + 4 * KIB); /* that has room where it is */
    check(block != NULL);
    block[0] = 1;
    block[bytes] = 2;
    check(block[0] == 1);
    owl_free((void *)block);
    ring = owl_ring(bytes);
    ring[16] = 3;
    block = owl_shrink_front(ring, 16);
    check(block != NULL && block[0] == 3 && block[bytes] == 3);
    block[bytes] = 4;
    check(block[0] == 3);
    owl_free((void *)block);
    check(owl_stats_heap_is_valid());
}

/* Runs of the file that moved about are in pieces; what is exported is not. */
static void rings_are_exported(void)
{
    size_t offset;
    set_up(OWL_BACKING_MEMFD);
    struct block pieces = make(MIB, 1);
    struct block other = make(MIB, 2);
    check(owl_swap(pieces.start, other.start, 256 * KIB) == 0);
    owl_free(pieces.start);
    owl_free(other.start);
    for (int i = 0; i < 3; i++) {
        char *ring = owl_ring(MIB);
        check(ring != NULL);
        memset(ring, i, MIB);
        int descriptor = owl_export(ring, &offset);
        check(descriptor >= 0);
        char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, (off_t)offset);
        check(p != MAP_FAILED && memcmp(p, ring, MIB) == 0);
        memset(p, 7, MIB);
        check(memcmp(p, ring + MIB, MIB) == 0);
        munmap(p, MIB);
        close(descriptor);
    }
}

static int no_more_descriptors(const struct owl_file *file)
{
    (void)file;
    errno = EMFILE;
    return -1;
}

/* What could not be exported is not shared, and the next time it is. */
static void exports_that_fail(size_t bytes)
{
    size_t offset;
    struct block a = make(bytes, 1);
    if (owl_malloc_usable_size(a.start) <= 32 * KIB) {
        owl_free(a.start);
        return;
    }
    owl_os.file_open = no_more_descriptors;
    errno = 0;
    check(owl_export(a.start, &offset) == -1);
    bool private = owl_option(OWL_OPTION_BACKING) == OWL_BACKING_PRIVATE;
    check(errno == (private ? ENOTSUP : EMFILE));
    owl_os.file_open = faults.real.file_open;
    pid_t pid = fork();
    if (pid == 0) {
        change(&a, 2);
        _exit(0);
    }
    check(child_wait(pid) == 0 && holds(&a));
    fault_at(FAULT_FILE_MAKE, 1);
    errno = 0;
    int descriptor = owl_export(a.start, &offset);
    check(descriptor >= 0 ? errno == 0 : errno == ENOMEM || errno == ENOTSUP);
    close(descriptor);
    faults_clear();
    owl_free(a.start);
}

static void failed_exports_do_not_share(void)
{
    for_all(exports_that_fail);
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

static void rings_are_mapped_twice(void)
{
    set_up(OWL_BACKING_AUTO);
    static const size_t lengths[] = {4 * KIB, 60 * KIB, 64 * KIB, 100 * KIB, 5 * MIB, 40 * MIB};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        size_t bytes = owl_round_up(lengths[k], owl_os.page);
        char *ring = owl_ring(bytes);
        check(ring != NULL && owl_malloc_usable_size(ring) == 2 * bytes);
        for (size_t i = 0; i < bytes; i += 509)
            ring[i] = (char)i;
        check(memcmp(ring, ring + bytes, bytes) == 0);
        memset(ring + bytes - 100, 7, 200);
        check(ring[0] == 7 && ring[99] == 7 && ring[2 * bytes - 1] == 7);
        check(ring[100] != 7 || ring[609] != 7);
        char *block = owl_realloc(ring, 3 * bytes);
        check(block != NULL && memcmp(block, block + bytes, bytes) == 0);
        block[0] = 1;
        check(block[bytes] != 1);
        owl_free(block);
        owl_free(owl_ring(bytes));
        check(owl_stats_heap_is_valid());
    }
    set_up(OWL_BACKING_PRIVATE);
    errno = 0;
    check(owl_ring(64 * KIB) == NULL && errno == ENOMEM);
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
        child_test(dups_are_independent),
        child_test(dups_grow_and_shrink),
        child_test(anything_goes),
        child_test(failures_are_not_seen),
        child_test(without_moves_there_are_copies),
        child_test(pages_move_and_bytes_do_not),
        child_test(arguments_are_checked),
        child_test(exports_are_shared),
        child_test(rings_are_mapped_twice),
        child_test(rings_become_blocks),
        child_test(rings_are_exported),
        child_test(failed_exports_do_not_share),
        child_test(errno_is_kept),
        child_test(above_a_gigabyte),
    };
    return cmocka_run_group_tests_name("reshape", tests, NULL, NULL);
}
