/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole pages: flags, what may be done with parts of blocks, and how often the system is asked. */
#include "child.h"
#include "faults.h"
#include "pool.h"

#include <owl/large.h>
#include <owl/owl.h>
#include <owl/pages.h>

#include <sys/mman.h>

#define GRANULE_PAGES (OWL_GRANULE / page)
#define PARTS 2000

static size_t page;

/* Counts, and failures on demand, of the calls that move memory between process and system. */
static struct {
    struct owl_os real;
    unsigned purge, purge_many, populate, populate_many, move;
    bool no_many, no_populate, no_move;
    char *populate_fails_at;
} os;

static int count_purge(void *start, size_t bytes)
{
    os.purge++;
    return os.real.purge(start, bytes);
}

static size_t count_purge_many(const struct owl_piece *pieces, size_t count)
{
    os.purge_many++;
    return os.no_many ? 0 : os.real.purge_many(pieces, count);
}

static bool covers(const void *start, size_t bytes)
{
    return os.populate_fails_at != NULL && (size_t)(os.populate_fails_at - (char *)start) < bytes;
}

static int count_populate(void *start, size_t bytes)
{
    os.populate++;
    if (!os.no_populate && !covers(start, bytes))
        return os.real.populate(start, bytes);
    errno = EFAULT;
    return -1;
}

static size_t count_populate_many(const struct owl_piece *pieces, size_t count)
{
    size_t n = 0;
    os.populate_many++;
    while (n < count && !covers(pieces[n].start, pieces[n].bytes))
        n++;
    return os.no_many ? 0 : os.real.populate_many(pieces, n);
}

static int count_move(void *from, void *to, size_t bytes)
{
    os.move++;
    return os.no_move ? -1 : os.real.move(from, to, bytes);
}

static unsigned calls(void)
{
    return os.purge + os.purge_many + os.populate + os.populate_many + os.move;
}

static void forget_calls(void)
{
    os.purge = os.purge_many = os.populate = os.populate_many = os.move = 0;
}

static void set_up(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    owl_free(opaque(owl_malloc(1)));
    os.real = owl_os;
    owl_os.purge = count_purge;
    owl_os.purge_many = count_purge_many;
    owl_os.populate = count_populate;
    owl_os.populate_many = count_populate_many;
    owl_os.move = count_move;
    forget_calls();
}

static bool is_filled(const char *p, size_t pages, char value)
{
    for (size_t i = 0; i < pages * page; i++)
        if (p[i] != value)
            return false;
    return true;
}

static void fill(char *p, size_t pages, char value)
{
    memset(p, value, pages * page);
}

static size_t resident(char *p, size_t pages)
{
    static unsigned char in[16384];
    size_t count = 0;
    check(pages <= sizeof in && mincore(p, pages * page, in) == 0);
    for (size_t i = 0; i < pages; i++)
        count += in[i] & 1;
    return count;
}

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

static void realloc_keeps_contents(void)
{
    uint64_t state = 1;
    set_up();
    size_t pages = 1;
    char *p = owl_pages_realloc(NULL, pages, OWL_PAGES_ZERO);
    check(is_filled(p, 1, 0));
    for (int i = 0; i < ROUNDS(400); i++) {
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

/* Pages of two blocks in turn, and a long run; each page knows its number. */
static void gathered(bool may_move)
{
    set_up();
    os.no_move = !may_move;
    char *p = owl_pages_alloc(100, 0);
    char *q = owl_pages_alloc(5, 0);
    for (size_t i = 0; i < 100; i++)
        fill(p + i * page, 1, (char)i);
    for (size_t i = 0; i < 5; i++)
        fill(q + i * page, 1, (char)(100 + i));
    struct owl_pages_piece list[] = {{p, 99, 1}, {q, 1, 2}, {p, 10, 40}, {p, 50, 20},
                                     {p, 0, 0},  {q, 4, 1}, {p, 0, 1}};
    forget_calls();
    char *r = owl_pages_gather(list, 7);
    check(r != NULL && owl_malloc_usable_size(r) == 65 * page);
    check(os.move == 1);
    check(is_filled(r, 1, 99) && is_filled(r + page, 1, 101) && is_filled(r + 2 * page, 1, 102));
    for (size_t i = 0; i < 60; i++)
        check(is_filled(r + (3 + i) * page, 1, (char)(10 + i)));
    check(is_filled(r + 63 * page, 1, 104) && is_filled(r + 64 * page, 1, 0));
    check(resident(p, 100) == 100 - 62 && is_filled(p + 10 * page, 60, 0));
    check(is_filled(p + page, 1, 1) && is_filled(p + 98 * page, 1, 98) && is_filled(p, 1, 0));
    check(is_filled(q, 1, 100) && is_filled(q + page, 2, 0) && is_filled(q + 3 * page, 1, 103));
    fill(p, 100, 7);
    check(is_filled(r, 1, 99));
    owl_pages_free(p, 0);
    owl_pages_free(q, 0);
    owl_pages_free(r, 0);
    check(owl_pool_is_valid());
    char *again = owl_pages_alloc(100, OWL_PAGES_ZERO);
    check(is_filled(again, 100, 0));
}

static void gathered_by_moves(void)
{
    gathered(true);
}

static void gathered_by_copies(void)
{
    gathered(false);
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

static void gather_refuses_what_is_not_there(void)
{
    set_up();
    char *p = owl_pages_alloc(100, 0);
    fill(p, 100, 1);
    struct owl_pages_piece list[] = {{p, 0, 50}, {p, 90, 11}};
    errno = 0;
    check(owl_pages_gather(list, 2) == NULL && errno == EINVAL);
    check(owl_pages_gather(list, 0) == NULL);
    check(is_filled(p, 100, 1) && calls() == 0);
}

/* Every other page of a block, twice that many changes, in no order. */
static void make_changes(struct owl_pages_change *c, char *p, enum owl_pages_op op)
{
    for (size_t i = 0; i < PARTS; i++) {
        size_t n = i * 7 % PARTS;
        c[i] = (struct owl_pages_change){.op = op, .block = p, .first = 4 * (n / 2) + n % 2,
                                         .pages = 1, .error = 99};
    }
}

static void batches_are_joined(void)
{
    static struct owl_pages_change c[PARTS];
    set_up();
    char *p = owl_pages_alloc(2 * PARTS, OWL_PAGES_NO_COMMIT);
    make_changes(c, p, OWL_PAGES_OP_COMMIT);
    forget_calls();
    check(owl_pages_batch(c, PARTS) == 0);
    for (size_t i = 0; i < PARTS; i++)
        check(c[i].error == 0);
    check(resident(p, 2 * PARTS) == PARTS && resident(p, 4) == 2);
    unsigned lists = (PARTS / 2 + OWL_PAGES_PIECES - 1) / OWL_PAGES_PIECES;
    check(os.populate_many == lists);
    bool kernel_takes_lists = os.populate == 0;
    check(calls() <= lists + (kernel_takes_lists ? 0 : PARTS / 2));
    fill(p, 2 * PARTS, 5);
    make_changes(c, p, OWL_PAGES_OP_RELEASE);
    forget_calls();
    check(owl_pages_batch(c, PARTS) == 0);
    check(resident(p, 2 * PARTS) == PARTS && is_filled(p, 2, 0) && is_filled(p + 2 * page, 2, 5));
    check(os.purge_many == lists && (os.purge == 0) == kernel_takes_lists);
    os.no_many = true;
    forget_calls();
    make_changes(c, p, OWL_PAGES_OP_COMMIT);
    check(owl_pages_batch(c, PARTS) == 0 && os.populate == PARTS / 2);
    check(resident(p, 2 * PARTS) == 2 * PARTS);
}

static void neighbours_are_one_call(void)
{
    set_up();
    char *p = owl_pages_alloc(64, 0);
    fill(p, 64, 1);
    struct owl_pages_change c[8];
    for (size_t i = 0; i < 8; i++)
        c[i] = (struct owl_pages_change){.op = OWL_PAGES_OP_RELEASE, .block = p,
                                         .first = (7 - i) * 4, .pages = 6};
    forget_calls();
    check(owl_pages_batch(c, 8) == 0 && calls() == 1);
    check(is_filled(p, 34, 0) && is_filled(p + 34 * page, 30, 1));
}

static void a_batch_of_all_kinds(void)
{
    set_up();
    char *p = owl_pages_alloc(64, 0);
    char *q = owl_pages_alloc(64, 0);
    fill(p, 64, 1);
    struct owl_pages_change c[] = {
        {.op = OWL_PAGES_OP_COMMIT, .block = p, .first = 0, .pages = 8},
        {.op = OWL_PAGES_OP_FREE, .block = q},
        {.op = OWL_PAGES_OP_RELEASE, .block = p, .first = 4, .pages = 8},
        {.op = OWL_PAGES_OP_ALLOC, .pages = 40, .flags = OWL_PAGES_COMMIT | OWL_PAGES_ZERO},
        {.op = OWL_PAGES_OP_ALLOC, .pages = 3, .flags = OWL_PAGES_NO_COMMIT},
        {.op = OWL_PAGES_OP_COMMIT, .block = p, .first = 60, .pages = 5},
        {.op = OWL_PAGES_OP_ALLOC, .pages = 0},
        {.op = OWL_PAGES_OP_ALLOC, .pages = 1, .flags = 64},
        {.op = (enum owl_pages_op)7},
    };
    errno = 5;
    check(owl_pages_batch(c, 9) == 4 && errno == 5);
    for (size_t i = 0; i < 9; i++)
        check(c[i].error == (i < 5 ? 0 : EINVAL));
    check(is_filled(p, 4, 1) && resident(p, 12) == 8 && is_filled(p + 4 * page, 8, 0));
    check(c[1].block == NULL && c[3].block != NULL && resident(c[3].block, 40) == 40);
    check(is_filled(c[3].block, 40, 0) && resident(c[4].block, 3) == 0 && c[6].block == NULL);
    check(owl_malloc_usable_size(c[3].block) == 40 * page);
    check(owl_pool_is_valid());
}

/* Of a joined piece that fails, each change learns whether it was the one. */
static void failures_in_a_batch_are_told_apart(void)
{
    set_up();
    char *p = owl_pages_alloc(64, OWL_PAGES_NO_COMMIT);
    struct owl_pages_change c[] = {
        {.op = OWL_PAGES_OP_COMMIT, .block = p, .first = 0, .pages = 4},
        {.op = OWL_PAGES_OP_COMMIT, .block = p, .first = 4, .pages = 4},
        {.op = OWL_PAGES_OP_COMMIT, .block = p, .first = 32, .pages = 4},
        {.op = OWL_PAGES_OP_ALLOC, .pages = 32, .flags = OWL_PAGES_COMMIT},
    };
    os.populate_fails_at = p + 5 * page;
    check(owl_pages_batch(c, 4) == 1);
    check(c[0].error == 0 && c[1].error == ENOMEM && c[2].error == 0 && c[3].error == 0);
    check(resident(p, 4) == 4 && resident(p + 32 * page, 4) == 4);
    os.no_populate = os.no_many = true;
    os.populate_fails_at = NULL;
    size_t used = owl_pool_count().used;
    check(owl_pages_batch(&c[3], 1) == 1 && c[3].block == NULL && c[3].error == ENOMEM);
    check(owl_pool_count().used == used);
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
        child_test(realloc_keeps_contents),
        child_test(blocks_beyond_spans),
        child_test(swapped),
        child_test(gathered_by_moves),
        child_test(gathered_by_copies),
        child_test(blocks_with_other_pages),
        child_test(gather_refuses_what_is_not_there),
        child_test(batches_are_joined),
        child_test(neighbours_are_one_call),
        child_test(a_batch_of_all_kinds),
        child_test(failures_in_a_batch_are_told_apart),
        child_test(trim_by_pressure),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
