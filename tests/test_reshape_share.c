/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks that share pages: duplicates, exports and rings, of all sizes and backings. */

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "reshape_block.h"

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
    check(calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) == moves + 4);
    check(calls_of(FAULT_CHANGED) == 0);
    struct block e = duplicate(&a); /* unchanged: only a look at its pages, and a mapping */
    check(calls_of(FAULT_MOVE) + calls_of(FAULT_CARRY) == moves + 4);
    check(calls_of(FAULT_CHANGED) > 0);
    check(holds(&a) && holds(&b) && holds(&d) && holds(&e) && holds(&wall));
}

/* If the block's pages do not move, or it cannot show them then, they are copied. */
static void refused_dups_copy(void)
{
    static const enum fault_call refused[] = {FAULT_FILE_MAP, FAULT_MOVE};
    for (int i = 0; i < 2; i++) {
        set_up(OWL_BACKING_AUTO);
        struct block a = make(40 * MIB, 1);
        fault_at(refused[i], 1);
        struct block d = duplicate(&a);
        check(calls_of(refused[i]) > 0 && holds(&a) && holds(&d));
        change(&a, 3);
        check(holds(&a) && holds(&d));
        faults_clear();
        struct block e = duplicate(&a);
        check(holds(&a) && holds(&e));
        owl_free(a.start);
        struct block f = make(40 * MIB, 4);
        check(holds(&d) && holds(&e) && holds(&f));
        owl_free(d.start);
        owl_free(e.start);
        owl_free(f.start);
        owl_trim(0);
        check(owl_stats_heap_is_valid());
    }
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

/* Even where nothing is added: the result is no ring. */
static void rings_become_blocks_by_nothing(void)
{
    void *(*const functions[])(void *, size_t) = {owl_grow_front, owl_shrink_front};
    for (unsigned i = 0; i < 2; i++) {
        char *ring = owl_ring(64 * KIB);
        check(ring != NULL);
        ring[0] = 1;
        volatile char *block = functions[i](ring, 0);
        check(block != NULL && block[0] == 1 && block[64 * KIB] == 1);
        block[0] = 2;
        check(block[64 * KIB] == 1);
        owl_free((void *)block);
    }
}

static void rings_do_not_pass_for_blocks(void)
{
    char *ring = owl_ring(MIB);
    check(ring != NULL);
    ring[0] = 1;
    check(owl_option_set("limit", 1) == 0);
    errno = 77;
    check(owl_realloc(ring, MIB + 4 * KIB) == NULL && errno == ENOMEM);
    check(owl_malloc_usable_size(ring) == 2 * MIB && ring[MIB] == 1);
    check(owl_option_set("limit", 0) == 0);
    volatile char *block = owl_realloc(ring, MIB + 4 * KIB);
    check(block != NULL && block[0] == 1 && block[MIB] == 1);
    block[0] = 2;
    check(block[MIB] == 1);
    owl_free((void *)block);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(dups_are_independent),
        child_test(pages_move_and_bytes_do_not),
        child_test(refused_dups_copy),
        child_test(exports_are_shared),
        child_test(rings_are_mapped_twice),
        child_test(rings_become_blocks),
        child_test(rings_become_blocks_by_nothing),
        child_test(rings_do_not_pass_for_blocks),
        child_test(rings_are_exported),
        child_test(failed_exports_do_not_share),
    };
    return cmocka_run_group_tests_name("reshape_share", tests, NULL, NULL);
}
