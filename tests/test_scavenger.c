/* SPDX-License-Identifier: BSD-2-Clause */
/* The scavenger: what a look takes and what it leaves; when its thread comes and goes. */
#include "scavenger.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <time.h>

#include "alloc.h"
#include "child.h"
#include "due.h"
#include "faults.h"
#include "option.h"
#include "pool.h"
#include "stats.h"

enum { MIB = 1 << 20, MANY = 64, SMALL = 500, PATIENCE = 2000, FORKERS = 3, FORKS = 30 };

static void pause_for(long milliseconds)
{
    struct timespec t = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* As much as it likes may be dirty, and no thread comes in between. */
static void look_by_hand(void)
{
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    owl_option_force(OWL_OPTION_DIRTY, (long long)1 << 40);
}

static void look_until_done(void)
{
    int looks = 1;
    while (owl_scavenger_look())
        check(looks++ < 10);
}

static size_t dirty(void)
{
    return owl_pool_count().dirty << OWL_GRANULE_SHIFT;
}

static void *blocks[MANY];

static void take_much(void)
{
    for (int i = 0; i < MANY; i++) {
        blocks[i] = owl_malloc(MIB);
        check(blocks[i] != NULL);
        memset(blocks[i], i + 1, MIB);
    }
}

/* All of it to the pool. */
static void free_much(void)
{
    for (int i = 0; i < MANY; i++)
        owl_free(blocks[i]);
    owl_cache_flush(owl_cache_mine());
}

static void take_and_free_much(void)
{
    take_much();
    free_much();
}

/* --- looks --- */

static void dirty_runs_go_after_two_looks(void)
{
    look_by_hand();
    look_until_done();
    take_and_free_much();
    check(dirty() >= (size_t)MANY * MIB && owl_due_now() >= MANY);
    check(owl_scavenger_look());
    check(dirty() >= (size_t)MANY * MIB);
    check(!owl_scavenger_look());
    check(dirty() == 0 && owl_due_now() == 0);
    check(!owl_scavenger_look());
    check(owl_stats_heap_is_valid());
}

/* Of what is dirty, what was used in between stays. */
static void what_is_used_at_times_stays(void)
{
    look_by_hand();
    take_and_free_much();
    owl_scavenger_look();
    for (int i = 0; i < 5; i++) {
        void *p = owl_malloc((size_t)MANY / 2 * MIB - OWL_GRANULE);
        check(p != NULL);
        owl_free(p);
        check(owl_scavenger_look());
        check(dirty() >= (size_t)MANY / 2 * MIB - OWL_GRANULE && dirty() < (size_t)MANY * MIB);
    }
    look_until_done();
    check(dirty() == 0);
}

/* It is not looked at for ever. */
static void what_the_system_keeps_is_left(void)
{
    look_by_hand();
    look_until_done();
    take_and_free_much();
    faults_install();
    fault_always(FAULT_PURGE);
    check(owl_scavenger_look());
    check(!owl_scavenger_look());
    check(dirty() >= (size_t)MANY * MIB && owl_due_now() >= MANY);
    fault_never(FAULT_PURGE);
    look_until_done();
    check(dirty() == 0);
}

static size_t resident(const void *start, size_t bytes)
{
    static unsigned char present[1 << 16];
    uintptr_t from = (uintptr_t)start & ~(owl_os.page - 1);
    size_t pages = ((uintptr_t)start + bytes - from) / owl_os.page;
    size_t found = 0;
    check(pages <= sizeof present && mincore((void *)from, pages * owl_os.page, present) == 0);
    for (size_t i = 0; i < pages; i++)
        found += present[i] & 1;
    return found;
}

static void **fill_with_small(size_t bytes)
{
    size_t n = bytes / SMALL;
    void **small = owl_os.map(n * sizeof *small);
    check(small != NULL);
    for (size_t i = 0; i < n; i++) {
        small[i] = owl_malloc(SMALL);
        check(small[i] != NULL);
        memset(small[i], (int)(i % 251), SMALL);
    }
    return small;
}

/* All but one in `keep`; 0: all. */
static void free_small(void **small, size_t bytes, size_t keep)
{
    for (size_t i = 0; i < bytes / SMALL; i++)
        if (keep == 0 || i % keep != 0)
            owl_free(small[i]);
}

static void expect_small(void **small, size_t bytes, size_t keep)
{
    for (size_t i = 0; i < bytes / SMALL; i += keep) {
        const unsigned char *p = small[i];
        for (size_t j = 0; j < SMALL; j++)
            check(p[j] == i % 251);
    }
}

static void sparse_slabs_go_but_not_what_is_out(void)
{
    enum { BYTES = 16 * MIB, KEEP = 500 };
    look_by_hand();
    void **small = fill_with_small(BYTES);
    free_small(small, BYTES, KEEP);
    const struct owl_range *r = &owl_ranges[0];
    size_t before = resident((void *)r->base, r->top << OWL_GRANULE_SHIFT);
    check(owl_scavenger_look());
    check(resident((void *)r->base, r->top << OWL_GRANULE_SHIFT) >= before / 2);
    look_until_done();
    check(resident((void *)r->base, r->top << OWL_GRANULE_SHIFT) < before / 10);
    check(owl_due_now() == 0);
    expect_small(small, BYTES, KEEP);
    check(owl_stats_heap_is_valid());
}

static size_t metadata(void)
{
    const struct owl_range *r = &owl_ranges[0];
    return resident(r->map, r->top * sizeof *r->map) +
           resident(r->bits, r->top * OWL_SLAB_MAX_BLOCKS / 8);
}

static void metadata_goes_and_comes_back(void)
{
    enum { BYTES = 64 * MIB };
    look_by_hand();
    for (int round = 0; round < 2; round++) {
        void **small = fill_with_small(BYTES);
        size_t before = metadata();
        free_small(small, BYTES, 0);
        check(owl_scavenger_look());
        look_until_done();
        check(metadata() < before / 4);
        check(owl_stats_heap_is_valid() && owl_pool_is_valid());
        owl_os.unmap(small, BYTES / SMALL * sizeof *small);
    }
}

/* Descriptors that were given back do not know their range any more. */
static void metadata_of_further_ranges(void)
{
    enum { RESERVE = 40 * MIB };
    uint64_t random = 5;
    look_by_hand();
    owl_os_init();
    faults_install();
    faults.reserve_most = RESERVE;
    for (int round = 0; round < 30; round++) {
        static void *some[400];
        for (int i = 0; i < 400; i++) {
            size_t size = 1 + next_random(&random) % (round % 2 ? 500000 : 100000);
            some[i] = owl_malloc(size);
            check(some[i] != NULL);
            memset(some[i], i, size);
        }
        for (int i = 0; i < 400; i++)
            owl_free(some[i * 37 % 400]);
        look_until_done();
        check(owl_stats_heap_is_valid() && owl_pool_is_valid());
    }
    check(owl_u32_load_relaxed(&owl_range_count) > 1);
}

static pthread_barrier_t freed, ended;

static void *free_and_sleep(void *unused)
{
    static void *cached[200];
    (void)unused;
    for (int i = 0; i < 200; i++)
        cached[i] = owl_malloc(SMALL);
    for (int i = 0; i < 200; i++)
        owl_free(cached[i]);
    pthread_barrier_wait(&freed);
    pthread_barrier_wait(&ended);
    return NULL;
}

static size_t cached(void)
{
    struct owl_cache_counts counts = {.blocks = 0};
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        owl_cache_count(c, &counts);
    return counts.blocks;
}

static void caches_of_idle_threads_go(void)
{
    pthread_t thread;
    look_by_hand();
    pthread_barrier_init(&freed, NULL, 2);
    pthread_barrier_init(&ended, NULL, 2);
    check(pthread_create(&thread, NULL, free_and_sleep, NULL) == 0);
    pthread_barrier_wait(&freed);
    size_t before = cached();
    check(owl_scavenger_look());
    check(cached() == before && before > 20);
    owl_scavenger_look();
    check(cached() < before - 20);
    look_until_done();
    pthread_barrier_wait(&ended);
    check(pthread_join(thread, NULL) == 0);
    check(owl_stats_heap_is_valid());
}

/* --- the start, with a start that does nothing --- */

static int starts, start_error;

static int pretend_to_start(void (*body)(bool alone), owl_word *local, uintptr_t value)
{
    (void)body, (void)local, (void)value;
    starts++;
    errno = start_error;
    return start_error == 0 ? 0 : -1;
}

static uint32_t start_fails_with(int error)
{
    owl_os.hidden_start = pretend_to_start;
    start_error = error;
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_THREAD);
    owl_option_force(OWL_OPTION_DIRTY, (long long)1 << 40);
    starts = 0;
    void *p = owl_malloc(4 * MIB);
    check(p != NULL);
    memset(p, 1, 4 * MIB);
    errno = 77;
    owl_free(p);
    check(starts == 1 && errno == 77);
    return owl_u32_load_relaxed(&owl_due.least);
}

static void a_refused_start_is_tried_later(void)
{
    check(start_fails_with(ENOMEM) == 2 * owl_due_now());
}

static void a_start_that_was_too_early_is_tried_soon(void)
{
    check(start_fails_with(EBUSY) == OWL_DUE_ALWAYS);
    check(start_fails_with(EBUSY) == OWL_DUE_ALWAYS);
}

static void one_start_is_enough(void)
{
    check(start_fails_with(0) == OWL_DUE_NEVER);
    take_and_free_much();
    check(starts == 1);
}

/* --- the thread --- */

/* Threads of the process, and how many of them are scavengers. */
static int threads(int *scavengers)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *entry;
    int count = 0;
    check(tasks != NULL);
    *scavengers = 0;
    while ((entry = readdir(tasks)) != NULL) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        int file = entry->d_name[0] != '.' ? open(path, O_RDONLY) : -1;
        if (file < 0)
            continue;
        *scavengers += read(file, name, sizeof name - 1) > 0 && !strcmp(name, "owl-scavenger\n");
        close(file);
        count++;
    }
    closedir(tasks);
    return count;
}

static int scavengers(void)
{
    int found;
    threads(&found);
    return found;
}

static void expect_scavengers(int number)
{
    for (int i = 0; scavengers() != number; i++) {
        check(i < PATIENCE);
        pause_for(10);
    }
}

static void scavenge_often(int scavenger)
{
    owl_option_force(OWL_OPTION_SCAVENGER, scavenger);
    owl_option_force(OWL_OPTION_DIRTY, (long long)1 << 40);
    owl_option_force(OWL_OPTION_DECAY_MS, 100);
}

/* It needs a thread that sanitizers do not know. */
static bool has_thread(void)
{
    return !SANITIZED;
}

static void it_comes_and_goes(void)
{
    if (!has_thread())
        return;
    scavenge_often(OWL_SCAVENGER_AUTO);
    for (int round = 0; round < 3; round++) {
        take_and_free_much();
        expect_scavengers(1);
        expect_scavengers(0);
        check(dirty() == 0);
    }
    int found;
    check(threads(&found) == 1);
    pause_for(300);
    check(threads(&found) == 1 && __libc_single_threaded);
    check(owl_stats_heap_is_valid());
}

static void little_is_not_worth_it(void)
{
    scavenge_often(OWL_SCAVENGER_AUTO);
    void *p = owl_malloc((OWL_DUE_ALONE - 4) * MIB);
    check(p != NULL);
    memset(p, 1, (OWL_DUE_ALONE - 4) * MIB);
    owl_free(p);
    check(owl_due_now() >= OWL_DUE_ALONE - 4);
    pause_for(50);
    check(scavengers() == 0);
}

/* More than the softer bound allows, if it is for a while only. */
static void what_is_kept_for_a_while_is_worth_it(void)
{
    if (!has_thread())
        return;
    scavenge_often(OWL_SCAVENGER_AUTO);
    owl_option_force(OWL_OPTION_DIRTY, 3 * MIB);
    for (int i = 0; i < 2; i++) {
        check(scavengers() == 0);
        void *p = owl_malloc((OWL_DUE_ALONE - 4) * MIB);
        check(p != NULL);
        memset(p, 1, (OWL_DUE_ALONE - 4) * MIB);
        owl_free(p);
    }
    expect_scavengers(1);
    expect_scavengers(0);
    check(dirty() == 0 && __libc_single_threaded);
}

static void inline_has_none(void)
{
    scavenge_often(OWL_SCAVENGER_INLINE);
    take_and_free_much();
    pause_for(50);
    check(scavengers() == 0 && dirty() >= (size_t)MANY * MIB);
}

static void stock_one(void)
{
    owl_free(opaque(owl_malloc(MIB)));
}

/* What is due is the parent's, whose scavenger is not there, until the child frees something. */
static void child_starts_its_own(void (*take_and_free)(void))
{
    if (!has_thread())
        return;
    scavenge_often(OWL_SCAVENGER_AUTO);
    owl_option_force(OWL_OPTION_DECAY_MS, 2000);
    take_and_free_much();
    expect_scavengers(1);
    stock_one();
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        check(scavengers() == 0);
        owl_option_force(OWL_OPTION_DECAY_MS, 100);
        take_and_free();
        expect_scavengers(1);
        expect_scavengers(0);
        check(dirty() == 0);
        _exit(0);
    }
    check(child_wait(child) == 0);
    expect_scavengers(0);
    check(dirty() == 0);
}

static void a_child_starts_its_own(void)
{
    child_starts_its_own(take_and_free_much);
}

/* Also one that only uses what the parent's thread had in its stock. */
static void a_child_that_takes_nothing_new_starts_its_own(void)
{
    child_starts_its_own(stock_one);
}

/* Whose memory is the parent's, but whose threads end with it. */
static void a_child_of_vfork_starts_none(void)
{
    if (!has_thread())
        return;
    scavenge_often(OWL_SCAVENGER_AUTO);
    take_much();
    pid_t child = vfork();
    if (child == 0) {
        free_much();
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    check(child > 0 && child_wait(child) == 0);
    check(dirty() >= (size_t)MANY * MIB);
    stock_one();
    expect_scavengers(1);
    expect_scavengers(0);
    check(dirty() == 0);
}

/* Many starts and ends, beside all else: the stack is not used again too early, no start is
 * lost. */
static void *fork_often(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    for (int i = 0; i < ROUNDS(FORKS); i++) {
        void *mine[8];
        for (int j = 0; j < 8; j++) {
            size_t size = 1 + next_random(&random) % MIB;
            mine[j] = owl_malloc(size);
            check(mine[j] != NULL);
            memset(mine[j], j, size);
        }
        pid_t child = fork();
        check(child >= 0);
        for (int j = 0; j < 8; j++)
            owl_free(mine[j]);
        if (child == 0) {
            owl_trim(0);
            _exit(owl_stats_heap_is_valid() ? 0 : 1);
        }
        check(child_wait(child) == 0);
    }
    return NULL;
}

static void threads_fork_beside_it(void)
{
    pthread_t forkers[FORKERS];
    scavenge_often(OWL_SCAVENGER_THREAD);
    owl_option_force(OWL_OPTION_DECAY_MS, 1);
    for (uintptr_t i = 0; i < FORKERS; i++)
        check(pthread_create(&forkers[i], NULL, fork_often, (void *)(i + 1)) == 0);
    for (int i = 0; i < FORKERS; i++)
        check(pthread_join(forkers[i], NULL) == 0);
    expect_scavengers(0);
    /* Less may start none: what was freed after the last one ended. */
    check(!has_thread() || dirty() <= OWL_DUE_THREADS * MIB);
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(dirty_runs_go_after_two_looks),
        child_test(what_is_used_at_times_stays),
        child_test(what_the_system_keeps_is_left),
        child_test(sparse_slabs_go_but_not_what_is_out),
        child_test(metadata_goes_and_comes_back),
        child_test(metadata_of_further_ranges),
        child_test(caches_of_idle_threads_go),
        child_test(a_refused_start_is_tried_later),
        child_test(a_start_that_was_too_early_is_tried_soon),
        child_test(one_start_is_enough),
        child_test(it_comes_and_goes),
        child_test(little_is_not_worth_it),
        child_test(what_is_kept_for_a_while_is_worth_it),
        child_test(inline_has_none),
        child_test(a_child_starts_its_own),
        child_test(a_child_that_takes_nothing_new_starts_its_own),
        child_test(a_child_of_vfork_starts_none),
        child_test(threads_fork_beside_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
