/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE /* mremap */
#include "os_file.h"
#include "os_guard.h"
#include "os_hidden.h"
#include "os_pagefile.h"
#include "os_pages.h"
#include "os_pressure.h"
#include "os_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os_call.h"
#include "tune.h"

#ifdef OWL_VALGRIND
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

static void *os_mmap(size_t bytes, int prot, int flags)
{
    void *p = mmap(NULL, bytes, prot, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void *os_reserve(size_t bytes)
{
    return os_mmap(bytes, PROT_NONE, MAP_NORESERVE);
}

/* The kernel itself chooses addresses from the stack downwards or, by an older rule, from a
 * third of the address space upwards. These lie below that, with as much room above as below;
 * where exactly is random, for the sake of those who must not guess addresses. */
static void *os_reserve_apart(size_t bytes, bool *apart)
{
    uint64_t random;
    uintptr_t hint = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) == sizeof random)
        hint = OWL_APART + random % (OWL_APART / OWL_RANGE_ALIGNMENT) * OWL_RANGE_ALIGNMENT;
    void *p = mmap((void *)hint, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                   0);
    *apart = p == (void *)hint;
    return p == MAP_FAILED ? NULL : p;
}

static int os_commit(void *start, size_t bytes)
{
    return mprotect(start, bytes, PROT_READ | PROT_WRITE);
}

/* MADV_DONTNEED and not MADV_FREE: people read RSS, and lazily freed pages look like a leak. */
static int os_purge(void *start, size_t bytes)
{
    return madvise(start, bytes, MADV_DONTNEED);
}

static void *os_map(size_t bytes)
{
    return os_mmap(bytes, PROT_READ | PROT_WRITE, 0);
}

static void *os_remap(void *start, size_t bytes, size_t new_bytes)
{
    void *p = mremap(start, bytes, new_bytes, MREMAP_MAYMOVE);
    return p == MAP_FAILED ? NULL : p;
}

static int os_unmap(void *start, size_t bytes)
{
    return munmap(start, bytes);
}

/* Whether there is one mapping: asked by letting it grow where it is, which the kernel refuses with
 * EFAULT if there are several, before it looks at anything else. It never can: it would have to
 * grow up to the first stack, above all mappings. By one page it could, into what is another
 * thread's hole for a moment. */
static bool is_in_one(void *start, size_t bytes)
{
    uintptr_t beyond = owl_round_up(getauxval(AT_RANDOM), owl_os.page);
    void *grown = mremap(start, bytes, beyond - (uintptr_t)start, 0);
    return grown != MAP_FAILED || errno != EFAULT;
}

static size_t os_piece(void *start, size_t bytes)
{
    size_t one = 0, several = bytes;
    if (is_in_one(start, bytes))
        return bytes;
    while (several - one > owl_os.page) {
        size_t middle = one + ((several - one) / 2 & ~(owl_os.page - 1));
        if (is_in_one(start, middle))
            one = middle;
        else
            several = middle;
    }
    return one;
}

/* MAP_FIXED_NOREPLACE: what others have mapped there stays. */
static int os_fill(void *start, size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE;
    void *fresh = mmap(start, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (fresh == start)
        return 0;
    if (fresh != MAP_FAILED)
        munmap(fresh, bytes); /* a kernel that does not know the flag */
    return -1;
}

/* A move that is refused may have unmapped what was there; where nothing may be mapped, it would
 * stay a hole, and so none is begun. */
static int move_pages(void *from, size_t bytes, void *to, size_t to_bytes, int flags)
{
    if (!owl_os.may_map()) {
        errno = ENOMEM;
        return -1;
    }
    if (mremap(from, bytes, to_bytes, MREMAP_MAYMOVE | MREMAP_FIXED | flags, to) != MAP_FAILED)
        return 0;
    int saved = errno;
    os_fill(to, to_bytes);
    errno = saved;
    return -1;
}

/* MREMAP_DONTUNMAP: no other thread's mapping can come between, as it could into a hole. */
static int os_move(void *from, void *to, size_t bytes)
{
    return move_pages(from, bytes, to, bytes, MREMAP_DONTUNMAP);
}

static int os_carry(void *from, size_t bytes, void *to, size_t to_bytes)
{
    return move_pages(from, bytes, to, to_bytes, 0);
}

static int os_reset(void *start, size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    return mmap(start, bytes, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ? -1 : 0;
}

static int os_populate(void *start, size_t bytes)
{
    return madvise(start, bytes, MADV_POPULATE_WRITE);
}

static int os_huge(void *start, size_t bytes, bool use)
{
    return madvise(start, bytes, use ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

static void os_wait(owl_u32 *word, uint32_t value)
{
    owl_count(OWL_COUNT_SLEEPS);
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
    errno = saved;
}

static void os_wake(owl_u32 *word)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = saved;
}

/* A process has to register first. */
static int os_barrier(void)
{
    owl_count(OWL_COUNT_BARRIERS);
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0)
        return 0;
    if (errno != EPERM ||
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0 ||
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0)
        return -1;
    return 0;
}

/* COARSE: read without a system call, in a few nanoseconds. */
static uint64_t os_milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The number is in the name of the thread's processor clock, which libc makes up without a call:
 * the kernel has it complemented, above three bits of flags. */
static struct owl_os_thread os_thread_self(void)
{
    static const clockid_t flags = 6; /* a thread's, and of its time on processors */
    clockid_t clock;
    struct owl_os_thread self = {.process = owl_os.process};
    if (pthread_getcpuclockid(pthread_self(), &clock) == 0 && (clock & 7) == flags)
        self.number = ~(clock >> 3);
    else
        self.number = (pid_t)syscall(SYS_gettid);
    return self;
}

/* The process is named, so that a child of vfork finds the threads of its parent. */
static bool os_thread_lives(const struct owl_os_thread *thread)
{
    return syscall(SYS_tgkill, thread->process, thread->number, 0) == 0 || errno != ESRCH;
}

/* Valgrind takes addresses that are promised to nobody, but notes for each what it is: seconds
 * for a large reservation. */
static size_t os_address_limit(void)
{
    struct rlimit r;
    size_t most = RUNNING_ON_VALGRIND ? OWL_VALGRIND_ADDRESSES : SIZE_MAX;
    if (getrlimit(RLIMIT_AS, &r) != 0 || r.rlim_cur == RLIM_INFINITY || r.rlim_cur > most)
        return most;
    return r.rlim_cur;
}

/* The first two numbers of statm, in pages: bytes that are mapped, and that are resident. Read
 * without stdio, which would allocate. 0, and 0: the system does not tell. */
static void read_statm(size_t bytes[2])
{
    char text[128];
    ssize_t n = 0;
    int file = os_open("/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);
    if (file >= 0) {
        n = os_read(file, text, sizeof text - 1);
        os_close_file(file);
    }
    text[n > 0 ? n : 0] = '\0';
    const char *at = text;
    for (int i = 0; i < 2; i++) {
        size_t pages = 0;
        for (; *at >= '0' && *at <= '9'; at++)
            pages = pages * 10 + (size_t)(*at - '0');
        bytes[i] = pages * (size_t)sysconf(_SC_PAGESIZE);
        at += *at == ' ';
    }
}

static size_t os_resident(void)
{
    size_t bytes[2];
    read_statm(bytes);
    return bytes[1];
}

static bool os_addresses_are_free(void)
{
    struct rlimit r;
    return owl_os.address_limit() == SIZE_MAX && getrlimit(RLIMIT_DATA, &r) == 0 &&
           r.rlim_cur == RLIM_INFINITY;
}

static bool os_may_map(void)
{
    struct rlimit r;
    size_t bytes[2];
    if (getrlimit(RLIMIT_AS, &r) != 0 || r.rlim_cur == RLIM_INFINITY)
        return true;
    read_statm(bytes);
    return bytes[0] <= r.rlim_cur;
}

/* From the 16 random bytes that the kernel gives each process, without a call. The C library's
 * stack guard is made of the first eight; they are mixed with the others so that neither value,
 * should it become known, tells the other. */
static uint64_t os_secret(void)
{
    uint64_t random[2];
    const void *given = (const void *)getauxval(AT_RANDOM);
    if (given != NULL) {
        memcpy(random, given, sizeof random);
    } else {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        random[0] = (uint64_t)now.tv_nsec;
        random[1] = (uintptr_t)&now;
    }
    uint64_t mixed = (random[0] ^ (random[1] << 32 | random[1] >> 32)) * 0x9e3779b97f4a7c15u;
    return (mixed ^ mixed >> 29) + random[1] * 0xbf58476d1ce4e5b9u;
}

/* A thread with descriptors of its own (os_hidden.c) opens the program's anew. */
static int reopen_messages(void)
{
    return os_open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY, 0);
}

static void os_message(const char *text, size_t bytes)
{
    int file = STDERR_FILENO;
    while (bytes > 0) {
        ssize_t n = os_write(file, text, bytes);
        if (n < 0 && errno == EBADF && file == STDERR_FILENO && (file = reopen_messages()) >= 0)
            continue;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        text += n;
        bytes -= (size_t)n;
    }
    if (file > STDERR_FILENO)
        os_close_file(file);
}

struct owl_os owl_os = {
    .page = 0,
    .reserve = os_reserve,
    .reserve_apart = os_reserve_apart,
    .commit = os_commit,
    .purge = os_purge,
    .map = os_map,
    .remap = os_remap,
    .unmap = os_unmap,
    .piece = os_piece,
    .move = os_move,
    .carry = os_carry,
    .fill = os_fill,
    .reset = os_reset,
    .populate = os_populate,
    .purge_many = os_purge_many,
    .populate_many = os_populate_many,
    .resident_of = os_resident_of,
    .huge = os_huge,
    .file_make = os_file_make,
    .file_is_open = os_file_is_open,
    .file_map = os_file_map,
    .file_reserve = os_file_reserve,
    .file_commit = os_file_commit,
    .file_open = os_file_open,
    .file_close = os_file_close,
    .punch = os_punch,
    .changed = os_changed,
    .strict_overcommit = os_strict_overcommit,
    .mapping_limit = os_mapping_limit,
    .mapping_count = os_mapping_count,
    .wait = os_wait,
    .wake = os_wake,
    .sleep = os_sleep,
    .hidden_begin = os_hidden_begin,
    .hidden_start = os_hidden_start,
    .barrier = os_barrier,
    .milliseconds = os_milliseconds,
    .address_limit = os_address_limit,
    .addresses_are_free = os_addresses_are_free,
    .may_map = os_may_map,
    .resident = os_resident,
    .secret = os_secret,
    .message = os_message,

    .watch_open = os_watch_open,
    .watch_register = os_watch_register,
    .watch_unregister = os_watch_unregister,
    .watch_next = os_watch_next,
    .watch_copy = os_watch_copy,
    .watch_zero = os_watch_zero,
    .watch_protect = os_watch_protect,
    .watch_wake = os_watch_wake,
    .bell_make = os_bell_make,
    .bell_ring = os_bell_ring,
    .close = os_close,
    .protect = os_protect,
    .populate_read = os_populate_read,
    .join = os_join,
    .no_fork = os_no_fork,
    .catch = os_catch,
    .permits = os_permits,
    .signals_block = os_signals_block,
    .signals_restore = os_signals_restore,
    .signals_hold = os_signals_hold,
    .thread_start = os_thread_start,
    .thread_name = os_thread_name,
    .thread_join = os_thread_join,
    .at_fork = os_at_fork,
    .wake_all = os_wake_all,
    .thread_self = os_thread_self,
    .thread_lives = os_thread_lives,

    .trace = os_trace,
    .where = os_where,
    .catch_guard = os_catch_guard,

    .lines = os_lines,
    .pressure_open = os_pressure_open,
    .pressure_bell = os_pressure_bell,
    .pressure_ring = os_pressure_ring,
    .pressure_wait = os_pressure_wait,

    .pagefile_open = os_pagefile_open,
    .pagefile_read = os_pagefile_read,
    .pagefile_write = os_pagefile_write,
    .pagefile_flush = os_pagefile_flush,
};

void owl_os_note_process(void)
{
    owl_os.process = getpid();
}

void owl_os_init(void)
{
    owl_os.page = getauxval(AT_PAGESZ); /* sysconf would read some more of libc in */
    owl_os_note_process();
}
