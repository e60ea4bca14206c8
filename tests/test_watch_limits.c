/* SPDX-License-Identifier: BSD-2-Clause */
/* Watches where the system refuses something, and beside other things of a process. */
#define _GNU_SOURCE /* mremap, in watching.h */
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "death.h"
#include "watching.h"

enum { PAGES = 32 };

static struct owl_os real;
static atomic_int events, fail, pass; /* calls that fail, after some that pass */

static void count(const struct owl_watch_event *event, void *context)
{
    (void)event;
    (void)context;
    events++;
}

static char *new_filled(void)
{
    char *p = new_pages(PAGES);
    owl_os_init();
    real = owl_os;
    for (size_t i = 0; i < PAGES; i++)
        p[i * page] = (char)(i + 1);
    return p;
}

static void check_filled(const char *p)
{
    for (size_t i = 0; i < PAGES; i++)
        check(touch(p + i * page) == (int)i + 1);
}

static int watch_all(char *p, int mode)
{
    return owl_watch(p, PAGES * page, mode | by, count, NULL);
}

/* --- calls that fail --- */

/* True while there are failures left. */
static bool due(int error)
{
    if (fail <= 0 || pass-- > 0)
        return false;
    fail--;
    errno = error;
    return true;
}

static int no_open(bool *unpopulated)
{
    return due(EPERM) ? -1 : real.watch_open(unpopulated);
}

static int no_register(int descriptor, void *start, size_t bytes, bool missing, bool write)
{
    return due(EINVAL) ? -1 : real.watch_register(descriptor, start, bytes, missing, write);
}

static int no_bell(void)
{
    return due(EMFILE) ? -1 : real.bell_make();
}

static int no_thread(pthread_t *thread, void *(*body)(void *))
{
    return due(EAGAIN) ? -1 : real.thread_start(thread, body);
}

static int no_catch(bool (*fault)(uintptr_t address, bool write))
{
    return due(EINVAL) ? -1 : real.catch(fault);
}

static void refuse(void)
{
    owl_os.watch_open = no_open;
    owl_os.catch = no_catch;
    fail = 1;
}

static void what_is_refused_is_said(void)
{
    char *p = new_filled();
    refuse();
    check(watch_all(p, OWL_WATCH_ACCESS) == -1 && errno == ENOTSUP);
    check_filled(p);
    check(events == 0 && owl_watch_mechanism(p) == 0);
    check(watch_all(p, OWL_WATCH_ACCESS) == 0);
    check_filled(p);
    check(events == PAGES && owl_unwatch(p) == 0);
}

/* Without a choice the other mechanism takes over, whichever call fails. */
static void the_other_mechanism_takes_over(void)
{
    char *p = new_filled();
    if (by != OWL_WATCH_USERFAULTFD)
        return;
    for (int call = 0; call < 4; call++) {
        owl_os.watch_open = call == 0 ? no_open : real.watch_open;
        owl_os.watch_register = call == 1 ? no_register : real.watch_register;
        owl_os.bell_make = call == 2 ? no_bell : real.bell_make;
        owl_os.thread_start = call == 3 ? no_thread : real.thread_start;
        for (int refused = 1; refused >= 0; refused--) {
            fail = refused;
            events = 0;
            check(owl_watch(p, PAGES * page, OWL_WATCH_ACCESS, count, NULL) == 0);
            check(fail == 0);
            int expected = refused ? OWL_WATCH_PROTECTION : OWL_WATCH_USERFAULTFD;
            check(owl_watch_mechanism(p) == expected);
            check_filled(p);
            check(events == PAGES && owl_unwatch(p) == 0);
        }
    }
}

static void *no_map(size_t bytes)
{
    return due(ENOMEM) ? NULL : real.map(bytes);
}

static void *no_reserve(size_t bytes)
{
    return due(ENOMEM) ? NULL : real.reserve(bytes);
}

static int no_move(void *from, void *to, size_t bytes)
{
    return due(ENOMEM) ? -1 : real.move(from, to, bytes);
}

static int no_protect(void *start, size_t bytes, bool read, bool write)
{
    return due(ENOMEM) ? -1 : real.protect(start, bytes, read, write);
}

static int no_watch_protect(int descriptor, void *start, size_t bytes, bool protect)
{
    return due(ENOMEM) ? -1 : real.watch_protect(descriptor, start, bytes, protect);
}

static int no_fork_handlers(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
    return due(ENOMEM) ? -1 : real.at_fork(prepare, parent, child);
}

/* A watch that cannot begin leaves everything as it was; one that can be tried again, works. */
static void a_watch_needs_memory(void)
{
    char *p = new_filled();
    for (int call = 0; call < 6; call++) {
        int mode = call == 4 ? OWL_WATCH_WRITE : OWL_WATCH_ACCESS;
        owl_os.at_fork = call == 0 ? no_fork_handlers : real.at_fork;
        owl_os.map = call == 1 ? no_map : real.map;
        owl_os.reserve = call == 2 ? no_reserve : real.reserve;
        owl_os.move = call == 3 || call == 5 ? no_move : real.move;
        owl_os.protect = call == 4 ? no_protect : real.protect;
        owl_os.watch_protect = call == 4 ? no_watch_protect : real.watch_protect;
        /* The first page is one piece, the others another; or page by page, when that fails. */
        pass = call == 5;
        fail = 1 + (call == 5);
        events = 0;
        check(watch_all(p, mode) == -1 && errno == ENOMEM && fail == 0);
        check(owl_watch_mechanism(p) == 0);
        check_filled(p);
        p[0] = 1;
        check(events == 0 && watch_all(p, mode) == 0);
        check_filled(p);
        p[0] = 1;
        check(events == (mode == OWL_WATCH_WRITE ? 1 : PAGES) && owl_unwatch(p) == 0);
    }
}

static int no_copy(int descriptor, void *to, const void *from, size_t bytes, bool protect)
{
    return due(ENOMEM) ? -1 : real.watch_copy(descriptor, to, from, bytes, protect);
}

/* An access waits for memory; its handler is called once. */
static void accesses_are_tried_again(void)
{
    char *p = new_filled();
    if (by != OWL_WATCH_USERFAULTFD)
        return;
    owl_os.watch_copy = no_copy;
    check(watch_all(p, OWL_WATCH_ACCESS) == 0);
    fail = 20;
    check(touch(p + 3 * page) == 4 && fail == 0 && events == 1);
    check_filled(p);
    check(events == PAGES && owl_unwatch(p) == 0);
}

/* What was set aside is not lost when it cannot be brought back: the watch goes on. */
static void the_end_needs_memory(void)
{
    char *p = new_filled();
    owl_os.watch_copy = no_copy;
    owl_os.move = no_move;
    check(watch_all(p, OWL_WATCH_ACCESS) == 0);
    touch(p + 9 * page);
    fail = 1;
    check(owl_unwatch(p) == -1 && errno == ENOMEM && owl_watch_mechanism(p) == by);
    check(touch(p + 10 * page) == 11 && events == 2);
    check(owl_unwatch(p) == 0);
    check_filled(p);
    check(events == 2);
}

/* And what cannot be brought back when a watch could not begin is not left behind in silence. */
static void a_beginning_that_cannot_be_undone(void)
{
    char *p = culprit(new_filled());
    owl_os.move = no_move;
    fail = 100;
    pass = 1;
    owl_watch(p, PAGES * page, OWL_WATCH_ACCESS | OWL_WATCH_PROTECTION, count, NULL);
}

static void what_is_lost_is_told(void **state)
{
    (void)state;
    assert_death("a_beginning_that_cannot_be_undone", a_beginning_that_cannot_be_undone,
                 "does not let its pages be moved back");
}

/* As a kernel that cannot protect pages that are not there: it is not asked to. */
static int open_old(bool *unpopulated)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    int descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_MODE_ONLY);
    check(descriptor >= 0 && ioctl(descriptor, UFFDIO_API, &api) == 0);
    *unpopulated = false;
    return descriptor;
}

static void writes_to_missing_pages_of_old_kernels(void)
{
    char *p = new_pages(PAGES);
    owl_os_init();
    real = owl_os;
    owl_os.watch_open = open_old;
    check(watch_all(p, OWL_WATCH_WRITE) == 0);
    for (size_t i = 0; i < PAGES; i++) {
        check(touch(p + i * page) == 0 && events == (int)i);
        poke(p + i * page, 1);
    }
    check(events == PAGES && owl_unwatch(p) == 0);
}

/* --- beside other things --- */

/* The kernel's own accesses fail, whoever asks for them. */
static void system_calls_are_refused_watched_pages(void)
{
    char *p = new_filled();
    int ends[2];
    check(pipe(ends) == 0 && write(ends[1], "owl", 3) == 3);
    check(watch_all(p, OWL_WATCH_ACCESS | OWL_WATCH_WRITE) == 0);
    check(write(ends[1], p, 1) == -1 && errno == EFAULT);
    check(read(ends[0], p, 3) == -1 && errno == EFAULT && events == 0);
    touch(p);
    check(read(ends[0], p, 3) == -1 && errno == EFAULT && events == 1);
    check(write(ends[1], p, 1) == 1);
    poke(p, 1);
    check(events == 2 && write(ends[1], "owl", 3) == 3);
    check(owl_unwatch(p) == 0 && read(ends[0], p, 4) > 0 && events == 2);
}

static atomic_bool stop;

static void *watch_and_unwatch(void *nothing)
{
    char *p = new_pages(4);
    while (!stop) {
        check(owl_watch(p, 4 * page, OWL_WATCH_ACCESS | by, count, NULL) == 0);
        poke(p + page, 1);
        check(owl_unwatch(p) == 0);
    }
    return nothing;
}

/* A child finds all contents and no watch, and may begin its own; the parent goes on. */
static void children_are_not_watched(void)
{
    pthread_t other;
    char *p = new_filled();
    check(pthread_create(&other, NULL, watch_and_unwatch, NULL) == 0);
    check(watch_all(p, OWL_WATCH_ACCESS | OWL_WATCH_WRITE) == 0);
    touch(p + 3 * page);
    for (int round = 0; round < ROUNDS(20); round++) {
        pid_t pid = fork();
        check(pid >= 0);
        if (pid == 0) {
            alarm(30);
            events = 0;
            check_filled(p);
            memset(p, 1, PAGES * page);
            check(events == 0 && owl_watch_mechanism(p) == 0);
            check(owl_unwatch(p) == -1 && errno == EINVAL);
            if (SANITIZED) /* which may refuse threads after a fork */
                _exit(0);
            check(watch_all(p, OWL_WATCH_ACCESS) == 0 && touch(p + page) == 1 && events == 1);
            check(owl_unwatch(p) == 0 && touch(p + 2 * page) == 1);
            _exit(0);
        }
        check(child_wait(pid) == 0);
    }
    stop = true;
    pthread_join(other, NULL);
    events = 0;
    check_filled(p);
    check(events == PAGES - 1 && owl_unwatch(p) == 0);
}

static atomic_bool begun, may_return;

static void be_slow(const struct owl_watch_event *event, void *context)
{
    (void)context;
    begun = true;
    while (!may_return)
        usleep(1000);
    *(char *)event->contents = 77;
}

static void *touch_first(void *p)
{
    check(touch(p) == 77);
    return NULL;
}

static void *let_return(void *nothing)
{
    usleep(50000);
    may_return = true;
    return nothing;
}

static void the_end_waits_for_handlers(void)
{
    pthread_t toucher, other;
    char *p = new_filled();
    check(owl_watch(p, PAGES * page, OWL_WATCH_ACCESS | by, be_slow, NULL) == 0);
    check(pthread_create(&toucher, NULL, touch_first, p) == 0);
    while (!begun)
        usleep(1000);
    check(pthread_create(&other, NULL, let_return, NULL) == 0);
    check(owl_unwatch(p) == 0 && may_return && p[0] == 77 && p[page] == 2);
    pthread_join(toucher, NULL);
    pthread_join(other, NULL);
}

/* So many threads have that name; all their signals are blocked that can be (number 9 cannot). */
static int watch_threads(void)
{
    char path[64], text[2048];
    int found = 0;
    for (int id = getpid(); id < getpid() + 200; id++) {
        snprintf(path, sizeof path, "/proc/self/task/%d/status", id);
        int file = open(path, O_RDONLY);
        if (file < 0)
            continue;
        ssize_t n = read(file, text, sizeof text - 1);
        close(file);
        text[n > 0 ? n : 0] = '\0';
        if (strncmp(text, "Name:\towl-watch\n", 16) != 0)
            continue;
        found++;
        const char *blocked = strstr(text, "SigBlk:\t");
        check(blocked != NULL && (strtoul(blocked + 8, NULL, 16) & 0x7fff) == 0x7eff);
    }
    return found;
}

static void threads_live_as_long_as_watches(void)
{
    char *p = new_filled();
    int alone = by == OWL_WATCH_USERFAULTFD;
    check(watch_threads() == 0);
    check(owl_watch(p, page, OWL_WATCH_ACCESS | by, count, NULL) == 0);
    check(owl_watch(p + page, page, OWL_WATCH_ACCESS | by, count, NULL) == 0);
    touch(p);
    touch(p + page);
    check(owl_unwatch(p) == 0 && watch_threads() >= alone);
    check(alone || watch_threads() == 0);
    check(owl_unwatch(p + page) == 0 && watch_threads() == 0);
}

/* However often pages are told of, in any order, mappings do not pile up. */
static void mappings_do_not_pile_up(void)
{
    enum { MANY = 2048 };
    uint64_t random = 9;
    char *p = new_pages(MANY);
    owl_os_init();
    size_t before = owl_os.mapping_count();
    int modes = OWL_WATCH_ACCESS | OWL_WATCH_WRITE;
    check(owl_watch(p, MANY * page, modes | by, count, NULL) == 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3 * MANY; i++)
            poke(p + next_random(&random) % MANY * page, i);
        for (size_t i = 0; i < MANY; i++)
            poke(p + i * page, 1);
        for (int i = 0; i < MANY / 2; i++)
            check(owl_watch_again(p + next_random(&random) % MANY * page, page, modes) == 0);
        for (size_t i = 0; i < MANY; i++)
            poke(p + i * page, 1);
    }
    check(owl_os.mapping_count() < before + MANY / 20);
    check(owl_watch_again(p, MANY * page, modes) == 0 && owl_unwatch(p) == 0);
    check(owl_os.mapping_count() < before + MANY / 20);
}

/* --- faults that are not the watch's --- */

static char *guarded;
static atomic_int earlier;

static void repair(int number, siginfo_t *info, void *context)
{
    (void)context;
    check(number == SIGSEGV && info->si_addr == guarded + 5);
    earlier++;
    mprotect(guarded, page, PROT_READ | PROT_WRITE);
}

static void earlier_handlers_get_foreign_faults(void)
{
    struct sigaction action = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO};
    char *p = new_filled();
    guarded = new_pages(1);
    check(sigaction(SIGSEGV, &action, NULL) == 0);
    check(watch_all(p, OWL_WATCH_ACCESS) == 0);
    for (int round = 1; round <= 3; round++) {
        check(mprotect(guarded, page, PROT_NONE) == 0);
        poke(guarded + 5, round);
        check(earlier == round && guarded[5] == round && events == 0);
    }
    check_filled(p);
    check(events == PAGES && earlier == 3 && owl_unwatch(p) == 0);
    check(mprotect(guarded, page, PROT_NONE) == 0);
    poke(guarded + 5, 9);
    check(earlier == 4);
}

static void die_at_guard(void)
{
    signal(SIGSEGV, SIG_DFL);
    char *p = new_filled();
    guarded = new_pages(1);
    check(watch_all(p, OWL_WATCH_ACCESS) == 0 && mprotect(guarded, page, PROT_NONE) == 0);
    poke(guarded, 1);
}

static void die_after_watch(void)
{
    signal(SIGSEGV, SIG_DFL);
    char *p = new_filled();
    check(watch_all(p, OWL_WATCH_ACCESS) == 0 && owl_unwatch(p) == 0);
    check(mprotect(p, page, PROT_NONE) == 0);
    poke(p, 1);
}

static void die_of_sent_signal(void)
{
    signal(SIGSEGV, SIG_DFL);
    char *p = new_filled();
    check(watch_all(p, OWL_WATCH_ACCESS) == 0);
    raise(SIGSEGV);
}

static void foreign_faults_end_the_process(void **state)
{
    (void)state;
    assert_true(child_faults(die_at_guard));
    assert_true(child_faults(die_after_watch));
    assert_true(child_faults(die_of_sent_signal));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watch_test(what_is_refused_is_said),
        watch_test(the_other_mechanism_takes_over),
        watch_test(a_watch_needs_memory),
        watch_test(accesses_are_tried_again),
        watch_test(the_end_needs_memory),
        cmocka_unit_test(what_is_lost_is_told),
        watch_test(writes_to_missing_pages_of_old_kernels),
        watch_test(system_calls_are_refused_watched_pages),
        watch_test(children_are_not_watched),
        watch_test(the_end_waits_for_handlers),
        watch_test(threads_live_as_long_as_watches),
        watch_test(mappings_do_not_pile_up),
        watch_test(earlier_handlers_get_foreign_faults),
        cmocka_unit_test(foreign_faults_end_the_process),
    };
    return run_by_both(tests, sizeof tests / sizeof *tests);
}
