/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* RTLD_DEFAULT */
#include "alloc_trim.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static bool trim_lookup(const char *name, void *function)
{
    void *address = dlsym(RTLD_DEFAULT, name);

    memcpy(function, &address, sizeof(address));
    return address != NULL;
}

const char *alloc_trim(void)
{
    int (*mallctl)(const char *name, void *old, size_t *old_length, void *new, size_t new_length);
    void (*mi_collect)(bool force);
    void (*release)(void);
    int (*scalable_command)(int command, void *parameter);
    int (*trim)(size_t pad);

    if (trim_lookup("mallctl", &mallctl)) {
        /* 4096 is jemalloc's index for "all arenas". */
        mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
        mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
        return "mallctl arena.purge";
    }
    if (trim_lookup("mi_collect", &mi_collect)) {
        mi_collect(true);
        return "mi_collect";
    }
    if (trim_lookup("MallocExtension_ReleaseFreeMemory", &release)) {
        release();
        return "MallocExtension_ReleaseFreeMemory";
    }
    if (trim_lookup("scalable_allocation_command", &scalable_command)) {
        /* 0 is TBBMALLOC_CLEAN_ALL_BUFFERS. */
        scalable_command(0, NULL);
        return "scalable_allocation_command";
    }
    if (trim_lookup("malloc_trim", &trim)) {
        trim(0);
        return "malloc_trim";
    }
    return "none";
}
