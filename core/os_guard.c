/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What guarded blocks need of the system: who calls, where code is, and faults.
 *
 * The unwinder is libgcc's, by way of libc's backtrace(3), which loads it when it is first called;
 * so it is called once at a time when that may be done. With glibc 2.35 it finds the tables of a
 * program without locks, so that it may be called from anywhere.
 */
#define _GNU_SOURCE
#include "os_guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>

#include "os_watch.h"

enum { FRAMES_MOST = 64 };

void os_trace_begin(void)
{
    void *frames[2];
    backtrace(frames, 2);
}

/* Not this function's own frame. */
__attribute__((noinline)) size_t os_trace(const void **frames, size_t most)
{
    void *found[FRAMES_MOST];
    int saved = errno;
    int count = backtrace(found, most < FRAMES_MOST ? (int)most + 1 : FRAMES_MOST);
    for (int i = 1; i < count; i++)
        frames[i - 1] = found[i];
    errno = saved;
    return count > 1 ? (size_t)count - 1 : 0;
}

/* Where libc has _dl_find_object (2.35); dladdr(3) takes a lock. */
#ifdef DLFO_STRUCT_HAS_EH_DBASE
#pragma weak _dl_find_object

bool os_where(const void *address, const char **file, uintptr_t *offset)
{
    struct dl_find_object found;
    if (_dl_find_object == NULL || _dl_find_object((void *)(uintptr_t)address, &found) != 0)
        return false;
    const struct link_map *map = found.dlfo_link_map;
    *file = map->l_name != NULL && map->l_name[0] != '\0' ? map->l_name : program_invocation_name;
    *offset = (uintptr_t)address - map->l_addr;
    return true;
}
#else
bool os_where(const void *address, const char **file, uintptr_t *offset)
{
    (void)address, (void)file, (void)offset;
    return false;
}
#endif

static bool (*caught)(uintptr_t address);
static struct sigaction before;

static void on_fault(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    if (info->si_code != SEGV_ACCERR || !caught((uintptr_t)info->si_addr))
        os_pass_on(&before, number, info, context);
    errno = saved;
}

/* SA_NODEFER: the handler of a report may touch another guarded block; that is the end then, but
 * not a silent one. */
int os_catch_guard(bool (*fault)(uintptr_t address))
{
    struct sigaction ours = {.sa_sigaction = on_fault};
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    caught = fault;
    if (sigaction(SIGSEGV, NULL, &before) != 0)
        return -1;
    return sigaction(SIGSEGV, &ours, NULL);
}
