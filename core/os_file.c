/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls for files in memory, and for looking at mappings.
 */
#define _GNU_SOURCE /* memfd_create, F_DUPFD_CLOEXEC */
#include "os_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os_call.h"

/* The descriptor is parked high: few programs look there, and those that hand out low numbers by
 * counting find them where they expect them. */
int os_file_park(int descriptor)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0 || r.rlim_cur <= 64)
        return descriptor;
    rlim_t from = r.rlim_cur > 65536 ? 65536 : r.rlim_cur;
    int high = fcntl(descriptor, F_DUPFD_CLOEXEC, (int)from - 16);
    if (high < 0)
        return descriptor;
    os_close_file(descriptor);
    return high;
}

/* A file above RLIMIT_FSIZE must not be tried: that raises SIGXFSZ. */
static bool may_be_long(size_t bytes)
{
    struct rlimit r;
    return getrlimit(RLIMIT_FSIZE, &r) == 0 && (r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= bytes);
}

int os_file_make(struct owl_file *file, size_t bytes)
{
    struct stat status;
    file->descriptor = -1;
    if (!may_be_long(bytes)) {
        errno = EFBIG;
        return -1;
    }
    int descriptor = memfd_create("owlalloc", MFD_CLOEXEC);
    if (descriptor < 0)
        return -1;
    if (ftruncate(descriptor, (off_t)bytes) != 0 || fstat(descriptor, &status) != 0) {
        int saved = errno;
        os_close_file(descriptor);
        errno = saved;
        return -1;
    }
    file->descriptor = os_file_park(descriptor);
    file->device = status.st_dev;
    file->inode = status.st_ino;
    return 0;
}

bool os_file_is_open(const struct owl_file *file)
{
    struct stat status;
    return file->descriptor >= 0 && fstat(file->descriptor, &status) == 0 &&
           status.st_dev == file->device && status.st_ino == file->inode;
}

int os_file_map(const struct owl_file *file, size_t offset, void *start, size_t bytes, bool shared)
{
    if (!os_file_is_open(file)) {
        errno = EBADF;
        return -1;
    }
    int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED | MAP_NORESERVE;
    /* Called by its number: to thread sanitizers, mmap by name is a write to the memory. Who
     * uses it meanwhile sees the same bytes before and after. */
    long p = syscall(SYS_mmap, start, bytes, PROT_READ | PROT_WRITE, flags, file->descriptor,
                     (off_t)offset);
    return p == -1 ? -1 : 0;
}

/* A core dump, and a call of mlockall, read shared pages whether they are in use or not, and a read
 * gives each of them memory: hence no access, and no part in a dump. */
int os_file_reserve(const struct owl_file *file, void *start, size_t bytes)
{
    int flags = MAP_SHARED | MAP_FIXED | MAP_NORESERVE;
    void *p = mmap(start, bytes, PROT_NONE, flags, file->descriptor, 0);
    return p == MAP_FAILED ? -1 : madvise(start, bytes, MADV_DONTDUMP);
}

int os_file_commit(void *start, size_t bytes)
{
    if (owl_os.commit(start, bytes) != 0)
        return -1;
    madvise(start, bytes, MADV_DODUMP);
    return 0;
}

int os_file_open(const struct owl_file *file)
{
    if (!os_file_is_open(file)) {
        errno = EBADF;
        return -1;
    }
    return fcntl(file->descriptor, F_DUPFD_CLOEXEC, 3);
}

void os_file_close(struct owl_file *file)
{
    if (os_file_is_open(file))
        os_close_file(file->descriptor);
    file->descriptor = -1;
}

int os_punch(void *start, size_t bytes)
{
    return madvise(start, bytes, MADV_REMOVE);
}

/* A page that was written to is an anonymous one by now: bit 61 of its entry, "is of a file or
 * shared", is not set, but bit 63 or 62, "present" or "swapped", is. (So many entries would be too
 * much for a small stack.) */
int os_changed(const void *start, size_t pages, uint8_t *changed)
{
    static uint64_t entries[2048];
    size_t most = sizeof entries / sizeof entries[0];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int descriptor = os_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0)
        return -1;
    for (size_t done = 0; done < pages;) {
        size_t some = pages - done < most ? pages - done : most;
        off_t at = (off_t)(((uintptr_t)start / page + done) * sizeof entries[0]);
        ssize_t got = os_read_at(descriptor, entries, some * sizeof entries[0], at);
        if (got <= 0) {
            os_close_file(descriptor);
            return -1;
        }
        some = (size_t)got / sizeof entries[0];
        for (size_t i = 0; i < some; i++)
            changed[done + i] = (entries[i] >> 62) != 0 && (entries[i] >> 61 & 1) == 0;
        done += some;
    }
    os_close_file(descriptor);
    return 0;
}

/* A number from a small file; 0: there is none. */
static size_t read_number(const char *path)
{
    char text[32];
    size_t number = 0;
    int descriptor = os_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0)
        return 0;
    ssize_t n = os_read(descriptor, text, sizeof text - 1);
    os_close_file(descriptor);
    for (ssize_t i = 0; i < n && text[i] >= '0' && text[i] <= '9'; i++)
        number = number * 10 + (size_t)(text[i] - '0');
    return number;
}

/* Relaxed: threads that ask at once all read the same file. */
bool os_strict_overcommit(void)
{
    enum { UNKNOWN, LAX, STRICT };
    static owl_u32 known;
    uint32_t is = owl_u32_load_relaxed(&known);
    if (is == UNKNOWN) {
        is = read_number("/proc/sys/vm/overcommit_memory") == 2 ? STRICT : LAX;
        owl_u32_store_relaxed(&known, is);
    }
    return is == STRICT;
}

size_t os_mapping_limit(void)
{
    return read_number("/proc/sys/vm/max_map_count");
}

/* A line each. */
size_t os_mapping_count(void)
{
    char text[4096];
    size_t lines = 0;
    ssize_t n;
    int descriptor = os_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0)
        return 0;
    while ((n = os_read(descriptor, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n; i++)
            lines += text[i] == '\n';
    os_close_file(descriptor);
    return lines;
}
