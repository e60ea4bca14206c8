/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system calls of watches that are not userfaultfd's: protection, SIGSEGV, threads.
 */
#define _GNU_SOURCE
#include "os_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "os_call.h"

int os_protect(void *start, size_t bytes, bool read, bool write)
{
    return mprotect(start, bytes, (read ? PROT_READ : PROT_NONE) | (write ? PROT_WRITE : 0));
}

int os_populate_read(void *start, size_t bytes)
{
    return madvise(start, bytes, MADV_POPULATE_READ);
}

/* When it moves pages the kernel looks for neighbours while they are still watched, and finds none
 * alike. It looks again when a property changes; this one has no meaning for private memory. */
void os_join(void *start, size_t bytes)
{
    madvise(start, bytes, MADV_RANDOM);
}

int os_no_fork(void *start, size_t bytes)
{
    return madvise(start, bytes, MADV_DONTFORK);
}

/* --- /proc/self/maps --- */

/* Lines of "start-end rw..." in hexadecimal, read a character at a time by a small automaton, as
 * this runs in a signal handler. */
struct maps {
    uintptr_t numbers[2];
    int column; /* 0, 1: in a number; 2, 3: in the letters; 4: past them */
    bool read, write;
};

static uintptr_t hexadecimal(char c)
{
    return (uintptr_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void maps_take(struct maps *m, char c)
{
    if (c == '\n')
        *m = (struct maps){.column = 0};
    else if (m->column < 2 && (c == '-' || c == ' '))
        m->column++;
    else if (m->column < 2)
        m->numbers[m->column] = m->numbers[m->column] << 4 | hexadecimal(c);
    else if (m->column == 2)
        m->read = c == 'r', m->column++;
    else if (m->column == 3)
        m->write = c == 'w', m->column++;
}

bool os_permits(uintptr_t address, bool write)
{
    char text[1024];
    struct maps m = {.column = 0};
    bool found = false, permits = false;
    ssize_t n;
    int descriptor = os_open("/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0)
        return false;
    while (!found && (n = os_read(descriptor, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n && !found; i++) {
            maps_take(&m, text[i]);
            found = m.column == 4 && address >= m.numbers[0] && address < m.numbers[1];
            permits = found && (write ? m.write : m.read);
        }
    os_close_file(descriptor);
    return permits;
}

/* --- SIGSEGV --- */

/* The address of who is told of faults. The handler before ours is there before it. */
static owl_word caught;
static struct sigaction before;

/* Bit 1 of the processor's error code says write. Where that is not known: an access that is not
 * permitted to a page that can be read is one, unless somebody has just made it readable. */
static bool is_write(const siginfo_t *info, const void *context)
{
#if defined(__x86_64__)
    const ucontext_t *c = context;
    (void)info;
    return (c->uc_mcontext.gregs[REG_ERR] & 2) != 0;
#else
    (void)context;
    return os_permits((uintptr_t)info->si_addr, false);
#endif
}

void os_pass_on(const struct sigaction *to, int number, siginfo_t *info, void *context)
{
    if ((to->sa_flags & SA_SIGINFO) == 0 &&
        (to->sa_handler == SIG_DFL || to->sa_handler == SIG_IGN)) {
        if (info->si_code <= 0 && to->sa_handler == SIG_IGN)
            return;
        struct sigaction none = {.sa_handler = SIG_DFL};
        sigaction(number, &none, NULL);
        if (info->si_code <= 0)
            raise(number);
        return;
    }
    sigset_t mask = to->sa_mask;
    if ((to->sa_flags & SA_NODEFER) == 0)
        sigaddset(&mask, number);
    const ucontext_t *c = context;
    pthread_sigmask(SIG_SETMASK, &c->uc_sigmask, NULL);
    pthread_sigmask(SIG_BLOCK, &mask, NULL);
    if ((to->sa_flags & SA_SIGINFO) != 0)
        to->sa_sigaction(number, info, context);
    else
        to->sa_handler(number);
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    bool (*fault)(uintptr_t, bool) = (bool (*)(uintptr_t, bool))owl_word_load_acquire(&caught);
    if (info->si_code != SEGV_ACCERR || !fault((uintptr_t)info->si_addr, is_write(info, context)))
        os_pass_on(&before, number, info, context);
    errno = saved;
}

/* All signals are blocked in the handler, whose locks a handler that interrupts it might want; but
 * those that an access raises are not, as handlers of watches may touch other watched pages. */
int os_catch(bool (*fault)(uintptr_t address, bool write))
{
    static const int raised[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    struct sigaction ours = {.sa_sigaction = on_fault};
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigfillset(&ours.sa_mask);
    for (size_t i = 0; i < sizeof raised / sizeof *raised; i++)
        sigdelset(&ours.sa_mask, raised[i]);
    if (sigaction(SIGSEGV, NULL, &before) != 0)
        return -1;
    owl_word_store_release(&caught, (uintptr_t)fault);
    return sigaction(SIGSEGV, &ours, NULL);
}

/* --- signals, threads, fork --- */

void os_signals_block(sigset_t *mask)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, mask);
}

void os_signals_hold(sigset_t *mask)
{
    sigset_t most;
    sigfillset(&most);
    sigdelset(&most, SIGSEGV);
    sigdelset(&most, SIGBUS);
    pthread_sigmask(SIG_BLOCK, &most, mask);
}

void os_signals_restore(const sigset_t *mask)
{
    pthread_sigmask(SIG_SETMASK, mask, NULL);
}

int os_thread_start(pthread_t *thread, void *(*body)(void *))
{
    sigset_t mask;
    os_signals_block(&mask);
    int error = pthread_create(thread, NULL, body, NULL);
    os_signals_restore(&mask);
    if (error != 0)
        errno = error;
    return error == 0 ? 0 : -1;
}

void os_thread_name(const char *name)
{
    prctl(PR_SET_NAME, name);
}

void os_thread_join(pthread_t thread)
{
    pthread_join(thread, NULL);
}

int os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    int error = pthread_atfork(prepare, parent, child);
    if (error != 0)
        errno = error;
    return error == 0 ? 0 : -1;
}

void os_wake_all(owl_u32 *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
