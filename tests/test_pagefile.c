/* SPDX-License-Identifier: BSD-2-Clause */
/* The page file in user mode, by both mechanisms of watches. */
#define _GNU_SOURCE /* mremap, in watching.h */
#include <owl/pagefile.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "pagefile.h"
#include "watching.h"

enum { PAGES = 512, BUDGET = PAGES / 8, THREADS = 4 };

static struct owl_os real;
static atomic_int write_error; /* all writes fail with this */

static int no_open(bool *unpopulated)
{
    *unpopulated = false;
    return -1;
}

static atomic_bool may_not_come; /* no page comes into place */

static int no_copy(int descriptor, void *to, const void *from, size_t bytes, bool protect)
{
    if (!may_not_come)
        return real.watch_copy(descriptor, to, from, bytes, protect);
    errno = ENOMEM;
    return -1;
}

static int no_write(const struct owl_file *file, const struct iovec *from, int count, size_t offset)
{
    if (write_error == 0)
        return real.pagefile_write(file, from, count, offset);
    errno = write_error;
    return -1;
}

static void set_up(void)
{
    owl_os_init();
    real = owl_os;
    owl_os.pagefile_write = no_write;
    owl_os.watch_copy = no_copy;
    if (by == OWL_WATCH_PROTECTION)
        owl_os.watch_open = no_open;
}

static struct owl_pagefile *file;
static char *range;

static void open_range(const char *path)
{
    set_up();
    file = owl_pagefile_create(path, PAGES * page, BUDGET * page);
    check(file != NULL);
    range = owl_pagefile_address(file);
    check(owl_watch_mechanism(range) == by && (uintptr_t)range % page == 0);
}

static struct owl_pagefile_stats stats(void)
{
    struct owl_pagefile_stats s;
    check(owl_pagefile_stats(file, &s) == 0);
    check(s.bytes == PAGES * page && s.budget == BUDGET * page && s.dirty <= s.resident);
    return s;
}

/* A word of each page. */
static volatile uint64_t *word(size_t i)
{
    return (volatile uint64_t *)(void *)(range + i * page + i % 100 * sizeof(uint64_t));
}

static void random_accesses_find_what_was_written(void)
{
    uint64_t model[PAGES] = {0}, random = 5;
    open_range(NULL);
    for (int n = 0; n < RANDOM_ROUNDS(20000); n++) {
        size_t i = next_random(&random) % PAGES;
        if (next_random(&random) % 3 == 0)
            *word(i) = model[i] = next_random(&random);
        else
            check(*word(i) == model[i]);
        check(n % 500 != 0 || (stats().resident <= BUDGET * page && owl_pagefile_is_valid(file)));
    }
    for (size_t i = 0; i < PAGES; i++)
        check(*word(i) == model[i]);
    struct owl_pagefile_stats s = stats();
    check(s.faults > BUDGET && s.writes > 0 && s.reads > 0 && s.returns > 0 && s.failures == 0);
    check(s.batches <= s.writes && s.reads <= s.faults);
    owl_pagefile_destroy(file);
}

/* What the system says is resident. */
static size_t resident(const char *start)
{
    unsigned char in[PAGES];
    size_t count = 0;
    check(mincore((void *)(uintptr_t)start, PAGES * page, in) == 0);
    for (size_t i = 0; i < PAGES; i++)
        count += in[i] & 1;
    return count;
}

/* Of the range and of where pages are set aside. One page may be at both places, for a moment. */
static void memory_stays_within_the_budget(void)
{
    open_range(NULL);
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < PAGES; i++) {
            *word(i) += i;
            check(resident(range) + resident(file->watch->shadow) <= BUDGET + 1);
        }
    for (size_t i = 0; i < PAGES; i++)
        check(*word(i) == 3 * i);
    owl_pagefile_destroy(file);
}

/* Pages that follow one another are written with one call; those not written to since, not at
 * all. */
static void clean_pages_are_not_written(void)
{
    open_range(NULL);
    for (size_t i = 0; i < PAGES; i++)
        *word(i) = i;
    check(owl_pagefile_sync(file) == 0);
    struct owl_pagefile_stats s = stats();
    check(s.writes == PAGES && s.dirty == 0 && s.batches < PAGES / 4 && s.write_faults == PAGES);
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < PAGES; i++)
            check(*word(i) == i);
    check(owl_pagefile_sync(file) == 0);
    check(stats().writes == PAGES && stats().reads >= 3 * (PAGES - BUDGET));
    for (size_t i = 0; i < PAGES; i += 10)
        *word(i) = i + 1;
    check(owl_pagefile_sync(file) == 0 && stats().writes == PAGES + (PAGES + 9) / 10);
    *word(0) = 1;
    *word(0) = 2;
    check(owl_pagefile_sync(file) == 0 && stats().writes == PAGES + (PAGES + 9) / 10 + 1);
    check(owl_pagefile_is_valid(file));
    owl_pagefile_destroy(file);
}

/* --- threads --- */

static atomic_uint sums[PAGES];
static atomic_bool stop;

static atomic_uint *counter(size_t i)
{
    return (atomic_uint *)(void *)(range + i * page + 64);
}

static void *work(void *number)
{
    size_t me = (uintptr_t)number;
    uint64_t random = me + 1, model[PAGES / THREADS] = {0};
    volatile uint64_t *mine;
    for (int n = 0; n < RANDOM_ROUNDS(4000); n++) {
        size_t i = next_random(&random) % (PAGES / THREADS);
        mine = (volatile uint64_t *)(void *)(range + (i * THREADS + me) * page);
        check(*mine == model[i]);
        if (n % 2 == 0)
            *mine = model[i] = next_random(&random);
        i = next_random(&random) % PAGES;
        atomic_fetch_add(counter(i), 1);
        sums[i]++;
    }
    return NULL;
}

static void *sync_and_advise(void *nothing)
{
    uint64_t random = 99;
    while (!stop) {
        size_t i = next_random(&random) % PAGES, n = next_random(&random) % (PAGES - i);
        check(owl_pagefile_sync(file) == 0);
        check(owl_pagefile_advise(file, range + i * page, n * page, OWL_PAGEFILE_DONTNEED) == 0);
        check(owl_pagefile_advise(file, range + i * page, n * page, OWL_PAGEFILE_WILLNEED) == 0);
    }
    return nothing;
}

/* Each thread has pages of its own, and all add to counts in all pages; another writes pages back,
 * and sends them away and for them, all the time. */
static void threads_lose_nothing(void)
{
    pthread_t threads[THREADS], other;
    open_range(NULL);
    check(pthread_create(&other, NULL, sync_and_advise, NULL) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    stop = true;
    pthread_join(other, NULL);
    for (size_t i = 0; i < PAGES; i++)
        check(atomic_load(counter(i)) == sums[i]);
    check(stats().resident <= BUDGET * page && owl_pagefile_is_valid(file));
    owl_pagefile_destroy(file);
}

static void *write_one(void *nothing)
{
    *word(3) = 33;
    return nothing;
}

static void *let_come(void *nothing)
{
    usleep(50000);
    may_not_come = false;
    return nothing;
}

/* A page that is on its way into place is neither here nor there, but not forgotten by a sync. */
static void a_sync_waits_for_pages_on_their_way(void)
{
    pthread_t writer, other;
    open_range(NULL);
    if (by != OWL_WATCH_USERFAULTFD)
        return;
    *word(5) = 55;
    may_not_come = true;
    check(pthread_create(&writer, NULL, write_one, NULL) == 0);
    while (stats().dirty < 2 * page)
        usleep(1000);
    check(pthread_create(&other, NULL, let_come, NULL) == 0);
    check(owl_pagefile_sync(file) == 0 && !may_not_come && stats().writes >= 2);
    pthread_join(writer, NULL);
    pthread_join(other, NULL);
    check(*word(3) == 33 && owl_pagefile_sync(file) == 0 && stats().dirty == 0);
    owl_pagefile_destroy(file);
}

/* --- the second chance, and advice --- */

/* One page is touched all the time and stays, while all others pass through. */
static void a_page_in_use_stays(void)
{
    open_range(NULL);
    *word(0) = 1;
    for (size_t i = 1; i < PAGES; i++) {
        *word(i) = i;
        check(*word(0) == 1);
    }
    struct owl_pagefile_stats s = stats();
    check(s.reads == 0 && s.returns > 0 && s.faults == PAGES);
    owl_pagefile_destroy(file);
}

static void advice_moves_pages(void)
{
    open_range(NULL);
    for (size_t i = 0; i < BUDGET / 2; i++)
        *word(i) = i + 1;
    check(owl_pagefile_advise(file, range + 100, 10 * page, OWL_PAGEFILE_DONTNEED) == 0);
    check(stats().resident == (BUDGET / 2 - 11) * page && stats().writes == 11);
    check(resident(range) + resident(file->watch->shadow) <= BUDGET / 2 - 11);
    check(owl_pagefile_advise(file, range, 5 * page, OWL_PAGEFILE_WILLNEED) == 0);
    check(stats().resident == (BUDGET / 2 - 6) * page && stats().reads == 5);
    for (size_t i = 0; i < BUDGET / 2; i++)
        check(*word(i) == i + 1);
    check(stats().reads == 11 && stats().returns == 5);
    check(owl_pagefile_advise(file, range, PAGES * page, OWL_PAGEFILE_WILLNEED) == 0);
    check(stats().resident <= BUDGET * page);
    check(owl_pagefile_advise(file, range, PAGES * page + 1, OWL_PAGEFILE_WILLNEED) == -1);
    check(errno == EINVAL);
    check(owl_pagefile_advise(file, range - 1, 1, OWL_PAGEFILE_DONTNEED) == -1 && errno == EINVAL);
    check(owl_pagefile_advise(file, range, 1, 3) == -1 && errno == EINVAL);
    check(owl_pagefile_is_valid(file));
    owl_pagefile_destroy(file);
}

/* --- files --- */

static void named_files_keep_their_contents(void)
{
    char path[] = "pagefile-XXXXXX";
    int descriptor = mkstemp(path);
    check(descriptor >= 0 && write(descriptor, "before", 6) == 6);
    open_range(path);
    check(strcmp(range, "before") == 0 && *word(7) == 0);
    for (size_t i = 1; i < PAGES; i++)
        *word(i) = i * i;
    errno = 0;
    check(owl_pagefile_create(path, page, BUDGET * page) == NULL && errno == EBUSY);
    check(owl_pagefile_sync(file) == 0 && stats().dirty == 0);
    uint64_t found = 0;
    check(pread(descriptor, &found, sizeof found, (off_t)(9 * page + 9 * sizeof found)) == 8);
    check(found == 81);
    owl_pagefile_destroy(file);
    owl_os = real;
    open_range(path);
    check(strcmp(range, "before") == 0);
    for (size_t i = 1; i < PAGES; i++)
        check(*word(i) == i * i);
    check(owl_pagefile_sync(file) == 0 && stats().writes == 0);
    owl_pagefile_destroy(file);
    close(descriptor);
    check(unlink(path) == 0);
}

/* Nothing written is lost while the file takes nothing, though memory goes beyond the budget. */
static void full_disks_lose_nothing(void)
{
    open_range(NULL);
    write_error = ENOSPC;
    for (size_t i = 0; i < PAGES; i++)
        *word(i) = i + 5;
    struct owl_pagefile_stats s = stats();
    check(s.resident == PAGES * page && s.dirty == s.resident);
    check(s.failures > 0 && s.error == ENOSPC);
    errno = 0;
    check(owl_pagefile_sync(file) == -1 && errno == ENOSPC);
    for (size_t i = 0; i < PAGES; i++)
        check(*word(i) == i + 5);
    check(stats().reads == 0 && stats().writes == 0 && owl_pagefile_is_valid(file));
    write_error = 0;
    check(owl_pagefile_sync(file) == 0 && stats().error == 0 && stats().writes == PAGES);
    check(owl_pagefile_advise(file, range, PAGES * page, OWL_PAGEFILE_DONTNEED) == 0);
    check(stats().resident == 0);
    for (size_t i = 0; i < PAGES; i++)
        check(*word(i) == i + 5);
    check(stats().resident <= BUDGET * page);
    owl_pagefile_destroy(file);
}

/* The same by the system: half of the pages are past the limit, and no signal comes. */
static void file_size_limits_are_heeded(void)
{
    struct rlimit limit = {.rlim_cur = PAGES / 2 * page, .rlim_max = RLIM_INFINITY};
    open_range(NULL);
    check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    for (size_t i = 0; i < PAGES; i++)
        *word(i) = i + 5;
    errno = 0;
    check(owl_pagefile_sync(file) == -1 && errno == EFBIG);
    struct owl_pagefile_stats s = stats();
    check(s.dirty >= PAGES / 2 * page && s.dirty <= (PAGES / 2 + OWL_PAGEFILE_PLACES) * page);
    check(s.writes > 0 && s.error == EFBIG);
    for (size_t i = 0; i < PAGES; i++)
        check(*word(i) == i + 5);
    limit.rlim_cur = RLIM_INFINITY;
    check(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    check(owl_pagefile_sync(file) == 0 && stats().dirty == 0);
    owl_pagefile_destroy(file);
}

/* A descriptor that somebody closed, and whose number is another file's: that one is left alone. */
static void a_closed_descriptor_harms_nobody(void)
{
    char path[] = "pagefile-XXXXXX";
    open_range(NULL);
    *word(3) = 3;
    int other = mkstemp(path);
    check(other >= 0 && dup2(other, file->file.descriptor) == file->file.descriptor);
    errno = 0;
    check(owl_pagefile_sync(file) == -1 && errno == EBADF && lseek(other, 0, SEEK_END) == 0);
    check(*word(3) == 3);
    owl_pagefile_destroy(file);
    check(write(other, "x", 1) == 1 && unlink(path) == 0);
}

static int no_read(const struct owl_file *from, void *to, size_t bytes, size_t offset)
{
    (void)from, (void)to, (void)bytes, (void)offset;
    errno = EIO;
    return -1;
}

static void touch_what_cannot_be_read(void)
{
    open_range(NULL);
    *word(1) = 1;
    check(owl_pagefile_advise(file, range, 2 * page, OWL_PAGEFILE_DONTNEED) == 0);
    owl_os.pagefile_read = no_read;
    check(dup2(open("/dev/null", O_WRONLY), STDERR_FILENO) == STDERR_FILENO);
    *word(1) = 2;
}

static void unread_pages_end_the_process(void)
{
    int status = child_status(touch_what_cannot_be_read);
    check(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

/* --- creation, and fork --- */

static void wrong_arguments_are_refused(void)
{
    set_up();
    check(owl_pagefile_create(NULL, 0, BUDGET * page) == NULL && errno == EINVAL);
    check(owl_pagefile_create(NULL, SIZE_MAX, BUDGET * page) == NULL && errno == EINVAL);
    check(owl_pagefile_create(NULL, page, 15 * page) == NULL && errno == EINVAL);
    check(owl_pagefile_create("/nowhere/at/all", page, 16 * page) == NULL && errno == ENOENT);
    check(setenv("TMPDIR", "/nowhere", 1) == 0);
    check(owl_pagefile_create(NULL, page, 16 * page) == NULL && errno == ENOENT);
    check(setenv("TMPDIR", ".", 1) == 0);
    file = owl_pagefile_create(NULL, 1, 16 * page);
    check(file != NULL);
    char *one = owl_pagefile_address(file);
    poke(one + page - 1, 1);
    check(touch(one + page - 1) == 1 && owl_pagefile_sync(file) == 0);
    owl_pagefile_destroy(file);
    owl_pagefile_destroy(NULL);
}

static int calls_left;

static void *failing_map(size_t bytes)
{
    return calls_left-- == 0 ? NULL : real.map(bytes);
}

static void *failing_reserve(size_t bytes)
{
    return calls_left-- == 0 ? NULL : real.reserve(bytes);
}

static int failing_move(void *from, void *to, size_t bytes)
{
    return calls_left-- == 0 ? -1 : real.move(from, to, bytes);
}

static void creation_that_fails_leaves_nothing(void)
{
    set_up();
    for (int n = 0; n < 5; n++) {
        size_t before = owl_os.mapping_count();
        owl_os.map = n < 2 ? failing_map : real.map;
        owl_os.reserve = n == 2 || n == 3 ? failing_reserve : real.reserve;
        owl_os.move = n == 4 ? failing_move : real.move;
        calls_left = n % 2;
        errno = 0;
        check(owl_pagefile_create(NULL, PAGES * page, BUDGET * page) == NULL && errno == ENOMEM);
        check(SANITIZED || owl_os.mapping_count() <= before + 2);
        owl_os.map = real.map;
        owl_os.reserve = real.reserve;
        owl_os.move = real.move;
    }
    open_range(NULL);
    owl_pagefile_destroy(file);
}

static void use_in_child(void)
{
    struct owl_pagefile_stats s;
    errno = 0;
    check(owl_pagefile_sync(file) == -1 && errno == ENOTSUP);
    check(owl_pagefile_stats(file, &s) == -1 && errno == ENOTSUP);
    check(owl_pagefile_advise(file, range, 1, OWL_PAGEFILE_WILLNEED) == -1 && errno == ENOTSUP);
    owl_pagefile_destroy(file);
}

static void touch_in_child(void)
{
    touch(range);
}

static void children_have_no_range(void)
{
    open_range(NULL);
    *word(1) = 1;
    check(child_succeeds(use_in_child));
    check(child_faults(touch_in_child));
    check(*word(1) == 1 && owl_pagefile_sync(file) == 0);
    owl_pagefile_destroy(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watch_test(random_accesses_find_what_was_written),
        watch_test(memory_stays_within_the_budget),
        watch_test(clean_pages_are_not_written),
        watch_test(threads_lose_nothing),
        watch_test(a_sync_waits_for_pages_on_their_way),
        watch_test(a_page_in_use_stays),
        watch_test(advice_moves_pages),
        watch_test(named_files_keep_their_contents),
        watch_test(full_disks_lose_nothing),
        watch_test(file_size_limits_are_heeded),
        watch_test(a_closed_descriptor_harms_nobody),
        watch_test(unread_pages_end_the_process),
        watch_test(wrong_arguments_are_refused),
        watch_test(creation_that_fails_leaves_nothing),
        watch_test(children_have_no_range),
    };
    return run_by_both(tests, sizeof tests / sizeof *tests);
}
