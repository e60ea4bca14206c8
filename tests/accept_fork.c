/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A library whose constructor, which runs before those of a preloaded allocator, asks to be called
 * at fork, and then allocates: the allocator's own handlers must not hold its locks at that time.
 * Compiled twice: with -DLIBRARY as that library, and without as a program that uses it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int handler_calls(void);

#ifdef LIBRARY

static int calls;

/* Sizes that no thread has in its cache: a small and a large one. */
static void allocate(void)
{
    static size_t size = 1000;
    size += 700;
    void *small = malloc(size);
    void *large = malloc(size * 100);
    if (small == NULL || large == NULL)
        _exit(1);
    free(large);
    free(small);
    calls++;
}

int handler_calls(void)
{
    return calls;
}

__attribute__((constructor)) static void start(void)
{
    pthread_atfork(allocate, allocate, allocate);
}

#else

int main(void)
{
    int status;
    alarm(20);
    for (int i = 0; i < 10; i++) {
        int before = handler_calls();
        pid_t pid = fork();
        if (pid == 0)
            _exit(handler_calls() == before + 2 ? 0 : 1);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return 1;
    }
    puts("ok");
    return 0;
}

#endif
