/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl-record: runs a program with the recording library preloaded, and makes a trace of what the
 * library has logged. The logs live in a directory of their own beside the trace for as long as the
 * program runs.
 */
#include "record_info.h"
#include "record_log.h"
#include "record_seal.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the library is, seen from the directory of this program; may be an absolute path. */
#ifndef OWL_RECORD_LIBDIR
#define OWL_RECORD_LIBDIR "../lib/owl"
#endif

/* As env and timeout have it: our own failure, cannot run, not found. */
enum { EXIT_OURS = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

struct options {
    const char *output;
    bool follow, quiet;
    char *library;
    char *tcl_library_dir;      /* where the Tcl library is that shows its objects, or NULL */
    char **program;
};

static volatile sig_atomic_t child;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("owl-record: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(EXIT_OURS);
}

__attribute__((format(printf, 1, 2))) static char *text(const char *format, ...)
{
    char *s;
    va_list args;
    va_start(args, format);
    if (vasprintf(&s, format, args) < 0)
        die("no memory");
    va_end(args);
    return s;
}

static void usage(FILE *to)
{
    fputs("usage: owl-record [-fqt] [-o FILE] PROGRAM [ARGUMENT...]\n"
          "       owl-record --info FILE\n"
          "\n"
          "Run PROGRAM and write its allocation calls to FILE (owl.trace), as a trace for replay.\n"
          "\n"
          "  -o, --output FILE   the trace to write\n"
          "  -f, --follow        record the programs that PROGRAM runs as well, each to FILE.PID\n"
          "  -t, --tcl-objects   see Tcl_Objs as well, by a Tcl library made for that\n"
          "  -q, --quiet         no summary when done\n"
          "  -i, --info          print what is in the trace FILE\n"
          "  -h, --help          print this\n", to);
}

static char *library_path(const char *name)
{
    char self[PATH_MAX];
    const char *dir = OWL_RECORD_LIBDIR;
    char *path;
    if (dir[0] == '/') {
        path = text("%s/%s", dir, name);
    } else {
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n < 0)
            die("/proc/self/exe: %s", strerror(errno));
        self[n] = 0;
        *strrchr(self, '/') = 0;
        path = text("%s/%s/%s", self, dir, name);
    }
    char *real = realpath(path, NULL);
    if (!real)
        die("%s: %s", path, strerror(errno));
    if (strpbrk(real, ": "))
        die("%s: the dynamic linker takes no path with a space or a colon in it", real);
    free(path);
    return real;
}

/* "FILE.raw.XXXXXX", absolute, since the program may change its directory. */
static char *make_log_dir(const char *output)
{
    char *dir = text("%s.raw.XXXXXX", output);
    if (!mkdtemp(dir))
        die("%s: %s", dir, strerror(errno));
    char *real = realpath(dir, NULL);
    if (!real)
        die("%s: %s", dir, strerror(errno));
    free(dir);
    return real;
}

static void put_first(const char *variable, const char *path)
{
    const char *rest = getenv(variable);
    setenv(variable, rest && *rest ? text("%s:%s", path, rest) : path, 1);
}

__attribute__((noreturn)) static void run_child(const struct options *o, const char *dir)
{
    put_first("LD_PRELOAD", o->library);
    if (o->tcl_library_dir)
        put_first("LD_LIBRARY_PATH", o->tcl_library_dir);
    setenv(RECORD_ENV, text("%ld:%s", o->follow ? 0L : (long)getpid(), dir), 1);
    execvp(o->program[0], o->program);
    int error = errno;
    fprintf(stderr, "owl-record: %s: %s\n", o->program[0], strerror(error));
    _exit(error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN);
}

static void pass_on(int sig)
{
    if (child > 0)
        kill((pid_t)child, sig);
}

/* The terminal sends its signals to the program as well; those sent to us alone are passed on. */
static int run(const struct options *o, const char *dir)
{
    sigset_t ours, before;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGHUP);
    sigprocmask(SIG_BLOCK, &ours, &before);
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        run_child(o, dir);
    }
    child = (sig_atomic_t)pid;
    struct sigaction action = { .sa_handler = pass_on, .sa_flags = SA_RESTART };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    sigprocmask(SIG_SETMASK, &before, NULL);

    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            die("waitpid: %s", strerror(errno));
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int seal(const struct options *o, const char *log, const char *trace)
{
    struct seal_report report;
    char err[512];
    if (record_seal(log, trace, &report, err, sizeof err) != 0) {
        fprintf(stderr, "owl-record: %s\n", err);
        return -1;
    }
    if (report.lost)
        fprintf(stderr, "owl-record: no room for the last %llu calls\n",
                (unsigned long long)report.lost);
    if (!o->quiet)
        fprintf(stderr, "owl-record: %llu calls by %u threads in %s "
                "(%llu of unknown blocks left out, %llu unseen frees put in)\n",
                (unsigned long long)report.calls, report.threads, trace,
                (unsigned long long)report.unknown, (unsigned long long)report.unseen);
    return 0;
}

/*
 * The program's own log becomes FILE, those of the programs it ran FILE.PID. That there is nothing
 * to record in one of those is no failure.
 */
static int seal_all(const struct options *o, const char *dir)
{
    char *own = text("%ld", (long)child);
    char *log = text("%s/%s", dir, own);
    int result = seal(o, log, o->output);
    unlink(log);
    free(log);

    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, own) == 0)
            continue;
        char *trace = text("%s.%s", o->output, e->d_name);
        log = text("%s/%s", dir, e->d_name);
        seal(o, log, trace);
        unlink(log);
        free(log);
        free(trace);
    }
    if (d)
        closedir(d);
    rmdir(dir);
    free(own);
    return result;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        { "output", required_argument, NULL, 'o' }, { "follow", no_argument, NULL, 'f' },
        { "tcl-objects", no_argument, NULL, 't' }, { "quiet", no_argument, NULL, 'q' },
        { "info", required_argument, NULL, 'i' }, { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };
    struct options o = { .output = "owl.trace" };
    for (int c; (c = getopt_long(argc, argv, "+o:ftqi:h", names, NULL)) != -1;) {
        switch (c) {
        case 'o': o.output = optarg; break;
        case 'f': o.follow = true; break;
        case 't': o.tcl_library_dir = library_path("record"); break;
        case 'q': o.quiet = true; break;
        case 'i': return record_info(optarg) ? EXIT_OURS : 0;
        case 'h': usage(stdout); return 0;
        default: usage(stderr); return EXIT_OURS;
        }
    }
    o.program = argv + optind;
    if (!o.program[0]) {
        usage(stderr);
        return EXIT_OURS;
    }
    o.library = library_path("libowl-record.so");
    char *dir = make_log_dir(o.output);
    int status = run(&o, dir);
    int sealed = seal_all(&o, dir);
    free(dir);
    free(o.library);
    free(o.tcl_library_dir);
    return sealed == 0 ? status : status ? status : EXIT_OURS;
}
