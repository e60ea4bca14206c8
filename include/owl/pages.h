/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whole pages, allocated in the process itself: freed pages stay with it, dirty, and are handed out
 * again without the system's being asked, so the system neither clears them nor has to fault them
 * in.
 *
 * Sizes are in pages of the system's page size, sysconf(_SC_PAGESIZE). Blocks start at a page. They
 * are ordinary blocks of the heap of owl/owl.h, of exactly so many pages: owl_free and owl_realloc
 * (and free and realloc, where libowl replaces these) take them, and owl_malloc_usable_size tells
 * their bytes. Blocks of up to 32 KiB come from the thread's cache of small blocks, as owl_malloc's
 * do; larger ones are runs of granules of 64 KiB, up to 1 MiB from the thread's own stock of such
 * runs, else from the pool that all threads share; above 1 GiB each has a mapping of its own, which
 * the system takes back at the end.
 *
 * Functions that are told of pages of a block, by `first` and `pages`, take any block of the heap
 * that starts at a page and has these pages; where it is none of owl_pages_alloc's, their memory
 * may stay with the process though it is said to be given back: what it reads as is as promised.
 *
 * Thread-safe; but no other thread may use the pages that a function works on. What owl/owl.h says
 * of errors and of pointers that are no blocks holds here: a success keeps errno.
 *
 * The idea, with lookaside, batches, swaps and the rule of trim, is N. Douglas's: User Mode Memory
 * Page Allocation (2011).
 */
#ifndef OWL_PAGES_H
#define OWL_PAGES_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of alloc, realloc and free; may be added up. */
enum owl_pages_flags {
    OWL_PAGES_RECYCLED = 0,  /* any contents; the fast way */
    OWL_PAGES_ZERO = 1,      /* new pages read as zero */
    OWL_PAGES_COMMIT = 2,    /* all of them have memory at once, by one call of the system, so that
                              * no touch takes a page fault; not together with the next */
    OWL_PAGES_NO_COMMIT = 4, /* addresses without memory; new pages read as zero, and get memory
                              * when they are touched or committed */
    OWL_PAGES_TOP_DOWN = 8,  /* from the high end of the free addresses, away from other blocks, if
                              * the block has more than 32 KiB */
    OWL_PAGES_SCRUB = 16     /* free, and realloc of what it lets go: contents are wiped before
                              * anybody can see the pages again; those that processes share, for
                              * all of them */
};

/* A new block. SCRUB has no meaning here. NULL with EINVAL: no pages, or flags that there are not
 * or that exclude each other; with ENOMEM: no memory. */
OWL_API void *owl_pages_alloc(size_t pages, unsigned flags) OWL_ATTR(malloc);

/* Frees a block; of the flags SCRUB has a meaning. NULL may be freed. Keeps errno. */
OWL_API void owl_pages_free(void *block, unsigned flags);

/* Gives a block another number of pages, by moving page-table entries where that is faster than
 * copying. Contents are kept as far as both sizes reach. The flags concern pages that are added,
 * which COMMIT gives memory as far as there is some; SCRUB concerns all that the block leaves
 * behind, and has it copied if it cannot stay. Where it is now. NULL, with the block unchanged: as
 * owl_pages_alloc. A block of NULL: as owl_pages_alloc. */
OWL_API void *owl_pages_realloc(void *block, size_t pages, unsigned flags);

/* Gives pages of a block memory at once. Contents are kept. 0; or -1 with EINVAL: the block does
 * not start at a page or does not have these pages; with ENOMEM: some may have memory now. */
OWL_API int owl_pages_commit(void *block, size_t first, size_t pages);

/* Gives the memory of pages of a block back to the system; they read as zero, and get memory again
 * when they are touched or committed. 0, or -1 with EINVAL as above. */
OWL_API int owl_pages_release(void *block, size_t first, size_t pages);

/* Exchanges the contents of the first pages of two different blocks, by their page-table entries
 * where that is faster. 0, or -1 with EINVAL: a block does not start at a page or has fewer pages,
 * or they are the same. */
OWL_API int owl_pages_swap(void *block, void *other, size_t pages);

/* Pages of a block, for owl_pages_gather. */
struct owl_pages_piece {
    void *block;
    size_t first, pages;
};

/* A new block of pages that other blocks had, in the order of the list. Runs of 32 KiB and more in
 * a row are moved, what is shorter is copied, which takes less time. The blocks keep their sizes;
 * where the pages were they read as zero and have no memory, as after owl_pages_release. No page
 * may be named twice. NULL with everything unchanged, and EINVAL: no pages, or pages that a block
 * does not have; ENOMEM: no memory. */
OWL_API void *owl_pages_gather(const struct owl_pages_piece *list, size_t count);

enum owl_pages_op {
    OWL_PAGES_OP_ALLOC,   /* pages, flags: as of owl_pages_alloc; sets block, NULL if it fails */
    OWL_PAGES_OP_RELEASE, /* block, first, pages */
    OWL_PAGES_OP_COMMIT,  /* block, first, pages */
    OWL_PAGES_OP_FREE     /* block, flags: as of owl_pages_free; block becomes NULL */
};

struct owl_pages_change {
    enum owl_pages_op op;
    unsigned flags;
    void *block;
    size_t first, pages;
    int error; /* set: 0, or what the single call would have left in errno */
};

/* Makes many changes with few calls of the system: changes of neighbouring pages are joined, and
 * the kernel, if it permits that (Linux 6.14), is handed all that is left in one list. All
 * allocations are made first, then all releases, commits and frees, whatever their order in the
 * array: so a page that is both released and committed has memory and reads as zero. How many
 * changes failed; each one tells. */
OWL_API size_t owl_pages_batch(struct owl_pages_change *changes, size_t count);

/* Gives free pages back to the system as `pressure`, from 0 to 1, demands: of the pool's free pages
 * that may have memory, 2 * pressure^4 of them, which is an eighth at 0.5 and all from 0.85 on. The
 * largest runs go first, of those the oldest. Numbers outside are taken as the nearest bound.
 * Before, at any pressure, the caches of all threads are emptied as by owl_trim, and free pages of
 * slabs are given back. The number of the pool's pages given back; errno is kept. */
OWL_API size_t owl_pages_trim(double pressure);

#ifdef __cplusplus
}
#endif

#endif
