/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Works that together come through all slow paths, and blocks beside them, for tests of forks in
 * the middle of them. A child of such a fork goes on where the parent was, ends the work as that
 * does, and writes to all blocks; neither side may notice the other.
 */
#ifndef OWL_TESTS_FORK_WORKS_H
#define OWL_TESTS_FORK_WORKS_H

#include <owl/large.h>
#include <owl/option.h>
#include <sys/prctl.h>

#include "alloc.h"
#include "cache.h"
#include "child.h"
#include "option.h"
#include "pool.h"
#include "stats.h"

/* --- blocks that stay --- */

enum { STAYING = 12 };

static unsigned char *staying[STAYING];
static const size_t staying_sizes[STAYING] = {16,     100,     1000,    9000,    30000,   70000,
                                              300000, 2 << 20, 3 << 20, 5 << 20, 3 << 20, 4 << 20};

/* Writes to the first and last byte, and to one of each 64 KiB. */
static inline void write_staying(int value)
{
    for (int i = 0; i < STAYING; i++) {
        for (size_t at = 0; at < staying_sizes[i]; at += 65536)
            staying[i][at] = (unsigned char)(value + i);
        staying[i][staying_sizes[i] - 1] = (unsigned char)(value + i);
    }
}

static inline void check_staying(int value)
{
    for (int i = 0; i < STAYING; i++) {
        for (size_t at = 0; at < staying_sizes[i] - 1; at += 65536)
            check(staying[i][at] == (unsigned char)(value + i));
        check(staying[i][staying_sizes[i] - 1] == (unsigned char)(value + i));
    }
}

static inline void make_staying(void)
{
    for (int i = 0; i < STAYING; i++) {
        staying[i] = owl_malloc(staying_sizes[i]);
        check(staying[i] != NULL);
    }
    write_staying(1);
}

/* --- another thread, which sleeps --- */

enum { THEIRS = 200 };

static void *theirs[THEIRS], *ours[THEIRS];
static pthread_barrier_t met;

static inline void *take_and_sleep(void *unused)
{
    for (int i = 0; i < THEIRS; i++)
        check((theirs[i] = owl_malloc(1 + (size_t)i % 5 * 700)) != NULL);
    for (int i = 0; i < THEIRS; i++)
        owl_free(ours[i]);
    owl_free(owl_malloc(400000));
    pthread_barrier_wait(&met);
    for (;;)
        pause();
    return unused;
}

static inline void start_sleeper(void)
{
    pthread_t thread;
    check(pthread_barrier_init(&met, NULL, 2) == 0);
    for (int i = 0; i < THEIRS; i++)
        check((ours[i] = owl_malloc(1 + (size_t)i % 3 * 1200)) != NULL);
    check(pthread_create(&thread, NULL, take_and_sleep, NULL) == 0);
    pthread_barrier_wait(&met);
}

/* --- tests that hang --- */

/* One that hangs in a fork has all signals blocked; its children are not to outlive it. */
static inline void *await_alarm(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static inline void let_alarms_in(void)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, await_alarm, NULL) == 0);
}

static inline void end_with_parent(void)
{
    check(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
}

/* --- the works --- */

static inline void work_small(void)
{
    void *p[30];
    for (int i = 0; i < 30; i++)
        p[i] = owl_malloc(4000 + (size_t)i % 3 * 10000);
    for (int i = 0; i < 30; i++)
        owl_free(p[i]);
    owl_cache_flush(owl_cache_get());
}

static inline void work_large(void)
{
    void *p[8];
    for (int i = 0; i < 8; i++)
        p[i] = owl_malloc(100000 + (size_t)i * 300000);
    p[0] = owl_realloc(p[0], 900000);
    p[1] = owl_realloc(p[1], 5000000);
    for (int i = 0; i < 8; i++)
        owl_free(p[i]);
    owl_pool_purge(0);
}

static inline void work_mappings(void)
{
    size_t gib = (size_t)1 << 30;
    char *p = owl_malloc(gib + 100000);
    check(p != NULL && (p = owl_realloc(p, gib + 9000000)) != NULL);
    p[gib] = 1;
    p = owl_realloc(p, gib + 50000);
    owl_free(p);
}

/* Home and into inboxes; and what others have put into this thread's. */
static inline void work_remote(void)
{
    for (int i = 0; i < THEIRS; i++) {
        owl_free(theirs[i]);
        theirs[i] = NULL;
    }
    for (int i = 0; i < 120; i++)
        check(owl_malloc(1 + (size_t)i % 3 * 1200) != NULL);
}

static inline void work_trim(void)
{
    owl_trim(0);
}

static inline void work_uncached(void)
{
    struct owl_block *p[50];
    for (unsigned i = 0; i < 50; i++)
        p[i] = owl_cache_take_uncached(20 + i % 10);
    for (unsigned i = 0; i < 50; i++) {
        owl_block_mark(p[i]);
        owl_slab_give(&p[i], 1);
    }
    owl_trim(0);
}

static inline void work_files(void)
{
    char *p = owl_malloc(3 << 20);
    check(p != NULL && (p = owl_realloc(p, 6 << 20)) != NULL);
    p[1] = p[(6 << 20) - 1] = 5;
    char *d = owl_dup(p);
    check(d != NULL && d[1] == 5 && d[(6 << 20) - 1] == 5);
    p[1] = 6;
    owl_free(p);
    check(d[1] == 5);
    owl_free(d);
    owl_pool_purge(0);
}

static inline void hold_free_blocks(void)
{
    owl_option_force(OWL_OPTION_QUARANTINE, 4000);
    owl_cache_harden();
}

static inline void guard_blocks(void)
{
    owl_option_force(OWL_OPTION_GUARD, 3);
    owl_cache_harden();
}

static inline void work_few(void)
{
    void *p[12];
    for (int i = 0; i < 24; i++)
        if (i < 12)
            p[i] = owl_malloc(1000);
        else
            owl_free(p[i - 12]);
}

static inline void use_files(void)
{
    check(owl_option_set("backing", OWL_BACKING_MEMFD) == 0);
}

/* `leisurely`: too many instructions to look at each. */
struct work {
    const char *name;
    bool leisurely;
    void (*prepare)(void);
    void (*run)(void);
};

static const struct work works[] = {
    {"small", false, NULL, work_small},
    {"large", false, NULL, work_large},
    {"mappings", false, NULL, work_mappings},
    {"remote", false, start_sleeper, work_remote},
    {"trim", false, start_sleeper, work_trim},
    {"uncached", false, NULL, work_uncached},
    {"files", false, use_files, work_files},
    {"quarantine", false, hold_free_blocks, work_few},
    {"guarded", true, guard_blocks, work_few},
};

#define WORKS (sizeof works / sizeof *works)

static inline void prepare_work(const struct work *w)
{
    owl_free(owl_malloc(1));
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    if (w->prepare != NULL)
        w->prepare();
    make_staying();
}

/* After the work: in the child of a fork first, then in the parent. */
static inline void end_work(bool child)
{
    check_staying(1);
    if (child)
        write_staying(100);
    check(owl_stats_heap_is_valid());
    work_small();
    work_large();
    owl_trim(0);
    check(owl_stats_heap_is_valid());
    check_staying(child ? 100 : 1);
}

#endif
