/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* mremap, RTLD_DEFAULT */
#include "pagebench_calls.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct pagebench_special pagebench_specials[] = {
    { "owl-pages", "owl", true, true },
    { "mmap", "system", true, true },
    { "mmap-populate", "system", true, false },
    { "copy", "system", false, true },
    { "null", "system", true, false },
    { NULL, NULL, false, false }
};

const struct pagebench_special *pagebench_special_of(const char *name, size_t length)
{
    for (const struct pagebench_special *s = pagebench_specials; s->name != NULL; s++)
        if (strlen(s->name) == length && strncmp(s->name, name, length) == 0)
            return s;
    return NULL;
}

static void *malloc_alloc(size_t bytes)
{
    return alloc_calls.malloc(bytes);
}

static void malloc_free(void *p, size_t bytes)
{
    (void)bytes;
    alloc_calls.free(p);
}

static void *malloc_grow(void *p, size_t bytes, size_t new_bytes)
{
    (void)bytes;
    return alloc_calls.realloc(p, new_bytes);
}

/* What a program does without a realloc. */
static void *copy_grow(void *p, size_t bytes, size_t new_bytes)
{
    void *q = alloc_calls.malloc(new_bytes);

    if (q == NULL)
        return NULL;
    memcpy(q, p, bytes);
    alloc_calls.free(p);
    return q;
}

static void *map_with(size_t bytes, int flags)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    return p != MAP_FAILED ? p : NULL;
}

static void *mmap_alloc(size_t bytes)
{
    return map_with(bytes, 0);
}

static void *populate_alloc(size_t bytes)
{
    return map_with(bytes, MAP_POPULATE);
}

static void mmap_free(void *p, size_t bytes)
{
    munmap(p, bytes);
}

static void *mmap_grow(void *p, size_t bytes, size_t new_bytes)
{
    void *q = mremap(p, bytes, new_bytes, MREMAP_MAYMOVE);

    return q != MAP_FAILED ? q : NULL;
}

/* The same memory for every block, already resident: what the test itself takes. */
static void *null_block;

static void *null_alloc(size_t bytes)
{
    (void)bytes;
    return null_block;
}

static void null_free(void *p, size_t bytes)
{
    (void)p;
    (void)bytes;
}

/* Of owl/pages.h, which counts in pages. */
static void *(*pages_alloc)(size_t pages, unsigned flags);
static void (*pages_free)(void *p, unsigned flags);
static void *(*pages_realloc)(void *p, size_t pages, unsigned flags);
static unsigned page_shift;

static void *owl_alloc(size_t bytes)
{
    return pages_alloc(bytes >> page_shift, 0);
}

static void owl_free(void *p, size_t bytes)
{
    (void)bytes;
    pages_free(p, 0);
}

static void *owl_grow(void *p, size_t bytes, size_t new_bytes)
{
    (void)bytes;
    return pages_realloc(p, new_bytes >> page_shift, 0);
}

static bool look_up(const char *name, void *function)
{
    void *address = dlsym(RTLD_DEFAULT, name);

    memcpy(function, &address, sizeof(address));
    return address != NULL;
}

static bool open_pages(char error[ALLOC_ERROR_MAX])
{
    page_shift = (unsigned)__builtin_ctzl((unsigned long)sysconf(_SC_PAGESIZE));
    if (look_up("owl_pages_alloc", &pages_alloc) && look_up("owl_pages_free", &pages_free)
        && look_up("owl_pages_realloc", &pages_realloc))
        return true;
    snprintf(error, ALLOC_ERROR_MAX, "the library has no owl_pages_alloc, _free and _realloc");
    return false;
}

static bool open_null(size_t most, char error[ALLOC_ERROR_MAX])
{
    null_block = populate_alloc(most);
    if (null_block != NULL)
        return true;
    snprintf(error, ALLOC_ERROR_MAX, "no memory for a block of %zu bytes", most);
    return false;
}

bool pagebench_calls_open(const char *name, size_t most, struct pagebench_calls *calls,
                          char error[ALLOC_ERROR_MAX])
{
    *calls = (struct pagebench_calls){ malloc_alloc, malloc_free, malloc_grow };
    if (strcmp(name, "owl-pages") == 0) {
        *calls = (struct pagebench_calls){ owl_alloc, owl_free, owl_grow };
        return open_pages(error);
    }
    if (strcmp(name, "null") == 0) {
        *calls = (struct pagebench_calls){ null_alloc, null_free, NULL };
        return open_null(most, error);
    }
    if (strcmp(name, "mmap") == 0)
        *calls = (struct pagebench_calls){ mmap_alloc, mmap_free, mmap_grow };
    else if (strcmp(name, "mmap-populate") == 0)
        *calls = (struct pagebench_calls){ populate_alloc, mmap_free, NULL };
    else if (strcmp(name, "copy") == 0)
        calls->grow = copy_grow;
    return true;
}
