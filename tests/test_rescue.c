/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls that find no memory while other threads are about to free some: they wait, but not for
 * long. */
#include <errno.h>
#include <owl/array.h>
#include <owl/large.h>
#include <owl/option.h>
#include <owl/pages.h>

#include "cache_inside.h"

#include "alloc.h"
#include "child.h"
#include "option.h"
#include "os.h"
#include "pool.h"
#include "scavenger.h"
#include "stats.h"

#define MIB ((size_t)1 << 20)
#define ASKED (3 * MIB)

enum { BLOCKS = 600, NEVER = 1000 };

static struct owl_cache *full; /* of a thread that does nothing any more */
static pthread_barrier_t filled, ended;
static pthread_t filler;

/* Leaves its magazines full of free blocks, some 10 MiB. */
static void *fill_cache(void *unused)
{
    static void *blocks[BLOCKS];
    for (size_t size = 2048; size <= OWL_SMALL_MAX; size += size / 8)
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < BLOCKS; i++)
                check((blocks[i] = owl_malloc(size)) != NULL);
            for (int i = 0; i < BLOCKS; i++)
                owl_free(blocks[i]);
        }
    full = owl_cache_get();
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&ended);
    return unused;
}

static unsigned sleeps, slept_ms, free_after;

/* In place of the system's: the other thread's slow path ends during some sleep. */
static void sleep_and_see(owl_u32 *word, uint32_t value, unsigned milliseconds)
{
    (void)word;
    (void)value;
    slept_ms += milliseconds;
    if (++sleeps == free_after)
        owl_cache_leave(full);
}

/* From now on the cache of another thread is busy, with all that the limit allows but a MiB in its
 * magazines, until so many sleeps have passed. */
static void begin(unsigned sleeps_until)
{
    /* The scavenger sleeps by the same call. */
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    pthread_barrier_init(&filled, NULL, 2);
    pthread_barrier_init(&ended, NULL, 2);
    check(pthread_create(&filler, NULL, fill_cache, NULL) == 0);
    pthread_barrier_wait(&filled);
    owl_cache_enter(full);
    owl_trim(0);
    size_t bytes = owl_pool_count().in_use;
    check(bytes > 8 * MIB && owl_option_set("limit", (long long)(bytes + MIB)) == 0);
    owl_os.sleep = sleep_and_see;
    free_after = sleeps_until;
}

static void finish(void)
{
    if (sleeps < free_after)
        owl_cache_leave(full);
    pthread_barrier_wait(&ended);
    check(pthread_join(filler, NULL) == 0);
    owl_trim(0);
    check(owl_pool_count().in_use == 0 && owl_stats_heap_is_valid());
}

static void what_comes_soon_is_awaited(void)
{
    begin(3);
    errno = 7;
    void *p = opaque(owl_malloc(ASKED));
    check(p != NULL && errno == 7);
    check(sleeps == 3 && slept_ms == 1 + 2 + 3);
    owl_free(p);
    finish();
}

static void but_not_for_ever(void)
{
    begin(NEVER);
    check(opaque(owl_malloc(ASKED)) == NULL && errno == ENOMEM);
    check(sleeps == OWL_TRIES && slept_ms < 100);
    check(opaque(owl_malloc(64 * MIB)) == NULL && sleeps == OWL_TRIES); /* more than the limit */
    finish();
}

static void rings_wait(void)
{
    begin(1);
    void *p = owl_ring(ASKED);
    check(p != NULL && sleeps == 1);
    owl_free(p);
    finish();
}

static void whole_pages_wait(void)
{
    begin(1);
    size_t pages = ASKED / owl_os.page;
    void *p = owl_pages_alloc(pages, 0);
    check(p != NULL && sleeps == 1);
    owl_pages_free(p, 0);
    finish();
}

static void arrays_wait(void)
{
    begin(1);
    struct owl_array *a = owl_array_new(1, 64 * MIB);
    check(a != NULL && sleeps == 0);
    check(owl_array_append(a, NULL, ASKED) == a && sleeps == 1);
    owl_array_release(a);
    finish();
}

/* Blocks in the hands of who empties another thread's cache are no one's. */
static void who_carries_is_awaited(void)
{
    begin(1);
    size_t all = (size_t)owl_option(OWL_OPTION_LIMIT);
    void *some = opaque(owl_malloc(100));
    owl_cache_leave(full);
    owl_trim(0);
    free_after = NEVER;
    check(opaque(owl_malloc(all)) == NULL && sleeps == 0);
    owl_cache_carriers = 1;
    check(opaque(owl_malloc(all)) == NULL && sleeps == OWL_TRIES);
    sleeps = 0;
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        check(opaque(owl_malloc(all)) == NULL && sleeps == 0);
        _exit(0);
    }
    check(child_wait(child) == 0);
    owl_cache_carriers = 0;
    owl_free(some);
    owl_cache_enter(full);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(what_comes_soon_is_awaited), child_test(but_not_for_ever),
        child_test(rings_wait),             child_test(whole_pages_wait),
        child_test(arrays_wait),                child_test(who_carries_is_awaited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
