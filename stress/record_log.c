/* SPDX-License-Identifier: BSD-2-Clause */
#include "record_log.h"
#include "trace.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* 2^28 events: what the 32-bit numbers of a trace hold, with room to spare. */
#define CAPACITY_MAX ((uint64_t)1 << 28)
#define CAPACITY_MIN ((uint64_t)1 << 14)

_Thread_local struct record_self record_self __attribute__((tls_model("initial-exec")));

/*
 * The one variable that says whether to record lives in a page that the kernel wipes in a forked
 * child. So a child never writes into its parent's log, however it was forked, and no fork handler
 * has to run first.
 */
struct control {
    struct record_header *log;
};

static struct control *control;
static pthread_key_t end_key;

void record_say(const char *message)
{
    static const char name[] = "owl-record: ";
    if (write(STDERR_FILENO, name, sizeof name - 1) > 0
        && write(STDERR_FILENO, message, strlen(message)) > 0)
        (void)!write(STDERR_FILENO, "\n", 1);
}

void *record_next(const char *symbol)
{
    void *f = dlsym(RTLD_NEXT, symbol);
    if (!f) {
        record_say("the program's C library lacks a function of the malloc family");
        abort();
    }
    return f;
}

static void put(struct record_header *log, const struct record_event *e)
{
    uint64_t place = __atomic_fetch_add(&log->places, 1, __ATOMIC_RELAXED);
    if (place >= log->capacity)
        return;
    struct record_event *to = (struct record_event *)((char *)log + RECORD_HEADER_BYTES) + place;
    to->address = e->address;
    to->size = e->size;
    to->thread = e->thread;
    to->align_log2 = e->align_log2;
    /* The compiler must not write it earlier: a killed program would leave half an event. */
    __atomic_store_n(&to->kind, e->kind, __ATOMIC_RELEASE);
}

/* A thread's first event: give it a number, and have us called when it ends. */
static void meet_thread(struct record_header *log)
{
    int saved = errno;
    record_self.thread = __atomic_add_fetch(&log->threads, 1, __ATOMIC_RELAXED);
    pthread_setspecific(end_key, &record_self);
    errno = saved;
}

void record_append(unsigned kind, const void *address, uint64_t size, unsigned align_log2)
{
    struct record_header *log = control ? control->log : NULL;
    if (!log)
        return;
    if (!record_self.thread)
        meet_thread(log);
    put(log, &(struct record_event){ (uint64_t)(uintptr_t)address, size, record_self.thread - 1,
                                     (uint8_t)kind, (uint8_t)align_log2 });
}

static void thread_ends(void *unused)
{
    (void)unused;
    record_enter();
    record_append(RECORD_THREAD_END, NULL, 0, 0);
    record_leave();
}

/* As many events as the file system and the limits of the process have room for, within reason. */
static uint64_t capacity_for(int fd)
{
    uint64_t bytes = CAPACITY_MAX * sizeof(struct record_event);
    struct statvfs fs;
    struct rlimit limit;
    if (fstatvfs(fd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize / 2 < bytes)
        bytes = (uint64_t)fs.f_bavail * fs.f_frsize / 2;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < bytes)
        bytes = limit.rlim_cur;
    return bytes < RECORD_HEADER_BYTES ? 0
        : (bytes - RECORD_HEADER_BYTES) / sizeof(struct record_event);
}

static struct record_header *map_log(int fd)
{
    for (uint64_t capacity = capacity_for(fd); capacity >= CAPACITY_MIN; capacity /= 2) {
        size_t bytes = RECORD_HEADER_BYTES + capacity * sizeof(struct record_event);
        if (ftruncate(fd, (off_t)bytes) != 0)
            continue;
        void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
            continue;
        madvise(map, bytes, MADV_DONTDUMP);
        struct record_header *log = map;
        memcpy(log->magic, RECORD_MAGIC, sizeof log->magic);
        log->capacity = capacity;
        log->pid = (uint32_t)getpid();
        return log;
    }
    return NULL;
}

static bool make_control(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *map = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || madvise(map, page, MADV_WIPEONFORK) != 0)
        return false;
    control = map;
    return pthread_key_create(&end_key, thread_ends) == 0;
}

void *record_realloc(void *(*real)(void *, size_t), void *old, size_t size, bool outermost)
{
    if (outermost && old)
        record_append(RECORD_REALLOC_BEGIN, old, 0, 0);
    void *p = real(old, size);
    if (outermost && old)
        record_append(RECORD_REALLOC_END, p, size, 0);
    else if (outermost && p)
        record_append(TRACE_MALLOC, p, size, 0);
    return p;
}

/* An exec of another program in the same process finds an old log there, and starts it anew. */
__attribute__((constructor)) static void start(void)
{
    const char *env = getenv(RECORD_ENV);
    if (!env)
        return;
    char *dir;
    long pid = strtol(env, &dir, 10);
    if (*dir != ':' || (pid != 0 && pid != (long)getpid()))
        return;

    char path[4096 + 32];
    if (snprintf(path, sizeof path, "%s/%ld", dir + 1, (long)getpid()) >= (int)sizeof path)
        return;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct record_header *log = fd >= 0 && make_control() ? map_log(fd) : NULL;
    if (fd >= 0)
        close(fd);
    if (!log) {
        record_say("cannot set up the log, the program runs unrecorded");
        return;
    }
    control->log = log;
}
