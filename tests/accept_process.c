/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Acceptance: processes that come from one with a large heap and busy threads. Prints TAP; exits
 * with 1 if anything failed. Nothing here knows how the library works.
 */
#define _GNU_SOURCE /* close_range */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accept.h"

extern char **environ;

enum { THREADS = 3, BLOCKS = 400, LARGE = 33 << 20 };

static unsigned char *blocks[BLOCKS];
static atomic_bool stop;

static size_t size_of(int i)
{
    return i % 200 == 0 ? (size_t)LARGE + (size_t)i : 1 + (size_t)i * 97 % 70000;
}

static bool take_blocks(unsigned char fill)
{
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = opaque(malloc(size_of(i)));
        require(blocks[i] != NULL);
        memset(blocks[i], fill, size_of(i));
    }
    return true;
}

static bool blocks_hold(unsigned char fill)
{
    for (int i = 0; i < BLOCKS; i++)
        for (size_t at = 0; at < size_of(i); at += 4096)
            require(blocks[i][at] == fill);
    return true;
}

static void free_blocks(void)
{
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}

static void *churn(void *seed)
{
    unsigned random = (unsigned)(size_t)seed;
    void *held[50] = {NULL};
    while (!atomic_load(&stop)) {
        void **slot = &held[rand_r(&random) % 50];
        free(*slot);
        *slot = opaque(malloc((size_t)rand_r(&random) % 60000));
    }
    for (int i = 0; i < 50; i++)
        free(held[i]);
    return NULL;
}

static int status_of(pid_t pid)
{
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

/* The child shares the memory of the parent, which waits; programs do allocate there. */
static bool vfork_and_allocate(void)
{
    for (int i = 0; i < 50; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            free(opaque(malloc(5000 + (size_t)i)));
            execl("/bin/true", "true", (char *)NULL);
            _exit(1);
        }
        require(pid > 0 && status_of(pid) == 0);
    }
    return blocks_hold(1);
}

static bool spawn(void)
{
    char *const arguments[] = {"sh", "-c", "exit 7", NULL};
    for (int i = 0; i < 30; i++) {
        pid_t pid;
        require(posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ) == 0);
        require(status_of(pid) == 7 << 8);
    }
    return true;
}

static bool shells(void)
{
    char line[20] = "";
    for (int i = 0; i < 20; i++) {
        require(system("exit 5") == 5 << 8);
        FILE *f = popen("echo text", "r");
        require(f != NULL && fgets(line, sizeof line, f) != NULL);
        require(strcmp(line, "text\n") == 0 && pclose(f) == 0);
    }
    return true;
}

/* What a child does that has all it needs: threads, and children of its own. */
static void *forks(void *depth);

static int full_life(long depth, unsigned char fill)
{
    pthread_t threads[2];
    if (!blocks_hold(fill))
        return 1;
    free_blocks();
    if (!take_blocks(fill + 1))
        return 2;
    for (int i = 0; depth > 0 && i < 2; i++)
        if (pthread_create(&threads[i], NULL, forks, (void *)depth) != 0)
            return 3;
    for (int i = 0; depth > 0 && i < 2; i++) {
        void *result;
        if (pthread_join(threads[i], &result) != 0 || result != NULL)
            return 4;
    }
    return blocks_hold(fill + 1) ? 0 : 5;
}

enum { DEPTH = 2 };

/* Of threads that do so at once; NULL if all went well. */
static void *forks(void *depth)
{
    long left = (long)depth;
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            alarm(60);
            _exit(full_life(left - 1, (unsigned char)(1 + DEPTH - left)));
        }
        if (pid < 0 || status_of(pid) != 0)
            return &stop;
    }
    return NULL;
}

static bool children_with_threads_and_children(void)
{
    pthread_t threads[THREADS];
    bool all = true;
    for (int i = 0; i < THREADS; i++)
        require(pthread_create(&threads[i], NULL, forks, (void *)DEPTH) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        all &= pthread_join(threads[i], &result) == 0 && result == NULL;
    }
    require(all);
    return blocks_hold(1);
}

/* In the daemon, in which all descriptors are closed. */
static bool daemon_lives(void)
{
    for (int round = 0; round < 3; round++) {
        if (!blocks_hold((unsigned char)(round + 1)))
            return false;
        blocks[200] = opaque(realloc(blocks[200], 2 * size_of(200)));
        if (blocks[200] == NULL || blocks[200][size_of(200) - 1] != round + 1)
            return false;
        pid_t pid = fork();
        if (pid == 0) {
            bool held = blocks_hold((unsigned char)(round + 1));
            for (int i = 0; i < BLOCKS; i++)
                memset(blocks[i], 77, size_of(i));
            free_blocks();
            _exit(held ? 0 : 1);
        }
        if (pid < 0 || status_of(pid) != 0 || !blocks_hold((unsigned char)(round + 1)))
            return false;
        free_blocks();
        if (!take_blocks((unsigned char)(round + 2)))
            return false;
    }
    return true;
}

/* As daemon(3) does it; the daemon becomes this process's child, so that its status can be had. */
static bool daemon_without_descriptors(void)
{
    require(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t *daemon_is = mmap(NULL, sizeof *daemon_is, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(daemon_is != MAP_FAILED);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        alarm(60);
        *daemon_is = getpid();
        chdir("/");
        close_range(0, ~0u, 0);
        _exit(daemon_lives() ? 0 : 1);
    }
    require(pid > 0 && status_of(pid) == 0);
    while (*(volatile pid_t *)daemon_is == 0)
        usleep(1000);
    require(status_of(*daemon_is) == 0);
    return blocks_hold(1);
}

int main(void)
{
    pthread_t threads[THREADS];
    alarm(110);
    run(library_is_in_use);
    report("blocks", take_blocks(1));
    run(daemon_without_descriptors);
    for (size_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    run(vfork_and_allocate);
    run(spawn);
    run(shells);
    run(children_with_threads_and_children);
    atomic_store(&stop, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    report("blocks hold", blocks_hold(1));
    return finish();
}
