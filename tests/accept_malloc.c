/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Acceptance: the malloc family under its own names, in a program that is linked with libowl.so or
 * has it preloaded. Prints TAP; exits with 1 if anything failed. Nothing here knows how the
 * library works.
 */
#define _GNU_SOURCE /* reallocarray, asprintf, RTLD_DEFAULT */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accept.h"

static bool all_names_are_there(void)
{
    static const char *const names[] = {
        "malloc",       "free",          "calloc",         "realloc",   "reallocarray",
        "aligned_alloc", "posix_memalign", "memalign",      "valloc",    "pvalloc",
        "malloc_usable_size", "malloc_trim", "malloc_info", "malloc_stats", "mallinfo2",
        "free_sized",   "free_aligned_sized", "cfree"};
    Dl_info of_version, of_name;
    require(dladdr(function("owl_version"), &of_version) != 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *f = function(names[i]);
        if (f == NULL || dladdr(f, &of_name) == 0 ||
            strcmp(of_name.dli_fname, of_version.dli_fname) != 0) {
            printf("# %s is not the library's\n", names[i]);
            return false;
        }
    }
    return true;
}

static bool blocks_are_usable(void)
{
    for (size_t size = 0; size < 5000000; size += size / 7 + 1) {
        char *p = opaque(malloc(size)), *q = opaque(malloc(size));
        require(p != NULL && q != NULL && p != q);
        require((uintptr_t)p % 16 == 0 && (uintptr_t)q % 16 == 0);
        require(malloc_usable_size(p) >= size);
        memset(p, 1, size);
        memset(q, 2, size);
        require(size == 0 || (p[0] == 1 && p[size - 1] == 1));
        free(p);
        free(q);
    }
    free(NULL);
    require(malloc_usable_size(NULL) == 0);
    return true;
}

static bool calloc_is_zero(void)
{
    for (size_t size = 1; size < 2000000; size += size / 5 + 1)
        for (int round = 0; round < 2; round++) {
            char *p = opaque(calloc(round ? size : 1, round ? 1 : size));
            require(p != NULL);
            for (size_t i = 0; i < size; i++)
                require(p[i] == 0);
            memset(p, 0xff, size);
            free(p);
        }
    return true;
}

static bool realloc_keeps_contents(void)
{
    unsigned char *p = NULL;
    size_t size = 0;
    for (size_t next = 1; next < 4000000; next += next / 3 + 1) {
        p = opaque(realloc(p, next));
        require(p != NULL);
        for (size_t i = 0; i < size; i++)
            require(p[i] == (unsigned char)(i * 5));
        for (size_t i = size; i < next; i++)
            p[i] = (unsigned char)(i * 5);
        size = next;
    }
    for (; size > 1; size /= 2) {
        p = opaque(realloc(p, size));
        require(p != NULL);
        for (size_t i = 0; i < size; i++)
            require(p[i] == (unsigned char)(i * 5));
    }
    require(opaque(realloc(p, 0)) == NULL);
    p = opaque(reallocarray(NULL, 10, 100));
    require(p != NULL && malloc_usable_size(p) >= 1000);
    free(p);
    return true;
}

static bool refused(const void *p)
{
    bool ok = p == NULL && errno == ENOMEM;
    errno = 0;
    return ok;
}

static bool impossible_sizes_give_enomem(void)
{
    static const size_t huge[] = {(size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 100, PTRDIFF_MAX};
    char *p = malloc(10);
    memcpy(p, "unchanged", 10);
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        size_t n = opaque_size(huge[i]);
        void *block = p;
        errno = 0;
        require(refused(opaque(malloc(n))));
        require(refused(opaque(calloc(n, 1))));
        require(refused(opaque(calloc(n / 2, 3))));
        require(refused(opaque(realloc(opaque(p), n))));
        require(refused(opaque(reallocarray(opaque(p), n / 2, 3))));
        require(refused(opaque(aligned_alloc(64, n))));
        require(refused(opaque(memalign(64, n))));
        require(refused(opaque(valloc(n))));
        require(refused(opaque(pvalloc(n))));
        require(posix_memalign(&block, 64, n) == ENOMEM && block == p && errno == 0);
    }
    require(strcmp(p, "unchanged") == 0);
    free(p);
    return true;
}

static bool alignments_are_kept(void)
{
    for (size_t alignment = 1; alignment <= (size_t)16 << 20; alignment *= 2)
        for (size_t size = 0; size < 100000; size = size * 9 + 1) {
            void *p = opaque(aligned_alloc(alignment, size));
            void *q = opaque(memalign(alignment, size)), *r = NULL;
            require(p != NULL && (uintptr_t)p % alignment == 0);
            require(q != NULL && (uintptr_t)q % alignment == 0);
            if (alignment >= sizeof(void *)) {
                require(posix_memalign(&r, alignment, size) == 0);
                require((uintptr_t)r % alignment == 0);
            }
            free(p);
            free(q);
            free(r);
        }
    errno = 0;
    require(opaque(aligned_alloc(opaque_size(24), 100)) == NULL && errno == EINVAL);
    errno = 0;
    require(opaque(aligned_alloc(opaque_size(0), 100)) == NULL && errno == EINVAL);
    void *p = NULL;
    require(posix_memalign(&p, opaque_size(4), 8) == EINVAL && p == NULL);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *v = valloc(10), *w = pvalloc(10);
    require((uintptr_t)v % page == 0 && (uintptr_t)w % page == 0);
    require(malloc_usable_size(w) >= page);
    free(v);
    free(w);
    return true;
}

static bool free_keeps_errno(void)
{
    for (size_t size = 1; size < (size_t)200 << 20; size *= 3) {
        void *p = opaque(malloc(size));
        errno = 12345;
        free(p);
        require(errno == 12345);
    }
    return true;
}

static bool families_mix(void)
{
    void *(*owl_malloc_)(size_t) = (void *(*)(size_t))(uintptr_t)function("owl_malloc");
    void (*owl_free_)(void *) = (void (*)(void *))(uintptr_t)function("owl_free");
    void (*free_sized_)(void *, size_t) =
        (void (*)(void *, size_t))(uintptr_t)function("free_sized");
    void (*cfree_)(void *) = (void (*)(void *))(uintptr_t)function("cfree");
    free(owl_malloc_(100));
    owl_free_(malloc(100));
    free_sized_(malloc(100), 100);
    cfree_(calloc(1, 100));
    char *text = NULL;
    require(asprintf(&text, "%d %s", 17, "owls") == 7 && strcmp(text, "17 owls") == 0);
    free(text);
    text = strdup("copied");
    require(text != NULL && malloc_usable_size(text) >= 7);
    free(text);
    return true;
}

static void *use_from_thread(void *unused)
{
    (void)unused;
    static __thread void *kept[50];
    for (int i = 0; i < 20000; i++) {
        void **slot = &kept[i * 7 % 50];
        free(*slot);
        *slot = opaque(malloc((size_t)(i * 31 % 3000)));
        if (*slot == NULL)
            return (void *)1;
        memset(*slot, i, (size_t)(i * 31 % 3000));
    }
    for (int i = 0; i < 50; i++)
        free(kept[i]);
    return NULL;
}

static bool threads_may_call(void)
{
    pthread_t threads[6];
    for (int i = 0; i < 6; i++)
        require(pthread_create(&threads[i], NULL, use_from_thread, NULL) == 0);
    for (int i = 0; i < 6; i++) {
        void *result;
        require(pthread_join(threads[i], &result) == 0 && result == NULL);
    }
    return true;
}

/* Status and output of a child that does wrong. */
static int child_output(void (*body)(void *), void *p, char *text, size_t size)
{
    int ends[2], status;
    size_t length = 0;
    ssize_t n;
    if (pipe(ends) != 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        body(p);
        _exit(0);
    }
    close(ends[1]);
    while (length < size - 1 && (n = read(ends[0], text + length, size - 1 - length)) > 0)
        length += (size_t)n;
    text[length] = '\0';
    close(ends[0]);
    return waitpid(pid, &status, 0) == pid ? status : -1;
}

static void free_twice(void *p)
{
    void *again = opaque(p);
    free(p);
    free(again);
}

static void free_it(void *p)
{
    free(opaque(p));
}

static bool aborts_with(void (*body)(void *), void *p)
{
    char text[500], pointer[40];
    int status = child_output(body, p, text, sizeof text);
    snprintf(pointer, sizeof pointer, "%p", p);
    require(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    require(strstr(text, pointer) != NULL);
    require(strchr(text, '\n') == text + strlen(text) - 1);
    return true;
}

static bool wrong_frees_are_reported(void)
{
    int on_stack[16] = {0};
    char *small = opaque(malloc(100)), *large = opaque(malloc(1000000));
    require(aborts_with(free_twice, small));
    require(aborts_with(free_twice, large));
    require(aborts_with(free_it, small + 16));
    require(aborts_with(free_it, small + 1));
    require(aborts_with(free_it, large + 16));
    require(aborts_with(free_it, on_stack));
    require(aborts_with(free_it, (void *)(uintptr_t)&aborts_with));
    free(small);
    free(large);
    return true;
}

static bool children_have_the_heap(void)
{
    char *p = malloc(100);
    strcpy(p, "before");
    pid_t pid = fork();
    if (pid == 0) {
        if (strcmp(p, "before") != 0 || use_from_thread(NULL) != NULL)
            _exit(1);
        free(p);
        _exit(0);
    }
    int status;
    require(waitpid(pid, &status, 0) == pid && status == 0);
    require(strcmp(p, "before") == 0);
    free(p);
    return true;
}

static bool counts_can_be_had(void)
{
    struct mallinfo2 before = mallinfo2();
    void *p = opaque(malloc(10000000));
    struct mallinfo2 after = mallinfo2();
    require(after.uordblks + after.hblkhd >= before.uordblks + before.hblkhd + 10000000);
    free(p);
    require(malloc_info(opaque_size(1) != 0, stdout) == -1);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    require(stream != NULL && malloc_info(0, stream) == 0);
    fclose(stream);
    require(strncmp(text, "<malloc", 7) == 0);
    free(text);
    malloc_trim(0);
    return true;
}

int main(void)
{
    run(library_is_in_use);
    if (failures == 0)
        run(all_names_are_there);
    run(blocks_are_usable);
    run(calloc_is_zero);
    run(realloc_keeps_contents);
    run(impossible_sizes_give_enomem);
    run(alignments_are_kept);
    run(free_keeps_errno);
    if (function("owl_malloc") != NULL)
        run(families_mix);
    run(threads_may_call);
    run(wrong_frees_are_reported);
    run(children_have_the_heap);
    run(counts_can_be_had);
    return finish();
}
