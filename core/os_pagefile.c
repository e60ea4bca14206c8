/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls for files that pages are kept in.
 */
#define _GNU_SOURCE /* O_TMPFILE, secure_getenv */
#include "os_pagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os_call.h"
#include "os_file.h"

/* A file without a name, even where the file system knows none: then the name is taken away
 * again. */
static int open_unnamed(void)
{
    char path[PATH_MAX];
    const char *directory = secure_getenv("TMPDIR");
    if (directory == NULL || directory[0] == '\0')
        directory = "/var/tmp";
    int descriptor = os_open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, S_IRUSR | S_IWUSR);
    if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return descriptor;
    if ((size_t)snprintf(path, sizeof path, "%s/owlXXXXXX", directory) >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    descriptor = mkostemp(path, O_CLOEXEC);
    if (descriptor >= 0)
        unlink(path);
    return descriptor;
}

int os_pagefile_open(struct owl_file *file, const char *path)
{
    struct stat status;
    file->descriptor = -1;
    int descriptor = path == NULL
                         ? open_unnamed()
                         : os_open(path, O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (descriptor < 0)
        return -1;
    if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 || fstat(descriptor, &status) != 0) {
        int saved = errno == EWOULDBLOCK ? EBUSY : errno;
        os_close_file(descriptor);
        errno = saved;
        return -1;
    }
    file->descriptor = os_file_park(descriptor);
    file->device = status.st_dev;
    file->inode = status.st_ino;
    return 0;
}

/* The number may be another file's by now, which must be neither read nor spoilt. */
static int check_open(const struct owl_file *file)
{
    if (os_file_is_open(file))
        return 0;
    errno = EBADF;
    return -1;
}

int os_pagefile_read(const struct owl_file *file, void *to, size_t bytes, size_t offset)
{
    if (check_open(file) != 0)
        return -1;
    for (size_t done = 0; done < bytes;) {
        char *at = (char *)to + done;
        ssize_t n = os_read_at(file->descriptor, at, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0) {
            memset(at, 0, bytes - done);
            return 0;
        }
        done += (size_t)n;
    }
    return 0;
}

/* By its number, as a race detector that knows the function would report writers whom the
 * protection of the pages keeps out meanwhile. */
static ssize_t write_places(int descriptor, const struct iovec *from, int count,
                      size_t offset)
{
    return syscall(SYS_pwritev, descriptor, from, count, offset, 0);
}

/* What is left of the places after `done` bytes, in a copy. */
static int rest_of(struct iovec *rest, const struct iovec *from, int count, size_t done)
{
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (done >= from[i].iov_len) {
            done -= from[i].iov_len;
            continue;
        }
        rest[n].iov_base = (char *)from[i].iov_base + done;
        rest[n++].iov_len = from[i].iov_len - done;
        done = 0;
    }
    return n;
}

int os_pagefile_write(const struct owl_file *file, const struct iovec *from, int count,
                      size_t offset)
{
    struct iovec rest[OWL_PAGEFILE_PLACES];
    struct rlimit limit;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += from[i].iov_len;
    if (check_open(file) != 0)
        return -1;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        offset + bytes > limit.rlim_cur) {
        errno = EFBIG;
        return -1;
    }
    for (size_t done = 0; done < bytes;) {
        int n = rest_of(rest, from, count, done);
        ssize_t wrote = write_places(file->descriptor, rest, n, offset + done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote == 0)
            errno = ENOSPC;
        if (wrote <= 0)
            return -1;
        done += (size_t)wrote;
    }
    return 0;
}

int os_pagefile_flush(const struct owl_file *file)
{
    return check_open(file) == 0 ? (int)syscall(SYS_fdatasync, file->descriptor) : -1;
}
