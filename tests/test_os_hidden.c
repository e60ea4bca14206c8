/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread that libc does not know: what it has of its own, and what it is not allowed. */
#define _GNU_SOURCE /* gettid */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>

#include "atomic.h"
#include "child.h"
#include "os.h"

static __thread owl_word local __attribute__((tls_model("initial-exec"))) = 1;

static struct {
    pid_t process, thread;
    int policy, error;
    uintptr_t local;
    unsigned capabilities;
    sigset_t blocked;
    char *stack;
    bool alone, open, mine;
} seen;

static owl_u32 runs;

/* What one of these has done so far. */
static __thread unsigned steps __attribute__((tls_model("initial-exec")));
static unsigned seen_steps;

static void look_around(bool alone)
{
    char here;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = 1}};
    seen.alone = alone;
    seen.open = fcntl(STDERR_FILENO, F_GETFD) != -1;
    seen.mine = dup(STDERR_FILENO) >= 0 || open("/dev/null", O_RDONLY) == 0;
    seen.process = getpid();
    seen.thread = gettid();
    seen.policy = sched_getscheduler(0);
    seen.local = owl_word_load_relaxed(&local);
    seen.error = errno;
    errno = EXDEV;
    seen.stack = opaque(&here);
    syscall(SYS_capget, &header, data);
    seen.capabilities = data[0].effective | data[0].permitted | data[1].effective;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &seen.blocked, 8);
    owl_u32_store_release(&runs, owl_u32_load_relaxed(&runs) + 1);
}

/* False: there is no such thread, in code with a sanitizer's calls in it. */
static bool start(void (*body)(bool alone), uintptr_t value)
{
    uint32_t before = owl_u32_load_relaxed(&runs);
    if (owl_os.hidden_start(body, &local, value) != 0) {
        check(SANITIZED && errno == ENOTSUP);
        return false;
    }
    while (owl_u32_load_acquire(&runs) == before)
        sched_yield();
    return true;
}

static bool run(uintptr_t value)
{
    return start(look_around, value);
}

static void it_has_memory_of_its_own(void)
{
    owl_os_init();
    owl_os.hidden_begin();
    errno = ENOENT;
    if (!run(77))
        return;
    check(seen.process == getpid() && seen.thread != gettid());
    check(seen.local == 77 && owl_word_load_relaxed(&local) == 1);
    check(errno == ENOENT && seen.error != ENOENT);
    char here;
    check(seen.stack > (char *)opaque(&here) + (1 << 20) ||
          seen.stack < (char *)opaque(&here) - (1 << 20));
    check(__libc_single_threaded);
    uint32_t before = owl_u32_load_relaxed(&runs);
    for (uintptr_t i = 0; i < 200; i++)
        check(run(i) && seen.local == i);
    check(owl_u32_load_relaxed(&runs) == before + 200);
}

static void it_may_do_nothing(void)
{
    owl_os_init();
    owl_os.hidden_begin();
    if (!run(1))
        return;
    check(seen.capabilities == 0);
    check(sigismember(&seen.blocked, SIGTERM) && sigismember(&seen.blocked, SIGPROF));
    sigset_t mine;
    pthread_sigmask(SIG_BLOCK, NULL, &mine);
    check(!sigismember(&mine, SIGTERM));
}

/* Neither has it the program's files, nor is what it opens the program's. */
static void it_has_files_of_its_own(void)
{
    owl_os_init();
    owl_os.hidden_begin();
    int next = dup(STDERR_FILENO);
    close(next);
    if (!run(1))
        return;
    if (seen.alone)
        check(!seen.open && seen.mine);
    check(!seen.alone || dup(STDERR_FILENO) == next);
}

static void say(bool alone)
{
    (void)alone;
    owl_os.message("said\n", 5);
    owl_u32_store_release(&runs, owl_u32_load_relaxed(&runs) + 1);
}

/* What it says goes where the program's messages go. */
static void it_can_say_something(void)
{
    int ends[2];
    char said[10] = "";
    owl_os_init();
    owl_os.hidden_begin();
    check(pipe(ends) == 0);
    int messages = dup(STDERR_FILENO);
    check(dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    int started = owl_os.hidden_start(say, &local, 1);
    while (started == 0 && owl_u32_load_acquire(&runs) == 0)
        sched_yield();
    check(dup2(messages, STDERR_FILENO) == STDERR_FILENO);
    check(started != 0 || (read(ends[0], said, sizeof said) == 5 && strcmp(said, "said\n") == 0));
}

static void step_and_stay(bool alone)
{
    (void)alone;
    seen_steps = ++steps;
    owl_u32_store_release(&runs, owl_u32_load_relaxed(&runs) + 1);
    for (;;)
        pause();
}

/* One in a child of fork knows nothing of what its parent's was about. */
static void it_begins_anew_in_a_child(void)
{
    owl_os_init();
    owl_os.hidden_begin();
    if (!start(step_and_stay, 1))
        return;
    pid_t child = fork();
    check(child >= 0 && seen_steps == 1);
    if (child == 0) {
        owl_os.hidden_begin();
        check(start(step_and_stay, 1) && seen_steps == 1);
        _exit(0);
    }
    check(child_wait(child) == 0);
}

static void it_comes_after_all_others(void)
{
    const struct sched_param first = {.sched_priority = 1};
    owl_os_init();
    owl_os.hidden_begin();
    if (sched_setscheduler(0, SCHED_FIFO, &first) != 0 || !run(1))
        return;
    check(seen.policy == SCHED_OTHER);
    check(sched_getscheduler(0) == SCHED_FIFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(it_has_memory_of_its_own),
        child_test(it_may_do_nothing),
        child_test(it_has_files_of_its_own),
        child_test(it_can_say_something),
        child_test(it_begins_anew_in_a_child),
        child_test(it_comes_after_all_others),
    };
    return cmocka_run_group_tests_name("os_hidden", tests, NULL, NULL);
}
