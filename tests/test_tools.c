/* SPDX-License-Identifier: BSD-2-Clause */
/* What AddressSanitizer is told of blocks: the real one where the test is compiled for it, else one
 * that only remembers. (tests/tools_test.sh shows what it finds, and what memcheck does.) */
#include <errno.h>
#include <owl/array.h>
#include <owl/large.h>
#include <owl/pages.h>
#include <owl/stats.h>
#include <pthread.h>

#include "alloc.h"
#include "careful.h"
#include "child.h"
#include "option.h"
#include "os.h"
#include "stats.h"
#include "tools.h"

#if defined(__SANITIZE_ADDRESS__)
#define REAL 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define REAL 1
#endif
#endif

#ifdef REAL

int __asan_address_is_poisoned(const volatile void *p);

static bool is_poisoned(const char *p)
{
    return __asan_address_is_poisoned(p) != 0;
}

#else

void __asan_poison_memory_region(const volatile void *start, size_t bytes);
void __asan_unpoison_memory_region(const volatile void *start, size_t bytes);

/* All that was said, in order. */
static struct {
    uintptr_t start;
    size_t bytes;
    bool poisoned;
} said[1 << 17];
static size_t times;
static pthread_mutex_t saying = PTHREAD_MUTEX_INITIALIZER;

static void say(const volatile void *start, size_t bytes, bool poisoned)
{
    pthread_mutex_lock(&saying);
    check(times < sizeof said / sizeof *said);
    said[times].start = (uintptr_t)start;
    said[times].bytes = bytes;
    said[times++].poisoned = poisoned;
    pthread_mutex_unlock(&saying);
}

void __asan_poison_memory_region(const volatile void *start, size_t bytes)
{
    say(start, bytes, true);
}

void __asan_unpoison_memory_region(const volatile void *start, size_t bytes)
{
    say(start, bytes, false);
}

static bool is_poisoned(const char *p)
{
    for (size_t i = times; i-- > 0;)
        if ((uintptr_t)p - said[i].start < said[i].bytes)
            return said[i].poisoned;
    return false;
}

#endif

static void watch(bool wanted, size_t quarantine)
{
    owl_option_force(OWL_OPTION_TOOLS, wanted);
    owl_option_force(OWL_OPTION_QUARANTINE, (long long)quarantine);
    owl_cache_harden();
    check(owl_tools.on == wanted && owl_tools.asan == wanted && !owl_tools.memcheck);
}

/* Its first and last bytes are the caller's, and what is next to them is not. */
static bool is_block_of(const char *p, size_t bytes)
{
    return p != NULL && !is_poisoned(p) && !is_poisoned(p + bytes - 1) && is_poisoned(p + bytes) &&
           is_poisoned(p + bytes + 15) && owl_malloc_usable_size(p) == bytes;
}

static const size_t sizes[] = {1, 8, 15, 16, 17, 100, 4096, 32720, 32768, 40000, 300000, 3000000};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void the_rest_is_poisoned(void)
{
    watch(true, 0);
    for (size_t i = 0; i < SIZES; i++) {
        size_t n = sizes[i];
        char *p = owl_malloc(n), *q = owl_calloc(n, 1), *r = owl_aligned_alloc(128, n);
        check(is_block_of(p, n) && is_block_of(q, n) && is_block_of(r, n));
        check((uintptr_t)r % 128 == 0 && q[0] == 0 && q[n - 1] == 0 && owl_good_size(n) == n);
        memset(p, 1, n);
        p = owl_realloc(p, n + 1);
        check(is_block_of(p, n + 1) && p[0] == 1 && p[n - 1] == 1);
        p = owl_grow_front(p, 32);
        check(is_block_of(p, n + 33) && p[32] == 1);
        p = owl_shrink_front(p, 16);
        check(is_block_of(p, n + 17) && p[16] == 1);
        char *s = owl_dup(p);
        check(is_block_of(s, n + 17) && s[16] == 1);
        owl_free_sized(p, n + 17);
        owl_free(q);
        owl_free(r);
        owl_free(s);
    }
    check(owl_stats_heap_is_valid());
}

static void nothing_is_told_without_the_option(void)
{
    watch(false, 0);
    char *p = owl_malloc(100);
    check(!is_poisoned(p + 100) && owl_malloc_usable_size(p) == owl_good_size(100));
    owl_free(p);
    check(!is_poisoned(p) && owl_malloc(100) == p);
}

static void pages_are_as_many_as_were_asked_for(void)
{
    watch(true, 0);
    for (size_t n = 1; n <= 64; n *= 2) {
        char *p = owl_pages_alloc(n, OWL_PAGES_ZERO);
        check(is_block_of(p, n * owl_os.page) && (uintptr_t)p % owl_os.page == 0);
        p = owl_pages_realloc(p, n + 1, OWL_PAGES_ZERO);
        check(is_block_of(p, (n + 1) * owl_os.page) && (uintptr_t)p % owl_os.page == 0);
        check(owl_pages_release(p, 0, n + 1) == 0 && p[n * owl_os.page] == 0);
        owl_pages_free(p, OWL_PAGES_SCRUB);
    }
}

/* A block waits until so many bytes were freed after it. */
static void freed_blocks_are_poisoned_while_they_wait(void)
{
    watch(true, 100000);
    for (size_t i = 0; i < SIZES && sizes[i] < 50000; i++) {
        char *p = owl_malloc(sizes[i]);
        owl_free(p);
        check(is_poisoned(p) && is_poisoned(p + sizes[i] - 1));
        for (size_t n = 0; n < 200000; n += 1000) {
            void *next = owl_malloc(1000);
            check(next != p);
            owl_free(next);
        }
        check(!is_poisoned(p) && !is_poisoned(p + sizes[i] + 15));
    }
    check(owl_stats_heap_is_valid());
}

/* What is beside the elements of an array with a reserve may be no memory at all, from a page's end
 * on. */
static bool is_room(const char *p, const char *last)
{
    return is_poisoned(p) || (uintptr_t)p / owl_os.page != (uintptr_t)last / owl_os.page;
}

static void room_of_arrays_is_poisoned(void)
{
    watch(true, 0);
    for (size_t reserve = 0; reserve <= 1 << 20; reserve += 1 << 20) {
        struct owl_array *a = owl_array_new(8, reserve);
        for (uint64_t i = 0; i < 2000; i++) {
            a = i % 2 ? owl_array_append(a, &i, 1) : owl_array_prepend(a, &i, 1);
            const char *first = a->first, *end = a->end;
            check(!is_poisoned(first) && !is_poisoned(end - 1) && is_room(end, end - 1));
            check(reserve == 0 || is_room(first - 8, first));
        }
        a = owl_array_erase(owl_array_erase(a, 100, 100), 0, 200);
        check(is_poisoned((char *)a->end) && is_poisoned((char *)a->first - 8));
        check(owl_array_count(a) == 1700 && *(uint64_t *)owl_array_at(a, 1699) == 1999);
        a = owl_array_shrink(a);
        check(*(uint64_t *)owl_array_at(a, 1699) == 1999 && !is_poisoned((char *)a->end - 1));
        char *was = a->first;
        owl_array_release(a);
        check(reserve == 0 || !is_poisoned(was - 8));
    }
}

/* From before the tool was known; and rings, which are the caller's from end to end. */
static void blocks_without_a_note(void)
{
    watch(false, 0);
    char *small = owl_malloc(100), *large = owl_malloc(100000);
    size_t usable = owl_malloc_usable_size(large);
    watch(true, 0);
    check(owl_malloc_usable_size(small) == 112 && owl_malloc_usable_size(large) == usable);
    small = owl_realloc(small, 50);
    check(is_block_of(small, 50));
    owl_free(small);
    owl_free(large);
    char *ring = owl_ring(65536);
    if (ring != NULL) {
        memset(ring, 1, 131072);
        check(owl_malloc_usable_size(ring) == 131072 && !is_poisoned(ring + 131071));
    }
    owl_free(ring);
    check(owl_stats_heap_is_valid());
}

/* A note that a faulty program wrote over is none; but what errs by less than 16 bytes, at either
 * end, does not meet it. */
OWL_TOOLS_BLIND static void a_note_that_was_written_over(void)
{
    watch(true, 0);
    char *p = opaque(owl_malloc(64));
    size_t whole = owl_span_of(p)->bytes;
    check(whole == 64 + OWL_TOOLS_ROOM);
    for (size_t i = 0; i < 16; i++) {
        p[64 + i] = 1;
        p[whole - 1 - i] = 1;
    }
    check(owl_malloc_usable_size(p) == 64);
    for (size_t i = 80; i < 96; i++) {
        p[i] ^= 4;
        check(owl_malloc_usable_size(p) == whole);
        p[i] ^= 4;
    }
    check(owl_malloc_usable_size(p) == 64);
    owl_free(p);
}

static void wrong_frees_are_reported(void)
{
    watch(true, 0);
    char *p = owl_malloc(100);
    owl_free(p);
    owl_free(opaque(p));
}

static void a_double_free_is_reported(void)
{
    int status = child_status(wrong_frees_are_reported);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* What is exported, parent and child of a fork share: with its note, which each of them needs. */
static void a_child_frees_what_was_exported(void)
{
    watch(true, 0);
    size_t offset, bytes = 100001;
    char *p = owl_malloc(bytes);
    int file = owl_export(p, &offset);
    check(file >= 0 && is_block_of(p, bytes));
    pid_t pid = fork();
    if (pid == 0) {
        owl_free(p);
        _exit(owl_stats_heap_is_valid() ? 0 : 1);
    }
    check(child_wait(pid) == 0 && is_block_of(p, bytes));
    owl_free(p);
}

enum { THREADS = 4, SLOTS = 64 };

static void *work(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    char *blocks[SLOTS] = {NULL};
    for (int i = 0; i < ROUNDS(4000); i++) {
        char **b = &blocks[next_random(&random) % SLOTS];
        size_t n = 1 + next_random(&random) % 5000;
        check(*b == NULL || **b == (char)(uintptr_t)b);
        *b = owl_realloc(*b, n);
        memset(*b, (char)(uintptr_t)b, n);
        if (next_random(&random) % 3 == 0) {
            owl_free(*b);
            *b = NULL;
        }
    }
    for (int i = 0; i < SLOTS; i++)
        owl_free(blocks[i]);
    return NULL;
}

static void threads(void)
{
    watch(true, 50000);
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        check(pthread_join(threads[i], NULL) == 0);
    check(owl_stats_heap_is_valid());
}

static void no_memory(void)
{
    watch(true, 0);
    errno = 0;
    check(owl_malloc(opaque_size(PTRDIFF_MAX)) == NULL && errno == ENOMEM);
    errno = 0;
    check(owl_malloc(opaque_size(SIZE_MAX)) == NULL && errno == ENOMEM);
    char *p = owl_malloc(100);
    check(owl_realloc(p, opaque_size(PTRDIFF_MAX)) == NULL && is_block_of(p, 100));
    owl_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(the_rest_is_poisoned),
        child_test(nothing_is_told_without_the_option),
        child_test(pages_are_as_many_as_were_asked_for),
        child_test(freed_blocks_are_poisoned_while_they_wait),
        child_test(room_of_arrays_is_poisoned),
        child_test(blocks_without_a_note),
        child_test(a_note_that_was_written_over),
        child_test(a_double_free_is_reported),
        child_test(a_child_frees_what_was_exported),
        child_test(threads),
        child_test(no_memory),
    };
    return cmocka_run_group_tests_name("tools", tests, NULL, NULL);
}
