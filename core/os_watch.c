/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls of userfaultfd.
 */
#define _GNU_SOURCE
#include "os_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os_call.h"
#include "os_file.h"

/* Later than the headers of some systems. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

/* -1 with errno of a call before; closes the descriptor. */
static int give_up(int descriptor)
{
    int saved = errno;
    os_close_file(descriptor);
    errno = saved;
    return -1;
}

/* A kernel refuses the handshake if it does not know one of the features. */
static int open_with(uint64_t features)
{
    struct uffdio_api api = {.api = UFFD_API, .features = features};
    int flags = O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY;
    int descriptor = (int)syscall(SYS_userfaultfd, flags);
    if (descriptor < 0)
        return -1;
    if (ioctl(descriptor, UFFDIO_API, &api) != 0)
        return give_up(descriptor);
    return os_file_park(descriptor);
}

int os_watch_open(bool *unpopulated)
{
    uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP;
    int descriptor = open_with(features | UFFD_FEATURE_WP_UNPOPULATED);
    *unpopulated = descriptor >= 0;
    return descriptor >= 0 ? descriptor : open_with(features);
}

int os_watch_register(int descriptor, void *start, size_t bytes, bool missing, bool write)
{
    struct uffdio_register r = {.range = {.start = (uintptr_t)start, .len = bytes}};
    r.mode = (missing ? UFFDIO_REGISTER_MODE_MISSING : 0) | (write ? UFFDIO_REGISTER_MODE_WP : 0);
    return ioctl(descriptor, UFFDIO_REGISTER, &r) == 0 ? 0 : -1;
}

/* Kernels before 6.0 leave pages protected when what protected them is gone: that is undone first.
 * It fails where only missing pages are told of, which have nothing to undo. */
int os_watch_unregister(int descriptor, void *start, size_t bytes)
{
    struct uffdio_range range = {.start = (uintptr_t)start, .len = bytes};
    os_watch_protect(descriptor, start, bytes, false);
    return ioctl(descriptor, UFFDIO_UNREGISTER, &range) == 0 ? 0 : -1;
}

int os_watch_next(int descriptor, int bell, struct owl_os_fault *fault)
{
    struct uffd_msg message;
    for (;;) {
        ssize_t got = os_read(descriptor, &message, sizeof message);
        if (got == sizeof message && message.event == UFFD_EVENT_PAGEFAULT)
            break;
        if (got >= 0 || errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return -1;
        struct pollfd ends[2] = {{.fd = descriptor, .events = POLLIN},
                                 {.fd = bell, .events = POLLIN}};
        if (poll(ends, 2, -1) < 0 && errno != EINTR)
            return -1;
        if (ends[1].revents != 0)
            return 0;
    }
    uint64_t writes = UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP;
    fault->address = (uintptr_t)message.arg.pagefault.address;
    fault->write = (message.arg.pagefault.flags & writes) != 0;
    return 1;
}

/* EAGAIN: the address space was being changed just then. */
static int again(int descriptor, unsigned long request, void *argument)
{
    int result;
    do
        result = ioctl(descriptor, request, argument);
    while (result != 0 && errno == EAGAIN);
    return result == 0 ? 0 : -1;
}

/* The kernel may stop after some pages, and says so. */
int os_watch_copy(int descriptor, void *to, const void *from, size_t bytes, bool protect)
{
    for (size_t done = 0; done < bytes;) {
        struct uffdio_copy c = {
            .dst = (uintptr_t)to + done,
            .src = (uintptr_t)from + done,
            .len = bytes - done,
            .mode = protect ? UFFDIO_COPY_MODE_WP : 0,
        };
        if (ioctl(descriptor, UFFDIO_COPY, &c) == 0)
            return 0;
        if (c.copy > 0)
            done += (size_t)c.copy;
        else if (errno != EAGAIN)
            return -1;
    }
    return 0;
}

int os_watch_zero(int descriptor, void *start, size_t bytes)
{
    struct uffdio_zeropage z = {.range = {.start = (uintptr_t)start, .len = bytes}};
    return again(descriptor, UFFDIO_ZEROPAGE, &z);
}

int os_watch_protect(int descriptor, void *start, size_t bytes, bool protect)
{
    struct uffdio_writeprotect w = {.range = {.start = (uintptr_t)start, .len = bytes}};
    w.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
    return again(descriptor, UFFDIO_WRITEPROTECT, &w);
}

void os_watch_wake(int descriptor, void *start, size_t bytes)
{
    struct uffdio_range range = {.start = (uintptr_t)start, .len = bytes};
    ioctl(descriptor, UFFDIO_WAKE, &range);
}

int os_bell_make(void)
{
    int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return bell < 0 ? -1 : os_file_park(bell);
}

void os_bell_ring(int bell)
{
    eventfd_write(bell, 1);
}

void os_close(int descriptor)
{
    os_close_file(descriptor);
}
