/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that libc makes points of cancellation, without that: a thread that is to end would
 * end in the middle of malloc or free, with locks held.
 */
#ifndef OWL_CORE_OS_CALL_H
#define OWL_CORE_OS_CALL_H

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int os_open(const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static inline int os_close_file(int descriptor)
{
    return (int)syscall(SYS_close, descriptor);
}

static inline ssize_t os_read(int descriptor, void *to, size_t bytes)
{
    return syscall(SYS_read, descriptor, to, bytes);
}

static inline ssize_t os_read_at(int descriptor, void *to, size_t bytes, off_t offset)
{
    return syscall(SYS_pread64, descriptor, to, bytes, offset);
}

static inline ssize_t os_write(int descriptor, const void *from, size_t bytes)
{
    return syscall(SYS_write, descriptor, from, bytes);
}

#endif
