/* SPDX-License-Identifier: BSD-2-Clause */
/* Handlers of memory pressure, and the thread that calls them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <owl/option.h>
#include <owl/pressure.h>
#include <poll.h>
#include <stdatomic.h>
#include <time.h>

#include "child.h"
#include "pool.h"
#include "pressure_files.h"
#include "tune.h"

/* A child of a process with threads may start some itself, but not under ThreadSanitizer. */
#if defined(__SANITIZE_THREAD__)
#define CHILD_STARTS_THREADS 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CHILD_STARTS_THREADS 0
#endif
#endif
#ifndef CHILD_STARTS_THREADS
#define CHILD_STARTS_THREADS 1
#endif

/* A pause takes so many milliseconds here. */
enum { PAUSE = 30 };

/* Files that tell of news are pipes here, into which the test writes; all waits go through a look
 * at whose the descriptors are, as the real ones do. */
static struct {
    struct owl_os real;
    atomic_int writers[OWL_PRESSURE_FILES];
    const char *paths[OWL_PRESSURE_FILES];
    char triggers[OWL_PRESSURE_FILES][40];
    atomic_uint opened, waits, refuse_opens;
} fake;

static int fake_open(struct owl_file *file, const char *path, const char *trigger)
{
    struct owl_file ends[2];
    unsigned n = fake.opened;
    bool is_stalls = strstr(path, "pressure") != NULL;
    check(is_stalls == (trigger != NULL));
    file->descriptor = -1;
    if (fake.refuse_opens > 0 && trigger != NULL && strcmp(trigger, OWL_PRESSURE_TRIGGER) == 0) {
        errno = EINVAL;
        return -1;
    }
    if (n >= OWL_PRESSURE_FILES || fake.real.pressure_bell(ends) != 0) {
        errno = ENOENT;
        return -1;
    }
    *file = ends[0];
    fake.paths[n] = path;
    snprintf(fake.triggers[n], sizeof fake.triggers[n], "%s", trigger != NULL ? trigger : "");
    fake.writers[n] = ends[1].descriptor;
    fake.opened++;
    return 0;
}

static unsigned fake_wait(const struct owl_file *all, size_t count, const struct owl_file *bell,
                          int milliseconds)
{
    struct pollfd p[OWL_PRESSURE_FILES];
    unsigned news = 0;
    char byte;
    fake.waits++;
    for (int passed = 0; news == 0; passed += 5) {
        for (size_t i = 0; i < count; i++)
            p[i] = (struct pollfd){.fd = all[i].descriptor, .events = POLLIN};
        if (poll(p, count, 0) > 0)
            for (size_t i = 0; i < count; i++)
                if ((p[i].revents & POLLIN) && read(p[i].fd, &byte, 1) == 1)
                    news |= 1u << i;
        if (news == 0)
            news = fake.real.pressure_wait(all, 0, bell, 5);
        if (milliseconds >= 0 && passed >= PAUSE)
            break;
    }
    return news;
}

static void set_up(bool fake_files)
{
    owl_free(owl_malloc(1));
    files_install();
    fake.real = owl_os;
    if (fake_files) {
        owl_os.pressure_open = fake_open;
        owl_os.pressure_wait = fake_wait;
    }
}

static void news(unsigned file)
{
    check(write(fake.writers[file], "", 1) == 1);
}

static void nap(long milliseconds)
{
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&t, NULL);
}

#define await(condition)                                                                          \
    do                                                                                            \
        for (int tries_ = 0; !(condition); tries_++) {                                            \
            check(tries_ < 5000 && #condition);                                                   \
            nap(2);                                                                               \
        }                                                                                         \
    while (0)

/* Threads of this process with a name. */
static int threads_named(const char *name)
{
    char path[300], text[40];
    int count = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f != NULL && fgets(text, sizeof text, f) != NULL)
            count += strncmp(text, name, strlen(name)) == 0;
        if (f != NULL)
            fclose(f);
    }
    closedir(d);
    return count;
}

static int threads(void)
{
    return threads_named("owl-pressure");
}

/* A handler that notes how it is called. */
struct notes {
    atomic_int calls;
    _Atomic double last;
    atomic_bool hold; /* does not return until this is false */
};

static void note(double severity, void *context)
{
    struct notes *n = context;
    n->last = severity;
    n->calls++;
    while (n->hold)
        nap(1);
}

static bool is_about(double severity, double wanted)
{
    return severity > wanted - 0.001 && severity < wanted + 0.001;
}

static void the_thread_is_there_while_handlers_are(void)
{
    static struct notes a, b;
    set_up(true);
    check(threads() == 0);
    check(owl_on_pressure(NULL, NULL) == -1 && errno == EINVAL);
    check(owl_off_pressure(note, &a) == -1 && errno == ENOENT && threads() == 0);
    for (int round = 0; round < 20; round++) {
        errno = 7;
        check(owl_on_pressure(note, &a) == 0 && errno == 7);
        check(owl_on_pressure(note, &a) == -1 && errno == EEXIST);
        errno = 7;
        check(owl_on_pressure(note, &b) == 0 && errno == 7);
        await(threads() == 1);
        errno = 7;
        check(owl_off_pressure(note, &a) == 0 && errno == 7);
        check(owl_off_pressure(note, &a) == -1 && errno == ENOENT && threads() == 1);
        check(owl_off_pressure(note, &b) == 0);
        check(threads() == 0);
        for (unsigned i = 0; i < fake.opened; i++)
            close(fake.writers[i]);
        fake.opened = 0;
    }
    check(a.calls == 0 && b.calls == 0);
}

static void it_sleeps_without_pressure(void)
{
    static struct notes a;
    set_up(true);
    files_of_v2();
    check(owl_on_pressure(note, &a) == 0);
    await(fake.waits == 1);
    size_t reads = files.reads;
    nap(10 * PAUSE);
    check(fake.waits == 1 && files.reads == reads && a.calls == 0);
    /* of a limit that is set now it hears */
    check(owl_option_set("limit", 1 << 30) == 0);
    await(fake.waits > 5);
    check(owl_option_set("limit", 0) == 0);
    nap(5 * PAUSE);
    unsigned waits = fake.waits;
    nap(5 * PAUSE);
    check(fake.waits == waits && a.calls == 0);
    /* and of one of its group it knows from the beginning */
    check(owl_off_pressure(note, &a) == 0);
    fake.opened = 0;
    file_says("/cg/a/memory.max", "1000\n");
    file_says("/cg/a/memory.current", "10\n");
    check(owl_on_pressure(note, &a) == 0);
    await(fake.waits > waits + 5);
    check(a.calls == 0);
    file_says("/cg/a/memory.current", "900\n");
    await(a.calls == 1);
    check(is_about(a.last, (0.9 - OWL_PRESSURE_NEAR) / (1 - OWL_PRESSURE_NEAR)));
    nap(5 * PAUSE);
    check(a.calls == 1); /* it has not risen */
    file_says("/cg/a/memory.current", "905\n");
    nap(5 * PAUSE);
    check(a.calls == 1); /* nor by enough */
    file_says("/cg/a/memory.current", "990\n");
    await(a.calls == 2);
    file_says("/cg/a/memory.current", "10\n");
    nap(5 * PAUSE);
    file_says("/cg/a/memory.current", "900\n");
    await(a.calls == 3);
    check(owl_off_pressure(note, &a) == 0);
}

static void handlers_hear_of_stalls(void)
{
    static struct notes a, b;
    set_up(true);
    files_of_v2();
    check(owl_on_pressure(note, &a) == 0 && owl_on_pressure(note, &b) == 0);
    await(fake.opened == 5 && fake.waits >= 1);
    check(strcmp(fake.triggers[0], OWL_PRESSURE_TRIGGER) == 0 && fake.triggers[2][0] == '\0');
    news(0);
    await(a.calls == 1 && b.calls == 1);
    check(is_about(a.last, OWL_PRESSURE_TRIGGERED) && is_about(b.last, OWL_PRESSURE_TRIGGERED));
    nap(5 * PAUSE); /* the next look finds nothing, and it sleeps */
    file_says(PSI, "some avg10=30.00 avg60=0.00\n");
    news(1); /* the group's */
    await(b.calls == 2);
    check(is_about(a.last, 30 / OWL_PRESSURE_STALLS));
    nap(3 * PAUSE);
    check(b.calls == 2);
    /* a count that is there from the beginning is no news, one that grows is */
    file_says(PSI, "some avg10=0.00 avg60=0.00\n");
    file_says("/cg/a/memory.events.local", "high 0\n");
    file_says("/cg/a/memory.events", "high 0\n");
    news(3);
    nap(5 * PAUSE);
    check(b.calls == 2);
    file_says("/cg/a/memory.events", "high 1\n"); /* of a group below */
    news(3);
    nap(5 * PAUSE);
    check(b.calls == 2);
    file_says("/cg/a/memory.events.local", "high 1\n");
    news(3);
    await(b.calls == 3);
    check(a.last == 1.0);
    /* however much is told, there is a pause after each call */
    for (int i = 0; i < 50; i++)
        news(0);
    nap(10 * PAUSE);
    check(b.calls >= 4 && b.calls <= 3 + 13);
    check(owl_off_pressure(note, &a) == 0 && owl_off_pressure(note, &b) == 0);
}

/* What a program without privileges may have. */
static void windows_of_two_seconds_do(void)
{
    static struct notes a;
    set_up(true);
    fake.refuse_opens = 1;
    check(owl_on_pressure(note, &a) == 0);
    await(fake.opened == 1);
    check(strcmp(fake.triggers[0], OWL_PRESSURE_TRIGGER_2S) == 0);
    await(fake.waits >= 1);
    news(0);
    await(a.calls == 1);
    check(owl_off_pressure(note, &a) == 0);
}

static void free_memory_goes_back(void)
{
    static struct notes a;
    set_up(true);
    check(owl_option_set("dirty", 1 << 30) == 0);
    for (int i = 0; i < 2; i++) {
        void *p = opaque(owl_malloc(16 << 20));
        memset(p, 1, 16 << 20);
        owl_free(p);
        check(owl_pool_count().dirty >= 256);
        if (i == 0)
            check(owl_relieve(0.0) == 0 && owl_relieve(-1.0) == 0 && owl_pool_count().dirty >= 256);
        errno = 7;
        size_t bytes = i == 0 ? owl_relieve(0.5) : owl_relieve(1.0);
        size_t dirty = owl_pool_count().dirty;
        check(errno == 7);
        if (i == 0)
            check(bytes >= 2 << 20 && bytes < 3 << 20 && dirty >= 220 && dirty <= 224);
        else
            check(dirty == 0);
    }
    void *p = opaque(owl_malloc(16 << 20));
    memset(p, 1, 16 << 20);
    owl_free(p);
    file_says(PSI, "some avg10=50.00 avg60=0.00\n");
    check(owl_on_pressure(note, &a) == 0);
    await(a.calls == 1 && owl_pool_count().dirty == 0);
    check(a.last == 1.0 && owl_off_pressure(note, &a) == 0);
}

/* --- off while running -------------------------------------------------------------- */

static struct notes held, other;
static atomic_int offs;

static void *off_held(void *nothing)
{
    check(owl_off_pressure(note, &held) == 0 && !held.hold);
    offs++;
    return nothing;
}

static void off_waits_for_a_call(void)
{
    pthread_t t;
    set_up(true);
    held.hold = true;
    check(owl_on_pressure(note, &held) == 0 && owl_on_pressure(note, &other) == 0);
    await(fake.waits >= 1);
    news(0);
    await(held.calls == 1);
    check(pthread_create(&t, NULL, off_held, NULL) == 0);
    nap(100);
    check(offs == 0);
    check(owl_off_pressure(note, &held) == -1 && errno == ENOENT); /* it is as good as gone */
    check(owl_on_pressure(note, &held) == 0);                      /* and may come again */
    nap(100);
    check(offs == 0);
    held.hold = false;
    pthread_join(t, NULL);
    check(offs == 1);
    await(other.calls == 1);
    check(owl_off_pressure(note, &other) == 0 && owl_off_pressure(note, &held) == 0);
    check(threads() == 0);
}

static atomic_int inside_calls;

static void leaves(double severity, void *context)
{
    (void)severity;
    inside_calls++;
    check(owl_off_pressure(leaves, context) == 0);
    check(owl_off_pressure(leaves, context) == -1);
    if (context != NULL)
        check(owl_off_pressure(note, context) == 0);
}

/* Off in a handler: its own, one that would have been next, and the last of all. */
static void handlers_may_end_themselves(void)
{
    static struct notes a;
    set_up(true);
    check(owl_on_pressure(leaves, &a) == 0 && owl_on_pressure(note, &a) == 0);
    await(fake.waits >= 1);
    news(0);
    await(inside_calls == 1 && threads() == 0);
    check(a.calls == 0);
    fake.opened = 0;
    unsigned waits = fake.waits;
    check(owl_on_pressure(leaves, NULL) == 0); /* joins the one that has ended */
    await(fake.waits > waits);
    news(0);
    await(inside_calls == 2 && threads() == 0);
    check(owl_off_pressure(leaves, NULL) == -1);
}

static void *come_and_go(void *number)
{
    for (int i = 0; i < ROUNDS(400); i++) {
        check(owl_on_pressure(note, number) == 0);
        check(owl_off_pressure(note, number) == 0);
    }
    return NULL;
}

static void threads_come_and_go_with_handlers(void)
{
    static struct notes notes[4];
    pthread_t t[4];
    set_up(true);
    file_says(PSI, "some avg10=50.00 avg60=0.00\n");
    for (int i = 0; i < 4; i++)
        check(pthread_create(&t[i], NULL, come_and_go, &notes[i]) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    check(threads() == 0);
    int calls = notes[0].calls;
    check(owl_on_pressure(note, &notes[0]) == 0);
    await(notes[0].calls > calls);
    check(owl_off_pressure(note, &notes[0]) == 0);
}

/* --- descriptors and fork -------------------------------------------------------------- */

/* A program that closes all descriptors, and opens its own at the same numbers. The real files and
 * waits; those there are. */
static void descriptors_may_be_closed(void)
{
    static struct notes a;
    set_up(false);
    check(owl_on_pressure(note, &a) == 0);
    nap(50);
    int null = open("/dev/null", O_RDONLY), ours = 0;
    check(null >= 0);
    for (int d = 3; d < 70000; d++)
        if (d != null && fcntl(d, F_GETFD) >= 0) {
            check(dup2(null, d) == d);
            ours++;
        }
    check(ours >= 2);
    nap(200);
    check(threads() == 1);
    file_says(PSI, "some avg10=50.00 avg60=0.00\n");
    check(owl_option_set("limit", 1 << 30) == 0); /* it is heard */
    await(a.calls >= 1);
    check(owl_off_pressure(note, &a) == 0 && threads() == 0);
    int still = 0;
    for (int d = 3; d < 70000; d++)
        still += d != null && fcntl(d, F_GETFD) >= 0;
    check(still == ours); /* what is not its own it has not closed, and its own it has */
}

static void a_child_begins_anew(void)
{
    static struct notes a, b;
    set_up(true);
    file_says(PSI, "some avg10=20.00 avg60=0.00\n");
    check(owl_on_pressure(note, &a) == 0);
    await(a.calls == 1);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        check(threads() == 0);
        if (!CHILD_STARTS_THREADS)
            _exit(0);
        check(owl_off_pressure(note, &b) == -1 && errno == ENOENT);
        await(threads() == 1 && a.calls == 2);
        check(owl_on_pressure(note, &b) == 0);
        check(owl_off_pressure(note, &a) == 0 && owl_off_pressure(note, &b) == 0);
        check(threads() == 0);
        _exit(0);
    }
    check(child_wait(pid) == 0);
    check(threads() == 1 && a.calls == 1);
    pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        check(owl_off_pressure(note, &a) == 0 && threads() == 0);
        _exit(0);
    }
    check(child_wait(pid) == 0 && threads() == 1);
    check(owl_off_pressure(note, &a) == 0 && threads() == 0);
}

/* A handler that forks while the lock's other users are at work. */
static void forks(double severity, void *context)
{
    (void)severity;
    pid_t pid = fork();
    if (pid == 0)
        _exit(owl_malloc(100) != NULL && owl_off_pressure(forks, context) == 0 ? 0 : 1);
    check(child_wait(pid) == 0);
    atomic_fetch_add((atomic_int *)context, 1);
}

static void handlers_may_fork(void)
{
    static atomic_int done;
    set_up(true);
    check(owl_on_pressure(forks, &done) == 0);
    await(fake.waits >= 1);
    news(0);
    await(done == 1);
    check(owl_off_pressure(forks, &done) == 0);
}

static int refuse_bell(struct owl_file ends[2])
{
    ends[0].descriptor = ends[1].descriptor = -1;
    errno = EMFILE;
    return -1;
}

static int refuse_thread(pthread_t *thread, void *(*body)(void *))
{
    (void)thread, (void)body;
    errno = EAGAIN;
    return -1;
}

static void refusals_are_told(void)
{
    static struct notes a;
    set_up(true);
    owl_os.pressure_bell = refuse_bell;
    check(owl_on_pressure(note, &a) == -1 && errno == EMFILE);
    owl_os.pressure_bell = fake.real.pressure_bell;
    owl_os.thread_start = refuse_thread;
    check(owl_on_pressure(note, &a) == -1 && errno == EAGAIN);
    owl_os.thread_start = fake.real.thread_start;
    check(owl_off_pressure(note, &a) == -1 && threads() == 0);
    check(owl_on_pressure(note, &a) == 0 && owl_off_pressure(note, &a) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(the_thread_is_there_while_handlers_are),
        child_test(it_sleeps_without_pressure),
        child_test(handlers_hear_of_stalls),
        child_test(windows_of_two_seconds_do),
        child_test(free_memory_goes_back),
        child_test(off_waits_for_a_call),
        child_test(handlers_may_end_themselves),
        child_test(threads_come_and_go_with_handlers),
        child_test(descriptors_may_be_closed),
        child_test(a_child_begins_anew),
        child_test(handlers_may_fork),
        child_test(refusals_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
