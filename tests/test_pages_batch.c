/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages in a new order, many changes at once, and how often the system is asked. */
#include "cache.h"
#include "pages_os.h"

#define PARTS 2000

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
    owl_cache_flush(owl_cache_mine());
    size_t used = owl_pool_count().used;
    check(owl_pages_batch(&c[3], 1) == 1 && c[3].block == NULL && c[3].error == ENOMEM);
    owl_cache_flush(owl_cache_mine());
    check(owl_pool_count().used == used);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(gathered_by_moves),
        child_test(gathered_by_copies),
        child_test(gather_refuses_what_is_not_there),
        child_test(batches_are_joined),
        child_test(neighbours_are_one_call),
        child_test(a_batch_of_all_kinds),
        child_test(failures_in_a_batch_are_told_apart),
    };
    return cmocka_run_group_tests_name("pages_batch", tests, NULL, NULL);
}
