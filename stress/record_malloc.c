/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The malloc family, as seen by the recorded program: each call goes to the next definition in the
 * process (the C library's, or another preloaded allocator's) and is logged when it is the
 * outermost call of its thread.
 */
#include "record_log.h"
#include "record_tcl.h"
#include "trace.h"

#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static struct {
    bool ready;
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    size_t (*usable_size)(void *);
} real;

/*
 * dlsym itself may allocate while it looks up the real functions. Those few blocks come from here
 * and are never given back; each has its size in front.
 */
static _Alignas(16) char early[8192];
static size_t early_used;

static void *early_alloc(size_t size)
{
    size_t room = ((size + 15) & ~(size_t)15) + 16;
    if (size > sizeof early / 2)
        return NULL;
    size_t at = __atomic_fetch_add(&early_used, room, __ATOMIC_RELAXED);
    if (at > sizeof early - room)
        return NULL;
    memcpy(early + at, &size, sizeof size);
    return early + at + 16;
}

static bool is_early(const void *p)
{
    return (const char *)p >= early && (const char *)p < early + sizeof early;
}

static size_t early_size(const void *p)
{
    size_t size;
    memcpy(&size, (const char *)p - 16, sizeof size);
    return size;
}

/* False only inside the look-up. Threads that get here together find the same functions. */
static bool look_up(void)
{
    if (record_self.resolving)
        return false;
    record_self.resolving = true;
    real.malloc = record_next("malloc");
    real.calloc = record_next("calloc");
    real.realloc = record_next("realloc");
    real.free = record_next("free");
    real.posix_memalign = record_next("posix_memalign");
    real.aligned_alloc = record_next("aligned_alloc");
    real.memalign = record_next("memalign");
    real.usable_size = record_next("malloc_usable_size");
    record_self.resolving = false;
    __atomic_store_n(&real.ready, true, __ATOMIC_RELEASE);
    return true;
}

static inline bool ready(void)
{
    return __builtin_expect(__atomic_load_n(&real.ready, __ATOMIC_ACQUIRE), 1) || look_up();
}

EXPORT void *malloc(size_t size)
{
    if (!ready())
        return early_alloc(size);
    bool outermost = record_enter();
    void *p = real.malloc(size);
    if (outermost && p && !record_tcl_is_chunk(size, __builtin_return_address(0)))
        record_append(TRACE_MALLOC, p, size, 0);
    record_leave();
    return p;
}

EXPORT void *calloc(size_t n, size_t size)
{
    size_t bytes;
    if (!ready())           /* `early` is zero and used once */
        return __builtin_mul_overflow(n, size, &bytes) ? NULL : early_alloc(bytes);
    bool outermost = record_enter();
    void *p = real.calloc(n, size);
    if (outermost && p)
        record_append(TRACE_CALLOC, p, n * size, 0);
    record_leave();
    return p;
}

EXPORT void free(void *p)
{
    if (!p || is_early(p) || !ready())
        return;
    if (record_enter())
        record_append(TRACE_FREE, p, 0, 0);
    real.free(p);
    record_leave();
}

static void *realloc_early(void *old, size_t size)
{
    void *p = malloc(size);
    if (p && old)
        memcpy(p, old, early_size(old) < size ? early_size(old) : size);
    return p;
}

EXPORT void *realloc(void *old, size_t size)
{
    if (is_early(old) || !ready())
        return realloc_early(old, size);
    bool outermost = record_enter();
    void *p = record_realloc(real.realloc, old, size, outermost);
    record_leave();
    return p;
}

EXPORT void *reallocarray(void *old, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(old, bytes);
}

/* The C library rounds an odd alignment up to a power of two, so the log does as well. */
static void append_aligned(const void *p, size_t alignment, size_t size)
{
    unsigned log2 = 0;
    while (log2 < 63 && (size_t)1 << log2 < alignment)
        log2++;
    record_append(TRACE_ALIGNED, p, size, log2);
}

EXPORT int posix_memalign(void **to, size_t alignment, size_t size)
{
    if (!ready())
        return ENOMEM;
    bool outermost = record_enter();
    int error = real.posix_memalign(to, alignment, size);
    if (outermost && error == 0 && *to)
        append_aligned(*to, alignment, size);
    record_leave();
    return error;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    if (!ready())
        return NULL;
    bool outermost = record_enter();
    void *p = real.aligned_alloc(alignment, size);
    if (outermost && p)
        append_aligned(p, alignment, size);
    record_leave();
    return p;
}

EXPORT void *memalign(size_t alignment, size_t size)
{
    if (!ready())
        return NULL;
    bool outermost = record_enter();
    void *p = real.memalign(alignment, size);
    if (outermost && p)
        append_aligned(p, alignment, size);
    record_leave();
    return p;
}

EXPORT void *valloc(size_t size)
{
    return memalign((size_t)sysconf(_SC_PAGESIZE), size);
}

EXPORT void *pvalloc(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size > SIZE_MAX - page) {
        errno = ENOMEM;
        return NULL;
    }
    return memalign(page, (size + page - 1) & ~(page - 1));
}

EXPORT size_t malloc_usable_size(void *p)
{
    if (!p || !ready())
        return 0;
    return is_early(p) ? early_size(p) : real.usable_size(p);
}
