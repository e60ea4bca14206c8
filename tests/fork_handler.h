/* SPDX-License-Identifier: BSD-2-Clause */
/* A handler of a signal that forks, for tests of forks in the middle of what threads do. */
#ifndef OWL_TESTS_FORK_HANDLER_H
#define OWL_TESTS_FORK_HANDLER_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "fork_works.h"
#include "os.h"
#include "pool_inside.h"

static struct owl_os real;
static pthread_t main_thread;
static __thread volatile sig_atomic_t in_child;

/* A lock that is missed may be one under a handler like this, and what it guards torn. Then the
 * child has to do without malloc, as all children of programs with threads have by POSIX. */
static bool may_be_torn;
static atomic_int forks;

static inline void fork_here(int number)
{
    int saved = errno;
    (void)number;
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        end_with_parent();
        alarm(20);
        in_child = 1;
        if (may_be_torn && owl_lock_fork_missed())
            _exit(0);
    } else {
        int status = child_wait(pid);
        if (status != 0)
            dprintf(STDERR_FILENO, "child of a fork: status %#x\n", (unsigned)status);
        check(status == 0);
        atomic_fetch_add(&forks, 1);
    }
    errno = saved;
}

static inline void set_up(void)
{
    struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
    owl_free(owl_malloc(1));
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    check(sigaction(SIGUSR1, &action, NULL) == 0);
    let_alarms_in();
    make_staying();
    main_thread = pthread_self();
    real = owl_os;
}

/* In the child of a fork the code that was interrupted has ended. */
static inline void end_if_child(void)
{
    if (in_child) {
        end_work(true);
        _exit(0);
    }
}

#endif
