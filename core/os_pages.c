/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE /* madvise's numbers, mincore */
#include "os_pages.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tune.h"

/* Stands for the calling process where a process's descriptor is asked for, since Linux 6.14; since
 * 6.13 a process may give itself all kinds of advice in this way. */
#define OS_PIDFD_SELF (-10001)

#define OS_LEAST_PAGE 4096 /* no system has smaller ones */

_Static_assert(sizeof(struct owl_piece) == sizeof(struct iovec) &&
                   offsetof(struct owl_piece, start) == offsetof(struct iovec, iov_base) &&
                   offsetof(struct owl_piece, bytes) == offsetof(struct iovec, iov_len),
               "a piece is what the kernel calls a vector");

/* The kernel tells how many bytes it has done. A piece within which it ends is not done. */
static size_t advise(const struct owl_piece *pieces, size_t count, int advice)
{
    size_t n = count < IOV_MAX ? count : IOV_MAX;
    long done = syscall(SYS_process_madvise, OS_PIDFD_SELF, pieces, n, advice, 0);
    size_t whole = 0;
    while (whole < n && done > 0 && (size_t)done >= pieces[whole].bytes)
        done -= (long)pieces[whole++].bytes;
    return whole;
}

size_t os_purge_many(const struct owl_piece *pieces, size_t count)
{
    return advise(pieces, count, MADV_DONTNEED);
}

size_t os_populate_many(const struct owl_piece *pieces, size_t count)
{
    return advise(pieces, count, MADV_POPULATE_WRITE);
}

size_t os_resident_of(void *start, size_t bytes)
{
    unsigned char there[OWL_COPY_MOST / OS_LEAST_PAGE];
    size_t pages = bytes / owl_os.page, resident = 0;
    if (pages > sizeof(there) || mincore(start, bytes, there) != 0)
        return 0;
    for (size_t i = 0; i < pages; i++)
        resident += there[i] & 1;
    return resident * owl_os.page;
}
