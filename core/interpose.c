/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * malloc and its family under their own names. The library that defines these takes the place of
 * libc's allocator, by being preloaded or linked. (glibc manual, "Replacing malloc".)
 */
#include "alloc.h"
#include "os.h"
#include "tools.h"

#define EXPORT __attribute__((visibility("default")))

/* Valgrind puts functions of its own in place of those of this family that it knows, wherever they
 * are, and blocks of its functions are none of ours. So under it the others call these, which for
 * that have to remain functions. */
#define REPLACED __attribute__((visibility("default"), noinline))

/* Defined here and nowhere else; free_sized and free_aligned_sized are of C23, which the headers
 * at hand may not know. */
EXPORT void free_sized(void *p, size_t size);
EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size);
EXPORT void *aligned_alloc(size_t alignment, size_t size);
EXPORT int posix_memalign(void **block, size_t alignment, size_t size);
EXPORT void cfree(void *p);

EXPORT void *malloc(size_t size)
{
    owl_count(OWL_COUNT_CALLS);
    return owl_malloc_fast(size);
}

REPLACED void free(void *p)
{
    owl_count(OWL_COUNT_CALLS);
    owl_free_fast(p);
}

/* Old programs still refer to it. */
EXPORT void cfree(void *p)
{
    owl_free_fast(p);
}

EXPORT void free_sized(void *p, size_t size)
{
    if (owl_tools.valgrind)
        free(p);
    else
        owl_free_sized(p, size);
}

EXPORT void free_aligned_sized(void *p, size_t alignment, size_t size)
{
    if (owl_tools.valgrind)
        free(p);
    else
        owl_free_aligned_sized(p, alignment, size);
}

EXPORT void *calloc(size_t count, size_t size)
{
    owl_count(OWL_COUNT_CALLS);
    return owl_calloc(count, size);
}

REPLACED void *realloc(void *p, size_t size)
{
    owl_count(OWL_COUNT_CALLS);
    return owl_realloc(p, size);
}

EXPORT void *reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (!owl_tools.valgrind || __builtin_mul_overflow(count, size, &bytes))
        return owl_reallocarray(p, count, size);
    return realloc(p, bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    return owl_aligned_alloc(alignment, size);
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
    return owl_posix_memalign(block, alignment, size);
}

REPLACED void *memalign(size_t alignment, size_t size)
{
    return owl_memalign(alignment, size);
}

EXPORT void *valloc(size_t size)
{
    return owl_valloc(size);
}

EXPORT void *pvalloc(size_t size)
{
    if (!owl_tools.valgrind || size > PTRDIFF_MAX)
        return owl_pvalloc(size);
    return memalign(owl_os.page, owl_round_up(size, owl_os.page));
}

EXPORT size_t malloc_usable_size(void *p)
{
    return owl_malloc_usable_size(p);
}

EXPORT int malloc_trim(size_t keep)
{
    return owl_malloc_trim(keep);
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    return owl_mallinfo2();
}

EXPORT void malloc_stats(void)
{
    owl_malloc_stats();
}

EXPORT int malloc_info(int options, FILE *stream)
{
    return owl_malloc_info(options, stream);
}
