/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Acceptance: calls at odd times and from odd places. Before main and after it, in destructors of
 * thread keys, in threads that libc did not make, that are cancelled, that have hardly any stack;
 * and while signals come. Prints TAP; exits with 1 if anything failed. Nothing here knows how the
 * library works.
 */
#define _GNU_SOURCE /* clone */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accept.h"

/* --- before main, and after it ----------------------------------------------- */

enum { EARLY = 300 };

static unsigned char *early[3][EARLY];
static int early_calls, exiting;

/* Some go at once, some stay until main. */
static void allocate_early(int when)
{
    for (int i = 0; i < EARLY; i++) {
        size_t bytes = (size_t)(1 + i) * (i % 50 == 0 ? 5000 : 30);
        free(opaque(malloc(bytes)));
        early[when][i] = opaque(malloc(bytes));
        if (early[when][i] != NULL)
            memset(early[when][i], i, bytes);
    }
    early_calls++;
}

/* Before the constructors of all libraries, the allocator's too. */
static void before_all(void)
{
    allocate_early(0);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = before_all;

__attribute__((constructor(101))) static void early_constructor(void)
{
    allocate_early(1);
}

__attribute__((constructor)) static void constructor(void)
{
    allocate_early(2);
}

static bool before_main(void)
{
    require(early_calls == 3);
    for (int when = 0; when < 3; when++)
        for (int i = 0; i < EARLY; i++) {
            unsigned char *p = early[when][i];
            require(p != NULL && p[0] == (unsigned char)i);
            require(malloc_usable_size(p) >= (size_t)(1 + i) * 30);
            free(p);
        }
    return true;
}

static bool allocates(void)
{
    static const size_t sizes[] = {1, 500, 20000, 100000, 1500000, 40000000};
    unsigned char *p[6];
    for (int i = 0; i < 6; i++) {
        p[i] = opaque(calloc(1, sizes[i]));
        if (p[i] == NULL || p[i][0] != 0 || p[i][sizes[i] - 1] != 0)
            return false;
        p[i][0] = p[i][sizes[i] - 1] = 1;
    }
    for (int i = 0; i < 6; i++) {
        p[i] = opaque(realloc(p[i], 2 * sizes[i]));
        if (p[i] == NULL || p[i][sizes[i] - 1] != 1)
            return false;
    }
    for (int i = 0; i < 6; i++)
        free(p[i]);
    return true;
}

static void at_exit(void)
{
    exiting += allocates();
}

/* Runs after the handlers. */
__attribute__((destructor)) static void destructor(void)
{
    if (exiting > 0)
        _exit(allocates() && exiting == 3 ? 9 : 1);
}

static bool after_main(void)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        atexit(at_exit);
        free(opaque(malloc(10)));
        atexit(at_exit);
        atexit(at_exit);
        exit(2);
    }
    require(pid > 0 && waitpid(pid, &status, 0) == pid && status == 9 << 8);
    return true;
}

/* --- destructors of keys ------------------------------------------------------ */

enum { KEYS = 60 };

static pthread_key_t keys[KEYS];
static atomic_int destroyed, refused;

/* Each sets its value again, so that it is called in all rounds, before and after any other. */
static void destroy(void *block)
{
    int key = *(int *)block;
    free(block);
    int *again = opaque(malloc(sizeof(int) + (size_t)key * 100));
    if (again == NULL || (key % 10 == 0 && !allocates())) {
        atomic_fetch_add(&refused, 1);
        return;
    }
    *again = key;
    atomic_fetch_add(&destroyed, 1);
    pthread_setspecific(keys[key], again);
}

static void *end_with_keys(void *unused)
{
    for (int i = 0; i < KEYS; i++) {
        int *value = opaque(malloc(sizeof(int) + (size_t)i * 100));
        *value = i;
        pthread_setspecific(keys[i], value);
    }
    return unused;
}

static bool destructors_of_keys(void)
{
    pthread_t thread;
    for (int i = 0; i < KEYS; i++)
        require(pthread_key_create(&keys[i], destroy) == 0);
    for (int i = 0; i < 10; i++) {
        require(pthread_create(&thread, NULL, end_with_keys, NULL) == 0);
        require(pthread_join(thread, NULL) == 0);
    }
    for (int i = 0; i < KEYS; i++)
        pthread_key_delete(keys[i]);
    require(refused == 0 && destroyed >= 10 * KEYS);
    return true;
}

/* --- threads that libc did not make ------------------------------------------- */

#ifdef __x86_64__
void *_dl_allocate_tls(void *block) __attribute__((weak));

static atomic_int clones_alive;

/* A block for the main thread, and nothing is ended: no destructor runs, no lock of libc's. */
static int clone_body(void *place)
{
    bool all = true;
    for (int i = 0; i < 10; i++)
        all &= allocates();
    *(void **)place = all ? opaque(malloc(300)) : NULL;
    atomic_fetch_sub(&clones_alive, 1);
    syscall(SYS_exit, 0);
    return 0;
}

/* As libraries do that have threads of their own: a stack, thread-local variables, clone. */
static bool threads_by_clone(void)
{
    enum { CLONES = 4, STACK = 256 << 10 };
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                CLONE_SETTLS;
    void *blocks[CLONES] = {NULL};
    if (_dl_allocate_tls == NULL)
        return true;
    for (int round = 0; round < 5; round++) {
        atomic_store(&clones_alive, CLONES);
        for (int i = 0; i < CLONES; i++) {
            char *stack = opaque(malloc(STACK));
            void **control = _dl_allocate_tls(NULL);
            require(stack != NULL && control != NULL);
            control[0] = control[2] = control; /* as its code finds it */
            require(clone(clone_body, stack + STACK, flags, &blocks[i], NULL, control, NULL) > 0);
        }
        while (atomic_load(&clones_alive) > 0)
            sched_yield();
        for (int i = 0; i < CLONES; i++) {
            require(blocks[i] != NULL);
            free(blocks[i]);
        }
        malloc_trim(0);
    }
    return true;
}
#endif

/* --- cancellation ---------------------------------------------------------------- */

static atomic_int inside, cut_short;

static void note_cut(void *unused)
{
    (void)unused;
    atomic_fetch_add(&cut_short, atomic_load(&inside));
}

/* It is to end at its next cancellation point: none of these calls is one. */
static void *calls_while_pending(void *unused)
{
    pthread_cleanup_push(note_cut, NULL);
    pthread_cancel(pthread_self());
    atomic_store(&inside, 1);
    for (int i = 0; i < 20; i++) {
        if (!allocates())
            atomic_store(&inside, 2);
        free(opaque(aligned_alloc(4096, 8192)));
        free(opaque(memalign(65536, 3 << 20)));
        malloc_trim(0);
        mallinfo2();
    }
    atomic_store(&inside, 0);
    pthread_testcancel();
    pthread_cleanup_pop(0);
    return unused;
}

static void *calls_for_ever(void *seed)
{
    unsigned random = (unsigned)(size_t)seed;
    for (;;) {
        free(opaque(malloc((size_t)rand_r(&random) % 100000)));
        pthread_testcancel();
    }
    return NULL;
}

static bool cancellation(void)
{
    pthread_t thread;
    void *result;
    require(pthread_create(&thread, NULL, calls_while_pending, NULL) == 0);
    require(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    require(cut_short == 0);
    for (size_t i = 0; i < 50; i++) {
        require(pthread_create(&thread, NULL, calls_for_ever, (void *)i) == 0);
        usleep((useconds_t)(i * 50));
        require(pthread_cancel(thread) == 0);
        require(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    }
    return allocates();
}

/* --- small stacks, and signals ---------------------------------------------------- */

static void *from_main[2000];

/* Every way there is: refills, full magazines, others' blocks, trims. */
static void *with_a_small_stack(void *result)
{
    static void *own[500];
    bool all = true;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 500; i++)
            own[i] = opaque(malloc(1 + (size_t)i * 70));
        for (int i = 0; i < 500; i++)
            free(own[i]);
        all &= allocates();
        malloc_trim(0);
    }
    for (int i = 0; i < 2000; i++)
        free(from_main[i]);
    free(opaque(aligned_alloc(4096, 40000)));
    return all ? result : NULL;
}

static bool stacks_of_16_kib(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    void *result;
    for (int i = 0; i < 2000; i++)
        from_main[i] = opaque(malloc(100 + (size_t)i % 3000));
    require(pthread_attr_init(&attributes) == 0);
    require(pthread_attr_setstacksize(&attributes, 16384) == 0);
    require(pthread_create(&thread, &attributes, with_a_small_stack, from_main) == 0);
    require(pthread_join(thread, &result) == 0 && result == from_main);
    return true;
}

static volatile sig_atomic_t handled;

static void handle(int signal_number)
{
    (void)signal_number;
    handled++;
}

/* System calls on the way are interrupted. */
static bool signals_interrupt(void)
{
    struct sigaction action = {.sa_handler = handle};
    struct itimerval often = {.it_interval.tv_usec = 500, .it_value.tv_usec = 500};
    struct itimerval never = {.it_value.tv_sec = 0};
    require(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 10000 && handled < 200; i++) {
        errno = 0;
        require(allocates());
        require(errno == 0);
        malloc_trim(0);
    }
    require(setitimer(ITIMER_REAL, &never, NULL) == 0);
    signal(SIGALRM, SIG_DFL);
    require(handled >= 200);
    return true;
}

int main(void)
{
    run(library_is_in_use);
    run(before_main);
    run(after_main);
    run(destructors_of_keys);
#ifdef __x86_64__
    run(threads_by_clone);
#endif
    run(cancellation);
    run(stacks_of_16_kib);
    run(signals_interrupt);
    return finish();
}
