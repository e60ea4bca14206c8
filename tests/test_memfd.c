/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks in files: what a fork copies, and life without descriptors, files and mappings.
 */
#define _GNU_SOURCE /* memfd_create */
#include <errno.h>
#include <owl/large.h>
#include <owl/option.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "faults.h"
#include "memfd.h"
#include "option.h"
#include "pool.h"
#include "stats.h"

#define MIB ((size_t)1 << 20)

static void set_up(void)
{
    owl_free(owl_malloc(1));
    faults_install();
    check(owl_option_set("backing", OWL_BACKING_MEMFD) == 0);
}

static char *filled(size_t bytes, int with)
{
    char *p = owl_malloc(bytes);
    check(p != NULL);
    memset(p, with, bytes);
    return p;
}

static bool holds(const char *p, size_t bytes, int with)
{
    for (size_t i = 0; i < bytes; i += 512)
        if (p[i] != (char)with)
            return false;
    return p[bytes - 1] == (char)with;
}

static bool lies_in_a_file(const void *p)
{
    return owl_memfd_is_live(owl_span_of(p));
}

static void thresholds(void)
{
    set_up();
    char *p = filled(OWL_MEMFD_MIN, 1);
    check(lies_in_a_file(p));
    check(owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    char *q = filled(OWL_MEMFD_MIN, 2);
    check(!lies_in_a_file(q));
    check(owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    char *r = filled(OWL_MEMFD_MIN - 4096, 3);
    check(!lies_in_a_file(r));
    r = owl_realloc(r, 2 * OWL_MEMFD_MIN); /* grows where it is at home */
    check(!lies_in_a_file(r) && holds(r, OWL_MEMFD_MIN - 4096, 3));
    check(holds(p, OWL_MEMFD_MIN, 1) && holds(q, OWL_MEMFD_MIN, 2));
    owl_free(p);
    owl_free(q);
    owl_free(r);
    check(owl_stats_heap_is_valid());
}

static void fresh_memory_of_a_file_is_zero(void)
{
    set_up();
    for (int i = 0; i < 3; i++) {
        char *p = owl_calloc(1, 4 * MIB);
        check(lies_in_a_file(p) && holds(p, 4 * MIB, 0));
        memset(p, 1, 4 * MIB);
        owl_free(p);
        if (i == 1)
            owl_trim(0);
    }
    size_t before = owl_os.resident();
    char *p = filled(64 * MIB, 1);
    owl_free(p);
    owl_trim(0);
    size_t after = owl_os.resident();
    /* a sanitizer's own memory is counted too */
    check(before == 0 || SANITIZED || after < before + 8 * MIB);
    check(owl_stats_heap_is_valid());
}

/* The file is as long as the range; what of it is not in use costs no memory, though the program
 * locks all of its memory, or its core is dumped. */
static void unused_parts_cost_nothing(void)
{
    struct rlimit r;
    if (SANITIZED)
        return; /* sanitizers reserve more than the limit */
    check(getrlimit(RLIMIT_AS, &r) == 0);
    r.rlim_cur = (rlim_t)8 << 30;
    check(setrlimit(RLIMIT_AS, &r) == 0); /* a range of 1 GiB */
    set_up();
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        return; /* not allowed */
    char *p = filled(40 * MIB, 1);
    check(lies_in_a_file(p));
    check(owl_os.resident() < 400 * MIB);
    check(munlockall() == 0 && mlockall(MCL_CURRENT) == 0);
    check(owl_os.resident() < 400 * MIB);
    char *d = owl_dup(p);
    p = owl_realloc(p, 80 * MIB);
    check(holds(p, 40 * MIB, 1) && holds(d, 40 * MIB, 1));
    owl_free(p);
    owl_free(d);
    owl_trim(0);
    check(owl_stats_heap_is_valid());
}

/* Whether the mapping at p has a flag, of two letters, of those that the system lists for it. */
static bool has_flag(const void *p, const char *flag)
{
    char line[512];
    unsigned long start, end;
    bool here = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    check(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            here = start <= (uintptr_t)p && (uintptr_t)p < end;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    fclose(f);
    return found;
}

static void cores_are_short(void)
{
    set_up();
    char *p = filled(40 * MIB, 1);
    check(lies_in_a_file(p) && !has_flag(p, " dd") && has_flag(p, " wr"));
    check(has_flag(p + 200 * MIB, " dd") && !has_flag(p + 200 * MIB, " wr"));
}

/* What the parent does after the fork the child must not see, and the other way round. */
static struct {
    char *plain, *grown, *first, *second, *stepped;
} heap;

static void make_heap(void)
{
    heap.plain = filled(3 * MIB, 1);
    heap.grown = filled(2 * MIB, 2);
    char *wall = filled(MIB, 9);
    heap.grown = owl_realloc(heap.grown, 20 * MIB);
    memset(heap.grown + 2 * MIB, 2, 18 * MIB);
    heap.first = filled(5 * MIB, 3);
    heap.second = owl_dup(heap.first);
    memset(heap.second, 4, MIB);
    heap.stepped = owl_grow_front(filled(MIB, 5), 16);
    memset(heap.stepped, 5, 16);
    owl_free(wall);
}

static bool heap_holds(void)
{
    return holds(heap.plain, 3 * MIB, 1) && holds(heap.grown, 20 * MIB, 2) &&
           holds(heap.first, 5 * MIB, 3) && holds(heap.second, MIB, 4) &&
           holds(heap.second + MIB, 4 * MIB, 3) && holds(heap.stepped, MIB + 16, 5);
}

static void scribble(int with)
{
    memset(heap.plain, with, 3 * MIB);
    memset(heap.grown, with, 20 * MIB);
    memset(heap.first, with, 5 * MIB);
    memset(heap.second, with, 5 * MIB);
    memset(heap.stepped, with, MIB + 16);
}

static void use_and_free_heap(void)
{
    int last = heap.second[5 * MIB - 1];
    heap.plain = owl_realloc(heap.plain, 9 * MIB);
    heap.first = owl_grow_front(heap.first, MIB);
    char *d = owl_dup(heap.second);
    check(memcmp(d, heap.second, 5 * MIB) == 0);
    owl_free(d);
    owl_free(heap.plain);
    owl_free(heap.grown);
    owl_free(heap.first);
    char *fresh = owl_calloc(1, 12 * MIB);
    check(holds(fresh, 12 * MIB, 0));
    memset(fresh, 8, 12 * MIB);
    check(holds(heap.second, MIB, heap.second[0]) && holds(heap.second + MIB, 4 * MIB, last));
    owl_free(heap.second);
    owl_free(heap.stepped);
    owl_free(fresh);
    owl_trim(0);
    check(owl_stats_heap_is_valid());
}

static void fork_copies(void)
{
    int go[2], done[2];
    char c;
    set_up();
    make_heap();
    check(heap_holds() && pipe(go) == 0 && pipe(done) == 0);
    pid_t pid = fork();
    check(pid >= 0);
    if (pid == 0) {
        child_prepare();
        check(read(go[0], &c, 1) == 1); /* the parent has written everywhere */
        check(heap_holds());
        scribble(7);
        check(write(done[1], "d", 1) == 1 && read(go[0], &c, 1) == 1);
        use_and_free_heap(); /* the parent has freed all */
        _exit(0);
    }
    scribble(6);
    check(write(go[1], "g", 1) == 1 && read(done[0], &c, 1) == 1);
    check(holds(heap.plain, 3 * MIB, 6) && holds(heap.grown, 20 * MIB, 6));
    check(holds(heap.first, 5 * MIB, 6) && holds(heap.second, 5 * MIB, 6));
    use_and_free_heap();
    make_heap();
    check(heap_holds());
    check(write(go[1], "g", 1) == 1);
    check(child_wait(pid) == 0);
    check(heap_holds());
    pid = fork(); /* and once more, with what is in files by now */
    if (pid == 0) {
        check(heap_holds());
        use_and_free_heap();
        _exit(0);
    }
    scribble(6);
    check(child_wait(pid) == 0);
    use_and_free_heap();
}

/* Threads count in the first word of a page, then in that of another, without end. At any moment
 * the first is equal to the second or one ahead: in the child too, and there nothing moves. */
enum { WRITERS = 3, PAGES = 64 };

static unsigned long *counted[WRITERS];
static atomic_bool stop;

static unsigned long *word_of(unsigned long *block, int page)
{
    return block + 4096 / sizeof *block * (size_t)page;
}

static void *count(void *block)
{
    for (unsigned long n = 1; !atomic_load(&stop); n++)
        for (int i = 0; i < PAGES; i++)
            __atomic_store_n(word_of(block, i), n, __ATOMIC_SEQ_CST);
    return NULL;
}

static unsigned long number_at(unsigned long *block, int page)
{
    return __atomic_load_n(word_of(block, page), __ATOMIC_SEQ_CST);
}

static void look_at_counts(void)
{
    for (int w = 0; w < WRITERS; w++) {
        unsigned long seen[PAGES];
        for (int i = 0; i < PAGES; i++)
            seen[i] = number_at(counted[w], i);
        for (int i = 1; i < PAGES; i++)
            check(seen[i] == seen[i - 1] || seen[i] + 1 == seen[i - 1]);
        check(seen[0] - seen[PAGES - 1] <= 1);
        usleep(1000);
        for (int i = 0; i < PAGES; i++)
            check(number_at(counted[w], i) == seen[i]);
    }
}

static void fork_is_of_one_moment(void)
{
    pthread_t threads[WRITERS];
    set_up();
    for (int round = 0; round < ROUNDS(20); round++) {
        atomic_store(&stop, false);
        for (int w = 0; w < WRITERS; w++)
            counted[w] = (void *)filled(MIB, 0);
        char *copy = owl_dup(counted[1]); /* one of them shows a store */
        for (int w = 0; w < WRITERS; w++)
            check(pthread_create(&threads[w], NULL, count, counted[w]) == 0);
        usleep(2000);
        pid_t pid = fork();
        if (pid == 0) {
            child_prepare();
            look_at_counts();
            _exit(0);
        }
        unsigned long then = number_at(counted[0], 0);
        check(child_wait(pid) == 0);
        while (number_at(counted[0], 0) == then)
            usleep(100);
        atomic_store(&stop, true);
        for (int w = 0; w < WRITERS; w++)
            pthread_join(threads[w], NULL);
        for (int w = 0; w < WRITERS; w++)
            owl_free(counted[w]);
        owl_free(copy);
        check(owl_stats_heap_is_valid());
    }
}

static void *free_it(void *p)
{
    owl_free(p);
    return NULL;
}

/* A fork that comes while a block is on its way to the pool: the granules are private afterwards,
 * so a purge makes them read as zero. */
static void fork_while_a_block_is_freed(void)
{
    pthread_t thread;
    set_up();
    char *p = filled(MIB, 1);
    owl_pool_fork_prepare(); /* the thread waits for the pool */
    check(pthread_create(&thread, NULL, free_it, p) == 0);
    usleep(100000);
    owl_pool_fork_parent();
    owl_memfd_fork_prepare();
    owl_memfd_fork_parent();
    pthread_join(thread, NULL);
    owl_trim(0);
    check(holds(p, MIB, 0));
    check(owl_stats_heap_is_valid());
}

/* Forks that freeze one file after the other, under a limit of address space. */
static void forks_leave_addresses(void)
{
    struct rlimit r;
    if (SANITIZED)
        return; /* sanitizers reserve more than the limit */
    check(getrlimit(RLIMIT_AS, &r) == 0);
    r.rlim_cur = (rlim_t)4 << 30;
    check(setrlimit(RLIMIT_AS, &r) == 0);
    set_up();
    for (int i = 0; i < 20; i++) {
        char *p = filled(MIB, i);
        check(lies_in_a_file(p));
        char *d = owl_dup(p);
        pid_t pid = fork();
        check(pid >= 0);
        if (pid == 0)
            _exit(holds(d, MIB, i) ? 0 : 1);
        check(child_wait(pid) == 0);
        owl_free(p);
        owl_free(d);
    }
    check(owl_stats_heap_is_valid());
}

static void auto_turns_private_with_a_fork(void)
{
    set_up();
    check(owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    char *p = filled(OWL_MEMFD_MIN, 1);
    check(lies_in_a_file(p));
    pid_t pid = fork();
    if (pid == 0)
        _exit(holds(p, OWL_MEMFD_MIN, 1) ? 0 : 1);
    check(child_wait(pid) == 0 && !lies_in_a_file(p));
    char *q = filled(OWL_MEMFD_MIN, 2);
    check(!lies_in_a_file(q) && holds(p, OWL_MEMFD_MIN, 1));
    owl_free(p);
    owl_free(q);
    check(owl_stats_heap_is_valid());
}

static void shared_blocks_stay_shared(void)
{
    size_t offset;
    set_up();
    char *ring = owl_ring(64 << 10);
    char *p = filled(MIB, 1);
    int descriptor = owl_export(p, &offset);
    check(ring != NULL && descriptor >= 0);
    pid_t pid = fork();
    if (pid == 0) {
        ring[5] = 3;
        p[5] = 4;
        _exit(ring[5 + (64 << 10)] == 3 ? 0 : 1);
    }
    check(child_wait(pid) == 0 && ring[5] == 3 && p[5] == 4);
    owl_free(ring);
    owl_free(p);
    close(descriptor);
    check(!has_flag(p, " sh") && holds(p, MIB, 0)); /* nor shown any more */
    check(owl_stats_heap_is_valid());
}

/* The next block in the place of a shared one is nobody else's. */
static void shared_until_freed(void)
{
    size_t offset;
    set_up();
    char *p = filled(MIB, 1);
    int descriptor = owl_export(p, &offset);
    check(descriptor >= 0);
    owl_free(p);
    char *q = filled(MIB, 2);
    check(q == p);
    pid_t pid = fork();
    if (pid == 0) {
        memset(q, 3, MIB);
        _exit(0);
    }
    check(child_wait(pid) == 0 && holds(q, MIB, 2));
    q = owl_realloc(q, MIB + 4096);
    owl_free(q);
    close(descriptor);
}

/* What a block that a fork has made private leaves behind when it moves is zero. */
static void frozen_blocks_leave_zeroes(void)
{
    set_up();
    char *p = filled(4 * MIB, 1);
    char *wall = filled(MIB, 2);
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    check(child_wait(pid) == 0 && holds(p, 4 * MIB, 1));
    char *q = owl_realloc(p, 12 * MIB);
    check(q != p && holds(q, 4 * MIB, 1) && holds(p, 4 * MIB, 0));
    owl_free(q);
    owl_free(wall);
    check(owl_stats_heap_is_valid());
}

static void close_all(void)
{
    struct rlimit r;
    check(getrlimit(RLIMIT_NOFILE, &r) == 0);
    for (int i = 3; i < (int)(r.rlim_cur < 70000 ? r.rlim_cur : 70000); i++)
        close(i);
}

static void without_descriptors(void)
{
    set_up();
    make_heap();
    char *p = filled(40 * MIB, 1);
    close_all();
    check(heap_holds() && holds(p, 40 * MIB, 1));
    char *q = filled(40 * MIB, 2);
    check(lies_in_a_file(p) && !lies_in_a_file(q));
    p = owl_realloc(p, 100 * MIB);
    p = owl_grow_front(p, MIB);
    check(holds(p + MIB, 40 * MIB, 1));
    char *d = owl_dup(q);
    check(holds(d, 40 * MIB, 2));
    check(owl_swap(p, q, MIB) == 0 && holds(p, MIB, 2));
    size_t offset;
    check(owl_export(d, &offset) == -1);
    owl_free(p);
    owl_free(q);
    use_and_free_heap();
    owl_free(d);
    check(owl_stats_heap_is_valid());
}

/* The number is another file's by now, and must be left alone. */
static void with_a_stolen_descriptor(void)
{
    set_up();
    make_heap();
    close_all();
    int other = memfd_create("other", 0);
    check(other >= 0 && ftruncate(other, 4096) == 0);
    struct rlimit r;
    check(getrlimit(RLIMIT_NOFILE, &r) == 0);
    for (int i = 3; i < (int)(r.rlim_cur < 70000 ? r.rlim_cur : 70000); i++)
        check(i == other || dup2(other, i) == i);
    char *d = owl_dup(heap.plain);
    check(holds(d, 3 * MIB, 1) && heap_holds());
    owl_free(d);
    use_and_free_heap();
}

static void fork_without_descriptors(void)
{
    set_up();
    make_heap();
    close_all();
    pid_t pid = fork();
    if (pid == 0) {
        check(heap_holds());
        scribble(7);
        use_and_free_heap();
        _exit(0);
    }
    check(child_wait(pid) == 0 && heap_holds());
    use_and_free_heap();
}

static void limit(int which, rlim_t to)
{
    struct rlimit r;
    check(getrlimit(which, &r) == 0);
    r.rlim_cur = to;
    check(setrlimit(which, &r) == 0);
}

static void without_files(void)
{
    set_up();
    limit(RLIMIT_FSIZE, 1 << 20); /* a longer file would raise SIGXFSZ */
    make_heap();
    check(heap_holds() && !lies_in_a_file(heap.plain));
    use_and_free_heap();
}

static void without_numbers_for_descriptors(void)
{
    set_up();
    limit(RLIMIT_NOFILE, 3);
    make_heap();
    check(heap_holds() && !lies_in_a_file(heap.plain));
    use_and_free_heap();
}

static size_t few(void)
{
    return 200;
}

static size_t many(void)
{
    return 60000;
}

static bool yes(void)
{
    return true;
}

static bool is_resident(char *p, size_t bytes)
{
    static unsigned char in[40 * MIB / 4096];
    size_t pages = bytes / owl_os.page, count = 0;
    check(pages <= sizeof in && mincore(p, bytes, in) == 0);
    for (size_t i = 0; i < pages; i++)
        count += in[i] & 1;
    return count == pages;
}

/* Where memory is counted when it is promised, a block of a file has its memory before it is
 * touched, however it grows. */
static void files_under_strict_overcommit(void)
{
    set_up();
    owl_os.strict_overcommit = yes;
    char *p = owl_malloc(2 * MIB);
    check(lies_in_a_file(p) && is_resident(p, 2 * MIB));
    char *wall = owl_malloc(MIB);
    p = owl_realloc(p, 9 * MIB);
    check(!lies_in_a_file(p) || is_resident(p, 9 * MIB));
    owl_free(wall);
    p = owl_realloc(p, 12 * MIB);
    check(!lies_in_a_file(p) || is_resident(p, 12 * MIB));
    p = owl_shrink_front(p, 2 * MIB);
    p = owl_grow_front(p, 3 * MIB);
    check(!lies_in_a_file(p) || is_resident(p, 13 * MIB));
    char *d = owl_dup(p);
    check(d != NULL && owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    char *q = owl_malloc(OWL_MEMFD_MIN);
    check(q != NULL && !lies_in_a_file(q));
    owl_free(p);
    owl_free(d);
    owl_free(q);
    check(owl_stats_heap_is_valid());
}

/* Where the process has as many mappings as it may, growth copies. */
static void mappings_are_left_to_others(void)
{
    set_up();
    owl_os.mapping_limit = few;
    owl_os.mapping_count = many;
    unsigned long moves = calls_of(FAULT_MOVE);
    make_heap();
    check(heap_holds() && calls_of(FAULT_MOVE) == moves);
    use_and_free_heap();
}

/* A block of many mappings, to which a wall stands next. */
static char *make_patchwork(size_t *bytes)
{
    char *p = filled(MIB, 1);
    char *q = filled(MIB, 1);
    *bytes = MIB;
    for (int i = 0; i < 6; i++) {
        check(owl_swap(p, q, MIB / 4) == 0);
        p = owl_grow_front(p, MIB / 2);
        memset(p, 1, MIB / 2);
        *bytes += MIB / 2;
    }
    owl_free(q);
    for (int i = 0; i < 300; i++)
        check(owl_malloc(OWL_GRANULE) != NULL);
    return p;
}

static size_t mappings_left; /* that the system would allow, about */

/* Others have nearly all mappings that there may be, which nobody here knows. */
static void use_up_mappings(void)
{
    size_t most = owl_os.mapping_limit() - mappings_left;
    char *m = owl_os.reserve(2 * most * owl_os.page);
    check(m != NULL);
    for (size_t i = 0, now = owl_os.mapping_count(); now + 2 <= most;) {
        for (size_t more = (most - now) / 2; more > 0; more--, i++)
            check(owl_os.commit(m + (2 * i + 1) * owl_os.page, owl_os.page) == 0);
        now = owl_os.mapping_count();
    }
}

static void grow_patchwork(void)
{
    size_t bytes;
    char *p = make_patchwork(&bytes);
    char *other = filled(2 * MIB, 2);
    use_up_mappings();
    p = owl_realloc(p, 20 * MIB);
    check(p != NULL && holds(p, bytes, 1));
    memset(p, 1, 20 * MIB);
    check(owl_swap(p, other, 2 * MIB) == 0 && holds(p, 2 * MIB, 2) && holds(other, 2 * MIB, 1));
    char *d = owl_dup(p);
    check(d != NULL && holds(d, 2 * MIB, 2) && holds(d + 2 * MIB, 18 * MIB, 1));
    owl_free(p);
    owl_free(d);
    owl_trim(0);
    for (int i = 0; i < 20; i++) {
        p = owl_calloc(1, 5 * MIB);
        check(p != NULL && holds(p, 5 * MIB, 0));
        memset(p, 3, 5 * MIB);
    }
    check(owl_stats_heap_is_valid());
}

static void grow_private_patchwork(void)
{
    set_up();
    check(owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    grow_patchwork();
}

static void grow_patchwork_of_a_file(void)
{
    set_up();
    grow_patchwork();
}

/* A move stops wherever it stops. */
static void others_have_the_mappings(void)
{
    owl_os_init();
    if (SANITIZED || owl_os.mapping_limit() == 0 || owl_os.mapping_limit() > 300000)
        return; /* sanitizers need some themselves; or a bound that takes long to reach */
    for (mappings_left = 2; mappings_left <= 22; mappings_left += 3) {
        check(child_succeeds(grow_private_patchwork));
        check(child_succeeds(grow_patchwork_of_a_file));
    }
}

/* Kernels before 6.17 do not move several mappings at once; they look for that when what was at the
 * other place has gone. */
static int move_before_6_17(void *from, void *to, size_t bytes)
{
    if (faults.real.piece(from, bytes) == bytes)
        return fault_move(from, to, bytes);
    check(faults.real.unmap(to, bytes) == 0);
    return -1;
}

/* Kernels before 5.13 move only private pages of no file. */
static int move_before_5_13(void *from, void *to, size_t bytes)
{
    const struct owl_span *s = owl_span_of(from);
    if (s == NULL || !lies_in_a_file(from))
        return move_before_6_17(from, to, bytes);
    check(faults.real.reset(to, bytes) == 0);
    return -1;
}

static void grow_and_fork(int (*move)(void *, void *, size_t))
{
    size_t bytes;
    set_up();
    owl_os.move = move;
    char *p = make_patchwork(&bytes);
    p = owl_realloc(p, 20 * MIB);
    check(holds(p, bytes, 1));
    make_heap();
    check(heap_holds());
    pid_t pid = fork();
    if (pid == 0) {
        check(heap_holds() && holds(p, bytes, 1));
        use_and_free_heap();
        _exit(0);
    }
    check(child_wait(pid) == 0 && holds(p, bytes, 1));
    owl_free(p);
    use_and_free_heap();
}

static void kernels_before_6_17(void)
{
    grow_and_fork(move_before_6_17);
    check(calls_of(FAULT_MOVE) > 10);
}

static void kernels_before_5_13(void)
{
    grow_and_fork(move_before_5_13);
}

/* Ranges that end soon, so that there are several, each of a file of its own. */
static void several_files(void)
{
    set_up();
    faults.reserve_most = 100 * MIB;
    char *blocks[6];
    for (int i = 0; i < 6; i++)
        blocks[i] = filled(20 * MIB, i);
    for (int i = 0; i < 6; i++) {
        blocks[i] = owl_realloc(blocks[i], 30 * MIB);
        check(blocks[i] != NULL);
        memset(blocks[i] + 20 * MIB, i, 10 * MIB);
        char *d = owl_dup(blocks[i]);
        check(d != NULL && holds(d, 30 * MIB, i));
        owl_free(d);
    }
    for (int i = 0; i < 6; i++) {
        check(holds(blocks[i], 30 * MIB, i));
        owl_free(blocks[i]);
    }
    check(owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(thresholds),
        child_test(fresh_memory_of_a_file_is_zero),
        child_test(unused_parts_cost_nothing),
        child_test(cores_are_short),
        child_test(fork_copies),
        child_test(fork_is_of_one_moment),
        child_test(fork_while_a_block_is_freed),
        child_test(forks_leave_addresses),
        child_test(auto_turns_private_with_a_fork),
        child_test(shared_blocks_stay_shared),
        child_test(shared_until_freed),
        child_test(frozen_blocks_leave_zeroes),
        child_test(without_descriptors),
        child_test(with_a_stolen_descriptor),
        child_test(fork_without_descriptors),
        child_test(without_files),
        child_test(without_numbers_for_descriptors),
        child_test(files_under_strict_overcommit),
        child_test(mappings_are_left_to_others),
        child_test(others_have_the_mappings),
        child_test(kernels_before_6_17),
        child_test(kernels_before_5_13),
        child_test(several_files),
    };
    return cmocka_run_group_tests_name("memfd", tests, NULL, NULL);
}
