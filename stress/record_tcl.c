/* SPDX-License-Identifier: BSD-2-Clause */
#include "record_tcl.h"
#include "record_log.h"
#include "trace.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

void *TclpAlloc(size_t size);
void TclpFree(void *p);
void *TclpRealloc(void *old, size_t size);

static struct {
    bool ready;
    size_t size_mask;           /* Tcl 8 passes an unsigned int, the upper half is undefined */
    void *(*alloc)(size_t);
    void (*free)(void *);
    void *(*realloc)(void *, size_t);
} real;

bool record_tcl_called_from(const void *return_address)
{
    Dl_info where;
    if (!dladdr(return_address, &where) || !where.dli_fname)
        return false;
    const char *slash = strrchr(where.dli_fname, '/');
    return strncmp(slash ? slash + 1 : where.dli_fname, "libtcl", 6) == 0;
}

/*
 * libtcl is mostly a dependency of the program, where RTLD_NEXT finds it. A libtcl that an
 * extension module of another language loaded for itself is found through the caller.
 */
static void *handle_for(const void *return_address)
{
    Dl_info where;
    if (dlsym(RTLD_NEXT, "TclpAlloc"))
        return RTLD_NEXT;
    if (dladdr(return_address, &where) && where.dli_fname)
        return dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    return NULL;
}

static void look_up(const void *return_address)
{
    int major = 8;
    void *handle = handle_for(return_address);
    if (handle) {
        void (*get_version)(int *, int *, int *, int *) = dlsym(handle, "Tcl_GetVersion");
        if (get_version)
            get_version(&major, NULL, NULL, NULL);
        real.alloc = dlsym(handle, "TclpAlloc");
        real.free = dlsym(handle, "TclpFree");
        real.realloc = dlsym(handle, "TclpRealloc");
    }
    if (!real.alloc || !real.free || !real.realloc) {
        record_say("cannot find the allocator of the program's Tcl");
        abort();
    }
    real.size_mask = major >= 9 ? SIZE_MAX : (size_t)(unsigned)-1;
    __atomic_store_n(&real.ready, true, __ATOMIC_RELEASE);
}

/* Enters as record_enter() does; the look-up runs inside: what it allocates is not logged. */
static bool enter(const void *return_address)
{
    bool outermost = record_enter();
    if (!__atomic_load_n(&real.ready, __ATOMIC_ACQUIRE))
        look_up(return_address);
    return outermost;
}

EXPORT void *TclpAlloc(size_t size)
{
    bool outermost = enter(__builtin_return_address(0));
    size &= real.size_mask;
    void *p = real.alloc(size);
    if (outermost && p)
        record_append(TRACE_MALLOC, p, size, 0);
    record_leave();
    return p;
}

EXPORT void TclpFree(void *p)
{
    if (enter(__builtin_return_address(0)) && p)
        record_append(TRACE_FREE, p, 0, 0);
    real.free(p);
    record_leave();
}

EXPORT void *TclpRealloc(void *old, size_t size)
{
    bool outermost = enter(__builtin_return_address(0));
    size &= real.size_mask;
    void *p = record_realloc(real.realloc, old, size, outermost);
    record_leave();
    return p;
}
