/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For tools_test.sh: uses each part of the interface as one may, or does one thing wrong.
 *
 *     watched_program clean ROUNDS
 *     watched_program FAULT         as named in the table below
 */
#include <owl/array.h>
#include <owl/large.h>
#include <owl/owl.h>
#include <owl/pages.h>
#include <owl/stats.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZES 9
static const size_t sizes[SIZES] = {0, 1, 16, 17, 100, 4096, 32768, 100000, 3000000};

OWL_ARRAY_OF(int, ints);

/* A pointer of which the compiler knows nothing. */
static char *opaque(void *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

/* Ends the program, with a number that says where. */
static void must(int holds, int line)
{
    if (!holds) {
        fprintf(stderr, "line %d does not hold\n", line);
        exit(1);
    }
}
#define MUST(what) must(what, __LINE__)

static int sum(const char *p, size_t bytes)
{
    unsigned total = 0;
    for (size_t i = 0; i < bytes; i++)
        total += (unsigned char)p[i];
    return (int)(total % 251);
}

/* --- as one may --- */

static void blocks(void)
{
    for (int i = 0; i < SIZES; i++) {
        size_t n = sizes[i], most = n > 0 ? n : 1;
        char *p = owl_malloc(n), *q = owl_calloc(1, n), *r = owl_aligned_alloc(256, n);
        void *s = NULL;
        MUST(owl_posix_memalign(&s, 64, n) == 0 && p && q && r && s);
        MUST((uintptr_t)r % 256 == 0 && (uintptr_t)s % 64 == 0 && sum(q, n) == 0);
        MUST(owl_malloc_usable_size(p) >= n && owl_good_size(n) >= n);
        memset(p, 1, owl_malloc_usable_size(p));
        memset(r, 2, n);
        memset(s, 3, n);
        p = owl_realloc(p, 2 * most);
        q = owl_reallocarray(q, most, 3);
        MUST(sum(p, n) == (int)(n % 251) && sum(q, n) == 0);
        memset(p, 4, 2 * most);
        p = owl_realloc(p, (most + 1) / 2);
        owl_free_sized(p, (most + 1) / 2);
        owl_free(q);
        owl_free_aligned_sized(r, 256, n);
        owl_free(s);
        owl_free(owl_valloc(n));
        owl_free(owl_pvalloc(n));
        owl_free(owl_memalign(48, n));
    }
    owl_free(NULL);
    MUST(owl_realloc(owl_malloc(5), 0) == NULL);
}

static void large(void)
{
    for (int i = 2; i < SIZES; i++) {
        size_t n = sizes[i];
        char *p = owl_malloc(n);
        memset(p, 5, n);
        p = owl_grow_front(p, 160);
        MUST(p != NULL && sum(p + 160, n) == (int)(5 * n % 251));
        memset(p, 5, 160);
        char *q = owl_dup(p);
        MUST(memcmp(p, q, n + 160) == 0);
        q[0] = 6;
        MUST(owl_swap(p, q, n) == 0 && p[0] == 6 && q[0] == 5);
        p = owl_shrink_front(p, 16);
        MUST(sum(p, n) == (int)(5 * n % 251));
        owl_free(p);
        owl_free(q);
    }
    size_t offset, bytes = 1 << 20;
    char *p = owl_malloc(bytes);
    memset(p, 7, bytes);
    int file = owl_export(p, &offset);
    char seven = 0;
    if (file >= 0)
        MUST(pread(file, &seven, 1, (off_t)offset) == 1 && seven == 7 && close(file) == 0);
    MUST(p[bytes - 1] == 7);
    owl_free(p);
    p = owl_ring(65536);
    if (p != NULL) {
        strcpy(p + 65533, "hello");
        MUST(strcmp(p, "lo") == 0);
    }
    owl_free(p);
}

static void pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t n = 1; n <= 64; n *= 4) {
        char *p = owl_pages_alloc(n, OWL_PAGES_RECYCLED), *q = owl_pages_alloc(n, OWL_PAGES_ZERO);
        char *r = owl_pages_alloc(n, OWL_PAGES_NO_COMMIT);
        char *s = owl_pages_alloc(n, OWL_PAGES_COMMIT | OWL_PAGES_TOP_DOWN);
        MUST(p && q && r && s && owl_malloc_usable_size(p) == n * page);
        MUST(sum(q, n * page) == 0 && sum(r, n * page) == 0);
        memset(p, 1, n * page);
        memset(s, 2, n * page);
        MUST(owl_pages_commit(r, 0, n) == 0 && owl_pages_release(p, 0, 1) == 0);
        MUST(sum(p, page) == 0);
        memset(p, 1, n * page);
        MUST(owl_pages_swap(p, s, n) == 0 && p[0] == 2 && s[0] == 1);
        p = owl_pages_realloc(p, 2 * n, OWL_PAGES_ZERO | OWL_PAGES_SCRUB);
        MUST(p[0] == 2 && sum(p + n * page, n * page) == 0 && (uintptr_t)p % page == 0);
        struct owl_pages_piece list[2] = {{p, n, n}, {s, 0, n}};
        char *g = owl_pages_gather(list, 2);
        MUST(g != NULL && g[0] == 0 && g[n * page] == 1 && sum(s, n * page) == 0);
        struct owl_pages_change changes[3] = {{.op = OWL_PAGES_OP_ALLOC, .pages = n,
                                               .flags = OWL_PAGES_NO_COMMIT},
                                              {.op = OWL_PAGES_OP_RELEASE, .block = g, .pages = n},
                                              {.op = OWL_PAGES_OP_FREE, .block = s}};
        MUST(owl_pages_batch(changes, 3) == 0 && sum(g, n * page) == 0);
        MUST(sum(changes[0].block, n * page) == 0);
        owl_pages_free(changes[0].block, 0);
        owl_pages_free(p, OWL_PAGES_SCRUB);
        owl_pages_free(q, 0);
        owl_pages_free(r, 0);
        owl_pages_free(g, 0);
    }
    owl_pages_trim(0.7);
}

static void arrays(size_t reserve)
{
    struct owl_array *a = ints_new(reserve), *b = owl_array_ref(NULL);
    for (int i = 0; i < 3000; i++) {
        a = i % 3 == 0 ? ints_prepend(a, i) : ints_append(a, i);
        if (i % 500 == 0) {
            owl_array_release(b);
            b = owl_array_ref(a);
        }
    }
    MUST(ints_count(a) == 3000 && *ints_at(a, 0) == 2997 && *ints_at(a, 2999) == 2999);
    a = owl_array_insert(a, 1500, ints_data(a) + 10, 100);
    a = owl_array_append(a, NULL, 50);
    MUST(a != NULL && ints_data(a)[3149] == 0);
    a = owl_array_erase(a, 10, 1000);
    a = owl_array_erase(a, 0, 100);
    a = owl_array_truncate(a, 1900);
    a = owl_array_own(owl_array_shrink(a));
    a = owl_array_reserve(a, 100, 1 << 19);
    MUST(a != NULL && ints_count(a) == 1900 && ints_count(b) == 2501);
    long total = 0;
    for (size_t i = 0; i < ints_count(a); i++)
        total += *ints_at(a, i);
    MUST(total > 0);
    owl_array_release(b);
    owl_array_release(a);
}

static void *thread(void *shared)
{
    char **handed = shared;
    for (int i = 0; i < 500; i++) {
        owl_free(handed[i]);
        handed[i] = owl_malloc((size_t)i);
        memset(handed[i], i, (size_t)i);
    }
    return NULL;
}

static void threads_and_forks(void)
{
    pthread_t id;
    char *handed[500];
    for (int i = 0; i < 500; i++)
        handed[i] = owl_malloc(40);
    MUST(pthread_create(&id, NULL, thread, handed) == 0 && pthread_join(id, NULL) == 0);
    for (int i = 0; i < 500; i++)
        owl_free(handed[i]);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        owl_free(owl_malloc(77));
        _exit(0);
    }
    int status = -1;
    MUST(waitpid(child, &status, 0) == child && status == 0);
    struct owl_stats s;
    owl_stats(&s);
    owl_trim(0);
}

static void clean(int rounds)
{
    for (int i = 0; i < rounds; i++) {
        blocks();
        large();
        pages();
        arrays(0);
        arrays(1 << 20);
        threads_and_forks();
    }
}

/* --- as one may not --- */

static void overrun_small(void)
{
    char *p = opaque(owl_malloc(100));
    p[100] = 1;
    owl_free(p);
}

static void overrun_one(void)
{
    char *p = opaque(owl_malloc(1));
    p[1] = 1;
    owl_free(p);
}

static void overrun_large(void)
{
    char *p = opaque(owl_malloc(200000));
    p[200000] = 1;
    owl_free(p);
}

static void overrun_pages(void)
{
    char *p = opaque(owl_pages_alloc(2, 0));
    p[owl_malloc_usable_size(p)] = 1;
    owl_pages_free(p, 0);
}

static void overrun_array(void)
{
    struct owl_array *a = ints_new(100);
    a = ints_append(a, 1);
    a = ints_append(a, 2);
    *(int *)(void *)opaque(ints_data(a) + 2) = 3;
    owl_array_release(a);
}

static void overrun_space(void)
{
    struct owl_array *a = ints_append(ints_new(1 << 20), 1);
    *(int *)(void *)opaque(ints_data(a) + 1) = 3;
    owl_array_release(a);
}

static void underrun(void)
{
    char *q = owl_malloc(100), *p = opaque(owl_malloc(100));
    p[-1] = 1;
    owl_free(p);
    owl_free(q);
}

static void use_after_free(void)
{
    char *p = opaque(owl_malloc(100));
    owl_free(p);
    opaque(p)[50] = 1;
}

static void use_after_realloc(void)
{
    char *p = opaque(owl_malloc(100)), *q = owl_realloc(p, 101);
    opaque(p)[50] = 1;
    owl_free(q);
}

static void uninitialised(void)
{
    char *p = opaque(owl_malloc(100));
    if (p[50] == 1)
        fputs("one\n", stderr);
    owl_free(p);
}

static void double_free(void)
{
    char *p = opaque(owl_malloc(100));
    owl_free(p);
    owl_free(opaque(p));
}

static void interior(void)
{
    char *p = opaque(owl_malloc(100));
    owl_free(p + 16);
}

static void wrong_size(void)
{
    owl_free_sized(owl_malloc(100), 101);
}

static void leak_small(void)
{
    opaque(owl_malloc(123));
}

static void leak_large(void)
{
    opaque(owl_malloc(456789));
}

static void leak_array(void)
{
    opaque(ints_append(ints_new(1000), 1));
}

static const struct {
    const char *name;
    void (*commit)(void);
} faults[] = {
    {"overrun_small", overrun_small},
    {"overrun_one", overrun_one},
    {"overrun_large", overrun_large},
    {"overrun_pages", overrun_pages},
    {"overrun_array", overrun_array},
    {"overrun_space", overrun_space},
    {"underrun", underrun},
    {"use_after_free", use_after_free},
    {"use_after_realloc", use_after_realloc},
    {"uninitialised", uninitialised},
    {"double_free", double_free},
    {"interior", interior},
    {"wrong_size", wrong_size},
    {"leak_small", leak_small},
    {"leak_large", leak_large},
    {"leak_array", leak_array},
};

/* Nothing of what it leaves behind is in the frames of later calls. */
static void __attribute__((noinline)) wipe_stack(void)
{
    char wipe[4096];
    memset(opaque(wipe), 0, sizeof wipe);
}

int main(int count, char **arguments)
{
    if (count > 2 && strcmp(arguments[1], "clean") == 0) {
        clean(atoi(arguments[2]));
        return 0;
    }
    for (size_t i = 0; count > 1 && i < sizeof faults / sizeof *faults; i++)
        if (strcmp(arguments[1], faults[i].name) == 0) {
            faults[i].commit();
            wipe_stack();
            return 0;
        }
    return 2;
}
