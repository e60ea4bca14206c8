/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls for memory pressure: files of the kernel that are read line by line, and those
 * that tell of news.
 */
#define _GNU_SOURCE /* pipe2 */
#include "os_pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os_call.h"
#include "os_file.h"

/* Hands on the whole lines of a buffer and keeps the rest. A line that fills the buffer is handed
 * on in parts. False: no more are wanted. */
static bool hand_on(char *text, size_t *length, size_t most, bool last,
                    bool (*line)(char *text, void *context), void *context)
{
    char *at = text, *end = text + *length;
    bool more = true;
    while (more && at < end) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL && !last && (at > text || *length < most))
            break;
        if (stop == NULL)
            stop = end;
        *stop = '\0';
        more = line(at, context);
        at = stop < end ? stop + 1 : end;
    }
    *length = (size_t)(end - at);
    memmove(text, at, *length);
    return more;
}

int os_lines(const char *path, bool (*line)(char *text, void *context), void *context)
{
    char text[4096];
    size_t length = 0;
    ssize_t n;
    bool more = true;
    int descriptor = os_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0)
        return -1;
    do {
        n = os_read(descriptor, text + length, sizeof text - 1 - length);
        if (n < 0 && errno == EINTR)
            continue;
        length += n > 0 ? (size_t)n : 0;
        more = hand_on(text, &length, sizeof text - 1, n <= 0, line, context);
    } while (more && n != 0 && !(n < 0 && errno != EINTR));
    int saved = errno;
    os_close_file(descriptor);
    errno = saved;
    return n < 0 ? -1 : 0;
}

/* Parks a fresh descriptor and notes whose it is. */
static void note(struct owl_file *file, int descriptor)
{
    struct stat status;
    file->descriptor = os_file_park(descriptor);
    if (fstat(file->descriptor, &status) == 0) {
        file->device = status.st_dev;
        file->inode = status.st_ino;
    }
}

/* The kernel wants the trigger with its end. */
int os_pressure_open(struct owl_file *file, const char *path, const char *trigger)
{
    int mode = trigger != NULL ? O_RDWR : O_RDONLY;
    file->descriptor = -1;
    int descriptor = os_open(path, mode | O_NONBLOCK | O_CLOEXEC, 0);
    if (descriptor < 0)
        return -1;
    if (trigger != NULL && os_write(descriptor, trigger, strlen(trigger) + 1) < 0) {
        int saved = errno;
        os_close_file(descriptor);
        errno = saved;
        return -1;
    }
    note(file, descriptor);
    return 0;
}

/* A pipe, which unlike an eventfd has an inode of its own, and rings by itself when its other end
 * is closed. */
int os_pressure_bell(struct owl_file ends[2])
{
    int descriptors[2];
    ends[0].descriptor = ends[1].descriptor = -1;
    if (pipe2(descriptors, O_CLOEXEC | O_NONBLOCK) != 0)
        return -1;
    note(&ends[0], descriptors[0]);
    note(&ends[1], descriptors[1]);
    return 0;
}

void os_pressure_ring(const struct owl_file *end)
{
    if (os_file_is_open(end) && os_write(end->descriptor, "", 1) < 0)
        return; /* it is full, and so rings */
}

/* A file that has news says so until it is read again. One that cannot be read is one of a group
 * that is gone; one of stalls whose trigger is gone says "error". */
static unsigned read_again(const struct pollfd *p)
{
    char text[512];
    ssize_t n = os_read_at(p->fd, text, sizeof text, 0);
    bool stalls = n >= 5 && memcmp(text, "some ", 5) == 0;
    return n < 0 || (p->revents & POLLNVAL) || (stalls && (p->revents & POLLERR))
               ? OWL_PRESSURE_LOST
               : 0;
}

unsigned os_pressure_wait(const struct owl_file *files, size_t count, const struct owl_file *bell,
                          int milliseconds)
{
    struct pollfd p[OWL_PRESSURE_FILES + 1];
    char bytes[64];
    unsigned news = 0;
    for (size_t i = 0; i < count; i++) {
        p[i] = (struct pollfd){.fd = files[i].descriptor, .events = POLLPRI};
        if (!os_file_is_open(&files[i]))
            news |= OWL_PRESSURE_LOST;
    }
    p[count] = (struct pollfd){.fd = bell->descriptor, .events = POLLIN};
    if (bell->descriptor >= 0 && !os_file_is_open(bell))
        news |= OWL_PRESSURE_LOST;
    if (news != 0 || poll(p, count + 1, milliseconds) <= 0)
        return news;
    for (size_t i = 0; i < count; i++)
        if (p[i].revents != 0)
            news |= 1u << i | read_again(&p[i]);
    if ((p[count].revents & POLLIN) && os_read(bell->descriptor, bytes, sizeof bytes) > 0)
        news |= OWL_PRESSURE_BELL;
    if (p[count].revents & (POLLHUP | POLLNVAL | POLLERR))
        news |= OWL_PRESSURE_LOST;
    return news;
}
