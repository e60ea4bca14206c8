/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* dladdr */
#include "alloc_zippy.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Zippy has no calloc; Tcl code clears what it allocates, and so does this. */
static void *zippy_calloc(size_t count, size_t size)
{
    size_t bytes;
    void *block;

    if (__builtin_mul_overflow(count, size, &bytes) || bytes > UINT_MAX)
        return NULL;
    block = alloc_calls.malloc(bytes);
    if (block != NULL)
        memset(block, 0, bytes);
    return block;
}

static bool zippy_lookup(void *handle, const char *name, void *function,
                         struct alloc_opened *opened)
{
    void *address = dlsym(handle, name);

    memcpy(function, &address, sizeof(address));
    if (address == NULL)
        snprintf(opened->error, sizeof(opened->error), "%s has no %s", opened->file, name);
    return address != NULL;
}

static void *zippy_load(const char *library, struct alloc_opened *opened)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);

    if (handle == NULL) {
        snprintf(opened->error, sizeof(opened->error),
                 "cannot load %s: install Tcl 8.6 (package libtcl8.6 on Debian and Ubuntu, tcl "
                 "elsewhere) or name the library with zippy=LIBRARY", library);
        return NULL;
    }
    if (dlsym(handle, "Tcl_GetMemoryInfo") == NULL) {
        snprintf(opened->error, sizeof(opened->error),
                 "%s was built without Tcl's threaded allocator", library);
        dlclose(handle);
        return NULL;
    }
    return handle;
}

/*
 * Tcl's functions take an unsigned int where malloc takes a size_t. They are called through the
 * table's types all the same: a function in between would charge zippy a call that no other
 * allocator pays, and in the calling conventions of 64-bit Linux the callee looks only at the lower
 * half of the register. size_max keeps the upper half zero.
 */
bool alloc_zippy_open(const char *library, struct alloc_table *table, struct alloc_opened *opened)
{
    void (*find_executable)(const char *name);
    Dl_info info;
    void *handle = zippy_load(library, opened);

    if (handle == NULL)
        return false;
    if (dladdr(dlsym(handle, "Tcl_GetMemoryInfo"), &info) != 0)
        snprintf(opened->file, sizeof(opened->file), "%s", info.dli_fname);
    if (!zippy_lookup(handle, "Tcl_FindExecutable", &find_executable, opened)
        || !zippy_lookup(handle, "Tcl_AttemptAlloc", &table->malloc, opened)
        || !zippy_lookup(handle, "Tcl_AttemptRealloc", &table->realloc, opened)
        || !zippy_lookup(handle, "Tcl_Free", &table->free, opened)
        || !zippy_lookup(handle, "Tcl_FinalizeThread", &table->thread_end, opened))
        return false;
    table->calloc = zippy_calloc;
    table->usable = NULL;
    table->aligns = false;
    table->size_max = UINT_MAX - 4096;  /* zippy adds a header without looking for overflow */

    /*
     * Every Tcl program calls this first: it sets up the library's locks and its allocator. An
     * interpreter would only add its own memory to the figures.
     */
    find_executable("owl-memtest");
    return true;
}
