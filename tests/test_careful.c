/* SPDX-License-Identifier: BSD-2-Clause */
/* The options junk, zero_on_free and quarantine: what blocks are filled with, what is found of
 * writes to free ones, and how long these wait. */
#include <errno.h>
#include <owl/check.h>
#include <owl/large.h>
#include <owl/option.h>
#include <owl/stats.h>
#include <pthread.h>

#include "alloc.h"
#include "careful.h"
#include "death.h"
#include "option.h"
#include "os.h"
#include "stats.h"

static struct owl_corruption told;
static owl_u32 calls;

static void note(const struct owl_corruption *c)
{
    told = *c;
    owl_u32_add(&calls, 1);
}

static const char written[] = "written to after the block was freed", twice[] = "double free";

/* The fault was told once. */
static bool was_told(const char *what, const void *pointer, const void *block)
{
    bool right = owl_u32_load_relaxed(&calls) == 1 && strcmp(told.what, what) == 0 &&
                 told.pointer == pointer && told.block == block;
    owl_u32_store_relaxed(&calls, 0);
    return right;
}

static void use(bool junk, bool zero, size_t quarantine)
{
    owl_option_force(OWL_OPTION_JUNK, junk);
    owl_option_force(OWL_OPTION_ZERO_ON_FREE, zero);
    owl_option_force(OWL_OPTION_QUARANTINE, (long long)quarantine);
    owl_cache_harden();
    owl_on_corruption(note);
}

static bool all_are(const void *p, size_t bytes, int value)
{
    const volatile unsigned char *at = opaque((void *)(uintptr_t)p);
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != value)
            return false;
    return true;
}

static void poke(char *p)
{
    *(volatile char *)opaque(p) ^= 1;
}

static const size_t sizes[] = {1, 16, 17, 100, 1000, 4096, 30000, 32768, 40000, 300000, 3000000};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* --- junk --- */

static void new_blocks_are_junk(void)
{
    use(true, false, 0);
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < SIZES; i++) {
            char *p = owl_malloc(sizes[i]);
            check(all_are(p, sizes[i], OWL_JUNK_OUT));
            memset(p, 1, sizes[i]);
            char *q = owl_calloc(1, sizes[i]);
            check(all_are(q, sizes[i], 0));
            char *r = owl_aligned_alloc(64, sizes[i]);
            check(all_are(r, sizes[i], OWL_JUNK_OUT));
            owl_free(p);
            owl_free(q);
            owl_free(r);
        }
    check(owl_u32_load_relaxed(&calls) == 0 && owl_stats_heap_is_valid());
}

/* But for the mark. What becomes of a large one's memory is the pool's business. */
static void freed_blocks_are_junk(void)
{
    use(true, false, 0);
    for (size_t i = 0; i < SIZES && sizes[i] <= OWL_SMALL_MAX; i++) {
        char *p = owl_malloc(sizes[i]), *keep = owl_malloc(sizes[i]);
        memset(p, 1, sizes[i]);
        owl_free(p);
        check(all_are(p + 8, owl_good_size(sizes[i]) - 8, OWL_JUNK_FREE));
        owl_trim(0);
        check(all_are(p + 8, owl_good_size(sizes[i]) - 8, OWL_JUNK_FREE));
        check(keep != NULL);
    }
}

/* Each byte but those of the mark, in a magazine and at home. */
static void writes_after_free_are_found(void)
{
    use(true, false, 0);
    for (size_t i = 0; i < 6; i++) {
        size_t bytes = owl_good_size(sizes[i]), step = bytes < 200 ? 1 : bytes / 100;
        void *keep = owl_malloc(bytes);
        for (size_t at = 8; at < bytes; at += step) {
            char *p = owl_malloc(bytes);
            owl_free(p);
            if (at % 2 != 0)
                owl_trim(0);
            poke(p + at);
            for (int n = 0; n < 1000 && owl_u32_load_relaxed(&calls) == 0; n++)
                check(owl_malloc(bytes) != NULL);
            check(was_told(written, p + at, p));
        }
        owl_free(keep);
    }
}

static void overflow_into_a_free_neighbour(void)
{
    use(true, false, 0);
    char *p = owl_malloc(112), *q = p + 112;
    void *others[3] = {owl_malloc(112), owl_malloc(112), owl_malloc(112)};
    owl_free(q);
    memset(opaque(p), 1, 112 + 20);
    check(owl_malloc(112) == q && was_told(written, q + 8, q));
    check(others[2] != NULL);
}

/* It was never handed out, but has a mark. */
static void never_allocated_blocks_are_known(void)
{
    use(true, false, 0);
    char *p = owl_malloc(112);
    owl_free(p + 200 * 112);
    check(was_told(twice, p + 200 * 112, p + 200 * 112));
}

/* --- zero_on_free --- */

static void freed_blocks_are_wiped(void)
{
    use(false, true, 0);
    for (size_t i = 0; i < SIZES; i++) {
        char *p = owl_malloc(sizes[i]), *keep = owl_malloc(sizes[i]);
        memset(p, 1, owl_malloc_usable_size(p));
        size_t bytes = owl_malloc_usable_size(p);
        owl_free(p);
        check(all_are(p + 8, bytes - 8, 0));
        check(sizes[i] <= OWL_SMALL_MAX || all_are(p, bytes, 0));
        owl_free(keep);
    }
}

static void what_is_cut_off_is_wiped(void)
{
    use(false, true, 0);
    char *p = owl_malloc(300000);
    memset(p, 1, 300000);
    check(owl_realloc(p, 100000) == p);
    check(all_are(p, 100000, 1) && all_are(p + 100000, owl_good_size(300000) - 100000, 0));
    owl_free(p);
}

/* A duplicate shares its pages. */
static void a_duplicate_stays(void)
{
    use(false, true, 0);
    size_t bytes = OWL_MEMFD_MIN;
    char *p = owl_malloc(bytes);
    memset(p, 1, bytes);
    char *q = owl_dup(p);
    check(q != NULL);
    owl_free(p);
    check(all_are(q, bytes, 1));
    owl_free(q);
}

/* Both: what is looked for is zero. */
static void junk_and_zero(void)
{
    use(true, true, 0);
    char *p = owl_malloc(100);
    check(all_are(p, 100, OWL_JUNK_OUT));
    owl_free(p);
    check(all_are(p + 8, 104, 0));
    poke(p + 50);
    check(owl_malloc(100) == p && was_told(written, p + 50, p));
}

/* --- quarantine --- */

/* Frees a block and counts how many others of its size are freed before it comes again. */
static size_t wait_of(size_t bytes, size_t most)
{
    char *p = owl_malloc(bytes);
    owl_free(p);
    size_t i = 0;
    for (char *q = NULL; q != p && i < most; i++) {
        q = owl_malloc(bytes);
        owl_free(q);
    }
    return i;
}

static void blocks_wait(void)
{
    use(false, false, 100000);
    for (size_t round = 0; round < 3; round++) {
        check(wait_of(1000, 2000) >= 100000 / 1024 - 1);
        check(wait_of(16, 20000) >= 100000 / 16 - 1);
        check(wait_of(40000, 100) >= 2);
        check(wait_of(200000, 100) < 3); /* too large to wait */
    }
    struct owl_stats s;
    owl_stats(&s);
    check(s.live_bytes <= 200000 && owl_stats_heap_is_valid()); /* counted by granules */
}

static void no_more_blocks_wait_than_there_is_room_for(void)
{
    use(false, false, (size_t)1 << 30);
    struct owl_stats s;
    for (size_t i = 0; i < 3 * OWL_QUARANTINE_BLOCKS; i++)
        owl_free(owl_malloc(16));
    owl_stats(&s);
    check(s.live_bytes == 16 * OWL_QUARANTINE_BLOCKS);
}

static void waiting_blocks_are_known(void)
{
    use(false, false, (size_t)1 << 20);
    char *p = owl_malloc(100), *q = owl_malloc(100000);
    owl_free(p);
    owl_free(q);
    owl_free(opaque(p));
    check(was_told(twice, p, p));
    owl_free(opaque(q));
    check(was_told(twice, q, q));
    errno = 0;
    check(owl_realloc(opaque(q), 10) == NULL && errno == EINVAL && was_told(twice, q, q));
}

static void drain(void)
{
    while (owl_careful_let_go(true) != NULL)
        continue;
}

static void waiting_blocks_are_looked_at(void)
{
    use(true, false, (size_t)1 << 20);
    char *p = owl_malloc(100), *q = owl_malloc(100000);
    owl_free(p);
    owl_free(q);
    check(all_are(q, 100000, OWL_JUNK_FREE));
    poke(q + 12345);
    drain();
    check(was_told(written, q + 12345, q));
    p = owl_malloc(100);
    owl_free(p);
    poke(p); /* its mark */
    drain();
    check(was_told(written, p, p));
}

/* The mark is looked at without junk, too. */
static void marks_are_looked_at(void)
{
    use(false, false, (size_t)1 << 20);
    char *p = owl_malloc(100);
    owl_free(p);
    poke(p + 3);
    drain();
    check(was_told(written, p, p));
}

/* Rather than that a call finds no memory. */
static void they_wait_no_more_when_memory_is_short(void)
{
    use(false, false, (size_t)1 << 30);
    check(owl_option_set("limit", 64 << 20) == 0);
    for (int i = 0; i < 100; i++) {
        void *p = owl_malloc((size_t)10 << 20);
        check(p != NULL);
        owl_free(p);
    }
}

/* --- all of it, and threads --- */

static void *struggle(void *argument)
{
    enum { N = 50 };
    unsigned char *p[N] = {NULL};
    uint64_t random = 1 + (uintptr_t)argument;
    for (int i = 0; i < ROUNDS(20000); i++) {
        size_t k = next_random(&random) % N, bytes = 1 + next_random(&random) % 3000;
        if (next_random(&random) % 500 == 0)
            bytes *= 100;
        if (p[k] != NULL)
            check(p[k][0] == k && p[k][owl_malloc_usable_size(p[k]) - 1] == k);
        if (i % 3 == 0)
            p[k] = owl_realloc(p[k], bytes);
        else
            owl_free(p[k]), p[k] = owl_malloc(bytes);
        memset(p[k], (int)k, owl_malloc_usable_size(p[k]));
    }
    for (size_t k = 0; k < N; k++)
        owl_free(p[k]);
    return NULL;
}

/* What one frees another's call may release, in a thread that has ended since, too. */
static void threads_and_forks(void)
{
    pthread_t threads[4];
    use(true, false, (size_t)1 << 20);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 4; i++)
            check(pthread_create(&threads[i], NULL, struggle, (void *)(uintptr_t)i) == 0);
        for (int i = 0; i < ROUNDS(20); i++) {
            pid_t pid = fork();
            if (pid == 0) {
                struggle((void *)7);
                _exit(owl_u32_load_relaxed(&calls) == 0 ? 0 : 1);
            }
            check(child_wait(pid) == 0);
        }
        for (size_t i = 0; i < 4; i++)
            check(pthread_join(threads[i], NULL) == 0);
        owl_trim(0);
    }
    check(owl_u32_load_relaxed(&calls) == 0 && owl_stats_heap_is_valid());
}

static pthread_key_t key;

static void late(void *p)
{
    owl_free(p);
    owl_free(owl_malloc(500));
    check(pthread_setspecific(key, owl_malloc(700)) == 0);
}

static void *ends_late(void *unused)
{
    (void)unused;
    check(pthread_setspecific(key, owl_malloc(600)) == 0);
    return NULL;
}

/* Calls of a thread that has no cache any more. */
static void after_the_end_of_a_thread(void)
{
    pthread_t thread;
    use(true, true, 1000);
    check(pthread_key_create(&key, late) == 0);
    for (int i = 0; i < 50; i++) {
        check(pthread_create(&thread, NULL, ends_late, NULL) == 0);
        check(pthread_join(thread, NULL) == 0);
    }
    check(owl_u32_load_relaxed(&calls) == 0 && owl_stats_heap_is_valid());
}

/* No thread uses the fast paths, and claims work all the same. */
static void caches_are_veiled(void)
{
    use(true, false, 0);
    owl_free(owl_malloc(10));
    check(owl_cache_mine() == &owl_cache_none && owl_cache_get() != NULL);
    struct owl_cache_counts counts = {.blocks = 0};
    owl_cache_count(owl_cache_get(), &counts);
    check(counts.blocks > 0 && owl_cache_is_valid(owl_cache_get()));
    owl_cache_flush(owl_cache_get());
    check(owl_cache_mine() == &owl_cache_none && owl_malloc(10) != NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(new_blocks_are_junk),
        child_test(freed_blocks_are_junk),
        child_test(writes_after_free_are_found),
        child_test(overflow_into_a_free_neighbour),
        child_test(never_allocated_blocks_are_known),
        child_test(freed_blocks_are_wiped),
        child_test(what_is_cut_off_is_wiped),
        child_test(a_duplicate_stays),
        child_test(junk_and_zero),
        child_test(blocks_wait),
        child_test(no_more_blocks_wait_than_there_is_room_for),
        child_test(waiting_blocks_are_known),
        child_test(waiting_blocks_are_looked_at),
        child_test(marks_are_looked_at),
        child_test(they_wait_no_more_when_memory_is_short),
        child_test(threads_and_forks),
        child_test(after_the_end_of_a_thread),
        child_test(caches_are_veiled),
    };
    return cmocka_run_group_tests_name("careful", tests, NULL, NULL);
}
