/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* environ */
#include "bench_run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "figures_latency.h"

enum { OPEN_MODE = 0644 };

/* The program in a process group of its own, which can be ended as a whole. 0, or an error. */
static int start(const char *output, char **argv, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t none;
    int error;

    sigemptyset(&none);
    posix_spawnattr_init(&how);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&how, 0);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_TRUNC,
                                     OPEN_MODE);
    posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
    error = posix_spawnp(pid, argv[0], &files, &how, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return error;
}

static struct timespec until(uint64_t deadline_ns)
{
    uint64_t now = figures_now_ns();
    uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

    return (struct timespec){ .tv_sec = (time_t)(left / 1000000000u),
                              .tv_nsec = (long)(left % 1000000000u) };
}

/*
 * Wait for the end of `pid`, and bring it about when the time is over or when this process is told
 * to end. Returns whether the program ended by itself.
 */
static bool await(pid_t pid, uint64_t deadline_ns, const sigset_t *signals, int *status,
                  struct rusage *usage)
{
    bool alone = true;

    while (wait4(pid, status, WNOHANG, usage) == 0) {
        struct timespec left = until(deadline_ns);
        int signal = sigtimedwait(signals, NULL, &left);

        if (signal == SIGCHLD || (signal < 0 && errno == EINTR))
            continue;
        alone = false;
        kill(-pid, SIGKILL);
        wait4(pid, status, 0, usage);
        break;
    }
    /* What it started may still be there. */
    kill(-pid, SIGKILL);
    return alone;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_usec;
}

static void print(bool alone, int status, uint64_t wall_ns, const struct rusage *usage)
{
    if (!alone)
        printf("end timeout\n");
    else if (WIFSIGNALED(status))
        printf("end signal %d (%s)\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        printf("end status %d\n", WEXITSTATUS(status));
    else
        printf("end good\n");
    printf("wall_ns %" PRIu64 "\nuser_us %" PRIu64 "\nsystem_us %" PRIu64 "\n", wall_ns,
           microseconds(usage->ru_utime), microseconds(usage->ru_stime));
    printf("peak_rss %" PRIu64 "\nfaults %" PRIu64 "\nswitches %" PRIu64 "\n",
           (uint64_t)usage->ru_maxrss * 1024, (uint64_t)(usage->ru_minflt + usage->ru_majflt),
           (uint64_t)(usage->ru_nvcsw + usage->ru_nivcsw));
}

int bench_run_main(int argc, char **argv)
{
    struct rusage usage = { .ru_maxrss = 0 };
    uint64_t start_ns;
    double seconds;
    sigset_t signals;
    int status = 0;
    int error;
    bool alone;
    pid_t pid;

    if (argc < 4 || (seconds = strtod(argv[1], NULL)) <= 0.0) {
        fprintf(stderr, "owl-bench-work: --run LIBRARY SECONDS OUTPUT PROGRAM [ARGUMENT ...]\n");
        return 2;
    }
    if (strcmp(argv[0], "-") == 0)
        unsetenv("LD_PRELOAD");
    else
        setenv("LD_PRELOAD", argv[0], 1);
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    start_ns = figures_now_ns();
    error = start(argv[2], argv + 3, &pid);
    if (error != 0) {
        fprintf(stderr, "owl-bench-work: %s: %s\n", argv[3], strerror(error));
        return 1;
    }
    alone = await(pid, start_ns + (uint64_t)(seconds * 1e9), &signals, &status, &usage);
    print(alone, status, figures_now_ns() - start_ns, &usage);
    return 0;
}
