/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole pages: flags, what may be done with parts of blocks, and what pressure asks back. */
#include <owl/large.h>

#include "pages_os.h"

#define GRANULE_PAGES (OWL_GRANULE / page)

/* Frees a dirty span of so many pages, so that a block of that size will hold old contents. */
static void leave_dirty(size_t pages)
{
    char *p = owl_pages_alloc(pages, 0);
    fill(p, pages, 0x77);
    owl_pages_free(p, 0);
}

static void sizes_are_exact(void)
{
    set_up();
    for (size_t pages = 1; pages < 3000; pages += pages / 9 + 1) {
        char *p = owl_pages_alloc(pages, 0);
        char *q = owl_pages_alloc(pages, 0);
        check(p != NULL && q != NULL && p != q);
        check((uintptr_t)p % page == 0 && (uintptr_t)q % page == 0);
        check(owl_malloc_usable_size(p) == pages * page);
        fill(p, pages, 1);
        fill(q, pages, 2);
        check(is_filled(p, pages, 1));
        owl_pages_free(p, 0);
        owl_free(q);
    }
    check(owl_pool_is_valid());
}

static void wrong_requests_are_refused(void)
{
    set_up();
    char *p = owl_pages_alloc(20, 0);
    errno = 0;
    check(owl_pages_alloc(opaque_size(0), 0) == NULL && errno == EINVAL);
    errno = 0;
    check(owl_pages_alloc(1, 64) == NULL && errno == EINVAL);
    errno = 0;
    check(owl_pages_alloc(1, OWL_PAGES_COMMIT | OWL_PAGES_NO_COMMIT) == NULL && errno == EINVAL);
    errno = 0;
    check(owl_pages_alloc(opaque_size(SIZE_MAX / page), 0) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_pages_realloc(p, 0, 0) == NULL && errno == EINVAL);
    errno = 0;
    check(owl_pages_realloc(p, opaque_size(SIZE_MAX), 0) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_pages_commit(p, 20, 1) == -1 && errno == EINVAL);
    errno = 0;
    check(owl_pages_release(p, 1, SIZE_MAX) == -1 && errno == EINVAL);
    errno = 0;
    check(owl_pages_swap(p, p, 1) == -1 && errno == EINVAL);
    errno = 0;
    check(owl_pages_commit(NULL, 0, 0) == -1 && errno == EINVAL);
    void *odd = owl_malloc(3 * page / 2);
    while ((uintptr_t)odd % page == 0)
        odd = owl_malloc(3 * page / 2);
    errno = 0;
    check(owl_pages_release(odd, 0, 1) == -1 && errno == EINVAL);
    errno = 5;
    check(owl_pages_commit(p, 20, 0) == 0 && owl_pages_release(p, 0, 20) == 0 && errno == 5);
    owl_pages_free(NULL, OWL_PAGES_SCRUB);
}

static void recycled_without_the_system(void)
{
    set_up();
    leave_dirty(100);
    forget_calls();
    char *p = owl_pages_alloc(100, OWL_PAGES_RECYCLED);
    check(calls() == 0 && is_filled(p, 100, 0x77));
}

static void zeroed(void)
{
    set_up();
    for (size_t pages = 1; pages <= 600; pages = pages * 5 / 2 + 1) {
        leave_dirty(pages);
        char *p = owl_pages_alloc(pages, OWL_PAGES_ZERO);
        check(is_filled(p, pages, 0));
        fill(p, pages, 0x77);
        owl_pages_free(p, 0);
    }
}

static void commit_is_one_call(void)
{
    set_up();
    char *p = owl_pages_alloc(1000, OWL_PAGES_COMMIT);
    check(calls() == 1 && os.populate == 1);
    check(resident(p, 1000) == 1000);
    os.no_populate = true;
    size_t used = owl_pool_count().used;
    check(owl_pages_alloc(1000, OWL_PAGES_COMMIT) == NULL && errno == ENOMEM);
    check(owl_pool_count().used == used);
    errno = 0;
    check(owl_pages_commit(p, 0, 1) == -1 && errno == ENOMEM);
    owl_pages_free(p, 0);
}

static void no_commit_has_no_memory(void)
{
    set_up();
    for (size_t pages = 1; pages <= 600; pages = pages * 5 / 2 + 1) {
        leave_dirty(pages);
        char *p = owl_pages_alloc(pages, OWL_PAGES_NO_COMMIT);
        check(resident(p, pages) == 0);
        if (pages > 3) {
            check(owl_pages_commit(p, 1, 2) == 0);
            /* The first page of a small block may be looked at, for the mark of a free one. */
            check(resident(p + page, pages - 1) == 2 && resident(p + page, 2) == 2);
        }
        check(is_filled(p, pages, 0));
        owl_pages_free(p, 0);
    }
}

static void top_down_is_out_of_the_way(void)
{
    set_up();
    owl_pages_free(owl_pages_alloc(8000, OWL_PAGES_NO_COMMIT), 0);
    char *low = owl_pages_alloc(20, 0);
    char *high = owl_pages_alloc(20, OWL_PAGES_TOP_DOWN | OWL_PAGES_ZERO);
    char *higher = owl_pages_alloc(30, 0);
    check(high > low && (size_t)(high - low) > 7000 * page && higher < high);
    check(is_filled(high, 20, 0) && owl_malloc_usable_size(high) == 20 * page);
    high = owl_pages_realloc(high, 3000, OWL_PAGES_TOP_DOWN);
    check(is_filled(high, 20, 0));
    owl_pages_free(high, 0);
    check(owl_pool_is_valid());
}

static void released_pages_read_as_zero(void)
{
    set_up();
    for (size_t pages = 4; pages <= 600; pages = pages * 5 / 2 + 1) {
        char *p = owl_pages_alloc(pages, 0);
        fill(p, pages, 3);
        check(owl_pages_release(p, 1, pages - 2) == 0);
        check(resident(p, pages) == 2);
        check(is_filled(p, 1, 3) && is_filled(p + (pages - 1) * page, 1, 3));
        check(is_filled(p + page, pages - 2, 0));
        fill(p, pages, 4);
        check(is_filled(p, pages, 4));
        owl_free(p);
    }
}

/* A system that keeps what it should take. */
static int refuse_purge(void *start, size_t bytes)
{
    (void)start;
    (void)bytes;
    errno = ENOMEM;
    return -1;
}

static void release_holds_without_the_system(void)
{
    set_up();
    char *p = owl_pages_alloc(100, 0);
    fill(p, 100, 3);
    owl_os.purge = refuse_purge;
    os.no_many = true;
    check(owl_pages_release(p, 10, 20) == 0 && is_filled(p + 10 * page, 20, 0));
    struct owl_pages_change c[2] = {
        {.op = OWL_PAGES_OP_RELEASE, .block = p, .first = 40, .pages = 2},
        {.op = OWL_PAGES_OP_RELEASE, .block = p, .first = 50, .pages = 2}};
    check(owl_pages_batch(c, 2) == 0);
    check(is_filled(p + 40 * page, 2, 0) && is_filled(p + 42 * page, 8, 3) &&
          is_filled(p + 50 * page, 2, 0) && is_filled(p + 52 * page, 48, 3));
}

/* What a free small block is marked with, at its beginning, may have any bytes. */
#define MARK 16

/* Looks at what was freed, where it was. */
static void scrubbed_contents_are_gone(void)
{
    set_up();
    for (size_t pages = 1; pages <= 600; pages = pages * 5 / 2 + 1) {
        char *p = owl_pages_alloc(pages, 0);
        fill(p, pages, 3);
        errno = 5;
        owl_pages_free(p, OWL_PAGES_SCRUB);
        check(errno == 5);
        for (size_t i = MARK; i < pages * page; i++)
            check(((char *)opaque(p))[i] != 3);
    }
}

/* What a scrubbing realloc lets go, by shrinking or by moving elsewhere. */
static void scrubbed_by_realloc(void)
{
    static const size_t sizes[][2] = {{8, 3}, {100, 20}, {100, 5}, {5, 100}, {20, 100}, {3, 8}};
    set_up();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t old = sizes[i][0], new = sizes[i][1], least = old < new ? old : new;
        char *p = owl_pages_alloc(old, 0);
        fill(p, old, 3);
        char *q = owl_pages_realloc(p, new, OWL_PAGES_SCRUB);
        check(q != NULL && is_filled(q, least, 3));
        for (size_t at = q == p ? least * page : MARK; at < old * page; at++)
            check((q <= p + at && p + at < q + new * page) || p[at] != 3);
    }
}

/* What did not start at a page does so then. */
static void realloc_of_other_blocks(void)
{
    set_up();
    for (size_t bytes = 100; bytes < 3000000; bytes = bytes * 5 + 16) {
        char *p = owl_malloc(bytes + 16);
        memset(p, 3, bytes + 16);
        p = owl_shrink_front(p, 16);
        size_t pages = bytes / page + 1;
        char *q = owl_pages_realloc(p, pages, OWL_PAGES_ZERO);
        check(q != NULL && (uintptr_t)q % page == 0 && q[0] == 3 && q[bytes - 1] == 3);
        check(owl_malloc_usable_size(q) == pages * page && owl_pages_release(q, 0, pages) == 0);
        owl_free(q);
    }
}

/* The end of a ring is its beginning. */
static void scrubbed_ring(void)
{
    set_up();
    char *p = owl_ring(20 * page);
    fill(p, 20, 3);
    char *q = owl_pages_realloc(p, 30, OWL_PAGES_SCRUB);
    check(q != NULL && is_filled(q, 30, 3));
}

static void realloc_keeps_contents(void)
{
    uint64_t state = 1;
    set_up();
    size_t pages = 1;
    char *p = owl_pages_realloc(NULL, pages, OWL_PAGES_ZERO);
    check(is_filled(p, 1, 0));
    for (int i = 0; i < RANDOM_ROUNDS(400); i++) {
        size_t new = 1 + next_random(&state) % (next_random(&state) % 3 == 0 ? 700 : 20);
        size_t least = pages < new ? pages : new;
        unsigned flags = next_random(&state) % 2 ? OWL_PAGES_ZERO : OWL_PAGES_NO_COMMIT;
        fill(p, pages, (char)(i | 1));
        p = owl_pages_realloc(p, new, flags);
        check(p != NULL && (uintptr_t)p % page == 0);
        check(owl_malloc_usable_size(p) == new * page);
        check(is_filled(p, least, (char)(i | 1)));
        check(is_filled(p + least * page, new - least, 0));
        pages = new;
    }
    p = owl_pages_realloc(p, 2000, OWL_PAGES_COMMIT);
    check(resident(p + pages * page, 2000 - pages) == 2000 - pages);
    check(owl_pool_is_valid());
}

static void blocks_beyond_spans(void)
{
    set_up();
    size_t pages = OWL_SPAN_MAX / page + 5;
    char *p = owl_pages_alloc(pages, OWL_PAGES_ZERO);
    check(p != NULL && owl_malloc_usable_size(p) == pages * page);
    p[0] = p[(pages - 1) * page] = 9;
    check(owl_pages_commit(p, pages - 3, 2) == 0 && resident(p + (pages - 3) * page, 3) == 3);
    p = owl_pages_realloc(p, pages + 100, 0);
    check(p != NULL && p[0] == 9 && p[(pages - 1) * page] == 9);
    check(owl_pages_release(p, pages - 1, 1) == 0 && p[(pages - 1) * page] == 0);
    struct owl_pages_piece whole = {p, 0, 64};
    char *q = owl_pages_gather(&whole, 1);
    check(q[0] == 9 && p[0] == 0 && os.move == 1);
    owl_pages_free(p, OWL_PAGES_SCRUB);
    owl_pages_free(q, 0);
}

static void swapped(void)
{
    set_up();
    for (size_t pages = 2; pages <= 600; pages = pages * 5 / 2 + 1) {
        char *p = owl_pages_alloc(pages, 0);
        char *q = owl_pages_alloc(pages + 1, 0);
        fill(p, pages, 1);
        fill(q, pages + 1, 2);
        check(owl_pages_swap(p, q, pages - 1) == 0);
        check(is_filled(p, pages - 1, 2) && is_filled(p + (pages - 1) * page, 1, 1));
        check(is_filled(q, pages - 1, 1) && is_filled(q + (pages - 1) * page, 2, 2));
        errno = 0;
        check(owl_pages_swap(p, q, pages + 1) == -1 && errno == EINVAL);
        owl_pages_free(p, 0);
        owl_pages_free(q, 0);
    }
}

/* Blocks of a file, and copies that share pages: nothing is seen but what is promised. */
static void blocks_with_other_pages(void)
{
    set_up();
    for (int kind = 0; kind < 2; kind++) {
        size_t pages = kind == 0 ? OWL_MEMFD_MIN / page : 100;
        char *p = owl_malloc(pages * page);
        fill(p, pages, 1);
        char *q = owl_dup(p);
        check(q != NULL);
        check(owl_pages_release(p, 1, 50) == 0 && is_filled(p + page, 50, 0));
        check(is_filled(q, pages, 1) && is_filled(p, 1, 1));
        check(owl_pages_commit(q, 0, pages) == 0);
        struct owl_pages_piece list[] = {{p, 60, 20}, {q, 0, 30}};
        char *r = owl_pages_gather(list, 2);
        check(r != NULL && is_filled(r, 50, 1));
        check(is_filled(p + 60 * page, 20, 0) && is_filled(q, 30, 0));
        check(is_filled(q + 30 * page, pages - 30, 1));
        fill(q, pages, 2);
        check(owl_pages_swap(p, q, pages) == 0 && is_filled(p, pages, 2));
        p = owl_pages_realloc(p, pages + 5, OWL_PAGES_ZERO);
        check(is_filled(p, pages, 2) && is_filled(p + pages * page, 5, 0));
        owl_pages_free(p, OWL_PAGES_SCRUB);
        owl_pages_free(q, OWL_PAGES_SCRUB);
        owl_pages_free(r, 0);
        check(owl_pool_is_valid());
    }
}

static void trim_by_pressure(void)
{
    static const struct {
        double pressure, share;
    } rule[] = {{-1, 0}, {0, 0}, {0.25, 2.0 / 256}, {0.5, 0.125}, {0.75, 0.6328125}, {0.85, 1},
                {1, 1},  {9, 1}};
    set_up();
    for (size_t i = 0; i < sizeof rule / sizeof *rule; i++) {
        char *p[32];
        for (int j = 0; j < 32; j++)
            p[j] = owl_pages_alloc(2 * GRANULE_PAGES, OWL_PAGES_COMMIT);
        for (int j = 0; j < 32; j++)
            owl_pages_free(p[j], 0);
        owl_trim(SIZE_MAX); /* what is cached is free too, but not counted yet */
        size_t dirty = owl_pool_count().dirty;
        errno = 5;
        size_t freed = owl_pages_trim(rule[i].pressure);
        size_t left = owl_pool_count().dirty;
        check(errno == 5 && freed == (dirty - left) * GRANULE_PAGES);
        check((double)(dirty - left) >= rule[i].share * (double)dirty);
        check((rule[i].share == 0 && left == dirty) || (rule[i].share == 1 && left == 0) ||
              (rule[i].share > 0 && rule[i].share < 1));
    }
    volatile double nothing = 0;
    check(owl_pages_trim(nothing / nothing) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(sizes_are_exact),
        child_test(wrong_requests_are_refused),
        child_test(recycled_without_the_system),
        child_test(zeroed),
        child_test(commit_is_one_call),
        child_test(no_commit_has_no_memory),
        child_test(top_down_is_out_of_the_way),
        child_test(released_pages_read_as_zero),
        child_test(release_holds_without_the_system),
        child_test(scrubbed_contents_are_gone),
        child_test(scrubbed_by_realloc),
        child_test(realloc_of_other_blocks),
        child_test(scrubbed_ring),
        child_test(realloc_keeps_contents),
        child_test(blocks_beyond_spans),
        child_test(swapped),
        child_test(blocks_with_other_pages),
        child_test(trim_by_pressure),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
