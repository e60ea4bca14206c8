/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owlalloc: a thread-caching memory allocator for servers with an interpreter inside.
 *
 * The library replaces malloc and its family by being linked or preloaded; the functions here are
 * the same ones under names of their own, on the same heap: what one family allocated the other
 * may free.
 *
 * In common:
 *   - All sizes and alignments are in bytes. Every block is aligned to at least 16 bytes.
 *   - A size above PTRDIFF_MAX, or memory that the system refuses, gives NULL and errno ENOMEM.
 *   - Any function may be called from any thread at any time: before main, in constructors, and in
 *     a thread whose destructors have begun. None may be called from a signal handler.
 *   - Functions that free keep errno. NULL may be freed, to no effect.
 *   - Freeing what is not an allocated block, or inside one, or twice, prints a line that names the
 *     pointer and the fault to file descriptor 2 and calls abort(); or, if there is one, calls the
 *     handler of owl/check.h, and does nothing if that returns.
 */
#ifndef OWL_OWL_H
#define OWL_OWL_H

#include <malloc.h>
#include <stddef.h>
#include <stdio.h>

#define OWL_VERSION "0.1.0"
#define OWL_VERSION_MAJOR 0
#define OWL_VERSION_MINOR 1
#define OWL_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OWL_API __attribute__((visibility("default")))
#define OWL_ATTR(...) __attribute__((__VA_ARGS__))
#else
#define OWL_API
#define OWL_ATTR(...)
#endif

/* Frees block p, or nothing if p is NULL. Keeps errno. */
OWL_API void owl_free(void *p);

/* As owl_free. `size` is what was asked for when the block was allocated (C23, 7.24.3.4); a size
 * larger than the block is reported as a fault. */
OWL_API void owl_free_sized(void *p, size_t size);

/* As owl_free_sized, for a block of owl_aligned_alloc (C23, 7.24.3.5). */
OWL_API void owl_free_aligned_sized(void *p, size_t alignment, size_t size);

/* A new block of at least `size` bytes, with any contents. Size 0 gives a block that may be freed.
 * NULL with ENOMEM: no memory. */
OWL_API void *owl_malloc(size_t size) OWL_ATTR(malloc, alloc_size(1));

/* A new block for `count` elements of `size` bytes, all zero. NULL with ENOMEM: no memory, or the
 * product overflows. */
OWL_API void *owl_calloc(size_t count, size_t size) OWL_ATTR(malloc, alloc_size(1, 2));

/* Gives block p another size and returns where it is now; its contents are kept as far as both
 * sizes reach. The block stays where it is if its usable size allows and it would not waste more
 * than half of it; memory that a large block no longer needs is given back. p NULL: as owl_malloc.
 * Size 0: frees p and returns NULL, as glibc does. NULL with ENOMEM: no memory; p is unchanged. */
OWL_API void *owl_realloc(void *p, size_t size) OWL_ATTR(alloc_size(2));

/* As owl_realloc for `count` elements of `size` bytes; ENOMEM if the product overflows
 * (OpenBSD). */
OWL_API void *owl_reallocarray(void *p, size_t count, size_t size) OWL_ATTR(alloc_size(2, 3));

/* A new block of at least `size` bytes, any size, that starts at a multiple of `alignment`. NULL
 * with EINVAL: the alignment is no power of two; with ENOMEM: no memory. */
OWL_API void *owl_aligned_alloc(size_t alignment, size_t size) OWL_ATTR(malloc, alloc_size(2));

/* As owl_aligned_alloc, through *block. 0, or, with *block and errno unchanged: EINVAL if the
 * alignment is no power of two or less than that of a pointer, ENOMEM if there is no memory. */
OWL_API int owl_posix_memalign(void **block, size_t alignment, size_t size);

/* As owl_aligned_alloc, but an alignment that is no power of two is rounded up to one; one above
 * PTRDIFF_MAX gives ENOMEM. */
OWL_API void *owl_memalign(size_t alignment, size_t size) OWL_ATTR(malloc, alloc_size(2));

/* As owl_aligned_alloc with the page size; owl_pvalloc also rounds the size up to whole pages. */
OWL_API void *owl_valloc(size_t size) OWL_ATTR(malloc, alloc_size(1));
OWL_API void *owl_pvalloc(size_t size) OWL_ATTR(malloc);

/* Bytes of block p that may be used, at least those asked for. NULL: 0. A pointer that is no block
 * is a fault, as in owl_free. */
OWL_API size_t owl_malloc_usable_size(const void *p);

/* The usable size that a block of `size` bytes will have: asking for this many costs no more
 * memory. 0 if no block can be so large. (A guarded block, see the option `guard`, has just what
 * was asked for.) The idea is malloc_good_size of macOS and nallocx of jemalloc. Allocates no
 * block. */
OWL_API size_t owl_good_size(size_t size);

/* Gives free memory back to the system, at once: the caches of all threads are emptied, the
 * pages of slabs on which all blocks are free are given back, and all free spans but `keep`
 * bytes lose theirs. The bytes given back, of which some may not have been resident; 0: there
 * were none. Of another thread's cache one block of each size stays, and all if that thread is
 * just then in a slow path of the allocator, or the system has no membarrier(2). Keeps errno. */
OWL_API size_t owl_trim(size_t keep);

/* As owl_trim, in the form of glibc's malloc_trim(3). 1: some was given back; 0: there was none. */
OWL_API int owl_malloc_trim(size_t keep);

/* Counts, in the words of glibc's mallinfo2(3): arena (bytes of address space in use by the pool),
 * uordblks (bytes in blocks that callers hold), fordblks (free bytes in slabs, caches and the
 * pool), hblks and hblkhd (mappings of single blocks, and their bytes), keepcost (bytes that
 * owl_malloc_trim could give back). Derived on the spot by a walk, so they are exact only while no
 * other thread allocates. */
OWL_API struct mallinfo2 owl_mallinfo2(void);

/* Prints the counts for people to standard error. */
OWL_API void owl_malloc_stats(void);

/* Writes the counts to a stream as XML, in the form of glibc's malloc_info(3). 0; -1 with EINVAL if
 * options is not 0. */
OWL_API int owl_malloc_info(int options, FILE *stream);

/* The version of the library in use, such as "0.1.0"; compare OWL_VERSION, that of the header. */
OWL_API const char *owl_version(void) OWL_ATTR(const);

#ifdef __cplusplus
}
#endif

#endif
