/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that grow and have to move for it: how often the system is called, in how many mappings
 * they are afterwards, what becomes of the old addresses, and what a refusal leaves.
 */
#include <owl/large.h>
#include <owl/option.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "child.h"
#include "faults.h"
#include "filled.h"
#include "option.h"
#include "pool.h"
#include "range.h"
#include "stats.h"

static unsigned long pieces_asked;

static size_t counted_piece(void *start, size_t bytes)
{
    pieces_asked++;
    return faults.real.piece(start, bytes);
}

static void set_up(int backing)
{
    owl_free(owl_malloc(1));
    faults_install();
    owl_os.piece = counted_piece;
    check(owl_option_set("backing", backing) == 0);
}

/* Whether ranges lie apart. Sanitizers may have those addresses themselves. */
static bool lies_apart(void)
{
    check(SANITIZED || owl_ranges[0].apart);
    return owl_ranges[0].apart;
}

static unsigned long calls(void)
{
    return calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) + calls_of(FAULT_FILL) +
           calls_of(FAULT_UNMAP) + calls_of(FAULT_RESET) + calls_of(FAULT_PURGE) + pieces_asked;
}

/* The first word of each page of [from, to) tells the page and the block. */
static void mark(char *p, size_t from, size_t to, int with)
{
    for (size_t at = from; at < to; at += 4096)
        *(uint64_t *)(void *)(p + at) = at + (unsigned)with;
}

static bool is_marked(const char *p, size_t bytes, int with)
{
    for (size_t at = 0; at < bytes; at += 4096)
        if (*(const uint64_t *)(const void *)(p + at) != at + (unsigned)with)
            return false;
    return true;
}

/* Side by side, so that each is in the way of the one before it. */
enum { BLOCKS = 16 };

/* The first growth takes two calls, as it moves each block; the place has room for the next ones,
 * which take none. */
static void growth_takes_two_calls(void)
{
    char *blocks[BLOCKS];
    set_up(OWL_BACKING_PRIVATE);
    if (!lies_apart())
        return;
    check(owl_option_set("dirty", 1 << 30) == 0); /* no purges in between */
    for (int i = 0; i < BLOCKS; i++)
        mark(blocks[i] = filled(MIB / 4, 0), 0, MIB / 4, i);
    for (size_t bytes = MIB / 2; bytes <= 8 * MIB; bytes *= 2)
        for (int i = 0; i < BLOCKS; i++) {
            unsigned long before = calls();
            char *p = owl_realloc(blocks[i], bytes);
            check(p != NULL && is_marked(p, bytes / 2, i));
            check(calls() == before + (p != blocks[i] ? 2 : 0));
            if (i < BLOCKS - 1) /* which nobody is behind */
                check((p != blocks[i]) == (bytes == MIB / 2));
            mark(blocks[i] = p, bytes / 2, bytes, i);
        }
    for (int i = 0; i < BLOCKS; i++) {
        check(is_marked(blocks[i], 8 * MIB, i));
        owl_free(blocks[i]);
    }
    owl_trim(0);
    check(owl_stats_heap_is_valid());
}

/* Builds a wall behind a block: what is free there is taken. It stays. */
static void wall_up(const char *p, size_t bytes)
{
    const char *wall = NULL;
    for (int i = 0; wall != p + bytes && owl_span_of(p + bytes)->kind != OWL_KIND_LARGE; i++)
        check((wall = owl_malloc(OWL_GRANULE)) != NULL && i < 100000);
}

static char *walled(size_t bytes, int with)
{
    char *p = filled(bytes, with);
    wall_up(p, bytes);
    return p;
}

static void what_is_left_is_as_new(void)
{
    set_up(OWL_BACKING_PRIVATE);
    if (!lies_apart())
        return;
    char *p = walled(2 * MIB, 1);
    size_t mappings = owl_os.mapping_count();
    char *q = owl_realloc(p, 4 * MIB);
    check(q != p && holds(q, 2 * MIB, 1) && holds(q + 2 * MIB, 2 * MIB, 0));
    check(holds(p, 2 * MIB, 0) && owl_pool_count().dirty == 0);
    owl_free(q);
    owl_trim(0);
    check(owl_os.mapping_count() <= mappings);
    check(holds(owl_calloc(1, 2 * MIB), 2 * MIB, 0));
    check(owl_stats_heap_is_valid());
}

/* What others have mapped, zeroes, is neither handed out nor touched, also when the block goes. */
static void use_all_but(char *others, size_t bytes, void *block)
{
    for (int i = 0; i < 200; i++) {
        char *fresh = filled(MIB, 2);
        check(fresh + MIB <= others || fresh >= others + bytes);
    }
    owl_free(block);
    owl_trim(0);
    check(holds(others, bytes, 0) && mprotect(others, bytes, PROT_READ) == 0);
    check(owl_stats_heap_is_valid());
}

/* What comes to lie in the hole is not ours, and its addresses are not either. */
static void lost_addresses_are_not_used(void)
{
    set_up(OWL_BACKING_PRIVATE);
    if (!lies_apart())
        return;
    char *p = walled(2 * MIB, 1);
    fault_at(FAULT_FILL, 1);
    char *q = owl_realloc(p, 4 * MIB);
    check(calls_of(FAULT_FILL) == 1 && q != p && holds(q, 2 * MIB, 1));
    void *others = mmap(p, 2 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    check(others == p);
    use_all_but(p, 2 * MIB, q);
}

/* A block that has moved, and grown a little where it is, is two mappings; both move, and stay
 * two. */
static char *two_mappings(void)
{
    char *p = owl_realloc(walled(2 * MIB, 1), 3 * MIB);
    p = owl_realloc(p, 4 * MIB);
    mark(p, 0, 4 * MIB, 3);
    check(faults.real.piece(p, 4 * MIB) == 3 * MIB);
    wall_up(p, 4 * MIB);
    return p;
}

static void several_mappings_move(void)
{
    set_up(OWL_BACKING_PRIVATE);
    if (!lies_apart())
        return;
    char *p = two_mappings();
    char *q = owl_realloc(p, 40 * MIB);
    check(q != p && is_marked(q, 4 * MIB, 3) && holds(q + 4 * MIB, 36 * MIB, 0));
    size_t first = faults.real.piece(q, 40 * MIB);
    check(first == 3 * MIB && faults.real.piece(q + first, 40 * MIB - first) == 37 * MIB);
    check(holds(p, 4 * MIB, 0));
    owl_free(q);
    owl_trim(0);
    check(owl_stats_heap_is_valid());
}

/* Each call that a growth makes is refused in its turn, and then all of them. */
static void grow_with_refusals(void)
{
    static const enum fault_call refused[] = {FAULT_MOVE, FAULT_CARRY, FAULT_FILL, FAULT_RESET};
    for (size_t i = 0; i < 4 * sizeof refused / sizeof *refused; i++) {
            char *one = walled(2 * MIB, 5);
        char *two = two_mappings();
        if (i % 4 < 3)
            fault_at(refused[i / 4], i % 4 + 1);
        else
            fault_always(refused[i / 4]);
        one = owl_realloc(one, 30 * MIB);
        two = owl_realloc(two, 30 * MIB);
        check(one != NULL && holds(one, 2 * MIB, 5) && two != NULL && is_marked(two, 4 * MIB, 3));
        faults_clear();
        owl_free(one);
        owl_free(two);
        owl_trim(0);
        check(owl_stats_heap_is_valid());
    }
}

static void refusals_are_not_seen(void)
{
    set_up(OWL_BACKING_PRIVATE);
    if (lies_apart())
        grow_with_refusals();
}

/* Pages of a file that a fork has made private do not let more of the file be seen. */
static void files_do_not_show_more(void)
{
    set_up(OWL_BACKING_MEMFD);
    char *p = filled(2 * MIB, 1);
    char *next = filled(20 * MIB, 7);
    check(next == p + 2 * MIB);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    check(child_wait(pid) == 0 && owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    for (size_t bytes = 4 * MIB; bytes <= 16 * MIB; bytes *= 2) {
        wall_up(p, bytes / 2);
        char *q = owl_realloc(p, bytes);
        check(q != p && holds(q, 2 * MIB, 1) && holds(q + 2 * MIB, bytes - 2 * MIB, 0));
        p = q;
    }
    check(owl_stats_heap_is_valid());
}

/* A duplicate shows a store, of which no more is to be seen either. */
static void duplicates_do_not_show_more(void)
{
    set_up(OWL_BACKING_PRIVATE);
    check(owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    char *p = filled(2 * MIB, 1);
    char *d = owl_dup(p);
    char *other = filled(2 * MIB, 7);
    char *e = owl_dup(other);
    wall_up(d, 2 * MIB);
    char *q = owl_realloc(d, 12 * MIB);
    check(q != d && holds(q, 2 * MIB, 1) && holds(q + 2 * MIB, 10 * MIB, 0));
    check(holds(p, 2 * MIB, 1) && holds(e, 2 * MIB, 7));
    check(owl_stats_heap_is_valid());
}

static atomic_bool stop;

/* Other threads' mappings never lie in our range, though holes come and go there. */
static void *map_and_unmap(void *unused)
{
    size_t base = owl_ranges[0].reservation, bytes = owl_ranges[0].reserved;
    (void)unused;
    while (!atomic_load(&stop)) {
        char *p = mmap(NULL, 64 << 10, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(p != MAP_FAILED && (uintptr_t)p - base >= bytes);
        munmap(p, 64 << 10);
    }
    return NULL;
}

static void others_map_elsewhere(void)
{
    pthread_t threads[2];
    char *blocks[BLOCKS];
    set_up(OWL_BACKING_PRIVATE);
    if (!lies_apart())
        return;
    for (int i = 0; i < 2; i++)
        check(pthread_create(&threads[i], NULL, map_and_unmap, NULL) == 0);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < BLOCKS; i++)
            mark(blocks[i] = filled(MIB / 4, 0), 0, MIB / 4, i);
        for (size_t bytes = MIB / 2; bytes <= 4 * MIB; bytes *= 2)
            for (int i = 0; i < BLOCKS; i++)
                check((blocks[i] = owl_realloc(blocks[i], bytes)) != NULL);
        for (int i = 0; i < BLOCKS; i++) {
            check(is_marked(blocks[i], MIB / 4, i));
            owl_free(blocks[i]);
        }
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    check(owl_stats_heap_is_valid());
}

/* Past the longest span a block gets a mapping, of which it is all, and which the system can make
 * longer. */
static void growth_out_of_the_range_is_one_mapping(void)
{
    set_up(OWL_BACKING_PRIVATE);
    if (!lies_apart())
        return;
    char *p = filled(3 * MIB, 4);
    char *q = owl_realloc(p, OWL_SPAN_MAX + MIB);
    if (q == NULL)
        return; /* less memory than that */
    check(owl_span_of(q) == NULL && holds(q, 3 * MIB, 4) && holds(q + 3 * MIB, MIB, 0));
    check(faults.real.piece(q, OWL_SPAN_MAX + MIB) == OWL_SPAN_MAX + MIB);
    unsigned long before = calls();
    q = owl_realloc(q, OWL_SPAN_MAX + 5 * MIB);
    check(q != NULL && holds(q, 3 * MIB, 4) && calls() == before);
    owl_free(q);
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(growth_takes_two_calls),
        child_test(what_is_left_is_as_new),
        child_test(lost_addresses_are_not_used),
        child_test(several_mappings_move),
        child_test(refusals_are_not_seen),
        child_test(files_do_not_show_more),
        child_test(duplicates_do_not_show_more),
        child_test(others_map_elsewhere),
        child_test(growth_out_of_the_range_is_one_mapping),
    };
    return cmocka_run_group_tests_name("growth", tests, NULL, NULL);
}
