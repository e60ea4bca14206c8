/* SPDX-License-Identifier: BSD-2-Clause */
/* The limit on memory: what counts, what makes room, and what is refused. */
#include <errno.h>
#include <owl/array.h>
#include <owl/large.h>
#include <owl/option.h>
#include <owl/pages.h>
#include <pthread.h>

#include "cache_inside.h"

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "option.h"
#include "pool.h"
#include "stats.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

enum { MANY = 4096 };

static void *blocks[MANY];

static void set_limit(size_t bytes)
{
    check(owl_option_set("limit", (long long)bytes) == 0);
}

/* Nobody else purges. */
static void set_up(size_t limit)
{
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    owl_free(owl_malloc(1));
    owl_trim(0);
    faults_install();
    check(owl_option_set("backing", OWL_BACKING_PRIVATE) == 0);
    set_limit(limit);
}

static size_t in_use(void)
{
    return owl_pool_count().in_use;
}

/* All that the limit holds for, while nothing is being purged. */
static size_t held(void)
{
    struct owl_pool_counts c = owl_pool_count();
    return c.in_use + (c.dirty << OWL_GRANULE_SHIFT);
}

/* Nothing is left, and no count of moves went astray. */
static void check_empty(void)
{
    owl_trim(0);
    check(in_use() == 0 && owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static bool is_refused(const void *p)
{
    bool refused = p == NULL && errno == ENOMEM;
    errno = 0;
    return refused;
}

/* Blocks of one size until no more are to be had; how many. */
static size_t take_all(size_t size)
{
    size_t n = 0;
    errno = 0;
    while (n < MANY && (blocks[n] = opaque(owl_malloc(size))) != NULL)
        memset(blocks[n++], 7, size < 64 ? size : 64);
    check(n == MANY || is_refused(blocks[n]));
    return n;
}

static void free_all(size_t n)
{
    while (n > 0)
        owl_free(blocks[--n]);
}

static void large_blocks_fill_it_exactly(void)
{
    set_up(64 * MIB);
    check(take_all(MIB) == 64 && in_use() == 64 * MIB && held() <= 64 * MIB);
    for (int i = 0; i < 64; i++) {
        owl_free(blocks[i]);
        check((blocks[i] = opaque(owl_malloc(MIB))) != NULL && is_refused(owl_malloc(MIB)));
    }
    free_all(64);
    check_empty();
    check(take_all(MIB) == 64);
    set_limit(65 * MIB);
    check((blocks[64] = opaque(owl_malloc(MIB))) != NULL && is_refused(owl_malloc(MIB)));
    set_limit(0);
    check((blocks[65] = opaque(owl_malloc(8 * MIB))) != NULL);
    free_all(66);
    check_empty();
}

static void small_blocks_do_too(void)
{
    set_up(4 * MIB);
    size_t n = take_all(2048);
    check(n > 4 * MIB / 2048 - 64 && n <= 4 * MIB / 2048 && held() <= 4 * MIB);
    check(is_refused(opaque(owl_calloc(1, 2048))) && is_refused(opaque(owl_malloc(20000))));
    check(is_refused(opaque(owl_aligned_alloc(4096, 4096))));
    free_all(n);
    check(take_all(2048) == n);
    free_all(n);
    check_empty();
}

/* Dirty memory in pieces too small for a request makes room for it. */
static void dirty_memory_goes_first(void)
{
    set_up(64 * MIB);
    check(owl_option_set("dirty", (long long)GIB) == 0);
    check(take_all(MIB) == 64);
    for (int i = 0; i < 64; i += 2) {
        memset(blocks[i], 1, MIB);
        owl_free(blocks[i]);
    }
    owl_cache_flush(owl_cache_mine());
    check(owl_pool_count().dirty == 32 * 16 && in_use() == 32 * MIB);
    void *p = opaque(owl_malloc(20 * MIB));
    check(p != NULL && in_use() == 52 * MIB && held() <= 64 * MIB && owl_pool_is_valid());
    check(is_refused(opaque(owl_malloc(13 * MIB))));
    check((blocks[0] = opaque(owl_malloc(12 * MIB))) != NULL && held() == 64 * MIB);
    owl_free(blocks[0]);
    owl_free(p);
    for (int i = 1; i < 64; i += 2)
        owl_free(blocks[i]);
    check_empty();
}

/* At the limit, with dirty memory in granules, blocks of two granules need clean memory each. Most
 * of them find it made ready by one before. */
static void not_every_take_purges(void)
{
    enum { PIECES = 1024, TAKES = 200 };
    set_up(0);
    check(owl_option_set("dirty", (long long)GIB) == 0);
    void *takes[TAKES];
    for (int i = 0; i < PIECES; i++)
        check((blocks[i] = opaque(owl_malloc(OWL_GRANULE))) != NULL);
    for (int i = 0; i < PIECES; i += 2)
        owl_free(blocks[i]);
    size_t bytes = held();
    set_limit(bytes);
    check(owl_option_set("dirty", 64 * (long long)MIB) == 0);
    int purging = 0;
    for (int i = 0; i < TAKES; i++) {
        unsigned long before = calls_of(FAULT_PURGE);
        check((takes[i] = opaque(owl_malloc(2 * OWL_GRANULE))) != NULL && held() <= bytes);
        purging += calls_of(FAULT_PURGE) != before;
    }
    check(purging > 0 && purging <= TAKES / 16);
    for (int i = 0; i < TAKES; i++)
        owl_free(takes[i]);
    for (int i = 1; i < PIECES; i += 2)
        owl_free(blocks[i]);
    check_empty();
}

/* Free blocks in the thread's cache make room before anything is refused. */
static void caches_make_room(void)
{
    set_up(0);
    for (size_t size = 2048; size <= OWL_SMALL_MAX; size += size / 8)
        for (int round = 0; round < 4; round++) {
            for (int i = 0; i < 600; i++)
                check((blocks[i] = opaque(owl_malloc(size))) != NULL);
            free_all(600);
        }
    check(owl_pool_purge(0) > 0 && in_use() > 8 * MIB);
    set_limit(in_use());
    void *p = opaque(owl_malloc(8 * MIB));
    check(p != NULL && held() <= 8 * MIB + OWL_GRANULE);
    owl_free(p);
    check_empty();
}

static void a_refused_purge_is_a_refusal(void)
{
    set_up(16 * MIB);
    check(owl_option_set("dirty", (long long)GIB) == 0);
    check(take_all(MIB) == 16);
    for (int i = 0; i < 16; i += 2)
        owl_free(blocks[i]);
    fault_always(FAULT_PURGE);
    check(is_refused(opaque(owl_malloc(2 * MIB))) && in_use() == 8 * MIB);
    check((blocks[0] = opaque(owl_malloc(MIB))) != NULL); /* dirty memory does as it is */
    fault_never(FAULT_PURGE);
    owl_free(blocks[0]);
    check((blocks[0] = opaque(owl_malloc(2 * MIB))) != NULL);
    owl_free(blocks[0]);
    for (int i = 1; i < 16; i += 2)
        owl_free(blocks[i]);
    check_empty();
}

/* Pages that move do not count twice, wherever they move to. */
static void growth(bool file, size_t from, size_t to, size_t limit)
{
    check(owl_option_set("backing", file ? OWL_BACKING_MEMFD : OWL_BACKING_PRIVATE) == 0);
    set_limit(limit);
    unsigned char *p = opaque(owl_malloc(from)), *next = opaque(owl_malloc(MIB));
    check(p != NULL && next != NULL);
    p[0] = 1;
    p[from - 1] = 2;
    unsigned char *q = opaque(owl_realloc(p, to));
    check(q != NULL && q[0] == 1 && q[from - 1] == 2);
    check(in_use() < to + 2 * MIB && held() <= limit);
    errno = 0;
    check(is_refused(opaque(owl_realloc(q, limit))) && q[0] == 1 && q[from - 1] == 2);
    owl_free(q);
    owl_free(next);
    set_limit(0);
    check_empty();
}

static void blocks_grow_within_it(void)
{
    set_up(0);
    growth(false, 30 * MIB, 50 * MIB, 56 * MIB);
    growth(true, 40 * MIB, 60 * MIB, 66 * MIB);
    growth(false, 900 * MIB, 1200 * MIB, 1210 * MIB);
    growth(false, 1500 * MIB, 1900 * MIB, 1910 * MIB);
}

/* One that cannot move must find its neighbour's place within the limit, at both ends. */
static void growth_in_place_is_counted(void)
{
    set_up(8 * MIB);
    char *p = opaque(owl_malloc(4 * MIB));
    check(p != NULL && opaque(owl_realloc(p, 8 * MIB)) == p && in_use() == 8 * MIB);
    check(is_refused(opaque(owl_realloc(p, 8 * MIB + 1))));
    check(opaque(owl_realloc(p, 4 * MIB)) == p);
    check(is_refused(opaque(owl_grow_front(p, 4 * MIB + OWL_GRANULE))));
    p = opaque(owl_grow_front(p, 4 * MIB));
    check(p != NULL && in_use() == 8 * MIB && held() <= 8 * MIB);
    owl_free(p);
    check_empty();
}

/* A block that is all there, and another behind it; and 4 MiB that are free and dirty. */
static char *full_block(void)
{
    static const unsigned mib[] = {2, 2, 4, 2};
    owl_trim(0);
    for (int i = 0; i < 4; i++)
        check((blocks[i] = opaque(owl_malloc(mib[i] * MIB))) != NULL);
    check((char *)blocks[1] == (char *)blocks[0] + 2 * MIB);
    memset(blocks[0], 1, 2 * MIB);
    owl_free(blocks[2]);
    blocks[2] = NULL;
    return blocks[0];
}

/* The block, when it has to become 1.5 MiB longer with so many bytes left; and all goes. */
static void grows(bool front, size_t left)
{
    char *p = full_block();
    set_limit(in_use() + left);
    errno = 0;
    blocks[0] = opaque(front ? owl_grow_front(p, 3 * MIB / 2) : owl_realloc(p, 7 * MIB / 2));
    check(blocks[0] != NULL && errno == 0);
    p = (char *)blocks[0] + (front ? 3 * MIB / 2 : 0);
    check(p[0] == 1 && p[2 * MIB - 1] == 1);
    set_limit(0);
    free_all(4);
}

static size_t counted; /* how often a block's pages were, not one behind a room */

static size_t counted_resident_of(void *start, size_t bytes)
{
    counted += bytes > owl_os.page;
    return faults.real.resident_of(start, bytes);
}

/* That a block could be copied to dirty memory, but not within the limit, is no reason not to move
 * it; and it is not tried first, for that empties caches. */
static void what_may_not_be_copied_moves(void)
{
    set_up(0);
    owl_os.resident_of = counted_resident_of;
    grows(false, 2 * MIB);
    grows(true, 2 * MIB);
    check(counted == 0);
    grows(false, 6 * MIB);
    check(counted == 1);
    check_empty();
}

/* When a block's pages are counted, others take the dirty memory. */
static size_t resident_while_others_take(void *start, size_t bytes)
{
    counted += bytes > owl_os.page;
    if (bytes > owl_os.page)
        blocks[2] = opaque(owl_malloc(4 * MIB));
    return faults.real.resident_of(start, bytes);
}

static void what_can_no_more_be_copied_moves(void)
{
    set_up(0);
    owl_os.resident_of = resident_while_others_take;
    grows(false, 6 * MIB);
    grows(true, 6 * MIB);
    check(counted == 2);
    check_empty();
}

static void shrinking_needs_nothing(void)
{
    set_up(8 * MIB);
    char *p = opaque(owl_malloc(8 * MIB));
    check(p != NULL && is_refused(opaque(owl_malloc(10))));
    p[9] = 5;
    check(opaque(owl_realloc(p, 10)) == p && p[9] == 5 && in_use() == OWL_GRANULE);
    void *other = opaque(owl_malloc(7 * MIB));
    check(other != NULL);
    owl_free(other);
    owl_free(p);
    check_empty();
}

static void mappings_count(void)
{
    set_up(2 * GIB);
    char *p = opaque(owl_malloc(GIB + GIB / 2));
    check(p != NULL && in_use() == GIB + GIB / 2 && is_refused(opaque(owl_malloc(GIB))));
    check(is_refused(opaque(owl_malloc(3 * GIB))) && is_refused(opaque(owl_realloc(p, 3 * GIB))));
    p = opaque(owl_grow_front(p, GIB / 4));
    check(p != NULL && in_use() == GIB + 3 * GIB / 4);
    check(is_refused(opaque(owl_grow_front(p, GIB / 2))) && in_use() == GIB + 3 * GIB / 4);
    p = opaque(owl_shrink_front(p, GIB / 4));
    check(p != NULL && in_use() == GIB + GIB / 2);
    p = opaque(owl_realloc(p, GIB + GIB / 4));
    check(p != NULL && in_use() == GIB + GIB / 4);
    fault_always(FAULT_MAP);
    errno = 0;
    check(is_refused(opaque(owl_aligned_alloc(8 * GIB, 1))) && in_use() == GIB + GIB / 4);
    fault_always(FAULT_REMAP);
    check(opaque(owl_realloc(p, GIB + GIB / 2)) == NULL && in_use() == GIB + GIB / 4);
    faults_clear();
    owl_free(p);
    check_empty();
}

/* A limit below what is in use: all goes on, but nothing grows. */
static void it_may_be_set_too_low(void)
{
    set_up(0);
    check(take_all(MIB) == MANY && owl_malloc_usable_size(blocks[0]) == MIB);
    set_limit(MIB);
    check(opaque(owl_realloc(blocks[0], MIB / 2)) == blocks[0]);
    char *mapping = blocks[1];
    check(is_refused(opaque(owl_malloc(MIB))) && is_refused(opaque(owl_realloc(mapping, 2 * MIB))));
    free_all(MANY);
    owl_cache_flush(owl_cache_mine());
    check((blocks[0] = opaque(owl_malloc(MIB))) != NULL && held() <= MIB);
    owl_free(blocks[0]);
    owl_cache_flush(owl_cache_mine());
    set_limit(0);
    char *p = opaque(owl_malloc(2 * GIB));
    set_limit(MIB);
    p = opaque(owl_realloc(p, GIB + GIB / 2));
    check(p != NULL && in_use() == GIB + GIB / 2);
    owl_free(p);
    check_empty();
}

/* Elements until no more go in; how many there are is right and they are whole. */
static struct owl_array *fill_array(struct owl_array *a)
{
    uint64_t chunk[512];
    size_t n = 0;
    struct owl_array *longer;
    do {
        for (size_t i = 0; i < 512; i++)
            chunk[i] = n + i;
        longer = owl_array_append(a, chunk, 512);
        a = longer != NULL ? longer : a;
        n += longer != NULL ? 512 : 0;
    } while (longer != NULL && n < 64 * MIB);
    const uint64_t *data = owl_array_data(a);
    check(owl_array_count(a) == n);
    for (size_t i = 0; i < n; i++)
        check(data[i] == i);
    return a;
}

static void arrays_count_what_is_open(void)
{
    set_up(32 * MIB);
    struct owl_array *a = owl_array_new(8, GIB);
    check(a != NULL && in_use() < MIB);
    a = fill_array(a);
    check(held() <= 32 * MIB && owl_array_count(a) * 8 > 31 * MIB);
    check(is_refused(opaque(owl_malloc(4 * MIB))));
    check((a = owl_array_truncate(a, 1000)) != NULL && (a = owl_array_shrink(a)) != NULL);
    check(in_use() < MIB);
    void *p = opaque(owl_malloc(16 * MIB));
    check(p != NULL && owl_array_reserve(a, 4 * GIB, 4 * GIB) == a && in_use() < 17 * MIB);
    owl_array_release(a);
    owl_trim(0);
    check(in_use() == 16 * MIB);
    owl_free(p);

    a = fill_array(owl_array_new(8, 0)); /* in a block */
    check(held() <= 32 * MIB && owl_array_count(a) * 8 > 16 * MIB);
    a = owl_array_truncate(a, 1000);
    check((a = owl_array_shrink(a)) != NULL && (a = owl_array_reserve(a, 0, GIB)) != NULL);
    a = owl_array_truncate(fill_array(owl_array_truncate(a, 0)), 0);
    check(a != NULL);
    owl_array_release(a);
    check_empty();
}

static void the_others_obey_too(void)
{
    set_up(8 * MIB);
    check(owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    size_t page = owl_os.page;
    void *p = opaque(owl_pages_alloc(4 * MIB / page, OWL_PAGES_COMMIT));
    check(p != NULL && is_refused(owl_pages_alloc(5 * MIB / page, 0)));
    check(is_refused(owl_pages_alloc(5 * MIB / page, OWL_PAGES_TOP_DOWN)));
    check(is_refused(owl_pages_realloc(p, 9 * MIB / page, 0)));
    void *twin = opaque(owl_dup(p));
    check(twin != NULL && held() == 8 * MIB && is_refused(opaque(owl_dup(p))));
    owl_free(twin);
    check(is_refused(owl_ring(4 * MIB)) && held() <= 8 * MIB);
    void *ring = owl_ring(MIB);
    check(ring != NULL && held() <= 8 * MIB);
    owl_free(ring);
    owl_free(p);
}

/* 3 MiB of slabs that have all blocks at home. */
static void *take_and_free_many(void *unused)
{
    enum { CLASSES = 8, EACH = OWL_SLAB_MIN_BLOCKS };
    for (int i = 0; i < CLASSES * EACH; i++)
        check((blocks[i] = owl_malloc(owl_classes[OWL_CLASSES - 1 - i / EACH].size)) != NULL);
    free_all(CLASSES * EACH);
    return unused;
}

/* Slabs wait for the next threads, and so much more may be in use. */
static size_t limit_what_waits(size_t more)
{
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_AUTO);
    on_other_thread(take_and_free_many, NULL);
    owl_free(owl_malloc(64));
    owl_pool_purge(0);
    size_t limit = in_use() + more;
    check(owl_orphans.slabs > 0 && owl_orphans.idle > 2 * MIB);
    set_limit(limit);
    return limit;
}

/* They do not keep others from memory; nor are all caches emptied for it. */
static void what_waits_makes_room(void)
{
    set_up(0);
    size_t limit = limit_what_waits(MIB / 2);
    void *p = opaque(owl_malloc(2 * MIB));
    struct owl_cache_counts c = {.blocks = 0};
    owl_cache_count(owl_cache_mine(), &c);
    check(p != NULL && c.blocks > 0 && held() <= limit && owl_orphans.slabs == 0);
    owl_free(p);
    check_empty();
}

static void what_waits_makes_room_for_exports(void)
{
    size_t offset;
    set_up(0);
    check(owl_option_set("backing", OWL_BACKING_AUTO) == 0);
    void *p = opaque(owl_malloc(MIB));
    size_t limit = limit_what_waits(MIB / 2);
    int descriptor = owl_export(p, &offset);
    check(descriptor >= 0 && held() <= limit && owl_orphans.slabs == 0);
    close(descriptor);
    owl_free(p);
    check_empty();
}

/* What is refused for other reasons than the limit does not have all memory given back. */
static void exports_that_cannot_be_do_not(void)
{
    size_t offset;
    set_up(64 * MIB);
    void *p = opaque(owl_malloc(MIB));
    owl_free(opaque(owl_malloc(4 * MIB)));
    unsigned long calls = calls_of(FAULT_PURGE);
    check(owl_export(p, &offset) < 0 && errno == ENOTSUP);
    check(calls_of(FAULT_PURGE) == calls && owl_pool_count().dirty > 0);
    owl_free(p);
}

static void each_process_has_its_own(void)
{
    set_up(8 * MIB);
    check(take_all(MIB) == 8);
    free_all(4);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        void *keep[4];
        memcpy(keep, blocks + 4, sizeof keep);
        check(take_all(MIB) == 4);
        free_all(4);
        _exit(owl_stats_heap_is_valid() ? 0 : 1);
    }
    void *p = opaque(owl_malloc(4 * MIB));
    check(p != NULL && child_wait(pid) == 0 && is_refused(opaque(owl_malloc(MIB))));
}

/* Threads that hold little, with caches of their own, at a limit. */
static _Atomic bool ended;
static _Atomic size_t refusals;

static void *work(void *seed)
{
    enum { SLOTS = 64 };
    uint64_t random = (uintptr_t)seed;
    unsigned char *slot[SLOTS] = {NULL};
    size_t size[SLOTS];
    for (int i = 0; i < RANDOM_ROUNDS(60000); i++) {
        uint64_t r = next_random(&random);
        size_t at = r % SLOTS, bytes = r >> 8 & (r >> 40 & 7 ? 0xfff : 0x7ffff);
        if (slot[at] != NULL)
            check(slot[at][0] == (unsigned char)at && slot[at][size[at]] == (unsigned char)at);
        owl_free(slot[at]);
        slot[at] = owl_malloc(bytes + 1);
        size[at] = bytes;
        if (slot[at] != NULL)
            slot[at][0] = slot[at][bytes] = (unsigned char)at;
        else
            refusals++;
    }
    for (int i = 0; i < SLOTS; i++)
        owl_free(slot[i]);
    return NULL;
}

static void *look(void *most)
{
    while (!ended)
        check(held() <= (size_t)(uintptr_t)most);
    return NULL;
}

static void threads(size_t limit, bool *refused)
{
    pthread_t workers[4], looker;
    set_up(limit);
    check(pthread_create(&looker, NULL, look, (void *)limit) == 0);
    for (uintptr_t i = 0; i < 4; i++)
        check(pthread_create(&workers[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(workers[i], NULL);
    ended = true;
    pthread_join(looker, NULL);
    *refused = refusals > 0;
    check_empty();
}

static void threads_have_enough(void)
{
    bool refused;
    threads(256 * MIB, &refused);
    check(!refused);
}

static void threads_have_too_little(void)
{
    bool refused;
    threads(8 * MIB, &refused);
    check(refused);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(large_blocks_fill_it_exactly),
        child_test(small_blocks_do_too),
        child_test(dirty_memory_goes_first),
        child_test(not_every_take_purges),
        child_test(caches_make_room),
        child_test(a_refused_purge_is_a_refusal),
        child_test(blocks_grow_within_it),
        child_test(growth_in_place_is_counted),
        child_test(what_may_not_be_copied_moves),
        child_test(what_can_no_more_be_copied_moves),
        child_test(shrinking_needs_nothing),
        child_test(mappings_count),
        child_test(it_may_be_set_too_low),
        child_test(arrays_count_what_is_open),
        child_test(the_others_obey_too),
        child_test(what_waits_makes_room),
        child_test(what_waits_makes_room_for_exports),
        child_test(exports_that_cannot_be_do_not),
        child_test(each_process_has_its_own),
        child_test(threads_have_enough),
        child_test(threads_have_too_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
