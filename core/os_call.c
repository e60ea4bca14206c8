/* SPDX-License-Identifier: BSD-2-Clause */
#include "os_call.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

int os_open(const char *path, int flags, mode_t mode)
{
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int os_close_file(int descriptor)
{
    return (int)syscall(SYS_close, descriptor);
}

ssize_t os_read(int descriptor, void *to, size_t bytes)
{
    return syscall(SYS_read, descriptor, to, bytes);
}

ssize_t os_read_at(int descriptor, void *to, size_t bytes, off_t offset)
{
    return syscall(SYS_pread64, descriptor, to, bytes, offset);
}

ssize_t os_write(int descriptor, const void *from, size_t bytes)
{
    return syscall(SYS_write, descriptor, from, bytes);
}
