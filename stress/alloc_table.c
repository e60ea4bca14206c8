/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* RTLD_DEFAULT, dladdr */
#include "alloc_table.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_zippy.h"

struct alloc_table alloc_calls;

static int (*table_posix_memalign)(void **block, size_t alignment, size_t size);

static void *table_aligned(size_t alignment, size_t size)
{
    void *block;

    if (alignment < sizeof(void *))
        alignment = sizeof(void *);
    return table_posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

/* For an allocator without aligned blocks: its callers have to live with plain ones. */
static void *table_unaligned(size_t alignment, size_t size)
{
    (void)alignment;
    return alloc_calls.malloc(size);
}

/* The base address of the object that holds `address`, and its file name; NULL: none known. */
static const void *table_object(const void *address, const char **file)
{
    Dl_info info;

    if (address == NULL || dladdr(address, &info) == 0)
        return NULL;
    if (file != NULL)
        *file = info.dli_fname;
    return info.dli_fbase;
}

/* Look a function up and store its address through `function`, a pointer to function pointer. */
static const void *table_lookup(const char *name, void *function)
{
    void *address = dlsym(RTLD_DEFAULT, name);

    memcpy(function, &address, sizeof(address));
    return table_object(address, NULL);
}

/*
 * Take the malloc family as the dynamic linker resolves it. The required four must come from one
 * object: mixing two heaps would crash. What is optional counts only when it comes from there too.
 */
static bool table_from_process(enum alloc_kind kind, struct alloc_opened *opened)
{
    struct alloc_table *t = &alloc_calls;
    const void *libc = table_object(dlsym(RTLD_DEFAULT, "abort"), NULL);
    const void *heap = table_lookup("malloc", &t->malloc);
    const char *file = "";
    bool one_heap = table_lookup("calloc", &t->calloc) == heap;

    one_heap = table_lookup("realloc", &t->realloc) == heap && one_heap;
    one_heap = table_lookup("free", &t->free) == heap && one_heap;
    table_object(dlsym(RTLD_DEFAULT, "malloc"), &file);
    snprintf(opened->file, sizeof(opened->file), "%s", file);
    if (kind == ALLOC_PRELOAD && heap == libc) {
        snprintf(opened->error, sizeof(opened->error),
                 "the library could not be preloaded, or has no malloc of its own");
        return false;
    }
    if (!one_heap) {
        snprintf(opened->error, sizeof(opened->error),
                 "malloc, calloc, realloc and free do not all come from %s", file);
        return false;
    }
    t->size_max = PTRDIFF_MAX;
    t->aligns = table_lookup("posix_memalign", &table_posix_memalign) == heap;
    t->aligned = t->aligns ? table_aligned : table_unaligned;
    if (table_lookup("malloc_usable_size", &t->usable) != heap)
        t->usable = NULL;
    return true;
}

bool alloc_table_open(enum alloc_kind kind, const char *library, struct alloc_opened *opened)
{
    memset(opened, 0, sizeof(*opened));
    if (kind != ALLOC_ZIPPY)
        return table_from_process(kind, opened);
    alloc_calls.aligned = table_unaligned;
    return alloc_zippy_open(library, &alloc_calls, opened);
}
