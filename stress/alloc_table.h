/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alloc_table: the allocator under test, as one table of functions.
 *
 * Every workload calls through alloc_calls, whatever the allocator is, so that all pay the same
 * indirect call. The pointers lead straight to the allocator's own functions (found with dlsym);
 * only what an allocator lacks is built from what it has.
 *
 * alloc_table_open() fills the table once, before any worker thread starts; afterwards it is
 * read only.
 */
#ifndef OWL_STRESS_ALLOC_TABLE_H
#define OWL_STRESS_ALLOC_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum alloc_kind {
    ALLOC_SYSTEM,       /* the C library's malloc */
    ALLOC_PRELOAD,      /* a library that LD_PRELOAD put in front of it */
    ALLOC_ZIPPY         /* Tcl's threaded allocator, in libtcl */
};

struct alloc_table {
    void *(*malloc)(size_t size);
    void *(*calloc)(size_t count, size_t size);
    void *(*realloc)(void *block, size_t size);
    void (*free)(void *block);
    void *(*aligned)(size_t alignment, size_t size);
    size_t (*usable)(void *block);      /* NULL: the allocator cannot tell */
    void (*thread_end)(void);           /* a thread's last call; NULL: nothing to do */
    size_t size_max;                    /* largest size that its calls can express */
    bool aligns;                        /* `aligned` really aligns */
};

extern struct alloc_table alloc_calls;

enum { ALLOC_FILE_MAX = 256, ALLOC_ERROR_MAX = 320 };

struct alloc_opened {
    char file[ALLOC_FILE_MAX];          /* the file that the allocator's code comes from */
    char error[ALLOC_ERROR_MAX];        /* why it cannot be used; empty when it can */
};

/*
 * `library` is libtcl's name for ALLOC_ZIPPY and not used otherwise: a preloaded library is already
 * there, and this checks that it really is. Returns false with the reason in opened->error.
 */
bool alloc_table_open(enum alloc_kind kind, const char *library, struct alloc_opened *opened);

#endif
