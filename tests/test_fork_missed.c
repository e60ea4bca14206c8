/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks in handlers of signals, while other threads have locks for so long that the fork goes on
 * without. What is torn in the child then must not be so in the parent, and nothing be shared.
 */
#include "fork_handler.h"
#include "memfd.h"

static atomic_int held; /* locks, by others */

static void fork_when_held(int locks)
{
    while (atomic_load(&held) < locks)
        sched_yield();
    owl_lock_begin_work();
    fork_here(0);
    owl_lock_end_work();
}

/* --- while the holder of the lock is in the middle of a change --- */

static atomic_bool late, stop;

/* With the lock, until the fork gave it up. Nothing else may order what the two do. */
static void be_late(void)
{
    if (!pthread_equal(pthread_self(), main_thread) && !in_child && !atomic_exchange(&late, true))
        while (atomic_load_explicit(&forks, memory_order_relaxed) == 0)
            usleep(100);
}

static void *map_memory_late(size_t bytes)
{
    be_late();
    return real.map(bytes);
}

static int commit_late(void *start, size_t bytes)
{
    be_late();
    return real.commit(start, bytes);
}

static void *begin_and_stay(void *begun)
{
    check(owl_malloc(1 << 20) != NULL);
    atomic_fetch_add((atomic_int *)begun, 1);
    while (!atomic_load(&stop))
        usleep(1000);
    return NULL;
}

/* Threads until one is late. */
static void miss_a_lock(void)
{
    enum { MOST = 200 };
    pthread_t threads[MOST];
    atomic_int begun = 0;
    int n = 0;
    while (!atomic_load(&late)) {
        check(n < MOST);
        check(pthread_create(&threads[n++], NULL, begin_and_stay, &begun) == 0);
        while (atomic_load(&begun) < n && !atomic_load(&late))
            sched_yield();
    }
    fork_when_held(0);
    end_if_child();
    check(atomic_load(&forks) == 1 && owl_lock_fork_missed());
    atomic_store(&stop, true);
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

static void while_a_cache_is_made(void)
{
    set_up();
    may_be_torn = true;
    owl_os.map = map_memory_late;
    miss_a_lock();
    end_work(false);
}

/* Then the file's ranges end when the pool is let go. */
static void while_the_pool_commits(void)
{
    set_up();
    use_files();
    may_be_torn = true;
    void *in_file = owl_malloc(OWL_MEMFD_MIN);
    check(in_file != NULL && owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    unsigned range = owl_span_of(in_file)->range;
    check(owl_backing_of(range) == OWL_MEMFD);
    owl_os.commit = commit_late;
    miss_a_lock();
    check(owl_backing_of(range) == OWL_PRIVATE);
    owl_free(in_file);
    end_work(false);
}

/* --- a fork that misses the pool when that is just being let go --- */

static void *await_pool(void *unused)
{
    owl_pool_lock();
    atomic_fetch_add(&held, 1);
    while (atomic_load(&forks) == 0)
        usleep(100);
    owl_unlock(&owl_pool.lock); /* the look for what is late came before the fork */
    return unused;
}

static void as_the_pool_is_let_go(void)
{
    pthread_t thread;
    set_up();
    use_files();
    owl_free(owl_malloc(OWL_MEMFD_MIN));
    check(pthread_create(&thread, NULL, await_pool, NULL) == 0);
    fork_when_held(1);
    if (in_child)
        _exit(0);
    check(pthread_join(thread, NULL) == 0 && owl_lock_fork_missed());
    char *p = owl_malloc(OWL_MEMFD_MIN);
    check(p != NULL);
    *p = 1;
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        *p = 2;
        _exit(0);
    }
    check(child_wait(pid) == 0 && *p == 1);
    owl_free(p);
    end_work(false);
}

/* --- one lock in vain, and another that is soon free --- */

static void *keep_owner(void *unused)
{
    struct owl_owner *o = &owl_cache_get()->owner;
    owl_lock(&o->lock);
    atomic_fetch_add(&held, 1);
    while (atomic_load(&forks) == 0)
        usleep(100);
    owl_unlock(&o->lock);
    return unused;
}

static atomic_bool awaited, let_go;

static void *keep_pool(void *until)
{
    owl_pool_lock();
    atomic_fetch_add(&held, 1);
    while (!atomic_load((atomic_bool *)until) && atomic_load(&forks) == 0)
        usleep(100);
    owl_pool_unlock();
    atomic_store(&let_go, true);
    return NULL;
}

static void sleep_until_let_go(owl_u32 *word, uint32_t seen, unsigned milliseconds)
{
    real.sleep(word, seen, milliseconds);
    if (word == owl_lock_futex(&owl_pool.lock)) {
        atomic_store(&awaited, true);
        while (!atomic_load(&let_go))
            usleep(100);
    }
}

static void each_lock_is_waited_for(void)
{
    pthread_t threads[2];
    set_up();
    may_be_torn = true;
    owl_os.sleep = sleep_until_let_go;
    check(pthread_create(&threads[0], NULL, keep_owner, NULL) == 0);
    check(pthread_create(&threads[1], NULL, keep_pool, &awaited) == 0);
    fork_when_held(2);
    for (int i = 0; i < 2; i++)
        check(pthread_join(threads[i], NULL) == 0);
    check(owl_lock_fork_missed() && atomic_load(&awaited));
    end_work(false);
}

/* --- what the holder of the files' lock does after it was missed, before the child is there --- */

static bool in_two_parts; /* this test */
static atomic_bool missed, done;
static char *block;

/* The last handler of a fork's beginning, as it was registered before all others. */
static void before_copy(void)
{
    if (!in_two_parts || in_child)
        return;
    atomic_store(&missed, true);
    while (!atomic_load(&done))
        usleep(100);
}

static void register_first(void)
{
    pthread_atfork(before_copy, NULL, NULL);
}

__attribute__((section(".preinit_array"), used)) static void (*first)(void) = register_first;

static int make_late(struct owl_file *f, size_t bytes)
{
    atomic_fetch_add(&held, 1);
    while (!atomic_load(&missed))
        usleep(100);
    return real.file_make(f, bytes);
}

static void *take_from_file(void *unused)
{
    block = owl_malloc(3 << 20);
    check(block != NULL);
    memset(block, 1, 3 << 20);
    atomic_store(&done, true);
    return unused;
}

static void the_first_file_is_made(void)
{
    pthread_t thread;
    set_up();
    use_files();
    in_two_parts = true;
    owl_os.file_make = make_late;
    check(pthread_create(&thread, NULL, take_from_file, NULL) == 0);
    fork_when_held(1);
    if (in_child) {
        block[0] = 2;
        _exit(0);
    }
    check(pthread_join(thread, NULL) == 0 && block[0] == 1);
    check(!owl_memfd_is_live(owl_span_of(block)));
    owl_free(block);
    end_work(false);
}

static char *first_block;

/* The second block of three is about to be mapped privately. */
static int map_late(const struct owl_file *f, size_t from, void *at, size_t bytes, bool shared)
{
    if (!shared && at == block && !pthread_equal(pthread_self(), main_thread)) {
        *first_block = 3; /* is private by now */
        atomic_store(&done, true);
        while (atomic_load(&forks) == 0)
            usleep(100);
    }
    return real.file_map(f, from, at, bytes, shared);
}

static void *keep_files(void *unused)
{
    owl_memfd_lock();
    atomic_fetch_add(&held, 1);
    while (!atomic_load(&missed))
        usleep(100);
    owl_memfd_unlock();
    return unused;
}

static void files_are_half_frozen(void)
{
    enum { BLOCKS = 3 };
    pthread_t threads[2];
    char *p[BLOCKS];
    set_up();
    use_files();
    for (int i = 0; i < BLOCKS; i++) {
        check((p[i] = owl_malloc(3 << 20)) != NULL);
        memset(p[i], 1, 3 << 20);
    }
    first_block = p[0];
    block = p[1];
    in_two_parts = true;
    owl_os.file_map = map_late;
    check(pthread_create(&threads[0], NULL, keep_files, NULL) == 0);
    check(pthread_create(&threads[1], NULL, keep_pool, &missed) == 0);
    fork_when_held(2);
    check(p[0][0] == 3 && p[1][0] == 1 && p[2][0] == 1);
    for (int i = 0; in_child && i < BLOCKS; i++)
        p[i][0] = 2;
    if (in_child)
        _exit(0);
    for (int i = 0; i < 2; i++)
        check(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < BLOCKS; i++) {
        check(p[i][0] == (i == 0 ? 3 : 1) && !owl_memfd_is_live(owl_span_of(p[i])));
        owl_free(p[i]);
    }
    end_work(false);
}

/* The files are frozen, but the pool has not been told. */
static int unmap_late(void *start, size_t bytes)
{
    int result = real.unmap(start, bytes);
    if (!pthread_equal(pthread_self(), main_thread) && owl_lock_is_mine(&owl_pool.lock) &&
        atomic_fetch_add(&held, 1) == 0)
        while (atomic_load(&forks) == 0)
            usleep(100);
    return result;
}

static void *fork_plainly(void *unused)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    check(child_wait(pid) == 0);
    return unused;
}

static void the_pool_knows_of_files(void)
{
    pthread_t thread;
    set_up();
    use_files();
    char *p = owl_malloc(3 << 20);
    check(p != NULL);
    unsigned range = owl_span_of(p)->range;
    owl_free(p);
    owl_os.unmap = unmap_late;
    check(pthread_create(&thread, NULL, fork_plainly, NULL) == 0);
    fork_when_held(1);
    if (in_child) {
        owl_pool_count(); /* hears of it now, or has */
        check(owl_lock_fork_missed() && owl_backing_of(range) == OWL_PRIVATE);
        _exit(0);
    }
    check(pthread_join(thread, NULL) == 0);
    end_work(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(while_a_cache_is_made),  child_test(while_the_pool_commits),
        child_test(as_the_pool_is_let_go),  child_test(each_lock_is_waited_for),
        child_test(the_first_file_is_made), child_test(files_are_half_frozen),
        child_test(the_pool_knows_of_files),
    };
    return cmocka_run_group_tests_name("fork_missed", tests, NULL, NULL);
}
