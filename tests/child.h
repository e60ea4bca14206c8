/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests that run in a process of their own, because the state of the allocator is global and some
 * tests spoil it. In such a child, and in any of its threads, check() takes the place of cmocka's
 * assertions, which jump back to a runner that only the parent has.
 *
 * A test is a function without arguments, entered into cmocka's table with child_test(function).
 */
#ifndef OWL_TESTS_CHILD_H
#define OWL_TESTS_CHILD_H

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* A test that takes longer hangs. */
#define CHILD_SECONDS 200

#define check(holds) ((holds) ? (void)0 : check_failed(#holds, __FILE__, __LINE__))

/* The loops of the tests are shorter where every access costs more. */
#define ROUNDS(n) (SANITIZED ? (n) / 8 + 1 : (n))

/* Those of random tests are so long that `make check` shows what they usually find. If the
 * environment says OWL_TEST_ALL, as `make stress-long` does, they are longer. */
#define RANDOM_ROUNDS(n) (ROUNDS(n) * (test_all ? 16 : 1))

static bool test_all __attribute__((unused));

__attribute__((constructor)) static void read_environment(void)
{
    test_all = getenv("OWL_TEST_ALL") != NULL;
}

/* The sanitizers' own leak search would stop each child for a while, and cannot see into the
 * allocator under test. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

_Noreturn static inline void check_failed(const char *what, const char *file, int line)
{
    dprintf(STDERR_FILENO, "%s:%d: does not hold: %s\n", file, line, what);
    _exit(1);
}

/* Keeps the compiler from reasoning by the attributes of the functions under test: that two
 * blocks differ, or how large they are. */
static inline void *opaque(void *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

static inline size_t opaque_size(size_t n)
{
    __asm__ volatile("" : "+r"(n));
    return n;
}

static inline void child_prepare(void)
{
    static const int caught_by_runner[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS};
    for (size_t i = 0; i < sizeof caught_by_runner / sizeof *caught_by_runner; i++)
        signal(caught_by_runner[i], SIG_DFL);
    alarm(test_all ? 60 * CHILD_SECONDS : CHILD_SECONDS);
}

static inline int child_wait(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) != pid)
        continue;
    return status;
}

/* Runs body in a child; its status as of waitpid. */
static inline int child_status(void (*body)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        child_prepare();
        body();
        _exit(0);
    }
    return pid > 0 ? child_wait(pid) : -1;
}

/* What body returns, on a thread of its own. */
static inline void *on_other_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    void *result;
    check(pthread_create(&thread, NULL, body, argument) == 0);
    check(pthread_join(thread, &result) == 0);
    return result;
}

static inline bool child_succeeds(void (*body)(void))
{
    return child_status(body) == 0;
}

static inline bool child_faults(void (*body)(void))
{
    int status = child_status(body);
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGBUS);
}

static inline void child_run(void **state)
{
    int status = child_status((void (*)(void))(uintptr_t)*state);
    if (WIFSIGNALED(status))
        fail_msg("ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (status != 0)
        fail_msg("ended with status %d", WEXITSTATUS(status));
}

#define child_test(function)                                                                      \
    {                                                                                             \
        .name = #function, .test_func = child_run, .initial_state = (void *)(uintptr_t)(function) \
    }

/* A generator of numbers that are random enough, and the same each time (G. Marsaglia, "Xorshift
 * RNGs", 2003). The state begins as any number but 0. */
static inline uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545f4914f6cdd1du >> 16;
}

#endif
