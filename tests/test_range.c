/* SPDX-License-Identifier: BSD-2-Clause */
/* Ranges: what is reserved, made accessible, and found. */
#include <errno.h>
#include <sys/resource.h>

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "option.h"
#include "range.h"
#include "stats.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static const size_t least_granules = (size_t)1 << (OWL_RANGE_MIN_SHIFT - OWL_GRANULE_SHIFT);

static void set_up(void)
{
    owl_os_init();
    faults_install();
}

/* Only the smallest ranges can be had. */
static void set_up_small(void)
{
    set_up();
    faults.reserve_most = 24 * MIB;
}

static void check_layout(const struct owl_range *r)
{
    uintptr_t map = (uintptr_t)r->map, bits = (uintptr_t)r->bits;
    uintptr_t reservation = r->reservation;
    check(map >= reservation && map + r->granules * sizeof(struct owl_span) <= bits);
    check(bits + r->granules * (OWL_SLAB_MAX_BLOCKS / 8) <= r->base);
    check(r->base % (2 * MIB) == 0);
    check(r->base + (r->granules << OWL_GRANULE_SHIFT) <= reservation + r->reserved);
    check(r->top == 0 && owl_word_load_relaxed(&r->committed) == 0);
}

static void first_range_is_the_page_map(void)
{
    set_up();
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    check(owl_u32_load_relaxed(&owl_range_count) == 1);
    const struct owl_range *r = &owl_ranges[0];
    check_layout(r);
    check(owl_page_map.base == r->base && owl_page_map.map == r->map);
    check(owl_word_load_relaxed(&owl_page_map.accessible) == 0);
    check(owl_span_of((void *)r->base) == NULL);
}

static void refused_sizes_go_down_the_ladder(void)
{
    static const size_t most[] = {SIZE_MAX, 300 * GIB, 10 * GIB, 100 * MIB, 30 * MIB};
    set_up();
    size_t last = SIZE_MAX;
    for (int i = 0; i < 5; i++) {
        faults.reserve_most = most[i];
        check(owl_range_add(OWL_PRIVATE, 1) == i);
        const struct owl_range *r = &owl_ranges[i];
        check_layout(r);
        check(r->reserved <= most[i] && r->granules < last);
        check((r->granules & (r->granules - 1)) == 0);
        /* nothing larger would have been possible */
        check(i == 0 || r->reserved > most[i] / 2 - 4 * MIB);
        last = r->granules;
    }
    faults.reserve_most = 10 * MIB;
    check(owl_range_add(OWL_PRIVATE, 1) == -1);
    faults.reserve_most = 100 * MIB;
    check(owl_range_add(OWL_PRIVATE, 100 * MIB >> OWL_GRANULE_SHIFT) == -1);
    check(owl_range_add(OWL_PRIVATE, (size_t)1 << 40) == -1);
    check(owl_u32_load_relaxed(&owl_range_count) == 5);
}

static size_t limit_for_test;

static size_t limited(void)
{
    return limit_for_test;
}

static void limits_are_left_room(void)
{
    set_up();
    owl_os.address_limit = limited;
    limit_for_test = 4 * GIB;
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    check(owl_ranges[0].reserved <= GIB && owl_ranges[0].reserved > GIB / 4);
    limit_for_test = 200 * MIB;
    check(owl_range_add(OWL_PRIVATE, 1) == 1);
    check(owl_ranges[1].reserved <= 50 * MIB);
    /* more than the share, if there is no other way */
    check(owl_range_add(OWL_PRIVATE, 100 * MIB >> OWL_GRANULE_SHIFT) == 2);
    check(owl_ranges[2].granules == 128 * MIB >> OWL_GRANULE_SHIFT);
    limit_for_test = 20 * MIB;
    check(owl_range_add(OWL_PRIVATE, 1) == 3);
    check(owl_ranges[3].granules == least_granules);
}

/* A real limit: the program runs until it is used up, and on after that. */
static void under_a_real_limit(void)
{
    static void *blocks[4096];
    struct rlimit r = {GIB, GIB};
    check(setrlimit(RLIMIT_AS, &r) == 0);
    size_t n = 0;
    errno = 0;
    while (n < 4096 && (blocks[n] = owl_malloc(MIB)) != NULL)
        memset(blocks[n++], 1, 4096);
    check(errno == ENOMEM);
    check(owl_ranges[0].reserved <= GIB / OWL_RANGE_LIMIT_SHARE);
    check(n > GIB / 2 / MIB && n < GIB / MIB);
    check(owl_stats_heap_is_valid());
    for (size_t i = 0; i < n; i++)
        owl_free(blocks[i]);
    void *p = owl_malloc(100 * MIB);
    check(p != NULL);
    owl_free(p);
    check(owl_stats_heap_is_valid());
}

static void real_limits(void **state)
{
    (void)state;
    if (SANITIZED)
        return; /* the sanitizers themselves need more than any limit */
    assert_true(child_succeeds(under_a_real_limit));
}

static void granules_are_found_by_any_address(void)
{
    set_up();
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    check(owl_range_commit(0, 100) == 0);
    const struct owl_range *r = &owl_ranges[0];
    size_t accessible = owl_word_load_relaxed(&r->committed);
    check(accessible >= 100);
    check(owl_word_load_relaxed(&owl_page_map.accessible) == accessible << OWL_GRANULE_SHIFT);
    for (size_t i = 0; i < accessible; i++) {
        uintptr_t start = r->base + (i << OWL_GRANULE_SHIFT);
        struct owl_span *s = &r->map[i];
        check(owl_span_of((void *)start) == s);
        check(owl_span_of((void *)(start + 1)) == s);
        check(owl_span_of((void *)(start + OWL_GRANULE / 2)) == s);
        check(owl_span_of((void *)(start + OWL_GRANULE - 1)) == s);
        check(s->range == 0 && s->kind == OWL_KIND_NONE);
        check(owl_span_index(s) == i && owl_span_address(s) == start);
        check(owl_span_bits(s) == r->bits + i * (OWL_SLAB_MAX_BLOCKS / 64));
        check(owl_span_bits(s)[0] == 0 && owl_span_bits(s)[OWL_SLAB_MAX_BLOCKS / 64 - 1] == 0);
        check(*(uint64_t *)start == 0);
        *(uint64_t *)start = ~(uint64_t)0;
        owl_span_bits(s)[OWL_SLAB_MAX_BLOCKS / 64 - 1] = ~(uint64_t)0;
    }
    for (size_t i = 0; i < accessible; i++)
        check(owl_word_load_relaxed(&r->map[i].owner) == 0 && r->map[i].free == OWL_FREE_NOT);
}

static void other_addresses_are_not_found(void)
{
    static char bytes[16];
    int on_stack = 0;
    void *foreign = malloc(100);
    check(owl_span_of(NULL) == NULL && owl_span_of(bytes) == NULL);
    set_up();
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    check(owl_range_commit(0, 1) == 0);
    uintptr_t base = owl_ranges[0].base;
    uintptr_t end = base + owl_word_load_relaxed(&owl_page_map.accessible);
    check(owl_span_of(NULL) == NULL && owl_span_of(bytes) == NULL);
    check(owl_span_of(foreign) == NULL && owl_span_of(&on_stack) == NULL);
    check(owl_span_of((void *)(uintptr_t)1) == NULL && owl_span_of((void *)UINTPTR_MAX) == NULL);
    check(owl_span_of((void *)(base - 1)) == NULL && owl_span_of((void *)end) == NULL);
    check(owl_span_of((void *)(end - 1)) != NULL);
    check(owl_span_of((void *)owl_ranges[0].reservation) == NULL);
    free(foreign);
}

static void further_ranges_are_found(void)
{
    set_up_small();
    for (int i = 0; i < 6; i++)
        check(owl_range_add(OWL_PRIVATE, 1) == i);
    check(owl_range_commit(0, 10) == 0);
    for (unsigned i = 1; i < 6; i++) {
        const struct owl_range *r = &owl_ranges[i];
        check(owl_span_of((void *)r->base) == NULL);
        check(owl_range_commit(i, i * 10) == 0);
        size_t end = owl_word_load_relaxed(&r->committed);
        check(end >= i * 10 && end <= r->granules);
        for (size_t k = 0; k < end; k++) {
            r->map[k].range = (uint8_t)i;
            check(owl_span_of((void *)(r->base + (k << OWL_GRANULE_SHIFT) + 77)) == &r->map[k]);
            check(owl_span_address(&r->map[k]) == r->base + (k << OWL_GRANULE_SHIFT));
        }
        check(owl_span_of((void *)(r->base - 1)) == NULL);
        check(owl_span_of((void *)(r->base + (end << OWL_GRANULE_SHIFT))) == NULL ||
              owl_span_of((void *)(r->base + (end << OWL_GRANULE_SHIFT)))->range != i);
        check(owl_span_of(NULL) == NULL);
    }
    check(owl_span_of((void *)owl_ranges[0].base) == owl_ranges[0].map);
}

static void there_is_a_last_range(void)
{
    set_up_small();
    for (int i = 0; i < OWL_RANGES; i++)
        check(owl_range_add(OWL_PRIVATE, 1) == i);
    check(owl_range_add(OWL_PRIVATE, 1) == -1);
    check(owl_range_commit(OWL_RANGES - 1, 1) == 0);
    check(owl_span_of((void *)owl_ranges[OWL_RANGES - 1].base) == owl_ranges[OWL_RANGES - 1].map);
}

/* Each of the calls that one commit makes. */
static int no_file(struct owl_file *file, size_t bytes)
{
    (void)bytes;
    file->descriptor = -1;
    return -1;
}

static unsigned long ended_parts;

/* In the middle of which the same range is ended by a handler. */
static int unmap_and_end(void *start, size_t bytes)
{
    if (ended_parts++ == 0) {
        owl_range_end(0);
        check(ended_parts == 1);
    }
    return faults.real.unmap(start, bytes);
}

static void a_range_ends_once(void)
{
    set_up_small();
    check(owl_range_add(OWL_PRIVATE, 1) == 0 && owl_range_commit(0, 1) == 0);
    owl_os.unmap = unmap_and_end;
    owl_range_end(0);
    unsigned long parts = ended_parts; /* one at least, behind the map's used part */
    owl_range_end(0);
    check(parts > 0 && ended_parts == parts);
}

/* That one was to have a file is forgotten when it gets none. */
static void a_range_without_a_file_is_the_next_one(void)
{
    set_up_small();
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    owl_os.file_make = no_file;
    check(owl_range_add(OWL_MEMFD, 1) == -1);
    check(owl_range_add(OWL_PRIVATE, 1) == 1 && !owl_range_has_ended(1));
}

static void refused_commits_change_nothing(void)
{
    size_t step = OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT;
    set_up();
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    struct owl_range *r = &owl_ranges[0];
    for (size_t end = 1; end < 3 * step; end += step) {
        size_t before = owl_word_load_relaxed(&r->committed);
        fault_never(FAULT_COMMIT);
        for (unsigned long n = 1; n <= 3; n++) {
            fault_from(FAULT_COMMIT, n);
            check(owl_range_commit(0, end) == -1);
            check(owl_word_load_relaxed(&r->committed) == before);
            check(owl_word_load_relaxed(&owl_page_map.accessible) == before << OWL_GRANULE_SHIFT);
        }
        fault_never(FAULT_COMMIT);
        check(owl_range_commit(0, end) == 0);
        check(calls_of(FAULT_COMMIT) == 3);
        check(owl_range_commit(0, end) == 0 && owl_range_commit(0, 0) == 0);
        check(calls_of(FAULT_COMMIT) == 3);
        check(owl_word_load_relaxed(&r->committed) >= end);
        memset((void *)(r->base + ((end - 1) << OWL_GRANULE_SHIFT)), 1, OWL_GRANULE);
    }
}

/* Where a whole step is too much, what is needed is had. */
static void near_a_limit_steps_are_small(void)
{
    set_up();
    faults.commit_most = MIB;
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    check(owl_range_commit(0, 10) == 0);
    check(owl_word_load_relaxed(&owl_ranges[0].committed) == 10);
    memset((void *)owl_ranges[0].base, 1, 10 * OWL_GRANULE);
    check(owl_range_commit(0, 27) == -1);
    check(owl_range_commit(0, 26) == 0);
    memset((void *)owl_ranges[0].base, 1, 26 * OWL_GRANULE);
    check(owl_span_of((void *)(owl_ranges[0].base + 26 * OWL_GRANULE)) == NULL);
}

/* Steps that end within a page of metadata must not lose the rest of it. */
/* So what grows to any size takes few calls. */
static void steps_grow_with_what_there_is(void)
{
    set_up();
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    const struct owl_range *r = &owl_ranges[0];
    size_t step = OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT, steps = 0;
    for (size_t end = 1; end < 64 * step; end = owl_word_load_relaxed(&r->committed) + 1) {
        check(owl_range_commit(0, end) == 0);
        check(owl_word_load_relaxed(&r->committed) % step == 0 && steps++ < 64);
    }
    check(steps > 4 && steps <= 20 && !owl_range_is_dear());
    fault_always(FAULT_ADDRESSES_ARE_FREE);
    size_t end = owl_word_load_relaxed(&r->committed);
    check(owl_range_commit(0, end + 1) == 0 && owl_range_is_dear());
    check(owl_word_load_relaxed(&r->committed) == end + step);
}

static void small_ranges_can_be_used_to_their_end(void)
{
    set_up_small();
    check(owl_range_add(OWL_PRIVATE, 1) == 0);
    struct owl_range *r = &owl_ranges[0];
    check(owl_range_commit(0, r->granules) == 0);
    check(owl_word_load_relaxed(&r->committed) == r->granules);
    memset(r->map, 1, r->granules * sizeof *r->map);
    memset(r->bits, 1, r->granules * (OWL_SLAB_MAX_BLOCKS / 8));
    memset((void *)r->base, 1, r->granules << OWL_GRANULE_SHIFT);
}

/* Bytes of memory that may be touched within [from, to), and of those that may have huge pages.
 * False: the kernel has none. */
static bool count_advised(uintptr_t from, uintptr_t to, size_t *bytes, size_t *advised)
{
    char line[512], permissions[5];
    uintptr_t start = 0, end = 0;
    bool here = false;
    *bytes = *advised = 0;
    FILE *f = fopen("/proc/self/smaps", "r");
    check(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "%zx-%zx %4s", &start, &end, permissions) == 3)
            here = start >= from && end <= to && permissions[1] == 'w';
        else if (here && strncmp(line, "VmFlags:", 8) == 0) {
            *bytes += end - start;
            *advised += strstr(line, " hg") != NULL ? end - start : 0;
        }
    }
    fclose(f);
    return access("/sys/kernel/mm/transparent_hugepage", F_OK) == 0;
}

/* What was there before the option was read, what blocks leave when they move, and what is purged
 * after pages were moved. */
static void all_private_memory_may_be_huge(void)
{
    static void *blocks[20];
    size_t bytes, advised, before;
    owl_free(owl_malloc(1));
    const struct owl_range *r = &owl_ranges[0];
    uintptr_t end = r->base + (r->granules << OWL_GRANULE_SHIFT);
    bool has_huge = count_advised(r->base, end, &before, &advised);
    check(before > 0 && advised == 0);
    owl_option_force(OWL_OPTION_HUGE, 1);
    owl_range_begin();
    for (int round = 1; round <= 8; round++)
        for (int i = 0; i < 20; i++) {
            blocks[i] = owl_realloc(blocks[i], round * MIB);
            check(blocks[i] != NULL);
            memset(blocks[i], i, round * MIB);
        }
    for (int i = 0; i < 20; i++)
        owl_free(blocks[i]);
    owl_trim(0);
    count_advised(r->base, end, &bytes, &advised);
    check(bytes > before && advised == (has_huge ? bytes : 0));
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(first_range_is_the_page_map),
        child_test(refused_sizes_go_down_the_ladder),
        child_test(limits_are_left_room),
        cmocka_unit_test(real_limits),
        child_test(granules_are_found_by_any_address),
        child_test(other_addresses_are_not_found),
        child_test(further_ranges_are_found),
        child_test(there_is_a_last_range),
        child_test(a_range_ends_once),
        child_test(a_range_without_a_file_is_the_next_one),
        child_test(refused_commits_change_nothing),
        child_test(near_a_limit_steps_are_small),
        child_test(steps_grow_with_what_there_is),
        child_test(small_ranges_can_be_used_to_their_end),
        child_test(all_private_memory_may_be_huge),
    };
    return cmocka_run_group_tests_name("range", tests, NULL, NULL);
}
