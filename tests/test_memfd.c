/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks in files: which blocks are, what they cost, and life without descriptors and files.
 */
#define _GNU_SOURCE /* memfd_create */
#include <sys/mman.h>

#include "memfd_heap.h"

static void thresholds(void)
{
    set_up();
    char *p = filled(OWL_MEMFD_MIN, 1);
    check(lies_in_a_file(p));
    check(owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    char *q = filled(OWL_MEMFD_MIN, 2);
    check(!lies_in_a_file(q));
    check(owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    char *r = filled(OWL_MEMFD_MIN - 4096, 3);
    check(!lies_in_a_file(r));
    r = owl_realloc(r, 2 * OWL_MEMFD_MIN); /* grows where it is at home */
    check(!lies_in_a_file(r) && holds(r, OWL_MEMFD_MIN - 4096, 3));
    check(holds(p, OWL_MEMFD_MIN, 1) && holds(q, OWL_MEMFD_MIN, 2));
    owl_free(p);
    owl_free(q);
    owl_free(r);
    check(owl_stats_heap_is_valid());
}

static void fresh_memory_of_a_file_is_zero(void)
{
    set_up();
    for (int i = 0; i < 3; i++) {
        char *p = owl_calloc(1, 4 * MIB);
        check(lies_in_a_file(p) && holds(p, 4 * MIB, 0));
        memset(p, 1, 4 * MIB);
        owl_free(p);
        if (i == 1)
            owl_trim(0);
    }
    size_t before = owl_os.resident();
    char *p = filled(64 * MIB, 1);
    owl_free(p);
    owl_trim(0);
    size_t after = owl_os.resident();
    /* a sanitizer's own memory is counted too */
    check(before == 0 || SANITIZED || after < before + 8 * MIB);
    check(owl_stats_heap_is_valid());
}

/* The file is as long as the range; what of it is not in use costs no memory, though the program
 * locks all of its memory, or its core is dumped. */
static void unused_parts_cost_nothing(void)
{
    struct rlimit r;
    if (SANITIZED)
        return; /* sanitizers reserve more than the limit */
    check(getrlimit(RLIMIT_AS, &r) == 0);
    r.rlim_cur = (rlim_t)8 << 30;
    check(setrlimit(RLIMIT_AS, &r) == 0); /* a range of 1 GiB */
    set_up();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        return; /* not allowed */
    char *p = filled(40 * MIB, 1);
    check(lies_in_a_file(p));
    check(owl_os.resident() < 400 * MIB);
    check(munlockall() == 0 && mlockall(MCL_CURRENT) == 0);
    check(owl_os.resident() < 400 * MIB);
    char *d = owl_dup(p);
    p = owl_realloc(p, 80 * MIB);
    check(holds(p, 40 * MIB, 1) && holds(d, 40 * MIB, 1));
    owl_free(p);
    owl_free(d);
    owl_trim(0);
    check(owl_stats_heap_is_valid());
}

static void cores_are_short(void)
{
    set_up();
    char *p = filled(40 * MIB, 1);
    check(lies_in_a_file(p) && !has_flag(p, " dd") && has_flag(p, " wr"));
    check(has_flag(p + 200 * MIB, " dd") && !has_flag(p + 200 * MIB, " wr"));
}

static void without_descriptors(void)
{
    set_up();
    make_heap();
    char *p = filled(40 * MIB, 1);
    close_all();
    check(heap_holds() && holds(p, 40 * MIB, 1));
    char *q = filled(40 * MIB, 2);
    check(lies_in_a_file(p) && !lies_in_a_file(q));
    p = owl_realloc(p, 100 * MIB);
    p = owl_grow_front(p, MIB);
    check(holds(p + MIB, 40 * MIB, 1));
    char *d = owl_dup(q);
    check(holds(d, 40 * MIB, 2));
    check(owl_swap(p, q, MIB) == 0 && holds(p, MIB, 2));
    size_t offset;
    check(owl_export(d, &offset) == -1);
    owl_free(p);
    owl_free(q);
    use_and_free_heap();
    owl_free(d);
    check(owl_stats_heap_is_valid());
}

/* The number is another file's by now, and must be left alone. */
static void with_a_stolen_descriptor(void)
{
    set_up();
    make_heap();
    close_all();
    int other = memfd_create("other", 0);
    check(other >= 0 && ftruncate(other, 4096) == 0);
    struct rlimit r;
    check(getrlimit(RLIMIT_NOFILE, &r) == 0);
    for (int i = 3; i < (int)(r.rlim_cur < 70000 ? r.rlim_cur : 70000); i++)
        check(i == other || dup2(other, i) == i);
    char *d = owl_dup(heap.plain);
    check(holds(d, 3 * MIB, 1) && heap_holds());
    owl_free(d);
    use_and_free_heap();
}

static void without_files(void)
{
    set_up();
    limit(RLIMIT_FSIZE, 1 << 20); /* a longer file would raise SIGXFSZ */
    make_heap();
    check(heap_holds() && !lies_in_a_file(heap.plain));
    use_and_free_heap();
}

static void without_numbers_for_descriptors(void)
{
    set_up();
    limit(RLIMIT_NOFILE, 3);
    make_heap();
    check(heap_holds() && !lies_in_a_file(heap.plain));
    use_and_free_heap();
}

static bool yes(void)
{
    return true;
}

static bool is_resident(char *p, size_t bytes)
{
    static unsigned char in[40 * MIB / 4096];
    size_t pages = bytes / owl_os.page, count = 0;
    check(pages <= sizeof in && mincore(p, bytes, in) == 0);
    for (size_t i = 0; i < pages; i++)
        count += in[i] & 1;
    return count == pages;
}

/* Where memory is counted when it is promised, a block of a file has its memory before it is
 * touched, however it grows. */
static void files_under_strict_overcommit(void)
{
    set_up();
    owl_os.strict_overcommit = yes;
    char *p = owl_malloc(2 * MIB);
    check(lies_in_a_file(p) && is_resident(p, 2 * MIB));
    char *wall = owl_malloc(MIB);
    p = owl_realloc(p, 9 * MIB);
    check(!lies_in_a_file(p) || is_resident(p, 9 * MIB));
    owl_free(wall);
    p = owl_realloc(p, 12 * MIB);
    check(!lies_in_a_file(p) || is_resident(p, 12 * MIB));
    p = owl_shrink_front(p, 2 * MIB);
    p = owl_grow_front(p, 3 * MIB);
    check(!lies_in_a_file(p) || is_resident(p, 13 * MIB));
    char *d = owl_dup(p);
    check(d != NULL && owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    char *q = owl_malloc(OWL_MEMFD_MIN);
    check(q != NULL && !lies_in_a_file(q));
    owl_free(p);
    owl_free(d);
    owl_free(q);
    check(owl_stats_heap_is_valid());
}

/* Ranges that end soon, so that there are several, each of a file of its own. */
static void several_files(void)
{
    set_up();
    faults.reserve_most = 100 * MIB;
    char *blocks[6];
    for (int i = 0; i < 6; i++)
        blocks[i] = filled(20 * MIB, i);
    for (int i = 0; i < 6; i++) {
        blocks[i] = owl_realloc(blocks[i], 30 * MIB);
        check(blocks[i] != NULL);
        memset(blocks[i] + 20 * MIB, i, 10 * MIB);
        char *d = owl_dup(blocks[i]);
        check(d != NULL && holds(d, 30 * MIB, i));
        owl_free(d);
    }
    for (int i = 0; i < 6; i++) {
        check(holds(blocks[i], 30 * MIB, i));
        owl_free(blocks[i]);
    }
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(thresholds),
        child_test(fresh_memory_of_a_file_is_zero),
        child_test(unused_parts_cost_nothing),
        child_test(cores_are_short),
        child_test(without_descriptors),
        child_test(with_a_stolen_descriptor),
        child_test(without_files),
        child_test(without_numbers_for_descriptors),
        child_test(files_under_strict_overcommit),
        child_test(several_files),
    };
    return cmocka_run_group_tests_name("memfd", tests, NULL, NULL);
}
