/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page file in user mode: a range of addresses whose pages lie in a file and come into memory
 * when they are touched, of which only so many bytes are resident at once. As with mmap(2) of a
 * file there is no call for reading or writing; unlike there, the program says how much memory it
 * takes, and pages reach the file when the memory is wanted or at owl_pagefile_sync, never between.
 *
 * The file holds the bytes of the range from its first byte on, and nothing else; past its end are
 * zeros. It grows as pages are written. Pages that were not written to since they were read are not
 * written. Pages leave memory in batches, in the order in which they came, but with a second
 * chance: before a page leaves it is set aside, and comes back at once if it is touched there.
 *
 * Touching pages is thread-safe, and so are all functions but owl_pagefile_destroy. What
 * owl/watch.h says of system calls holds here: handed an address in the range they may fail with
 * EFAULT; so copy. By which mechanism pages are watched is the system's choice there; with
 * protection the budget is at most a quarter as many pages as the process may have mappings.
 *
 * What was written is never dropped: while it cannot be written back (the disk is full, say) it
 * stays in memory, beyond the budget if it has to be; owl_pagefile_sync and owl_pagefile_stats
 * tell. If a page cannot be read from the file, a line on file descriptor 2 says so and the
 * process aborts. The same happens if somebody closed the file's descriptor and a page is wanted
 * that is not in memory.
 *
 * In the child of a fork the range does not exist, and functions return -1 with ENOTSUP;
 * owl_pagefile_destroy frees what the child has of it.
 *
 * Idea: N. Douglas (User Mode Memory Page Allocation, 2011), who would leave page files to
 * programs. The order of leaving is that of VAX/VMS's lists of pages.
 */
#ifndef OWL_PAGEFILE_H
#define OWL_PAGEFILE_H

#include <owl/owl.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct owl_pagefile;

enum owl_pagefile_advice {
    OWL_PAGEFILE_WILLNEED = 1, /* bring pages in, up to half the budget, set aside */
    OWL_PAGEFILE_DONTNEED = 2  /* write pages back, and let them leave */
};

/* size_t: in bytes; the other numbers are counts. A later library puts more where `reserved`
 * is. */
struct owl_pagefile_stats {
    size_t bytes;          /* of the range */
    size_t budget;         /* as it is in force */
    size_t resident;       /* of pages in memory */
    size_t dirty;          /* of these, of those that the file does not have yet */
    uint64_t faults;       /* first accesses to pages that were not in memory */
    uint64_t returns;      /* accesses to pages that were set aside */
    uint64_t write_faults; /* accesses that made a page dirty, or might have */
    uint64_t reads;        /* pages read from the file */
    uint64_t writes;       /* pages written to it */
    uint64_t batches;      /* in so many system calls */
    uint64_t failures;     /* system calls for writing that failed */
    int error;             /* errno of the last such, or 0: none since a sync that did not fail */
    uint64_t reserved[8];  /* 0 */
};

/* A range of `bytes` bytes, rounded up to whole pages, of which at most `budget` are in memory, at
 * least 16 pages; and, for a moment, a copy of a page that is put into place. `path` names the
 * file, which is made if there is none; its contents are those of the range. NULL: a file without a
 * name in the directory TMPDIR or else /var/tmp, which is gone when the range is. NULL with EINVAL:
 * a size is 0 or too large, or the budget too small; EBUSY: the file is in use as a page file;
 * ENOMEM: no memory or addresses; ENOTSUP: pages cannot be watched; or an error of open(2). */
OWL_API struct owl_pagefile *owl_pagefile_create(const char *path, size_t bytes, size_t budget);

/* The first byte of the range; aligned to a page. */
OWL_API void *owl_pagefile_address(const struct owl_pagefile *p);

/* Writes back all pages written to before the call, and waits until they are on the medium, if the
 * file has a name. 0; or -1, with an error of write(2) or fdatasync(2), EFBIG: past RLIMIT_FSIZE,
 * EBADF: the descriptor is lost, ENOMEM: pages could not be protected: what could not be written
 * stays in memory, and the next sync tries again. */
OWL_API int owl_pagefile_sync(struct owl_pagefile *p);

/* Says that some bytes, and all of the pages they are in, will soon be needed, or not. Contents
 * stay the same in any case; what cannot be read or written just then is left as it is, without an
 * error. 0; or -1 and EINVAL: no such range or advice. */
OWL_API int owl_pagefile_advise(struct owl_pagefile *p, const void *start, size_t bytes,
                                int advice);

/* The counts. 0; or -1 with ENOTSUP: in a child of fork. */
OWL_API int owl_pagefile_stats(struct owl_pagefile *p, struct owl_pagefile_stats *stats);

/* Ends the range; no thread may use it any more. What was written since the last sync may be in the
 * file, or not. NULL may be destroyed. */
OWL_API void owl_pagefile_destroy(struct owl_pagefile *p);

#ifdef __cplusplus
}
#endif

#endif
