/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* pipe2 */
#include "memtest_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "figures_latency.h"
#include "memtest_child.h"

enum { ARGS_MOST = MEMTEST_CHILD_ARGS + OPTIONS_ARGS_MAX + 2, NUMBER_TEXT = 16 };

const char *memtest_spawn_self(void)
{
    static char path[4096];

    if (path[0] == '\0') {
        ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

        path[length > 0 ? length : 0] = '\0';
    }
    return path;
}

static void set_preload(const struct spawn_request *request)
{
    if (request->kind == ALLOC_PRELOAD)
        setenv("LD_PRELOAD", request->library, 1);
    else
        unsetenv("LD_PRELOAD");
}

/* In the new process: become the measured one. */
static void child_exec(const struct spawn_request *request, int fd)
{
    char *argv[ARGS_MOST];
    char number[3][NUMBER_TEXT];
    unsigned count = 0;
    int null;

    snprintf(number[0], NUMBER_TEXT, "%d", fd);
    snprintf(number[1], NUMBER_TEXT, "%d", request->round);
    snprintf(number[2], NUMBER_TEXT, "%d", (int)request->kind);
    argv[count++] = (char *)(uintptr_t)memtest_spawn_self();
    argv[count++] = (char *)(uintptr_t)MEMTEST_CHILD_FLAG;
    for (unsigned i = 0; i < 3; i++)
        argv[count++] = number[i];
    argv[count++] = (char *)(uintptr_t)(request->library != NULL ? request->library : "-");
    for (unsigned i = 0; request->options != NULL && i < request->options->count; i++)
        argv[count++] = request->options->arg[i];
    argv[count] = NULL;

    prctl(PR_SET_PDEATHSIG, SIGKILL);   /* nobody would read what it measures */
    if (request->round == MEMTEST_CHILD_PROBE && (null = open("/dev/null", O_WRONLY)) >= 0)
        dup2(null, STDERR_FILENO);
    set_preload(request);
    fcntl(fd, F_SETFD, 0);
    execv(argv[0], argv);
    _exit(127);
}

/* Returns whether a whole record came before the time was up; a child that hangs gets killed. What
 * is not whole is cleared. */
static bool read_record(int fd, pid_t pid, double timeout, const struct spawn_answer *answer)
{
    uint64_t deadline = figures_now_ns() + (uint64_t)(timeout * 1e9);
    size_t used = 0;

    while (used < answer->bytes) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };
        uint64_t now = figures_now_ns();
        uint64_t left_ms = now < deadline ? (deadline - now) / 1000000 + 1 : 0;
        ssize_t got;

        if (poll(&ready, 1, left_ms < 1000000 ? (int)left_ms : 1000000) < 0 && errno != EINTR)
            break;
        if (figures_now_ns() >= deadline) {
            kill(pid, SIGKILL);
            memset(answer->record, 0, answer->bytes);
            snprintf(answer->error, ALLOC_ERROR_MAX, "not done after %g seconds: killed",
                     timeout);
            return false;
        }
        if (ready.revents == 0)
            continue;
        got = read(fd, (char *)answer->record + used, answer->bytes - used);
        if (got == 0 || (got < 0 && errno != EINTR))
            break;
        used += got > 0 ? (size_t)got : 0;
    }
    if (used == answer->bytes)
        return true;
    memset(answer->record, 0, answer->bytes);
    return false;
}

/* Put the way that the process ended into words, unless it gave a reason itself. */
static void explain_end(int status, bool complete, char *error)
{
    if (error[0] != '\0')
        return;
    if (WIFSIGNALED(status))
        snprintf(error, ALLOC_ERROR_MAX, "died of signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (!complete || WEXITSTATUS(status) != 0)
        snprintf(error, ALLOC_ERROR_MAX, "ended with exit status %d%s",
                 WEXITSTATUS(status), complete ? "" : " before it had measured anything");
}

bool memtest_spawn_answer(const struct spawn_request *request, const struct spawn_answer *answer)
{
    int ends[2];
    pid_t pid;
    int status = 0;
    bool complete;

    memset(answer->record, 0, answer->bytes);
    if (pipe2(ends, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
        snprintf(answer->error, ALLOC_ERROR_MAX, "cannot start a process: %s",
                 strerror(errno));
        return false;
    }
    if (pid == 0)
        child_exec(request, ends[1]);
    close(ends[1]);
    complete = read_record(ends[0], pid, request->timeout, answer);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    explain_end(status, complete, answer->error);
    return answer->error[0] == '\0';
}

bool memtest_spawn(const struct spawn_request *request, struct memtest_record *record)
{
    const struct spawn_answer answer = {
        .record = record, .bytes = sizeof(*record), .error = record->error
    };

    return memtest_spawn_answer(request, &answer);
}
