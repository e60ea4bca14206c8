/* SPDX-License-Identifier: BSD-2-Clause */
/* The order of blocks with the option `secure`. */
#include "alloc.h"
#include "child.h"
#include "option.h"
#include "stats.h"

static void secure(void)
{
    owl_option_force(OWL_OPTION_SECURE, 1);
    owl_cache_harden();
}

/* Every block of a slab comes out once, whatever is at home. */
static void each_comes_once(void)
{
    enum { N = 4096 };
    static char *p[N];
    uint64_t random = 1;
    secure();
    for (size_t size = 16; size <= OWL_SMALL_MAX; size = size * 3 + 16) {
        for (int i = 0; i < N; i++) {
            p[i] = owl_malloc(size);
            check(p[i] != NULL);
            memset(p[i], i, size);
        }
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < N; i++)
                if (next_random(&random) % 2 != 0) {
                    check(p[i][0] == (char)i && p[i][size - 1] == (char)i);
                    owl_free(p[i]);
                    p[i] = NULL;
                }
            owl_trim(0);
            check(owl_stats_heap_is_valid());
            for (int i = 0; i < N; i++)
                if (p[i] == NULL)
                    p[i] = memset(owl_malloc(size), i, size);
        }
        for (int i = 0; i < N; i++) {
            check(p[i][0] == (char)i && p[i][size - 1] == (char)i);
            owl_free(p[i]);
        }
        check(owl_stats_heap_is_valid());
    }
}

/* Of 4,000 blocks of a slab, how many follow the one before. */
static size_t followers(void)
{
    size_t n = 0;
    char *p = owl_malloc(16);
    for (int i = 0; i < 4000; i++) {
        char *q = owl_malloc(16);
        n += q == p + 16;
        p = q;
    }
    return n;
}

static void blocks_come_in_order_by_default(void)
{
    check(followers() > 3900);
}

static void or_in_none(void)
{
    secure();
    check(followers() < 800);
}

/* Any of the first 256 free blocks is as likely to be the next: each is, and none is often. */
static void any_of_many_is_the_next(void)
{
    enum { TIMES = 25600, CHOICES = 256 };
    static unsigned seen[CHOICES];
    struct owl_block *b;
    secure();
    char *p = owl_malloc(4096);
    struct owl_span *s;
    do
        s = owl_span_of(owl_malloc(16));
    while (s == NULL); /* some are guarded */
    for (uint64_t i = 0, random = 0; i < TIMES; i++) {
        check(owl_slab_take_random(s, 1, &b, &random) == 1 && owl_is_block_start(s, b));
        size_t number = ((uintptr_t)b - s->start) / 16;
        check(number < CHOICES + 64);
        if (number < CHOICES)
            seen[number]++;
        owl_slab_give(&b, 1);
    }
    unsigned never = 0;
    for (int i = 0; i < CHOICES; i++) {
        never += seen[i] == 0; /* what is in the thread's magazine */
        check(seen[i] < 1000);
    }
    check(never <= 128 && p != NULL);
}

/* Two processes do not have the same order. */
static void processes_differ(void **state)
{
    int ends[2];
    uintptr_t offsets[2] = {0, 0};
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        if (pid == 0) {
            uintptr_t offset = 0;
            owl_page_map.secret = (uintptr_t)i * 12345 + 1;
            secure();
            for (int k = 0; k < 8; k++)
                offset = offset * 31 + (uintptr_t)owl_malloc(16) % OWL_GRANULE;
            _exit(write(ends[1], &offset, sizeof offset) == sizeof offset ? 0 : 1);
        }
        assert_int_equal(child_wait(pid), 0);
        assert_int_equal(read(ends[0], &offsets[i], sizeof offsets[i]), sizeof offsets[i]);
        close(ends[0]);
        close(ends[1]);
    }
    assert_int_not_equal(offsets[0], offsets[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(each_comes_once),
        child_test(blocks_come_in_order_by_default),
        child_test(or_in_none),
        child_test(any_of_many_is_the_next),
        cmocka_unit_test(processes_differ),
    };
    return cmocka_run_group_tests_name("slab_random", tests, NULL, NULL);
}
