/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread that libc does not know. pthread_create takes locks which the caller of free may hold
 * (libc frees memory with its list of stacks locked), allocates, and tells libc for good that there
 * are threads, which makes its own code slower. So the thread is made by clone(2), with memory of
 * its own for the stack and for what stands for thread-local variables:
 *
 *    | guard | stack, growing down | variables ... | thread pointer -> | control block ... |
 *
 * Variables are at fixed distances from the thread pointer, the same in all threads. The area
 * reaches as far in both directions as errno and one that the caller names lie, in the thread that
 * starts this one, and some KiB further, where the library's other variables are (locks count in
 * one, purges in another); it is zero but for the one that is named and for the pointers to itself
 * with which a control block begins on x86-64. In a child of fork, where the parent's thread was in
 * the middle of something, it is made so again.
 */
#define _GNU_SOURCE /* clone */
#include "os_hidden.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tune.h"

#if defined(__SANITIZE_ADDRESS__) || defined(OWL_ATOMIC_C11)
#define OWL_NO_HIDDEN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define OWL_NO_HIDDEN 1
#endif
#endif

void os_sleep(owl_u32 *word, uint32_t value, unsigned milliseconds)
{
    struct timespec t = {.tv_sec = milliseconds / 1000,
                         .tv_nsec = milliseconds % 1000 * 1000000L};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &t, NULL, 0);
}

#if defined(OWL_NO_HIDDEN)

/* Code with a sanitizer's calls in it wants a thread of libc's. */
void os_hidden_begin(void)
{
}

int os_hidden_start(void (*body)(bool alone), owl_word *local, uintptr_t value)
{
    (void)body, (void)local, (void)value;
    errno = ENOTSUP;
    return -1;
}

#else

enum { STACK = 128 << 10, MARGIN = 4096, CONTROL_BLOCK = 8192, TRIES = 1000 };

/* The thread clears `id` when it ends: the system does, when it uses the stack no more. */
static struct {
    char *memory; /* from the guard on */
    char *pointer;
    char *end;
    pid_t process; /* where it may be started */
    bool stale;    /* the variables are those of a thread that is not here */
    owl_u32 id;
    void (*body)(bool alone);
} hidden OWL_START;

void os_hidden_begin(void)
{
    hidden.process = getpid();
    hidden.stale = hidden.memory != NULL;
    owl_u32_store_relaxed(&hidden.id, 0);
}

static char *thread_pointer(void)
{
#ifdef __x86_64__
    char *p;
    __asm__("mov %%fs:0, %0" : "=r"(p));
    return p;
#else
    return __builtin_thread_pointer();
#endif
}

static void begin_control_block(void)
{
#ifdef __x86_64__
    void **block = (void **)hidden.pointer;
    block[0] = block;
    block[2] = block;
#endif
}

static void clear_variables(void)
{
    char *first = hidden.memory + owl_os.page + STACK;
    memset(first, 0, (size_t)(hidden.end - first));
    begin_control_block();
    hidden.stale = false;
}

/* Memory, once. False: there is none. */
static bool make_memory(const owl_word *local)
{
    char *tp = thread_pointer(), *low = tp, *high = tp + CONTROL_BLOCK;
    char *const variables[] = {(char *)&errno, (char *)(uintptr_t)local};
    for (int i = 0; i < 2; i++) {
        low = variables[i] < low ? variables[i] : low;
        high = variables[i] > high ? variables[i] : high;
    }
    size_t below = owl_round_up((size_t)(tp - low) + CONTROL_BLOCK, owl_os.page);
    size_t bytes = owl_os.page + STACK + below +
                   owl_round_up((size_t)(high - tp) + MARGIN, owl_os.page);
    char *memory = owl_os.map(bytes);
    if (memory == NULL)
        return false;
    if (mprotect(memory, owl_os.page, PROT_NONE) != 0) {
        owl_os.unmap(memory, bytes);
        return false;
    }
    hidden.memory = memory;
    hidden.pointer = memory + owl_os.page + STACK + below;
    hidden.end = memory + bytes;
    begin_control_block();
    return true;
}

/* Whatever may be done in the program's name, this thread needs none of it. */
static void drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2];
    memset(none, 0, sizeof none);
    syscall(SYS_capset, &header, none);
}

/* Whoever freed memory may have had the processor before all others; what is done here can wait. */
static void leave_real_time(void)
{
    static const struct sched_param usual;
    int policy = sched_getscheduler(0) & ~SCHED_RESET_ON_FORK;
    if (policy == SCHED_FIFO || policy == SCHED_RR)
        sched_setscheduler(0, SCHED_OTHER, &usual);
}

/* A table of descriptors of its own, which is empty: in the program's, what this thread opens would
 * be in the way of who closes a descriptor in order to get that number again; and a copy of the
 * program's files would keep pipes open that it closes. */
static bool leave_files(void)
{
    return syscall(SYS_close_range, 0u, ~0u, CLOSE_RANGE_UNSHARE) == 0;
}

static int run(void *unused)
{
    (void)unused;
    leave_real_time();
    drop_capabilities();
    hidden.body(leave_files());
    return 0;
}

/* The last one has ended. False: not in time. */
static bool await_end(void)
{
    for (int i = 0; owl_u32_load_acquire(&hidden.id) != 0; i++) {
        if (i == TRIES)
            return false;
        sched_yield();
    }
    return true;
}

int os_hidden_start(void (*body)(bool alone), owl_word *local, uintptr_t value)
{
    if (hidden.process != getpid() || !await_end()) {
        errno = EBUSY;
        return -1;
    }
    if (hidden.memory == NULL && !make_memory(local))
        return -1;
    if (hidden.stale)
        clear_variables();
    *(uintptr_t *)(hidden.pointer + ((char *)local - thread_pointer())) = value;
    hidden.body = body;
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
    sigset_t mask;
    owl_os.signals_block(&mask);
    int id = clone(run, hidden.memory + owl_os.page + STACK, flags, NULL, &hidden.id,
                   hidden.pointer, &hidden.id);
    int saved = errno;
    owl_os.signals_restore(&mask);
    errno = saved;
    return id > 0 ? 0 : -1;
}

#endif
