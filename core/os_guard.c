/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What guarded blocks need of the system: who calls, where code is, and faults.
 *
 * The unwinder is the compiler's. libc's backtrace(3) would load it by dlopen, which can be done
 * neither here, before libc has begun, nor within a malloc; so the library has a copy of its own.
 * With glibc 2.35 it finds the tables of a program without locks, and may be called from anywhere.
 */
#define _GNU_SOURCE
#include "os_guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <unwind.h>

#include "os_watch.h"

struct walk {
    const void **frames;
    size_t most, count;
    bool own; /* the first frame is this file's */
};

static _Unwind_Reason_Code visit(struct _Unwind_Context *context, void *argument)
{
    struct walk *w = argument;
    uintptr_t address = _Unwind_GetIP(context);
    if (address == 0 || w->count == w->most)
        return _URC_END_OF_STACK;
    if (!w->own)
        w->frames[w->count++] = (const void *)address;
    w->own = false;
    return _URC_NO_REASON;
}

size_t os_trace(const void **frames, size_t most)
{
    struct walk w = {.frames = frames, .most = most, .own = true};
    int saved = errno;
    _Unwind_Backtrace(visit, &w);
    errno = saved;
    return w.count;
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
