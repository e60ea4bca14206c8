/* SPDX-License-Identifier: BSD-2-Clause */
/* Guarded blocks: which allocations are, where they lie, and what of their misuse is found. */
#include <errno.h>
#include <owl/check.h>
#include <owl/large.h>
#include <pthread.h>

#include "alloc.h"
#include "death.h"
#include "guard.h"
#include "option.h"
#include "os.h"
#include "stats.h"

static struct owl_corruption told;
static struct owl_trace allocated, freed, accessed;
static owl_u32 calls;

static void note(const struct owl_corruption *c)
{
    told = *c;
    if (c->allocated != NULL)
        allocated = *c->allocated;
    if (c->freed != NULL)
        freed = *c->freed;
    if (c->accessed != NULL)
        accessed = *c->accessed;
    owl_u32_add(&calls, 1);
}

static void expect(const char *what, const void *pointer, const void *block, size_t bytes)
{
    check(owl_u32_load_relaxed(&calls) == 1 && strcmp(told.what, what) == 0);
    check(told.pointer == pointer && told.block == block && told.bytes == bytes);
    check(told.size_class == -1 && told.owner == NULL && told.allocated != NULL);
    owl_u32_store_relaxed(&calls, 0);
}

static const char after[] = "used after the block was freed",
                  outside[] = "used, outside of the block",
                  beside[] = "written to, beside the block", twice[] = "double free",
                  interior[] = "points into a block, not at its start",
                  invalid[] = "not an allocated block (freed already, or never allocated)",
                  size[] = "freed with a size larger than the block";

/* From now on one in so many allocations is guarded. */
static void guard(long long rate)
{
    owl_option_force(OWL_OPTION_GUARD, rate);
    owl_cache_harden();
    check(owl_guard.bytes != 0);
}

static bool ends_a_page(const char *p, size_t bytes)
{
    return owl_round_up((uintptr_t)p + bytes, owl_os.page) - (uintptr_t)p - bytes < OWL_QUANTUM;
}

/* One that lies at the end of its pages, or at the beginning. */
static char *take(size_t bytes, bool right)
{
    char *p = owl_malloc(bytes);
    while (right ? !ends_a_page(p, bytes) : (uintptr_t)p % owl_os.page != 0) {
        owl_free(p);
        p = owl_malloc(bytes);
    }
    check(owl_guard_contains(p));
    return p;
}

static bool same_slot(const char *p, const char *q)
{
    size_t slot = OWL_GUARD_BYTES + owl_os.page;
    return ((uintptr_t)p - owl_guard.base) / slot == ((uintptr_t)q - owl_guard.base) / slot;
}

static void poke(volatile char *p)
{
    *(volatile char *)opaque((void *)(uintptr_t)p) = 1;
}

/* --- which, and where --- */

static void small_ones_are_guarded(void)
{
    size_t left = 0, right = 0;
    guard(1);
    errno = 77;
    for (size_t bytes = 0; bytes <= OWL_SMALL_MAX; bytes += bytes / 8 + 1) {
        char *p = owl_malloc(bytes);
        check(owl_guard_contains(p) && (uintptr_t)p % OWL_QUANTUM == 0);
        check(owl_malloc_usable_size(p) == (bytes > 0 ? bytes : 1));
        memset(p, 1, bytes);
        left += (uintptr_t)p % owl_os.page == 0;
        right += ends_a_page(p, bytes > 0 ? bytes : 1);
        owl_free_sized(p, bytes);
        char *q = owl_calloc(1, bytes);
        check(owl_guard_contains(q) && q != p);
        for (size_t i = 0; i < bytes; i++)
            check(q[i] == 0);
        owl_free(q);
    }
    void *p = owl_malloc(OWL_SMALL_MAX + 1);
    check(!owl_guard_contains(p) && left > 10 && right > 10 && errno == 77);
    owl_free(p);
}

static void *(*reserve)(size_t bytes);

static void *reserve_whole_pages(size_t bytes)
{
    return (void *)owl_round_up((uintptr_t)reserve(bytes + owl_os.page), owl_os.page);
}

/* Slots are whole pages where these are larger than any block. */
static void with_large_pages_too(void)
{
    owl_free(owl_malloc(1));
    reserve = owl_os.reserve;
    owl_os.reserve = reserve_whole_pages;
    owl_os.page = 65536;
    guard(1);
    for (int i = 0; i < 50; i++) {
        char *p = owl_malloc(100);
        check(owl_guard_contains(p));
        memset(p, 1, 100);
        owl_free(p);
    }
}

static void alignments_hold(void)
{
    guard(1);
    for (size_t alignment = 16; alignment <= 65536; alignment *= 2)
        for (size_t bytes = 1; bytes < 20000; bytes = bytes * 3 + 1) {
            char *p = owl_aligned_alloc(alignment, bytes);
            check(p != NULL && (uintptr_t)p % alignment == 0);
            memset(p, 1, bytes);
            owl_free(p);
        }
}

static void there_are_only_so_many(void)
{
    enum { N = OWL_GUARD_SLOTS + 50 };
    static void *p[N];
    guard(1);
    for (size_t round = 0; round < 3; round++) {
        size_t guarded = 0;
        for (size_t i = 0; i < N; i++) {
            p[i] = owl_malloc(50);
            memset(p[i], 1, 50);
            guarded += owl_guard_contains(p[i]);
        }
        check(guarded == OWL_GUARD_SLOTS);
        for (size_t i = 0; i < N; i++)
            owl_free(p[i]);
    }
    check(owl_stats_heap_is_valid());
}

/* Slots are used again in turn. */
static void what_was_freed_stays_so(void)
{
    guard(1);
    char *p = owl_malloc(50);
    owl_free(p);
    for (size_t i = 0; i < OWL_GUARD_SLOTS - 1; i++) {
        char *q = owl_malloc(50);
        check(!same_slot(p, q));
        owl_free(q);
    }
    char *q = owl_malloc(50);
    check(same_slot(p, q));
}

static void *count_guarded(void *unused)
{
    size_t guarded = 0;
    (void)unused;
    for (size_t i = 0; i < 100000; i++) {
        void *p = owl_malloc(i % 2000);
        guarded += owl_guard_contains(p);
        owl_free(p);
    }
    return (void *)(uintptr_t)guarded;
}

/* The number of successes in so many trials is within six standard deviations, for each thread. */
static void one_in_so_many_is(void)
{
    pthread_t threads[3];
    guard(100);
    for (size_t i = 0; i < 3; i++)
        check(pthread_create(&threads[i], NULL, count_guarded, NULL) == 0);
    for (size_t i = 0; i < 3; i++) {
        void *guarded;
        check(pthread_join(threads[i], &guarded) == 0);
        check((uintptr_t)guarded > 800 && (uintptr_t)guarded < 1200);
    }
}

/* Without the option `guard` only calls that come to the slabs count. */
static void secure_guards_some(void)
{
    size_t guarded = 0;
    owl_option_force(OWL_OPTION_SECURE, 1);
    owl_cache_harden();
    check(owl_guard.rate == OWL_GUARD_SECURE && owl_cache_get() == owl_cache_mine());
    for (size_t i = 0; i < 1000000; i++) {
        void *p = owl_malloc(16);
        guarded += owl_guard_contains(p);
    }
    check(guarded > 10 && guarded < 200);
}

/* --- misuse --- */

static void beyond_the_ends(void)
{
    owl_on_corruption(note);
    guard(1);
    char *p = take(160, true);
    poke(p + 160);
    expect(outside, p + 160, p, 160);
    check(told.freed == NULL && accessed.count > 0);
    poke(p + 160); /* the page is the program's now, so its neighbour is not the next */
    check(owl_malloc(1) != NULL && owl_malloc(1) != NULL);
    p = take(160, false);
    poke(p - 1);
    expect(outside, p - 1, p, 160);
    poke(p + owl_os.page);
    expect(outside, p + owl_os.page, p, 160);
    owl_free(p);
    check(owl_u32_load_relaxed(&calls) == 0);
}

static void beside_it(void)
{
    owl_on_corruption(note);
    guard(1);
    char *p = take(100, true);
    poke(p + 100);
    owl_free(p);
    expect(beside, p + 100, p, 100);
    p = take(100, true);
    poke(p - 1);
    owl_free(p);
    expect(beside, p - 1, p, 100);
    p = take(100, false);
    poke(p + 100);
    owl_free(p);
    expect(beside, p + 100, p, 100);
}

static void after_its_end(void)
{
    owl_on_corruption(note);
    guard(1);
    char *p = owl_malloc(70);
    memset(p, 1, 70);
    owl_free(p);
    check(*(volatile char *)opaque(p) == 0);
    expect(after, p, p, 70);
    check(told.freed != NULL && freed.count > 0);
    check(accessed.thread == (unsigned long)pthread_self());
    p = owl_malloc(70);
    owl_free(p);
    poke(p + 69);
    expect(after, p + 69, p, 70);
    /* That slot is not used again, the others are. */
    for (size_t i = 0; i < 2 * OWL_GUARD_SLOTS; i++) {
        char *q = owl_malloc(70);
        check(owl_guard_contains(q) && !same_slot(p, q));
        owl_free(q);
    }
}

static void bad_calls(void)
{
    owl_on_corruption(note);
    guard(1);
    char *p = owl_malloc(70);
    owl_free(opaque(p + 16));
    expect(interior, p + 16, p, 70);
    check(owl_malloc_usable_size(p + 1) == 0);
    expect(interior, p + 1, p, 70);
    owl_free_sized(p, 71);
    expect(size, p, p, 70);
    errno = 0;
    check(owl_realloc(p + 16, 100) == NULL && errno == EINVAL);
    expect(interior, p + 16, p, 70);
    owl_free(p);
    owl_free(opaque(p));
    expect(twice, p, p, 70);
    errno = 0;
    check(owl_realloc(opaque(p), 100) == NULL && errno == EINVAL);
    expect(twice, p, p, 70);
    owl_free((void *)owl_guard.base);
    check(owl_u32_load_relaxed(&calls) == 1 && strcmp(told.what, invalid) == 0);
}

static void use_after_free(void)
{
    guard(1);
    char *p = owl_malloc(100);
    owl_free(p);
    poke(culprit(p));
}

static void overrun(void)
{
    guard(1);
    char *p = take(96, true);
    poke(culprit(p + 96));
}

static void free_twice(void)
{
    guard(1);
    char *p = owl_malloc(100);
    owl_free(p);
    owl_free(culprit(p));
}

/* The report has all of these, and the last is the reason why the process ended. */
static void expect_report(void (*body)(void), const char *first, bool was_used, bool was_freed)
{
    char text[16384], pointer[64];
    int status = death_status(body, text, sizeof text);
    snprintf(pointer, sizeof pointer, "owlalloc: pointer %p: ", *death_culprit);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        fail_msg("no abort but status %#x, output: %s", (unsigned)status, text);
    if (strncmp(text, pointer, strlen(pointer)) != 0 || strstr(text, first) == NULL)
        fail_msg("no \"%s%s\" in: %s", pointer, first, text);
    if (strstr(text, "\nowlalloc: allocated by thread ") == NULL ||
        (strstr(text, "\nowlalloc: used by thread ") != NULL) != was_used ||
        (strstr(text, "\nowlalloc: freed by thread ") != NULL) != was_freed)
        fail_msg("not the right callers in: %s", text);
    if (strstr(text, "test_guard+0x") == NULL)
        fail_msg("no place in the program in: %s", text);
}

static void reports_have_callers(void **state)
{
    (void)state;
    death_culprit = mmap(NULL, sizeof *death_culprit, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    expect_report(use_after_free, "used after the block was freed (block of 100 bytes at ", true,
                  true);
    expect_report(overrun, "used, outside of the block (block of 96 bytes at ", true, false);
    expect_report(free_twice, "double free (block of 100 bytes at ", false, true);
}

/* A return address is in the function. */
static bool leads_to(const struct owl_trace *t, void (*function)(char **))
{
    for (size_t i = 0; i < t->count; i++)
        if ((uintptr_t)t->frames[i] - (uintptr_t)function < 256)
            return true;
    return false;
}

__attribute__((noinline, aligned(256))) static void allocating(char **p)
{
    *p = owl_malloc(100);
    check(*p != NULL);
}

__attribute__((noinline, aligned(256))) static void freeing(char **p)
{
    owl_free(*p);
    check(*p != NULL);
}

__attribute__((noinline, aligned(256))) static void using(char **p)
{
    poke(*p);
    check(*p != NULL);
}

static void callers_are_those(void)
{
    char *p;
    owl_on_corruption(note);
    guard(1);
    allocating(&p);
    freeing(&p);
    using(&p);
    expect(after, p, p, 100);
    check(leads_to(&allocated, allocating) && !leads_to(&allocated, freeing));
    check(leads_to(&freed, freeing) && !leads_to(&freed, using));
    check(leads_to(&accessed, using) && !leads_to(&accessed, allocating));
}

/* --- with the rest of the allocator --- */

static void others_handler(int number)
{
    (void)number;
    _exit(3);
}

/* What is not ours goes to the handler that was there before. */
static void elsewhere(void)
{
    signal(SIGSEGV, others_handler);
    guard(1);
    char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    poke(none);
}

static void elsewhere_without_handler(void)
{
    guard(1);
    poke((char *)16);
}

static void other_faults_are_passed_on(void **state)
{
    (void)state;
    int status = child_status(elsewhere);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    assert_true(child_faults(elsewhere_without_handler));
}

static void blocks_change_kind(void)
{
    guard(2);
    char *p = NULL;
    size_t bytes = 0;
    for (size_t i = 0; i < 2000; i++) {
        size_t old = bytes;
        bytes = 1 + i * 7919 % 50000;
        p = owl_realloc(p, bytes);
        for (size_t k = 0; k < bytes && k < old; k += 97)
            check(p[k] == (char)k);
        for (size_t k = 0; k < bytes; k++)
            p[k] = (char)k;
        if (i % 10 == 0) {
            char *q = owl_dup(p);
            check(memcmp(p, q, bytes) == 0);
            check(owl_swap(p, q, bytes) == 0);
            q = owl_grow_front(q, 32);
            check(q != NULL && memcmp(p, q + 32, bytes) == 0);
            q = owl_shrink_front(q, 32);
            check(q != NULL && memcmp(p, q, bytes) == 0);
            owl_free(q);
        }
    }
    owl_free(p);
    check(owl_stats_heap_is_valid());
}

static void *struggle(void *argument)
{
    enum { N = 40 };
    unsigned char *p[N] = {NULL};
    uint64_t random = 1 + (uintptr_t)argument;
    for (int i = 0; i < ROUNDS(20000); i++) {
        size_t k = next_random(&random) % N, bytes = 1 + next_random(&random) % 5000;
        if (p[k] != NULL)
            check(p[k][0] == k && p[k][owl_malloc_usable_size(p[k]) - 1] == k);
        owl_free(p[k]);
        p[k] = owl_malloc(bytes);
        memset(p[k], (int)k, owl_malloc_usable_size(p[k]));
    }
    for (size_t k = 0; k < N; k++)
        owl_free(p[k]);
    return NULL;
}

/* Forks meanwhile: the child can use guarded blocks at once. */
static void threads_and_forks(void)
{
    pthread_t threads[4];
    guard(3);
    for (size_t i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, struggle, (void *)(uintptr_t)i) == 0);
    for (int i = 0; i < ROUNDS(40); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (size_t k = 0; k < 100; k++)
                owl_free(owl_malloc(k));
            _exit(0);
        }
        check(child_wait(pid) == 0);
    }
    for (size_t i = 0; i < 4; i++)
        check(pthread_join(threads[i], NULL) == 0);
    check(owl_stats_heap_is_valid());
}

static void count(const struct owl_corruption *c)
{
    check(strcmp(c->what, twice) == 0);
    owl_u32_add(&calls, 1);
}

static void *free_it(void *p)
{
    owl_free(p);
    return NULL;
}

/* Of several that free at a time one does, and each of the others is told. */
static void races_of_frees(void)
{
    owl_on_corruption(count);
    guard(1);
    for (unsigned i = 0; i < (unsigned)ROUNDS(200); i++) {
        pthread_t threads[3];
        void *p = owl_malloc(10);
        for (size_t k = 0; k < 3; k++)
            check(pthread_create(&threads[k], NULL, free_it, p) == 0);
        for (size_t k = 0; k < 3; k++)
            check(pthread_join(threads[k], NULL) == 0);
        check(owl_u32_load_relaxed(&calls) == 2);
        owl_u32_store_relaxed(&calls, 0);
    }
}

static int refuse(void *start, size_t bytes)
{
    (void)start, (void)bytes;
    errno = ENOMEM;
    return -1;
}

static void *refuse_space(size_t bytes)
{
    (void)bytes;
    return NULL;
}

static void without_memory_none_is(void)
{
    int (*commit)(void *, size_t) = owl_os.commit;
    guard(1);
    owl_free(owl_malloc(1));
    owl_free(owl_aligned_alloc(65536, 100)); /* there is a range */
    owl_os.commit = refuse;
    errno = 77;
    for (int i = 0; i < 2000; i++) {
        void *p = owl_malloc(10);
        check(p != NULL && !owl_guard_contains(p) && errno == 77);
        owl_free(p);
    }
    owl_os.commit = commit;
    check(owl_guard_contains(owl_malloc(10)));
}

static void without_addresses_none_is(void)
{
    owl_free(owl_malloc(1));
    owl_os.reserve = refuse_space;
    owl_option_force(OWL_OPTION_GUARD, 1);
    owl_cache_harden();
    check(owl_guard.bytes == 0 && owl_malloc(10) != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(small_ones_are_guarded),
        child_test(with_large_pages_too),
        child_test(alignments_hold),
        child_test(there_are_only_so_many),
        child_test(what_was_freed_stays_so),
        child_test(one_in_so_many_is),
        child_test(secure_guards_some),
        child_test(beyond_the_ends),
        child_test(beside_it),
        child_test(after_its_end),
        child_test(bad_calls),
        cmocka_unit_test(reports_have_callers),
        child_test(callers_are_those),
        cmocka_unit_test(other_faults_are_passed_on),
        child_test(blocks_change_kind),
        child_test(threads_and_forks),
        child_test(races_of_frees),
        child_test(without_memory_none_is),
        child_test(without_addresses_none_is),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
