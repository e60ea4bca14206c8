/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of system calls keeps the promises of os.h. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "child.h"
#include "os.h"
#include "tune.h"

#define MIB ((size_t)1 << 20)

static bool is_zero(const char *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static void page_is_that_of_the_system(void)
{
    owl_os_init();
    check(owl_os.page == (size_t)sysconf(_SC_PAGESIZE));
    check(owl_os.page >= 4096 && (owl_os.page & (owl_os.page - 1)) == 0);
}

static void round_up_rounds(void)
{
    check(owl_round_up(0, 4096) == 0 && owl_round_up(1, 4096) == 4096);
    check(owl_round_up(4096, 4096) == 4096 && owl_round_up(4097, 4096) == 8192);
}

static void touch_reserved(void)
{
    volatile char *p = owl_os.reserve(MIB);
    check(p != NULL);
    p[0] = 1;
}

static void touch_beside_committed(void)
{
    volatile char *p = owl_os.reserve(MIB);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    check(owl_os.commit((char *)p, page) == 0);
    p[page - 1] = 1;
    check(p[page - 1] == 1);
    p[page] = 1;
}

static void touch_unmapped(void)
{
    volatile char *p = owl_os.map(MIB);
    check(owl_os.unmap((char *)p, MIB) == 0);
    p[0] = 1;
}

static void what_is_not_there_faults(void **state)
{
    (void)state;
    assert_true(child_faults(touch_reserved));
    assert_true(child_faults(touch_beside_committed));
    assert_true(child_faults(touch_unmapped));
}

static void committed_reads_zero_and_keeps(void)
{
    char *p = owl_os.reserve(4 * MIB);
    check(owl_os.commit(p + MIB, 2 * MIB) == 0);
    check(is_zero(p + MIB, 2 * MIB));
    memset(p + MIB, 1, 2 * MIB);
    check(owl_os.commit(p + 2 * MIB, 2 * MIB) == 0);
    check(p[2 * MIB] == 1 && p[3 * MIB - 1] == 1 && is_zero(p + 3 * MIB, MIB));
    check(owl_os.unmap(p, 4 * MIB) == 0);
}

static void purged_reads_zero(void)
{
    char *p = owl_os.reserve(4 * MIB);
    check(owl_os.commit(p, 4 * MIB) == 0);
    memset(p, 7, 4 * MIB);
    check(owl_os.purge(p + MIB, MIB) == 0);
    check(p[MIB - 1] == 7 && p[2 * MIB] == 7);
    check(is_zero(p + MIB, MIB));
    memset(p + MIB, 8, MIB);
    check(p[MIB] == 8);
}

static void mapped_is_zero_and_can_be_resized(void)
{
    char *p = owl_os.map(MIB);
    check(p != NULL && is_zero(p, MIB));
    memset(p, 3, MIB);
    char *wall = owl_os.map(MIB);
    check(wall != NULL);
    p = owl_os.remap(p, MIB, 16 * MIB);
    check(p != NULL && p[0] == 3 && p[MIB - 1] == 3 && is_zero(p + MIB, 15 * MIB));
    p = owl_os.remap(p, 16 * MIB, MIB / 2);
    check(p != NULL && p[0] == 3 && p[MIB / 2 - 1] == 3);
    check(owl_os.unmap(p, MIB / 4) == 0); /* in part */
    check(p[MIB / 4] == 3);
    check(owl_os.unmap(p + MIB / 4, MIB / 4) == 0);
}

static void carried_mappings_get_longer(void)
{
    owl_os_init();
    char *p = owl_os.reserve(8 * MIB);
    check(owl_os.commit(p, 8 * MIB) == 0);
    memset(p, 5, 8 * MIB);
    check(owl_os.carry(p + MIB, MIB, p + 4 * MIB, 3 * MIB) == 0);
    check(p[4 * MIB] == 5 && p[5 * MIB - 1] == 5 && is_zero(p + 5 * MIB, 2 * MIB));
    check(p[4 * MIB - 1] == 5 && p[7 * MIB] == 5);
    check(owl_os.piece(p + 4 * MIB, 3 * MIB) == 3 * MIB);
    check(owl_os.fill(p + MIB, MIB) == 0 && is_zero(p + MIB, MIB));
    p[MIB] = 6;
    check(owl_os.fill(p + MIB, MIB) == -1 && p[MIB] == 6);
    check(owl_os.unmap(p, 8 * MIB) == 0);
}

/* A refusal leaves memory at both places. */
static void several_mappings_are_not_carried(void)
{
    char *p = owl_os.reserve(8 * MIB);
    check(owl_os.commit(p, 8 * MIB) == 0);
    memset(p, 5, 8 * MIB);
    check(owl_os.reset(p + MIB, MIB) == 0);
    check(owl_os.carry(p + 3 * MIB, MIB, p, MIB) == 0);
    memset(p, 6, MIB);
    check(owl_os.carry(p, 2 * MIB, p + 4 * MIB, 3 * MIB) == -1);
    check(p[0] == 6 && p[MIB] == 0);
    memset(p + 4 * MIB, 7, 3 * MIB);
    check(owl_os.unmap(p, 8 * MIB) == 0);
}

static void ranges_lie_apart(void)
{
    bool apart;
    char *p = owl_os.reserve_apart((size_t)64 << 30, &apart);
    char *near = owl_os.reserve(MIB);
    check(p != NULL && near != NULL && (apart || SANITIZED));
    check(!apart || ((uintptr_t)p >= OWL_APART && (uintptr_t)p < 2 * OWL_APART));
    check(!apart || (uintptr_t)near > 3 * OWL_APART);
    owl_os.unmap(p, (size_t)64 << 30);
    owl_os.unmap(near, MIB);
}

static void refusals_are_said(void)
{
    size_t impossible = (size_t)1 << 62;
    check(owl_os.reserve(impossible) == NULL);
    check(owl_os.map(impossible) == NULL);
    char *p = owl_os.map(MIB);
    memset(p, 5, MIB);
    check(owl_os.remap(p, MIB, impossible) == NULL);
    check(p[0] == 5 && p[MIB - 1] == 5);
    check(owl_os.unmap(p + 1, 4096) == -1 && p[0] == 5);
    check(owl_os.unmap(p, MIB) == 0);
    check(owl_os.commit(p, MIB) == -1);
    check(owl_os.purge(p, MIB) == -1);
}

static void resident_follows_what_is_touched(void)
{
    size_t before = owl_os.resident();
    check(before > MIB / 4 && before % (size_t)sysconf(_SC_PAGESIZE) == 0);
    char *p = owl_os.map(32 * MIB);
    memset(p, 1, 32 * MIB);
    size_t touched = owl_os.resident();
    check(touched > before + 28 * MIB);
    owl_os.unmap(p, 32 * MIB);
    /* A sanitizer has more memory for each byte, and keeps it. */
    check(SANITIZED || (touched < before + 40 * MIB && owl_os.resident() < before + 4 * MIB));
    /* Without a descriptor to be had nothing is told. */
    struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    check(setrlimit(RLIMIT_NOFILE, &none) == 0 && owl_os.resident() == 0);
}

static owl_u32 word;

static void *wait_until_changed(void *unused)
{
    (void)unused;
    while (owl_u32_load_acquire(&word) == 1)
        owl_os.wait(&word, 1);
    return NULL;
}

static void wait_and_wake(void)
{
    pthread_t thread;
    owl_u32_store_relaxed(&word, 2);
    owl_os.wait(&word, 1); /* returns at once */
    owl_os.wake(&word);    /* nobody is there */
    owl_u32_store_relaxed(&word, 1);
    check(pthread_create(&thread, NULL, wait_until_changed, NULL) == 0);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    owl_u32_store_release(&word, 2);
    owl_os.wake(&word);
    pthread_join(thread, NULL);
}

static void address_limit_is_that_of_the_process(void)
{
    struct rlimit r;
    check(getrlimit(RLIMIT_AS, &r) == 0);
    if (r.rlim_cur == RLIM_INFINITY)
        check(owl_os.address_limit() == SIZE_MAX);
    r.rlim_cur = (rlim_t)3 << 40;
    if (r.rlim_max != RLIM_INFINITY && r.rlim_max < r.rlim_cur)
        r.rlim_cur = r.rlim_max;
    check(setrlimit(RLIMIT_AS, &r) == 0);
    check(owl_os.address_limit() == r.rlim_cur);
}

static void pages_that_are_there_are_counted(void)
{
    enum { PAGES = 64 };
    owl_os_init();
    char *p = owl_os.map(PAGES * owl_os.page);
    check(p != NULL && owl_os.resident_of(p, PAGES * owl_os.page) == 0);
    for (size_t i = 0; i < PAGES / 4; i++)
        p[i * 3 * owl_os.page] = 1;
    check(owl_os.resident_of(p, PAGES * owl_os.page) == PAGES / 4 * owl_os.page);
    check(owl_os.unmap(p, PAGES * owl_os.page) == 0);
    check(owl_os.resident_of(p, owl_os.page) == 0);
    size_t most = OWL_COPY_MOST + owl_os.page;
    p = owl_os.map(most);
    check(p != NULL);
    memset(p, 1, most);
    check(owl_os.resident_of(p, OWL_COPY_MOST) == OWL_COPY_MOST);
    check(owl_os.resident_of(p, most) == 0 && owl_os.unmap(p, most) == 0);
}

static void secret_is_a_number(void)
{
    check(owl_os.secret() != 0);
    check(owl_os.secret() >> 32 != 0); /* one chance in 2^32 of a false alarm */
}

static char text[1 << 20];
static char received[sizeof text];

static void *drain(void *fd)
{
    size_t length = 0;
    ssize_t n;
    usleep(50000); /* so that the writer is interrupted while it waits for room */
    do {
        n = read((int)(intptr_t)fd, received + length, sizeof received - length);
        length += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR)); /* the signals may come to this thread */
    return (void *)length;
}

/* --- a hole behind what is asked about, which another thread is about to fill --- */

static atomic_bool asked_enough;

static void *ask_for_pieces(void *start)
{
    while (!atomic_load(&asked_enough))
        check(owl_os.piece(start, MIB) == MIB);
    return NULL;
}

static void asking_for_pieces_takes_no_hole(void)
{
    pthread_t thread;
    owl_os_init();
    char *p = owl_os.map(2 * MIB);
    check(p != NULL);
    check(pthread_create(&thread, NULL, ask_for_pieces, p) == 0);
    for (int i = 0; i < ROUNDS(20000); i++) {
        check(owl_os.unmap(p + MIB, owl_os.page) == 0);
        check(owl_os.fill(p + MIB, owl_os.page) == 0);
    }
    atomic_store(&asked_enough, true);
    check(pthread_join(thread, NULL) == 0);
    check(owl_os.unmap(p, 2 * MIB) == 0);
}

static void no_action(int signal_number)
{
    (void)signal_number;
}

/* More than a pipe takes at once, and signals in between. */
static void messages_are_written_whole(void)
{
    int ends[2];
    pthread_t reader;
    void *length;
    struct sigaction action = {.sa_handler = no_action};
    check(pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    close(ends[1]);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 23);
    sigaction(SIGALRM, &action, NULL);
    ualarm(1000, 1000);
    check(pthread_create(&reader, NULL, drain, (void *)(intptr_t)ends[0]) == 0);
    owl_os.message(text, sizeof text);
    ualarm(0, 0);
    close(STDERR_FILENO);
    pthread_join(reader, &length);
    check((size_t)length == sizeof text && memcmp(text, received, sizeof text) == 0);
    owl_os.message(text, 10); /* nowhere to write to: it gives up */
}

static void *note_self(void *thread)
{
    struct owl_os_thread *t = thread;
    *t = owl_os.thread_self();
    check(t->number == (pid_t)syscall(SYS_gettid) && owl_os.thread_lives(t));
    return NULL;
}

static void threads_are_known(void)
{
    pthread_t thread;
    struct owl_os_thread mine, other;
    owl_os_init();
    note_self(&mine);
    check(mine.process == getpid() && mine.number == getpid());
    check(pthread_create(&thread, NULL, note_self, &other) == 0);
    check(pthread_join(thread, NULL) == 0);
    check(other.process == getpid() && other.number != mine.number);
    for (int i = 0; i < 1000 && owl_os.thread_lives(&other); i++)
        usleep(1000);
    check(!owl_os.thread_lives(&other) && owl_os.thread_lives(&mine));
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        owl_os_note_process();
        note_self(&other);
        check(other.process == getpid() && other.number == getpid());
        check(other.process != mine.process);
        _exit(0);
    }
    check(child_wait(child) == 0);
}

static void signals_are_put_off(void)
{
    sigset_t before, mask, after;
    check(sigprocmask(SIG_BLOCK, NULL, &before) == 0 && !sigismember(&before, SIGALRM));
    owl_os.signals_hold(&mask);
    check(sigprocmask(SIG_BLOCK, NULL, &after) == 0 && sigismember(&after, SIGALRM));
    check(!sigismember(&after, SIGSEGV) && !sigismember(&after, SIGBUS));
    check(!sigismember(&mask, SIGALRM));
    owl_os.signals_restore(&mask);
    check(sigprocmask(SIG_BLOCK, NULL, &after) == 0 && !sigismember(&after, SIGALRM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(page_is_that_of_the_system),
        child_test(round_up_rounds),
        cmocka_unit_test(what_is_not_there_faults),
        child_test(committed_reads_zero_and_keeps),
        child_test(purged_reads_zero),
        child_test(mapped_is_zero_and_can_be_resized),
        child_test(carried_mappings_get_longer),
        child_test(several_mappings_are_not_carried),
        child_test(ranges_lie_apart),
        child_test(refusals_are_said),
        child_test(wait_and_wake),
        child_test(address_limit_is_that_of_the_process),
        child_test(resident_follows_what_is_touched),
        child_test(pages_that_are_there_are_counted),
        child_test(secret_is_a_number),
        child_test(asking_for_pieces_takes_no_hole),
        child_test(messages_are_written_whole),
        child_test(threads_are_known),
        child_test(signals_are_put_off),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
