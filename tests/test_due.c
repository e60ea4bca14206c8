/* SPDX-License-Identifier: BSD-2-Clause */
/* How much free memory may be resident: what is counted, and how well. */
#include "due.h"

#include <pthread.h>
#include <stdatomic.h>

#include "alloc.h"
#include "cache.h"
#include "child.h"
#include "option.h"
#include "os.h"
#include "stats.h"

enum { KIB = 1 << 10, MIB = 1 << 20, MANY = 64, BLOCKS = 200, SMALL = 700 };

static uint32_t units(void)
{
    return owl_u32_load_relaxed(&owl_due.slabs) + owl_u32_load_relaxed(&owl_due.caches);
}

static void what_is_noted_is_near(void)
{
    uint32_t noted[MANY] = {0}, before = units();
    uint64_t random = 1;
    for (int i = 0; i < 100000; i++) {
        uint64_t r = next_random(&random);
        size_t bytes = r >> 8 & 3 ? r % MIB : 0;
        owl_due_note(&owl_due.slabs, &noted[i % MANY], bytes);
        check(owl_due_is_near(noted[i % MANY], bytes));
        size_t told = (size_t)noted[i % MANY] << OWL_DUE_SHIFT;
        size_t off = told > bytes ? told - bytes : bytes - told;
        check(off < (size_t)OWL_DUE_STEP << OWL_DUE_SHIFT);
    }
    uint32_t sum = 0;
    for (int i = 0; i < MANY; i++)
        sum += noted[i];
    check(units() - before == sum);
    for (int i = 0; i < MANY; i++)
        owl_due_note(&owl_due.slabs, &noted[i], i);
    check(units() == before);
}

/* The word that all threads share changes once. */
static void the_same_few_blocks_change_nothing(void)
{
    uint32_t noted = 0, before = units();
    owl_due_note(&owl_due.slabs, &noted, MIB);
    uint32_t after = units();
    check(after > before);
    for (size_t i = 0; i < 1000; i++) {
        owl_due_note(&owl_due.slabs, &noted, MIB + i % 49 * KIB);
        owl_due_note(&owl_due.slabs, &noted, MIB - i % 48 * KIB);
        check(units() == after);
    }
    owl_due_note(&owl_due.slabs, &noted, 0);
    check(units() == before);
}

static void fill_magazines(void)
{
    static __thread void *p[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        p[i] = owl_malloc(SMALL + (size_t)i % 4 * SMALL);
        check(p[i] != NULL);
    }
    for (int i = 0; i < BLOCKS; i++)
        owl_free(p[i]);
}

static void what_magazines_may_hold_is_counted(void)
{
    fill_magazines();
    owl_trim(0);
    const struct owl_cache *c = owl_cache_get();
    uint32_t before = units();
    check(c->room == 0 && c->noted == 0);
    fill_magazines();
    struct owl_cache_counts counts = {.blocks = 0};
    owl_cache_count(owl_cache_get(), &counts);
    check(counts.bytes > 100 * KIB && c->room >= counts.bytes);
    check(owl_due_is_near(c->noted, c->room) && units() - before >= owl_due_units(100 * KIB));
    owl_trim(0);
    check(c->room == 0 && c->noted == 0 && units() == before);
}

static void what_was_left_by_a_look_is_not_due(void)
{
    owl_trim(0);
    uint32_t noted = 0, before = owl_due_now();
    owl_due_note(&owl_due.caches, &noted, 10 * MIB);
    check(owl_due_now() - before == 10);
    owl_due_see();
    check(owl_due_now() == before);
    owl_due_note(&owl_due.caches, &noted, 15 * MIB);
    check(owl_due_now() - before == 5);
    owl_due_note(&owl_due.caches, &noted, 2 * MIB);
    owl_due_unsee();
    owl_due_note(&owl_due.caches, &noted, 4 * MIB);
    check(owl_due_now() - before == 2);
    owl_due_note(&owl_due.caches, &noted, 0);
}

static pthread_barrier_t filled, ended;

/* One of each size, in use. What may be in the magazines is not there. */
static void *keep_and_sleep(void *unused)
{
    void *p[OWL_CLASSES];
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        p[class] = owl_malloc(owl_classes[class].size);
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&ended);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        owl_free(p[class]);
    return unused;
}

static void magazines_that_hold_nothing_are_forgotten(void)
{
    pthread_t thread;
    owl_trim(0);
    pthread_barrier_init(&filled, NULL, 2);
    pthread_barrier_init(&ended, NULL, 2);
    check(pthread_create(&thread, NULL, keep_and_sleep, NULL) == 0);
    pthread_barrier_wait(&filled);
    check(owl_u32_load_relaxed(&owl_due.caches) > 0);
    owl_trim(0);
    check(owl_u32_load_relaxed(&owl_due.caches) == 0);
    pthread_barrier_wait(&ended);
    pthread_join(thread, NULL);
}

/* --- threads that hold little each, with a start that does nothing --- */

static atomic_int starts;

static int pretend_to_start(void (*body)(bool alone), owl_word *local, uintptr_t value)
{
    (void)body, (void)local, (void)value;
    atomic_fetch_add(&starts, 1);
    return 0;
}

static void *fill_and_sleep(void *unused)
{
    fill_magazines();
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&ended);
    return unused;
}

static void little_in_many_threads_is_much(void)
{
    pthread_t threads[MANY];
    struct owl_stats s;
    owl_os.hidden_start = pretend_to_start;
    pthread_barrier_init(&filled, NULL, MANY + 1);
    pthread_barrier_init(&ended, NULL, MANY + 1);
    for (int i = 0; i < MANY; i++)
        check(pthread_create(&threads[i], NULL, fill_and_sleep, NULL) == 0);
    pthread_barrier_wait(&filled);
    owl_stats(&s);
    check(s.cached_bytes > OWL_DUE_THREADS * MIB && s.cached_bytes / MANY < MIB);
    check(owl_due_now() >= OWL_DUE_THREADS && starts == 1);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0)
        _exit(owl_due_now() < MANY * BLOCKS * SMALL / MIB ? 0 : 1);
    check(child_wait(child) == 0);
    owl_trim(0);
    owl_stats(&s);
    check(s.cached_bytes < OWL_DUE_THREADS * MIB / 4 && owl_due_now() == 0);
    pthread_barrier_wait(&ended);
    for (int i = 0; i < MANY; i++)
        pthread_join(threads[i], NULL);
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(what_is_noted_is_near),
        child_test(the_same_few_blocks_change_nothing),
        child_test(what_magazines_may_hold_is_counted),
        child_test(what_was_left_by_a_look_is_not_due),
        child_test(magazines_that_hold_nothing_are_forgotten),
        child_test(little_in_many_threads_is_much),
    };
    return cmocka_run_group_tests_name("due", tests, NULL, NULL);
}
