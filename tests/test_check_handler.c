/* SPDX-License-Identifier: BSD-2-Clause */
/* The program's handler: what it is told of each fault, and that the call in question does nothing
 * when it returns. */
#include <errno.h>
#include <owl/check.h>
#include <owl/large.h>
#include <owl/pages.h>
#include <pthread.h>
#include <setjmp.h>

#include "alloc.h"
#include "death.h"
#include "option.h"
#include "stats.h"

enum { SMALL = 100, LARGE = 200000 };

/* What the handler was told last, and how often it was. */
static struct owl_corruption told;
static unsigned calls;

static void note(const struct owl_corruption *c)
{
    told = *c;
    calls++;
}

/* The fault was told once, of that pointer, and the heap is whole. */
static void expect(const char *what, const void *pointer)
{
    check(calls == 1 && strcmp(told.what, what) == 0 && told.pointer == pointer);
    check(told.allocated == NULL && told.freed == NULL && told.accessed == NULL);
    check(owl_stats_heap_is_valid());
    calls = 0;
}

/* That it was this block of this thread's. */
static void expect_small(const char *what, const void *pointer, const void *block)
{
    expect(what, pointer);
    check(told.block == block && told.bytes == owl_good_size(SMALL));
    check(told.size_class == (int)owl_class_of(SMALL));
    check(told.owner == owl_cache_mine() && told.thread == (unsigned long)pthread_self());
}

static const char twice[] = "double free", foreign[] = "not memory of this allocator",
                  invalid[] = "not an allocated block (freed already, or never allocated)",
                  interior[] = "points into a block, not at its start",
                  size[] = "freed with a size larger than the block",
                  owner[] = "the owner word of its slab was overwritten";

static void *other_frees(void *p)
{
    owl_free(p);
    return NULL;
}

static void small_blocks(void)
{
    owl_on_corruption(note);
    char *p = owl_malloc(SMALL), *q = owl_malloc(SMALL);
    owl_free(p);
    errno = 77;
    owl_free(opaque(p));
    check(errno == 77);
    expect_small(twice, p, p);
    owl_free(q + 16);
    expect_small(interior, q + 16, q);
    owl_free(q + 1);
    expect_small(interior, q + 1, q);
    owl_free_sized(q, 113);
    expect_small(size, q, q);
    check(owl_malloc_usable_size(p) == 0);
    expect_small(twice, p, p);
    on_other_thread(other_frees, opaque(p));
    expect_small(twice, p, p);
    memset(q, 1, SMALL);
    owl_free_sized(q, SMALL);
    check(owl_malloc(SMALL) == q && owl_malloc(SMALL) == p && calls == 0);
}

static void realloc_of_what_is_none(void)
{
    static char bytes[64];
    owl_on_corruption(note);
    char *p = owl_malloc(SMALL);
    errno = 0;
    check(owl_realloc(p + 32, 500) == NULL && errno == EINVAL);
    expect_small(interior, p + 32, p);
    errno = 0;
    check(owl_reallocarray(opaque(bytes), 3, 5) == NULL && errno == EINVAL);
    expect(foreign, bytes);
    check(told.block == NULL && told.bytes == 0 && told.size_class == -1 && told.owner == NULL);
    check(owl_realloc(opaque(bytes), 0) == NULL);
    expect(foreign, bytes);
    errno = 0;
    check(owl_grow_front(opaque(bytes), 16) == NULL && errno == EINVAL);
    expect(foreign, bytes);
    check(owl_dup(p + 16) == NULL && errno == EINVAL);
    expect_small(interior, p + 16, p);
    errno = 0;
    size_t offset;
    check(owl_export(opaque(bytes), &offset) == -1 && errno == EINVAL);
    expect(foreign, bytes);
    errno = 0;
    check(owl_pages_realloc(opaque(bytes), 3, 0) == NULL && errno == EINVAL);
    expect(foreign, bytes);
    owl_pages_free(opaque(bytes), OWL_PAGES_SCRUB);
    expect(foreign, bytes);
    owl_free(p);
}

static void large_blocks(void)
{
    owl_on_corruption(note);
    char *p = owl_malloc(LARGE);
    owl_free(p + 4096);
    expect(interior, p + 4096);
    check(told.block == p && told.bytes == owl_good_size(LARGE) && told.size_class == -1);
    owl_free_sized(p, 2 * LARGE);
    expect(size, p);
    memset(p, 1, LARGE);
    owl_free(p);
    owl_free(opaque(p));
    expect(invalid, p);
    errno = 0;
    check(owl_realloc(opaque(p), 10) == NULL && errno == EINVAL);
    expect(invalid, p);
    p = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    if (p == NULL)
        return;
    owl_free(p + OWL_GRANULE);
    expect(interior, p + OWL_GRANULE);
    owl_free_sized(p, 2 * OWL_SPAN_MAX);
    expect(size, p);
    check(told.bytes == owl_malloc_usable_size(p));
    owl_free(p);
    owl_free(opaque(p));
    expect(foreign, p);
}

/* Found when it comes home; the blocks that come with it do all the same. */
static void double_free_found_at_home(void)
{
    enum { N = 20 };
    void *p[N];
    owl_on_corruption(note);
    for (int i = 0; i < N; i++)
        p[i] = owl_malloc(SMALL);
    void *keep = owl_malloc(SMALL);
    owl_free(p[3]);
    memset(opaque(p[3]), 0, SMALL);
    owl_free(opaque(p[3]));
    for (int i = 0; i < N; i++)
        if (i != 3)
            owl_free(p[i]);
    check(calls == 0);
    owl_cache_flush(owl_cache_mine());
    expect_small(twice, p[3], p[3]);
    struct owl_stats s;
    owl_stats(&s);
    check(s.small_blocks == 1 && keep != NULL);
}

/* Its slab ended since, and the memory is a slab of another size. */
static void double_free_after_reuse_by_another_size(void)
{
    owl_on_corruption(note);
    char *p = owl_malloc(SMALL), *q = p + 3 * owl_good_size(SMALL);
    check(owl_malloc(SMALL) != NULL && owl_malloc(SMALL) != NULL && owl_malloc(SMALL) == q);
    for (char *each = p; each <= q; each += owl_good_size(SMALL))
        owl_free(each);
    owl_trim(0);
    check(owl_span_of(q)->kind == OWL_KIND_NONE);
    owl_free(opaque(q));
    expect(invalid, q);
    char *other = owl_malloc(4000);
    check(owl_span_of(other) == owl_span_of(q) && owl_span_of(q)->bytes == 4096);
    owl_free(opaque(q));
    expect(interior, q);
    check(told.block == (char *)((uintptr_t)q & ~(uintptr_t)4095) && told.bytes == 4096);
    owl_free(other);
}

/* owl_check(7) says so: each of these does harm to the program's own blocks alone. */
static void what_is_not_found(void)
{
    owl_on_corruption(note);
    char *p = owl_malloc(SMALL), *next = owl_malloc(SMALL);
    owl_free(p);
    char *q = owl_malloc(SMALL);
    check(q == p);
    owl_free(opaque(p)); /* it is q's */
    check(calls == 0);
    owl_free(q);
    expect_small(twice, q, q);
    p = owl_malloc(SMALL);
    check(next == p + owl_good_size(SMALL));
    memset(opaque(p), 1, 2 * owl_good_size(SMALL));
    owl_free_sized(next, 1);
    memset(opaque(next), 2, SMALL);
    check(calls == 0);
    q = owl_malloc(SMALL);
    check(q == next && calls == 0);
    owl_free(p);
    owl_free(q);
    check(calls == 0 && owl_stats_heap_is_valid());
}

/* --- the owner word --- */

static void *value;

static void *take_and_spoil(void *unused)
{
    (void)unused;
    void *p = owl_malloc(SMALL);
    check(owl_malloc(SMALL) != NULL); /* so that the slab stays */
    owl_word_store_relaxed(&owl_span_of(p)->owner, (uintptr_t)value);
    return p;
}

/* The caller frees a block of a thread that is still there: its slab is no orphan. */
struct lender {
    pthread_t thread;
    void *p;
    owl_u32 taken, over;
};

static void *lend(void *context)
{
    struct lender *l = context;
    l->p = take_and_spoil(NULL);
    owl_u32_store_release(&l->taken, 1);
    while (owl_u32_load_acquire(&l->over) == 0)
        usleep(100);
    return NULL;
}

static void spoiled_owner_words(void)
{
    static struct owl_cache nobody;
    void *const values[] = {NULL, (void *)8, (void *)UINTPTR_MAX, &owl_orphans, &nobody};
    owl_on_corruption(note);
    owl_free(owl_malloc(1));
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        value = values[i];
        void *p = take_and_spoil(NULL);
        uintptr_t mine = (uintptr_t)owl_cache_mine();
        owl_free(p);
        check(calls == 1 && strcmp(told.what, owner) == 0 && told.pointer == p);
        check(told.block == p && told.owner == NULL && told.thread == 0);
        calls = 0;
        owl_word_store_relaxed(&owl_span_of(p)->owner, mine);
        owl_free(p);
        check(calls == 0 && owl_stats_heap_is_valid());
    }
}

static void owner_word_of_another_thread(void)
{
    struct lender l = {.p = NULL};
    owl_on_corruption(note);
    owl_free(owl_malloc(1));
    value = (void *)16;
    check(pthread_create(&l.thread, NULL, lend, &l) == 0);
    while (owl_u32_load_acquire(&l.taken) == 0)
        usleep(100);
    owl_free(l.p);
    check(calls == 1 && strcmp(told.what, owner) == 0 && told.pointer == l.p);
    /* The freeing thread's own: the fast path takes it, and it is found when it comes home. */
    owl_word_store_relaxed(&owl_span_of(l.p)->owner, (uintptr_t)owl_cache_mine());
    owl_free(l.p);
    check(calls == 1);
    owl_cache_flush(owl_cache_mine());
    check(calls == 2 && strcmp(told.what, owner) == 0 && told.pointer == l.p);
    owl_u32_store_release(&l.over, 1);
    check(pthread_join(l.thread, NULL) == 0);
}

static void owner_word_without_handler(void)
{
    value = (void *)24;
    owl_free(culprit(take_and_spoil(NULL)));
}

static void owner_words(void **state)
{
    (void)state;
    expect_death(owner_word_without_handler, "the owner word of its slab was overwritten");
    assert_true(child_succeeds(spoiled_owner_words));
    assert_true(child_succeeds(owner_word_of_another_thread));
}

/* --- the handler itself --- */

static jmp_buf before;

static void use_the_heap(const struct owl_corruption *c)
{
    void *p = owl_malloc(SMALL), *q = owl_malloc(LARGE);
    owl_free(owl_realloc(p, 5000));
    owl_free(q);
    owl_trim(0);
    note(c);
}

static void leave(const struct owl_corruption *c)
{
    note(c);
    longjmp(before, 1);
}

static void once_more(const struct owl_corruption *c)
{
    note(c);
    owl_free(culprit((char *)owl_malloc(SMALL) + 48));
}

static void handlers_may_use_the_heap(void)
{
    owl_on_corruption(use_the_heap);
    for (int i = 0; i < 100; i++) {
        char *p = owl_malloc(SMALL);
        owl_free(p + 1);
        expect_small(interior, p + 1, p);
        owl_free(p);
    }
}

static void handlers_may_jump(void)
{
    char *volatile p = owl_malloc(SMALL);
    owl_on_corruption(leave);
    if (setjmp(before) == 0)
        owl_free(p + 1);
    expect_small(interior, p + 1, p);
    owl_free(p);
}

static void handlers_take_turns(void)
{
    static char bytes[16];
    check(owl_on_corruption(note) == NULL);
    check(owl_on_corruption(use_the_heap) == note);
    check(owl_on_corruption(NULL) == use_the_heap);
    owl_free(culprit(bytes));
}

static void fault_in_the_handler(void)
{
    owl_on_corruption(once_more);
    owl_free(opaque((char *)owl_malloc(SMALL) + 16));
}

static void say_and_return(const struct owl_corruption *c)
{
    dprintf(STDERR_FILENO, "pointer %p: told of %s\n", c->pointer, c->what);
}

static void closed(void)
{
    owl_option_force(OWL_OPTION_SECURE, 1);
    owl_cache_harden();
    owl_on_corruption(say_and_return);
    owl_free(culprit((char *)owl_malloc(SMALL) + 16));
}

static void faults_that_end_the_process(void **state)
{
    (void)state;
    expect_death(handlers_take_turns, foreign);
    expect_death(fault_in_the_handler, interior);
    expect_death(closed, "told of points into");
}

/* --- many threads --- */

enum { THREADS = 4, TIMES = 2000 };
static owl_u32 total;

static void count(const struct owl_corruption *c)
{
    check(strcmp(c->what, twice) == 0);
    owl_u32_add(&total, 1);
}

static void *free_twice(void *argument)
{
    size_t bytes = 16 + (size_t)(uintptr_t)argument * 48;
    for (int i = 0; i < ROUNDS(TIMES); i++) {
        void *p = owl_malloc(bytes), *q = owl_malloc(bytes);
        owl_free(p);
        owl_free(opaque(p));
        owl_free(q);
    }
    return NULL;
}

static void each_of_many_is_told(void)
{
    pthread_t threads[THREADS];
    owl_on_corruption(count);
    for (size_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, free_twice, (void *)(uintptr_t)i) == 0);
    for (size_t i = 0; i < THREADS; i++)
        check(pthread_join(threads[i], NULL) == 0);
    check(owl_u32_load_relaxed(&total) == THREADS * (unsigned)ROUNDS(TIMES));
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(small_blocks),
        child_test(realloc_of_what_is_none),
        child_test(large_blocks),
        child_test(double_free_found_at_home),
        child_test(double_free_after_reuse_by_another_size),
        child_test(what_is_not_found),
        cmocka_unit_test(owner_words),
        child_test(handlers_may_use_the_heap),
        child_test(handlers_may_jump),
        cmocka_unit_test(faults_that_end_the_process),
        child_test(each_of_many_is_told),
    };
    return cmocka_run_group_tests_name("check_handler", tests, NULL, NULL);
}
