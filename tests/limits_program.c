/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Uses malloc, and libowl's own functions if they are there, after it has put itself under a limit
 * of the system. What is refused must be refused by NULL with ENOMEM; what is given must hold what
 * it should. Ends with status 3 if memory was refused, with 0 if none was, and with 77 if there can
 * be no filters. Usage: limits_program [what ...]
 *
 *   files       no file may be opened      closed      all descriptors but 2 are closed
 *   mappings    nearly all mappings the system allows are there already
 *   addresses   from now on there are 2 GiB of addresses, fewer than are reserved
 *   CALL=ERROR  a system call fails with this number: memfd_create, mremap, mincore, madvise,
 *               membarrier, clone, userfaultfd
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define check(holds) ((holds) ? (void)0 : failed(#holds, __LINE__))

extern void *owl_dup(void *p) __attribute__((weak));
extern void *owl_ring(size_t bytes) __attribute__((weak));
extern size_t owl_trim(size_t keep) __attribute__((weak));

enum { REFUSED = 3 };

#define LARGE (40 * MIB) /* it lies in a file, where there are any */

static unsigned long refused;

static void failed(const char *what, int line)
{
    dprintf(2, "line %d: does not hold: %s (errno %d)\n", line, what, errno);
    _exit(1);
}

/* --- limits ------------------------------------------------------------------ */

static const struct {
    const char *name;
    unsigned numbers[2];
} calls[] = {
    {"memfd_create", {SYS_memfd_create, SYS_memfd_create}},
    {"mremap", {SYS_mremap, SYS_mremap}},
    {"mincore", {SYS_mincore, SYS_mincore}},
    {"madvise", {SYS_madvise, SYS_madvise}},
    {"membarrier", {SYS_membarrier, SYS_membarrier}},
    {"clone", {SYS_clone, SYS_clone3}},
    {"userfaultfd", {SYS_userfaultfd, SYS_userfaultfd}},
};

static void forbid(const unsigned numbers[2], unsigned error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[0], 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, numbers[1], 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(77);
    errno = 0;
    check(syscall(numbers[0], 0, 0, 0, 0, 0) == -1 && errno == (int)error);
}

/* Each second page has another protection, so that each page is a mapping. */
static void use_up_mappings(void)
{
    enum { MANY = 65000 };
    char *p = mmap(NULL, (size_t)MANY * 4096, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(p != MAP_FAILED);
    for (size_t i = 1; i < MANY && mprotect(p + i * 4096, 4096, PROT_READ) == 0; i += 2)
        continue;
}

static void limit(const char *what)
{
    const char *equals = strchr(what, '=');
    size_t length = equals != NULL ? (size_t)(equals - what) : 0;
    struct rlimit none = {.rlim_cur = 3, .rlim_max = 3};
    struct rlimit few = {.rlim_cur = 2048 * MIB, .rlim_max = 2048 * MIB};
    if (strcmp(what, "files") == 0)
        check(setrlimit(RLIMIT_NOFILE, &none) == 0);
    else if (strcmp(what, "mappings") == 0)
        use_up_mappings();
    else if (strcmp(what, "addresses") == 0)
        check(setrlimit(RLIMIT_AS, &few) == 0);
    for (int i = 0; strcmp(what, "closed") == 0 && i < 70000; i++)
        if (i != 2)
            close(i);
    for (size_t i = 0; equals != NULL && i < sizeof calls / sizeof *calls; i++)
        if (strncmp(calls[i].name, what, length) == 0)
            forbid(calls[i].numbers, (unsigned)atoi(equals + 1));
}

/* --- work --------------------------------------------------------------------- */

static void fill(char *p, size_t from, size_t to, int with)
{
    for (size_t i = from; i < to; i += 512)
        p[i] = (char)(with + (int)(i >> 9));
}

static void look(const char *p, size_t bytes, int with)
{
    for (size_t i = 0; i < bytes; i += 512)
        check(p[i] == (char)(with + (int)(i >> 9)));
}

static char *get(size_t bytes, int with)
{
    errno = 0;
    char *p = malloc(bytes);
    check(p != NULL || errno == ENOMEM);
    refused += p == NULL;
    if (p != NULL)
        fill(p, 0, bytes, with);
    return p;
}

static void small_blocks(void)
{
    enum { MANY = 3000 };
    static char *blocks[MANY];
    for (size_t i = 0; i < MANY; i++)
        blocks[i] = get(16 + i * 7 % 9000, (int)i);
    for (size_t i = 0; i < MANY; i++)
        if (blocks[i] != NULL)
            look(blocks[i], 16 + i * 7 % 9000, (int)i);
    for (size_t i = 0; i < MANY; i++)
        free(blocks[i]);
}

static void growing_block(void)
{
    size_t bytes = 100000;
    char *p = get(bytes, 3), *wall = get(50000, 4);
    while (p != NULL && bytes < 80 * MIB) {
        size_t more = bytes + bytes / 2 / 512 * 512;
        errno = 0;
        char *q = realloc(p, more);
        look(q != NULL ? q : p, bytes, 3);
        check(q != NULL || errno == ENOMEM);
        if (q == NULL) {
            refused++;
            break;
        }
        p = q;
        fill(p, 0, more, 3);
        bytes = more;
    }
    if (p != NULL)
        look(p, bytes, 3);
    free(p);
    free(wall);
}

static void shared_pages(void)
{
    char *p = get(3 * MIB, 5);
    if (p == NULL || owl_dup == NULL)
        return;
    errno = 0;
    char *d = owl_dup(p);
    check(d != NULL || errno == ENOMEM);
    if (d != NULL) {
        fill(d, 0, 3 * MIB, 6);
        look(p, 3 * MIB, 5);
        look(d, 3 * MIB, 6);
    }
    errno = 0;
    char *r = owl_ring(8192);
    check(r != NULL || errno == ENOMEM);
    free(r);
    free(d);
    free(p);
    owl_trim(0);
}

static void *member(void *unused)
{
    small_blocks();
    return unused;
}

static void threads_and_forks(void)
{
    pthread_t thread;
    char *p = get(MIB, 7);
    if (pthread_create(&thread, NULL, member, NULL) == 0)
        pthread_join(thread, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        if (p != NULL) {
            look(p, MIB, 7);
            fill(p, 0, MIB, 8);
        }
        small_blocks();
        _exit(0);
    }
    int status = 0;
    if (pid > 0)
        check(waitpid(pid, &status, 0) == pid && status == 0);
    if (p != NULL)
        look(p, MIB, 7);
    free(p);
}

/* What the parent writes after a fork the child does not see. */
static void a_fork_copies(char *p, size_t bytes)
{
    int ends[2];
    char c;
    if (p == NULL)
        return;
    if (pipe(ends) != 0) {
        check(errno == EMFILE);
        return;
    }
    pid_t pid = fork();
    if (pid == 0) {
        check(read(ends[0], &c, 1) == 1);
        look(p, bytes, 3);
        _exit(0);
    }
    fill(p, 0, bytes, 4);
    int status = 1;
    check(write(ends[1], "w", 1) == 1);
    check(pid < 0 || (waitpid(pid, &status, 0) == pid && status == 0)); /* it may be refused */
    close(ends[0]);
    close(ends[1]);
}

int main(int argc, char **argv)
{
    char *before = get(2 * MIB, 1), *small = get(100, 2), *large = get(LARGE, 3);
    errno = 0;
    for (int i = 1; i < argc; i++)
        limit(argv[i]);
    growing_block();
    a_fork_copies(large, LARGE);
    free(large);
    for (int round = 0; round < 2; round++) {
        small_blocks();
        growing_block();
        shared_pages();
        threads_and_forks();
    }
    if (before != NULL)
        look(before, 2 * MIB, 1);
    if (small != NULL)
        look(small, 100, 2);
    free(before);
    free(small);
    return refused > 0 ? REFUSED : 0;
}
