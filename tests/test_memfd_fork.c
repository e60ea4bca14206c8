/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks in files: what a fork copies, and what it leaves shared. */

#include <owl/pages.h>
#include <pthread.h>
#include <stdatomic.h>

#include "cache.h"
#include "memfd_heap.h"
#include "pool.h"

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
    for (int round = 0; round < RANDOM_ROUNDS(20); round++) {
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

static void fork_and_wait(void)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    check(child_wait(pid) == 0);
}

/* What a block that a fork has made private leaves behind when it moves is zero. */
static void frozen_blocks_leave_zeroes(void)
{
    set_up();
    char *p = filled(4 * MIB, 1);
    char *wall = filled(MIB, 2);
    fork_and_wait();
    check(holds(p, 4 * MIB, 1));
    char *q = owl_realloc(p, 12 * MIB);
    check(q != p && holds(q, 4 * MIB, 1) && holds(p, 4 * MIB, 0));
    owl_free(q);
    owl_free(wall);
    check(owl_stats_heap_is_valid());
}

/* All memory that is free becomes blocks of pages, which have to be zero. */
static void free_pages_are_zero(void)
{
    enum { BLOCKS = 12 };
    char *block[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = owl_pages_alloc(2 * MIB / 4096, OWL_PAGES_NO_COMMIT);
        check(block[i] != NULL && holds(block[i], 2 * MIB, 0));
    }
    for (int i = 0; i < BLOCKS; i++)
        owl_pages_free(block[i], 0);
    owl_trim(0); /* so that what is given back next comes first */
}

/* What is given back of such a block is zero, and not what the file has. */
static void frozen_pages_are_cleared(void)
{
    set_up();
    char *p = filled(4 * MIB, 1), *q = filled(4 * MIB, 1), *r = filled(8 * MIB, 1);
    fork_and_wait();
    memset(p, 2, 4 * MIB);
    check(owl_pages_release(p, 16, 64) == 0 && holds(p, 16 * 4096, 2));
    check(holds(p + 16 * 4096, 64 * 4096, 0) && holds(p + 80 * 4096, MIB, 2));
    p = owl_realloc(p, 20 * MIB); /* which moves it */
    check(owl_pages_release(p, 100, 100) == 0 && holds(p + 100 * 4096, 100 * 4096, 0));
    struct owl_pages_piece piece = {q, 3, 200};
    char *g = owl_pages_gather(&piece, 1);
    check(g != NULL && holds(g, 200 * 4096, 1) && holds(q + 3 * 4096, 200 * 4096, 0));
    check(owl_swap(g, r, 200 * 4096) == 0 && owl_pages_release(g, 0, 200) == 0);
    check(holds(g, 200 * 4096, 0) && holds(r, MIB - 300 * 1024, 1));
    free_pages_are_zero();
    r = owl_shrink_front(r, 2 * MIB);
    free_pages_are_zero();
    r = owl_realloc(r, 4 * MIB);
    free_pages_are_zero();
    owl_free(q);
    free_pages_are_zero();
    owl_free(r);
    owl_free(p);
    owl_free(g);
    check(owl_stats_heap_is_valid());
}

/* Nor is it where a move has put pages that came back as it was refused. */
static void a_refused_move_leaves_nothing(void)
{
    set_up();
    check(owl_option_set("dirty", 1 << 30) == 0);
    char *p = filled(4 * MIB, 1), *behind = filled(4 * MIB, 1);
    owl_free(behind);
    fork_and_wait();
    check(owl_realloc(p, 5 * MIB) == p); /* so there are two mappings */
    fault_at(FAULT_MOVE, 2);
    char *q = owl_realloc(p, 12 * MIB);
    check(q != p && holds(q, 4 * MIB, 1) && atomic_load(&faults.failed[FAULT_MOVE]) == 1);
    for (int i = 0; i < 12; i++) {
        char *pages = owl_pages_alloc(2 * MIB / 4096, OWL_PAGES_RECYCLED);
        check(pages != NULL && owl_pages_release(pages, 0, 2 * MIB / 4096) == 0);
        check(holds(pages, 2 * MIB, 0));
    }
}

static bool a_file_is_mapped(void)
{
    char line[512];
    bool found = false;
    FILE *f = fopen("/proc/self/maps", "r");
    check(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        found = found || strstr(line, "memfd:owlalloc") != NULL;
    fclose(f);
    return found;
}

/* All memory of the file lives as long as anything is mapped of it. */
static void the_file_ends_with_its_blocks(void)
{
    set_up();
    char *p = filled(4 * MIB, 1);
    check(a_file_is_mapped());
    fork_and_wait();
    check(a_file_is_mapped() && holds(p, 4 * MIB, 1));
    owl_free(p);
    check(!a_file_is_mapped());
}

/* The same with the option that fills free blocks with zeroes. */
static void frozen_blocks_are_wiped(void)
{
    owl_option_force(OWL_OPTION_ZERO_ON_FREE, 1);
    owl_option_force(OWL_OPTION_QUARANTINE, (long long)(64 * MIB));
    set_up();
    owl_cache_harden();
    char *p = filled(4 * MIB, 1);
    fork_and_wait();
    memset(p, 2, MIB);
    owl_free(p);
    check(holds(p, 4 * MIB, 0)); /* it waits in quarantine */
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

/* More forks than there are ranges: those that are free again get new files. */
static void files_begin_anew(void)
{
    set_up();
    char *kept = filled(3 * MIB, 1);
    for (int i = 0; i < 3 * OWL_RANGES; i++) {
        char *ring = owl_ring(MIB), *block = owl_calloc(1, 5 * MIB + (size_t)(i % 4) * MIB);
        check(ring != NULL && block != NULL && owl_memfd_is_live(owl_span_of(block)));
        check(holds(block, 5 * MIB, 0) && holds(ring, MIB, 0) && !has_flag(block, " dd"));
        memset(block, 2, 5 * MIB);
        memset(ring, 3, MIB);
        char *copy = owl_dup(block);
        check(copy != NULL);
        pid_t pid = fork();
        if (pid == 0) {
            memset(block, 4, 5 * MIB);
            memset(kept, 4, 3 * MIB);
            _exit(holds(copy, 5 * MIB, 2) && holds(ring + MIB, MIB, 3) ? 0 : 1);
        }
        check(child_wait(pid) == 0);
        check(holds(block, 5 * MIB, 2) && holds(copy, 5 * MIB, 2) && holds(kept, 3 * MIB, 1));
        owl_free(block);
        owl_free(copy);
        owl_free(ring);
        check(owl_stats_heap_is_valid());
    }
    check(owl_u32_load_relaxed(&owl_range_count) <= 5);
    owl_free(kept);
    owl_trim(0);
    check(owl_pool_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(fork_copies),
        child_test(fork_is_of_one_moment),
        child_test(fork_while_a_block_is_freed),
        child_test(forks_leave_addresses),
        child_test(auto_turns_private_with_a_fork),
        child_test(shared_blocks_stay_shared),
        child_test(shared_until_freed),
        child_test(frozen_blocks_leave_zeroes),
        child_test(frozen_pages_are_cleared),
        child_test(a_refused_move_leaves_nothing),
        child_test(the_file_ends_with_its_blocks),
        child_test(frozen_blocks_are_wiped),
        child_test(fork_without_descriptors),
        child_test(files_begin_anew),
    };
    return cmocka_run_group_tests_name("memfd_fork", tests, NULL, NULL);
}
