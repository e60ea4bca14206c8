/* SPDX-License-Identifier: BSD-2-Clause */
#include "os_call.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"

/* ThreadSanitizer sees which descriptor is whose by libc's functions. */
#ifdef OWL_ATOMIC_C11
#define CALL(function, number, ...) function(__VA_ARGS__)
#else
#define CALL(function, number, ...) syscall(number, __VA_ARGS__)
#endif

int os_open(const char *path, int flags, mode_t mode)
{
    return (int)CALL(openat, SYS_openat, AT_FDCWD, path, flags, mode);
}

int os_close_file(int descriptor)
{
    return (int)CALL(close, SYS_close, descriptor);
}

ssize_t os_read(int descriptor, void *to, size_t bytes)
{
    return CALL(read, SYS_read, descriptor, to, bytes);
}

ssize_t os_read_at(int descriptor, void *to, size_t bytes, off_t offset)
{
    return CALL(pread, SYS_pread64, descriptor, to, bytes, offset);
}

ssize_t os_write(int descriptor, const void *from, size_t bytes)
{
    return CALL(write, SYS_write, descriptor, from, bytes);
}
