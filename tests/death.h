/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Death tests: a child does what the allocator must not let pass, and has to end by abort() with
 * one line on file descriptor 2 that has the pointer as %p prints it, and some words.
 */
#ifndef OWL_TESTS_DEATH_H
#define OWL_TESTS_DEATH_H

#include <sys/mman.h>

#include "child.h"

/* Shared with the child, which says here which pointer it expects in the report. */
static const void **death_culprit;

static inline void *culprit(void *p)
{
    p = opaque(p);
    *death_culprit = p;
    return p;
}

/* Reads all that comes, up to size - 1 bytes, as a string. */
static inline void read_all(int fd, char *text, size_t size)
{
    size_t length = 0;
    ssize_t n;
    while (length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
}

static inline int death_status(void (*body)(void), char *text, size_t size)
{
    int ends[2];
    if (pipe(ends) != 0)
        fail_msg("no pipe");
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        child_prepare();
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body();
        _exit(0);
    }
    close(ends[1]);
    read_all(ends[0], text, size);
    close(ends[0]);
    return child_wait(pid);
}

/* body calls culprit() with the pointer that is to be reported. */
static inline void assert_death(const char *name, void (*body)(void), const char *words)
{
    char text[4096], pointer[32];
    if (death_culprit == NULL) {
        void *shared = mmap(NULL, sizeof *death_culprit, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        death_culprit = shared == MAP_FAILED ? NULL : shared;
        assert_non_null(death_culprit);
    }
    *death_culprit = NULL;
    int status = death_status(body, text, sizeof text);
    snprintf(pointer, sizeof pointer, "pointer %p:", *death_culprit);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
        fail_msg("%s: no abort but status %#x, output: %s", name, (unsigned)status, text);
    if (strchr(text, '\n') == NULL || strchr(text, '\n')[1] != '\0')
        fail_msg("%s: not exactly one line: %s", name, text);
    if (strstr(text, pointer) == NULL)
        fail_msg("%s: no %s in: %s", name, pointer, text);
    if (strstr(text, words) == NULL)
        fail_msg("%s: no \"%s\" in: %s", name, words, text);
}

#define expect_death(body, words) assert_death(#body, body, words)

#endif
