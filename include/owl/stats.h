/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the memory of the process is: owlalloc's counts, for the whole, by thread, by block size.
 *
 * They are derived on the spot by a walk over slabs and thread caches; nothing is counted while
 * blocks are allocated and freed. So they are exact while no other thread allocates, and close
 * otherwise. All functions are thread-safe and keep errno. A walk takes time in proportion to the
 * number of slabs, and stops no thread for longer than it takes to walk the slabs of that one.
 *
 * A block of a slab is with a caller, free in a thread cache, or at home, free for its owner.
 * Blocks that a thread frees for another are gathered, and left for it or brought home 64 at a time
 * or when they come to 64 KiB; until they are its own again they are `remote`, and are counted as
 * cached.
 */
#ifndef OWL_STATS_H
#define OWL_STATS_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of the whole process. A later library puts more counts where `reserved` is; an earlier one says
 * 0 there. */
struct owl_stats {
    size_t live_bytes;     /* blocks that callers hold: small, large and mapped */
    size_t small_blocks;   /* those in slabs: how many */
    size_t small_bytes;    /* and their bytes */
    size_t large_bytes;    /* those in spans of their own */
    size_t mapping_blocks; /* those with a mapping of their own: how many */
    size_t mapping_bytes;  /* and their bytes */
    size_t cached_bytes;   /* free blocks in thread caches, small ones and medium ones */
    size_t remote_bytes;   /* of these, those on their way to another thread's slabs */
    size_t slabs;          /* slabs there are */
    size_t slab_bytes;     /* and their memory, whether in use or free */
    size_t dirty_bytes;    /* free granules whose pages may be resident */
    size_t clean_bytes;    /* free granules that take address space, but no memory */
    size_t resident_bytes; /* of the whole process, as the system counts; 0: it does not tell */
    size_t peak_bytes;     /* the most there was at once in slabs, large blocks and mappings */
    size_t threads;        /* threads that have a cache */
    size_t caches;         /* caches, with those kept for the next threads */
    size_t medium_cached_bytes; /* of cached_bytes, the medium ones; those in no slab */
    size_t reserved[15];   /* 0 */
};

/* Fills in the counts of this moment. It cannot fail; it takes the locks of slabs and of the pool
 * one after the other, and reads a file of the system for resident_bytes. */
OWL_API void owl_stats(struct owl_stats *stats);

/* Of one size class: of the whole process, or of the slabs and the cache of one thread. */
struct owl_stats_class {
    size_t block_bytes; /* size of its blocks */
    size_t slabs;       /* slabs it has */
    size_t blocks;      /* blocks with callers, and remote ones */
    size_t cached;      /* other free blocks in thread caches */
};

/* Of one thread. */
struct owl_stats_thread {
    unsigned long thread; /* its pthread_self() as a number; 0: what is no running thread's */
    size_t slabs;         /* slabs it owns */
    size_t slab_bytes;    /* and their memory */
    size_t out_bytes;     /* blocks of these slabs with callers and in caches, whoever's */
    size_t cached_bytes;  /* free blocks in its cache, remote ones among them */
    const struct owl_stats_class *classes; /* the same by size class, the smallest first */
    size_t class_count;
};

/* Calls visit, with the context, for each thread that has a cache, and once more, at the end, with
 * thread 0 for what ended threads have left. The struct is the library's and gone after the call;
 * a later library makes it longer, not different. Visit may allocate and free. Keeps no lock across
 * the calls: a thread that begins or ends meanwhile may be missing. */
OWL_API void owl_stats_threads(void (*visit)(const struct owl_stats_thread *row, void *context),
                               void *context);

/* Calls visit for each size class, the smallest first, as owl_stats_threads does. */
OWL_API void owl_stats_classes(void (*visit)(const struct owl_stats_class *row, void *context),
                               void *context);

#ifdef __cplusplus
}
#endif

#endif
