/* SPDX-License-Identifier: BSD-2-Clause */
/* Large blocks in spans, and where they go when there is no span. */
#include <owl/option.h>

#include "child.h"
#include "faults.h"
#include "large.h"
#include "mapping.h"
#include "option.h"
#include "pool.h"

#define MIB ((size_t)1 << 20)

enum { MOVED = 10, COPIED };

/* Of 1 MiB just enough pages for it to be copied. */
enum { TOUCHED = (1 << 20) - (1 << 20) / OWL_COPY_MISSING };

static void set_up(void)
{
    owl_os_init();
    faults_install();
}

static bool is_zero(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static void sizes_are_whole_pages(void)
{
    set_up();
    for (size_t bytes = 1; bytes < 5 * MIB; bytes += bytes / 5 + 1) {
        char *p = owl_large_alloc(bytes, 16, false);
        struct owl_span *s = owl_span_of(p);
        check(p != NULL && s != NULL && s->kind == OWL_KIND_LARGE);
        check(s->start == (uintptr_t)p && s->bytes == owl_large_good_size(bytes));
        check(s->bytes >= bytes && s->bytes < bytes + owl_os.page && s->bytes % owl_os.page == 0);
        check(s->granules == (s->bytes + OWL_GRANULE - 1) >> OWL_GRANULE_SHIFT);
        check(owl_pool_count().used == s->granules);
        memset(p, 1, s->bytes);
        owl_large_free(s);
        check(owl_pool_count().used == 0 && owl_pool_is_valid());
    }
}

static void zero_is_zero_on_used_memory(void)
{
    set_up();
    for (size_t bytes = 40000; bytes < 3 * MIB; bytes += bytes / 3) {
        char *p = owl_large_alloc(bytes, 16, false);
        memset(p, 0x55, bytes);
        owl_large_free(owl_span_of(p));
        p = owl_large_alloc(bytes, 16, true);
        check(is_zero(p, owl_span_of(p)->bytes));
        memset(p, 0x55, bytes);
        owl_large_free(owl_span_of(p));
    }
}

static void starts_are_aligned(void)
{
    set_up();
    for (size_t alignment = 16; alignment <= 256 * MIB; alignment *= 2)
        for (int i = 0; i < 3; i++) {
            void *p = owl_large_alloc(100000, alignment, false);
            check(p != NULL && (uintptr_t)p % alignment == 0);
            memset(p, 1, 100000);
        }
    check(owl_pool_is_valid());
}

static void resize_in_place(void)
{
    bool dense = false;
    set_up();
    char *p = owl_large_alloc(MIB, 16, false);
    struct owl_span *s = owl_span_of(p);
    memset(p, 1, MIB);
    check(owl_large_resize(s, 100001, &dense) == p);
    check(s->bytes == owl_large_good_size(100001) && s->granules == 2);
    check(owl_pool_count().used == 2 && owl_pool_is_valid());
    check(owl_large_resize(s, 100002, &dense) == p && s->granules == 2);
    char *wall = owl_large_alloc(OWL_GRANULE, 16, false);
    while (wall != p + 2 * OWL_GRANULE)
        check((wall = owl_large_alloc(OWL_GRANULE, 16, false)) != NULL);
    size_t used = owl_pool_count().used;
    fault_always(FAULT_MOVE);
    fault_always(FAULT_CARRY);
    check(owl_large_resize(s, MIB, &dense) == NULL);
    fault_never(FAULT_MOVE);
    fault_never(FAULT_CARRY);
    check(s->granules == 2 && s->bytes == owl_large_good_size(100002));
    check(owl_pool_count().used == used && owl_pool_is_valid());
    owl_large_free(owl_span_of(wall));
    check(owl_large_resize(s, 3 * OWL_GRANULE, &dense) == p && s->granules == 3);
    check(s->bytes == 3 * OWL_GRANULE && p[100000] == 1);
    owl_large_free(s);
    check(owl_pool_is_valid());
}

static void the_largest_have_mappings(void)
{
    size_t number, bytes;
    set_up();
    char *span = owl_large_alloc(OWL_SPAN_MAX, 16, false);
    char *mapping = owl_large_alloc(OWL_SPAN_MAX + 1, 16, true);
    check(span != NULL && owl_span_of(span) != NULL);
    check(mapping != NULL && owl_span_of(mapping) == NULL);
    check(owl_mapping_bytes(mapping) == owl_large_good_size(OWL_SPAN_MAX + 1));
    owl_mapping_count(&number, &bytes);
    check(number == 1);
    check(owl_mapping_end(mapping));
    check((mapping = owl_large_alloc(100, 2 * OWL_SPAN_MAX, false)) != NULL);
    check((uintptr_t)mapping % (2 * OWL_SPAN_MAX) == 0 && owl_span_of(mapping) == NULL);
}

static void without_ranges_there_are_mappings(void)
{
    set_up();
    faults.reserve_most = 0;
    char *p = owl_large_alloc(MIB, 16, true);
    check(p != NULL && owl_span_of(p) == NULL && owl_mapping_bytes(p) == MIB);
    check(is_zero(p, MIB));
    fault_always(FAULT_MAP);
    check(owl_large_alloc(MIB, 16, true) == NULL);
    check(owl_pool_is_valid());
    check(owl_mapping_end(p));
}

/* A block that something follows, of which so many bytes have pages. */
static struct owl_span *walled(size_t bytes, size_t touched)
{
    char *p = owl_large_alloc(bytes, 16, false);
    char *wall = owl_large_alloc(1, 16, false);
    check(p != NULL && wall == p + owl_round_up(bytes, OWL_GRANULE));
    memset(p, 1, touched);
    return owl_span_of(p);
}

/* Whether a block is left to its caller to copy, if so much dirty memory is free. */
static bool is_copied_here(size_t bytes, size_t touched, size_t dirty)
{
    bool dense = false;
    set_up();
    check(owl_option_set("dirty", 1 << 30) == 0); /* no purges in between */
    struct owl_span *s = walled(bytes, touched);
    owl_large_free(walled(dirty, dirty));
    char *p = owl_large_resize(s, 2 * bytes, &dense);
    check(p == NULL || (p[0] == 1 && p[touched - 1] == 1));
    bool moved = calls_of(FAULT_CARRY) + calls_of(FAULT_MOVE) > 0;
    check(moved == (p != NULL) && owl_pool_is_valid());
    return p == NULL;
}

/* The same in a child, which has nothing else that is free. */
static bool is_copied(size_t bytes, size_t touched, size_t dirty)
{
    pid_t child = fork();
    if (child == 0)
        _exit(is_copied_here(bytes, touched, dirty) ? COPIED : MOVED);
    int status = child_wait(child);
    check(WIFEXITED(status) && (WEXITSTATUS(status) == COPIED || WEXITSTATUS(status) == MOVED));
    return WEXITSTATUS(status) == COPIED;
}

/* What moves takes its pages along: so what has pages is copied while other pages are free. */
static void what_has_pages_is_copied(void)
{
    check(is_copied(MIB, MIB, 2 * MIB) && is_copied(MIB, TOUCHED, 2 * MIB));
    check(is_copied(OWL_MOVE_MIN / 2, 1, OWL_MOVE_MIN));
}

static void what_has_few_moves(void)
{
    check(!is_copied(MIB, TOUCHED - (size_t)sysconf(_SC_PAGESIZE), 2 * MIB));
    check(!is_copied(OWL_MOVE_MIN, 1, MIB));
}

/* Its pages are there for the other one too. */
static void what_shares_its_pages_moves(void)
{
    bool dense = false;
    set_up();
    check(owl_option_set("dirty", 1 << 30) == 0);
    struct owl_span *s = walled(MIB, MIB);
    if (owl_large_dup(s) == NULL)
        return; /* there are no files in memory */
    void *dirty = owl_large_alloc(2 * MIB, 16, false);
    owl_large_free(owl_span_of(dirty));
    check(owl_pool_has_dirty(OWL_PRIVATE, 2 * MIB >> OWL_GRANULE_SHIFT));
    char *p = owl_large_resize(s, 2 * MIB, &dense);
    check(p != NULL && p[0] == 1 && p[MIB - 1] == 1 && owl_span_of(p)->store != NULL);
    check(owl_pool_is_valid());
}

/* A file's memory is not what is dirty. */
static void what_goes_to_a_file_moves(void)
{
    bool dense = false;
    set_up();
    check(owl_option_set("dirty", 1 << 30) == 0);
    struct owl_span *s = walled(MIB, MIB);
    owl_large_free(walled(2 * MIB, 2 * MIB));
    check(owl_option_set("backing", OWL_BACKING_MEMFD) == 0);
    check(owl_large_resize(s, 2 * MIB, &dense) != NULL);
}

static void what_is_long_moves(void)
{
    check(!is_copied(OWL_COPY_MOST, OWL_COPY_MOST, 2 * OWL_COPY_MOST));
}

static void what_could_only_be_copied_to_fresh_pages_moves(void)
{
    check(!is_copied(MIB, MIB, MIB) && !is_copied(OWL_MOVE_MIN / 2, OWL_MOVE_MIN / 2, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(sizes_are_whole_pages),
        child_test(zero_is_zero_on_used_memory),
        child_test(starts_are_aligned),
        child_test(resize_in_place),
        child_test(what_has_pages_is_copied),
        child_test(what_has_few_moves),
        child_test(what_shares_its_pages_moves),
        child_test(what_goes_to_a_file_moves),
        child_test(what_is_long_moves),
        child_test(what_could_only_be_copied_to_fresh_pages_moves),
        child_test(the_largest_have_mappings),
        child_test(without_ranges_there_are_mappings),
    };
    return cmocka_run_group_tests_name("large", tests, NULL, NULL);
}
