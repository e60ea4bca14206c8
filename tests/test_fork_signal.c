/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers of signals that fork in the middle of malloc and free. At each system call of a work,
 * and (x86-64) after each of some instructions of it, which are chosen evenly, a signal is handled
 * by a fork. The child goes on with the work.
 */
#define _GNU_SOURCE /* REG_EFL */
#include <errno.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "fork_works.h"
#include "os.h"

/* --- where it forks --- */

static struct {
    struct owl_os real;
    const struct work *work;
    unsigned long events, at; /* so many signals have come; a fork at this one, or none at 0 */
    bool running, child;      /* the work runs; in this process, by a fork */
    int signal;               /* what system calls raise */
    bool stepping;
} the;

/* What a process says to that which forked it to run the work. */
static unsigned long *said;

static void fork_here(void)
{
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        end_with_parent();
        alarm(20);
        the.child = true;
    } else {
        int status = child_wait(pid);
        if (status != 0)
            dprintf(STDERR_FILENO, "child of a fork in %s, at %lu: status %#x\n", the.work->name,
                    the.at, (unsigned)status);
        check(status == 0);
    }
}

static void on_signal(int number)
{
    int saved = errno;
    (void)number;
    if (the.running && !the.child && ++the.events == the.at)
        fork_here();
    errno = saved;
}

/* --- at system calls --- */

static void interrupt(void)
{
    if (the.running && !the.child && the.signal != 0)
        raise(the.signal);
}

#define CALL(type, name, parameters, arguments)                                                    \
    static type call_##name parameters                                                             \
    {                                                                                              \
        interrupt();                                                                               \
        type result = the.real.name arguments;                                                     \
        interrupt();                                                                               \
        return result;                                                                             \
    }

CALL(int, commit, (void *start, size_t bytes), (start, bytes))
CALL(int, purge, (void *start, size_t bytes), (start, bytes))
CALL(void *, map, (size_t bytes), (bytes))
CALL(void *, remap, (void *start, size_t bytes, size_t more), (start, bytes, more))
CALL(int, unmap, (void *start, size_t bytes), (start, bytes))
CALL(int, move, (void *from, void *to, size_t bytes), (from, to, bytes))
CALL(int, carry, (void *from, size_t bytes, void *to, size_t more), (from, bytes, to, more))
CALL(int, fill, (void *start, size_t bytes), (start, bytes))
CALL(int, reset, (void *start, size_t bytes), (start, bytes))
CALL(int, punch, (void *start, size_t bytes), (start, bytes))
CALL(int, file_make, (struct owl_file *f, size_t bytes), (f, bytes))
CALL(int, file_reserve, (const struct owl_file *f, void *start, size_t bytes), (f, start, bytes))
CALL(int, file_map, (const struct owl_file *f, size_t from, void *at, size_t bytes, bool shared),
     (f, from, at, bytes, shared))
CALL(int, protect, (void *start, size_t bytes, bool read, bool write), (start, bytes, read, write))
CALL(int, barrier, (void), ())
CALL(uint64_t, milliseconds, (void), ())

static void replace_calls(void)
{
    owl_os.commit = call_commit;
    owl_os.purge = call_purge;
    owl_os.map = call_map;
    owl_os.remap = call_remap;
    owl_os.unmap = call_unmap;
    owl_os.move = call_move;
    owl_os.carry = call_carry;
    owl_os.fill = call_fill;
    owl_os.reset = call_reset;
    owl_os.punch = call_punch;
    owl_os.file_make = call_file_make;
    owl_os.file_reserve = call_file_reserve;
    owl_os.file_map = call_file_map;
    owl_os.protect = call_protect;
    owl_os.barrier = call_barrier;
    owl_os.milliseconds = call_milliseconds;
}

/* --- at instructions --- */

#if defined(__x86_64__) && !SANITIZED

enum { TRAP = 0x100, CAN_STEP = true };

/* A trap after each instruction of this thread. It must not come where signals are blocked. */
static void step(bool on)
{
    if (!the.stepping || (on && the.at != 0 && the.events >= the.at))
        return;
    if (on)
        __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq %0, (%%rsp); popfq; lea 128(%%rsp), "
                         "%%rsp" ::"i"(TRAP) : "memory", "cc");
    else
        __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq %0, (%%rsp); popfq; lea 128(%%rsp), "
                         "%%rsp" ::"i"(~TRAP) : "memory", "cc");
}

static __thread bool handling;

static void on_trap(int number, siginfo_t *info, void *context)
{
    (void)info;
    handling = true;
    on_signal(number);
    handling = false;
    if (the.events == the.at)
        ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP;
}

static void call_signals_block(sigset_t *mask)
{
    if (!handling)
        step(false);
    the.real.signals_block(mask);
}

static void call_signals_hold(sigset_t *mask)
{
    if (!handling)
        step(false);
    the.real.signals_hold(mask);
}

static void call_signals_restore(const sigset_t *mask)
{
    the.real.signals_restore(mask);
    if (!handling && the.running)
        step(true);
}

static void catch_traps(void)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    check(sigaction(SIGTRAP, &action, NULL) == 0);
    owl_os.signals_block = call_signals_block;
    owl_os.signals_hold = call_signals_hold;
    owl_os.signals_restore = call_signals_restore;
}

#else

enum { CAN_STEP = false };

static void step(bool on)
{
    (void)on;
}

static void catch_traps(void)
{
}

#endif

/* --- one run --- */

static void run(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    end_with_parent();
    alarm(60);
    prepare_work(the.work);
    the.real = owl_os;
    if (the.stepping) {
        catch_traps();
    } else {
        check(sigaction(the.signal, &action, NULL) == 0);
        replace_calls();
    }
    the.running = true;
    step(true);
    the.work->run();
    step(false);
    the.running = false;
    if (the.child)
        alarm(20);
    end_work(the.child);
    if (!the.child)
        *said = the.events;
    _exit(0);
}

/* In a process of its own. The number of signals. */
static unsigned long run_with_fork_at(unsigned long at)
{
    fflush(NULL);
    the.at = at;
    *said = 0;
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0)
        run();
    int status = child_wait(pid);
    if (status != 0)
        dprintf(STDERR_FILENO, "%s, fork at %lu: status %#x\n", the.work->name, at,
                (unsigned)status);
    check(status == 0);
    return *said;
}

static void run_all(unsigned long most)
{
    said = mmap(NULL, sizeof *said, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(said != MAP_FAILED);
    unsigned long sum = 0;
    for (size_t i = 0; i < WORKS; i++) {
        the.work = &works[i];
        unsigned long all = the.stepping && works[i].leisurely ? 0 : run_with_fork_at(0);
        sum += all;
        for (unsigned long n = 0; n < most && n < all; n++)
            run_with_fork_at(1 + (all <= most ? n : n * all / most + i));
    }
    check(sum > 50);
}

static void forks_at_system_calls(void)
{
    the.signal = SIGUSR1;
    run_all((unsigned long)RANDOM_ROUNDS(100));
}

/* Such that cannot be put off. */
static void forks_at_faults(void)
{
    the.signal = SIGSEGV;
    run_all((unsigned long)RANDOM_ROUNDS(30));
}

static void forks_at_instructions(void)
{
    the.stepping = CAN_STEP;
    if (the.stepping)
        run_all((unsigned long)RANDOM_ROUNDS(10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(forks_at_system_calls),
        child_test(forks_at_faults),
        child_test(forks_at_instructions),
    };
    return cmocka_run_group_tests_name("fork_signal", tests, NULL, NULL);
}
