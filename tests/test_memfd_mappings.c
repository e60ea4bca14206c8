/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks in files: what happens where mappings are few, or the kernel moves them one by one. */

#include "memfd_heap.h"

static size_t few(void)
{
    return 200;
}

static size_t many(void)
{
    return 60000;
}

/* Where the process has as many mappings as it may, growth copies. */
static void mappings_are_left_to_others(void)
{
    set_up();
    owl_os.mapping_limit = few;
    owl_os.mapping_count = many;
    unsigned long moves = calls_of(FAULT_MOVE);
    make_heap();
    check(heap_holds() && calls_of(FAULT_MOVE) == moves);
    use_and_free_heap();
}

/* A block of many mappings, to which a wall stands next. */
static char *make_patchwork(size_t *bytes)
{
    char *p = filled(MIB, 1);
    char *q = filled(MIB, 1);
    *bytes = MIB;
    for (int i = 0; i < 6; i++) {
        check(owl_swap(p, q, MIB / 4) == 0);
        p = owl_grow_front(p, MIB / 2);
        memset(p, 1, MIB / 2);
        *bytes += MIB / 2;
    }
    owl_free(q);
    for (int i = 0; i < 300; i++)
        check(owl_malloc(OWL_GRANULE) != NULL);
    return p;
}

static size_t mappings_left; /* that the system would allow, about */

/* Others have nearly all mappings that there may be, which nobody here knows. */
static void use_up_mappings(void)
{
    size_t most = owl_os.mapping_limit() - mappings_left;
    char *m = owl_os.reserve(2 * most * owl_os.page);
    check(m != NULL);
    for (size_t i = 0, now = owl_os.mapping_count(); now + 2 <= most;) {
        for (size_t more = (most - now) / 2; more > 0; more--, i++)
            check(owl_os.commit(m + (2 * i + 1) * owl_os.page, owl_os.page) == 0);
        now = owl_os.mapping_count();
    }
}

static void grow_patchwork(void)
{
    size_t bytes;
    char *p = make_patchwork(&bytes);
    char *other = filled(2 * MIB, 2);
    use_up_mappings();
    p = owl_realloc(p, 20 * MIB);
    check(p != NULL && holds(p, bytes, 1));
    memset(p, 1, 20 * MIB);
    check(owl_swap(p, other, 2 * MIB) == 0 && holds(p, 2 * MIB, 2) && holds(other, 2 * MIB, 1));
    char *d = owl_dup(p);
    check(d != NULL && holds(d, 2 * MIB, 2) && holds(d + 2 * MIB, 18 * MIB, 1));
    owl_free(p);
    owl_free(d);
    owl_trim(0);
    for (int i = 0; i < 20; i++) {
        p = owl_calloc(1, 5 * MIB);
        check(p != NULL && holds(p, 5 * MIB, 0));
        memset(p, 3, 5 * MIB);
    }
    check(owl_stats_heap_is_valid());
}

static void grow_private_patchwork(void)
{
    set_up();
    check(owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    grow_patchwork();
}

static void grow_patchwork_of_a_file(void)
{
    set_up();
    grow_patchwork();
}

/* A move stops wherever it stops. */
static void others_have_the_mappings(void)
{
    owl_os_init();
    if (SANITIZED || owl_os.mapping_limit() == 0 || owl_os.mapping_limit() > 300000)
        return; /* sanitizers need some themselves; or a bound that takes long to reach */
    for (mappings_left = 2; mappings_left <= 22; mappings_left += 3) {
        check(child_succeeds(grow_private_patchwork));
        check(child_succeeds(grow_patchwork_of_a_file));
    }
}

/* Kernels before 6.17 do not move several mappings at once; they look for that when what was at the
 * other place has gone. */
static int move_before_6_17(void *from, void *to, size_t bytes)
{
    if (faults.real.piece(from, bytes) == bytes)
        return fault_move(from, to, bytes);
    check(faults.real.unmap(to, bytes) == 0);
    return -1;
}

/* Kernels before 5.13 move only private pages of no file. */
static int move_before_5_13(void *from, void *to, size_t bytes)
{
    const struct owl_span *s = owl_span_of(from);
    if (s == NULL || !lies_in_a_file(from))
        return move_before_6_17(from, to, bytes);
    check(faults.real.reset(to, bytes) == 0);
    return -1;
}

static void grow_and_fork(int (*move)(void *, void *, size_t))
{
    size_t bytes;
    set_up();
    owl_os.move = move;
    char *p = make_patchwork(&bytes);
    p = owl_realloc(p, 20 * MIB);
    check(holds(p, bytes, 1));
    make_heap();
    check(heap_holds());
    pid_t pid = fork();
    if (pid == 0) {
        check(heap_holds() && holds(p, bytes, 1));
        use_and_free_heap();
        _exit(0);
    }
    check(child_wait(pid) == 0 && holds(p, bytes, 1));
    owl_free(p);
    use_and_free_heap();
}

static void kernels_before_6_17(void)
{
    grow_and_fork(move_before_6_17);
    check(calls_of(FAULT_MOVE) > 10);
}

static void kernels_before_5_13(void)
{
    grow_and_fork(move_before_5_13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(mappings_are_left_to_others),
        child_test(others_have_the_mappings),
        child_test(kernels_before_6_17),
        child_test(kernels_before_5_13),
    };
    return cmocka_run_group_tests_name("memfd_mappings", tests, NULL, NULL);
}
