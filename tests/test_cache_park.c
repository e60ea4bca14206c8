/* SPDX-License-Identifier: BSD-2-Clause */
/* Caches of ended threads, which are left to the next threads as they are. */
#include "cache_inside.h"

#include <owl/check.h>

#include "alloc.h"
#include "child.h"
#include "option.h"
#include "os.h"
#include "pool.h"
#include "stats.h"

enum { SIZE = 64, OTHER_SIZE = 3000, MANY = 5000, THREADS = 2 * OWL_PARKED };

static void *blocks[MANY];

static unsigned parked(void)
{
    return owl_u32_load_relaxed(&owl_cache_deserted);
}

static size_t cached_by(struct owl_cache *c)
{
    struct owl_cache_counts counts = {.blocks = 0};
    owl_cache_count(c, &counts);
    return counts.bytes;
}

/* The thread's cache. */
static void *take_and_free(void *size)
{
    void *p = owl_malloc(*(size_t *)size);
    check(p != NULL);
    owl_free(p);
    return owl_cache_mine();
}

static struct owl_cache *use(size_t size)
{
    return on_other_thread(take_and_free, &size);
}

static void *take_one(void *size)
{
    return owl_malloc(*(size_t *)size);
}

static size_t slabs(void)
{
    struct owl_stats s;
    owl_stats_get(&s);
    return s.slabs;
}

/* The next thread has the block at hand that the one before freed. */
static void the_next_thread_finds_the_blocks(void)
{
    size_t size = SIZE;
    struct owl_cache *c = use(SIZE);
    struct owl_block *newest = *(owl_cache_top(c, owl_class_of(SIZE)) - 1);
    check(parked() == 1 && cached_by(c) > 0 && c->owner.slabs == 1);
    check(on_other_thread(take_one, &size) == newest && slabs() == 1);
    check(use(OTHER_SIZE) == c && parked() == 1 && c->owner.slabs == 2);
    check(owl_stats_heap_is_valid());
    owl_free(newest);
    owl_trim(0);
    check(parked() == 0 && owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void *take_many(void *unused)
{
    for (size_t i = 0; i < MANY; i++)
        blocks[i] = owl_malloc(SIZE);
    return unused;
}

static void *take_and_free_many(void *unused)
{
    take_many(NULL);
    for (size_t i = 0; i < MANY; i++)
        owl_free(blocks[i]);
    return unused;
}

/* A magazine keeps no more than it was filled with; medium blocks are not kept. */
static void little_is_kept(void)
{
    struct owl_cache *c = use(1 << 17);
    check(c->stock.granules == 0 && parked() == 1);
    on_other_thread(take_and_free_many, NULL);
    unsigned class = owl_class_of(SIZE);
    check(parked() == 1 && cached_by(c) == (size_t)c->magazines[class].fill * SIZE);
    check(cached_by(c) <= OWL_FILL_BYTES && owl_cache_is_valid(c));
}

static void *use_all_classes(void *unused)
{
    static void *taken[OWL_CLASSES][64];
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        for (unsigned i = 0; i < 64; i++)
            taken[class][i] = owl_malloc(owl_classes[class].size);
        for (unsigned i = 0; i < 64; i++)
            owl_free(taken[class][i]);
    }
    return unused;
}

/* Its slabs wait, for all of the classes that fit. */
static void who_holds_much_is_not_parked(void)
{
    on_other_thread(use_all_classes, NULL);
    size_t used = owl_pool_count().used;
    check(parked() == 0 && owl_orphans.slabs > OWL_CLASSES / 2 && owl_stats_heap_is_valid());
    check(owl_malloc(owl_classes[OWL_CLASSES / 2].size) != NULL && owl_pool_count().used == used);
    owl_trim(0);
    check(owl_orphans.slabs == 0 && owl_stats_heap_is_valid());
}

/* Slabs of other classes come of what waits, if that is much and the pool has only clean memory. */
static void what_waits_is_used_before_clean_memory(void)
{
    enum { LITTLE = 1 << 20 };
    unsigned class = OWL_CLASSES - 1;
    owl_option_force(OWL_OPTION_DIRTY, LITTLE);
    on_other_thread(use_all_classes, NULL);
    owl_pool_purge(0);
    size_t used = owl_pool_count().used;
    check(parked() == 0 && owl_orphans.idle > LITTLE);
    while (owl_orphans.with_free[class] != NULL)
        class--;
    void *p = owl_malloc(owl_classes[class].size);
    check(p != NULL && owl_orphans.idle <= LITTLE && owl_orphans.slabs > 0);
    check(owl_pool_count().used < used);
    owl_free(p);
    check(owl_stats_heap_is_valid());
}

/* A block is left in each slab. */
static void *leave_one_in_each(void *unused)
{
    enum { LARGER = 1024, EACH = OWL_GRANULE / LARGER };
    for (size_t i = 0; i < MANY; i++)
        check((blocks[i] = owl_malloc(LARGER)) != NULL);
    for (size_t i = 0; i < MANY; i++)
        if (i % EACH != 0)
            owl_free(blocks[i]);
    return unused;
}

static void who_holds_many_slabs_is_not_parked(void)
{
    on_other_thread(leave_one_in_each, NULL);
    check(parked() == 0 && owl_orphans.slabs > OWL_PARKED_IDLE / OWL_GRANULE);
    check(owl_stats_heap_is_valid());
}

static pthread_barrier_t together;

static void *use_together(void *size)
{
    take_and_free(size);
    pthread_barrier_wait(&together);
    return NULL;
}

static void use_by_many(size_t size)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, use_together, &size) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
}

static void not_many_are_parked(void)
{
    use_by_many(SIZE);
    check(parked() == OWL_PARKED && slabs() == THREADS && owl_stats_heap_is_valid());
    use_by_many(SIZE);
    check(parked() == OWL_PARKED && slabs() == THREADS && owl_stats_heap_is_valid());
    owl_trim(0);
    check(parked() == 0 && slabs() == 0);
}

/* One that needs a slab gets what the first of those had that were parked, and no new one. */
static void the_first_is_reclaimed_before_the_pool_is_asked(void)
{
    use_by_many(SIZE);
    owl_slab_purge(&owl_orphans);
    size_t used = owl_pool_count().used;
    void *p = owl_malloc(SIZE);
    check(p != NULL && parked() == OWL_PARKED - 1 && owl_cache_mine()->owner.slabs == 1);
    check(owl_pool_count().used == used && slabs() == OWL_PARKED);
    void *q = owl_malloc(SIZE);
    check(q != NULL && parked() == OWL_PARKED - 1);
    owl_free(p);
    owl_free(q);
    check(owl_stats_heap_is_valid());
}

/* A slab that has blocks out is adopted. */
static void slabs_with_blocks_are_adopted(void)
{
    size_t size = SIZE;
    void *p = on_other_thread(take_one, &size);
    check(parked() == 1 && slabs() == 1);
    void *q = owl_malloc(SIZE);
    check(parked() == 0 && slabs() == 1 && owl_cache_mine()->owner.slabs == 1);
    owl_free(p);
    owl_free(q);
    check(owl_stats_heap_is_valid());
}

/* Who frees a block of a parked cache brings it home. */
static void nothing_is_left_in_its_inbox(void)
{
    check(owl_cache_get() != NULL); /* so that the other's cache is another one */
    on_other_thread(take_many, NULL);
    struct owl_cache *c = owl_cache_all();
    check(parked() == 1 && c != owl_cache_mine() && !c->inbox.open);
    for (size_t i = 0; i < MANY; i++)
        owl_free(blocks[i]);
    owl_cache_flush(owl_cache_mine());
    check(owl_inbox_is_empty(&c->inbox) && c->owner.slabs == 1);
    owl_trim(0);
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

/* The scavenger leaves those in peace that are used from one look to the next. */
static void idle_ones_end(void)
{
    struct owl_cache *c = use(SIZE);
    check(owl_cache_flush_idle() && parked() == 1);
    check(use(SIZE) == c);
    check(owl_cache_flush_idle() && parked() == 1);
    check(!owl_cache_flush_idle() && parked() == 0 && cached_by(c) == 0);
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

/* In a child of fork, too, they are for the next thread, and are reclaimed. */
static void a_forks_child_has_them(void)
{
    struct owl_cache *c = use(SIZE);
    pid_t child = fork();
    check(child >= 0);
    if (child == 0) {
        check(parked() == 1 && use(SIZE) == c && parked() == 1);
        owl_trim(0);
        check(parked() == 0 && owl_pool_count().used == 0 && owl_stats_heap_is_valid());
        _exit(0);
    }
    check(child_wait(child) == 0 && parked() == 1);
}

static struct owl_os real;
static size_t threads_seen, rows_seen;

static void count_row(const struct owl_stats_thread *row, void *unused)
{
    (void)unused;
    rows_seen += row->thread != 0;
}

/* Without a lock. */
static int purge_and_count(void *start, size_t bytes)
{
    struct owl_stats s;
    owl_stats_get(&s);
    owl_stats_threads(count_row, NULL);
    threads_seen = s.threads;
    return real.purge(start, bytes);
}

static void who_reclaims_is_not_its_thread(void)
{
    owl_option_force(OWL_OPTION_DIRTY, 0);
    owl_option_force(OWL_OPTION_DIRTY_SHARE, 0);
    check(owl_cache_get() != NULL);
    use(SIZE);
    real = owl_os;
    owl_os.purge = purge_and_count;
    owl_cache_reclaim_all(false);
    check(parked() == 0 && threads_seen == 1 && rows_seen == 1);
}

static pid_t forked = -1;

/* In the middle of a cache that is cleared away: another one is, and the process forks. */
static void reclaim_and_fork(const struct owl_corruption *corruption)
{
    (void)corruption;
    check(parked() == 1);
    owl_cache_reclaim();
    check(parked() == 0 && forked < 0);
    forked = fork();
}

/* A block is freed that a parked cache has. In the child, too, nobody but this thread comes to what
 * it was about to clear away. */
static void a_fork_in_the_middle_of_it(void)
{
    check(owl_cache_get() != NULL);
    owl_on_corruption(reclaim_and_fork);
    use_by_many(SIZE);
    while (parked() > 2)
        owl_cache_reclaim();
    struct owl_cache *c = owl_cache_all();
    while (owl_word_load_relaxed(&c->thread) != 0 || c->owner.slabs == 0 || c->next_idle != NULL)
        c = c->next;
    struct owl_block *b = *(owl_cache_top(c, owl_class_of(SIZE)) - 1);
    memset(b, 0, SIZE);
    owl_free(b);
    owl_cache_flush(owl_cache_mine());
    owl_cache_reclaim_all(false);
    check(forked >= 0);
    check(parked() == 0 && owl_stats_heap_is_valid());
    if (forked == 0)
        _exit(0);
    check(child_wait(forked) == 0);
}

/* --- all at once ------------------------------------------------------------- */

static owl_u32 stop;

/* A short life; now and then of one that uses much. */
static void *live(void *number)
{
    uint64_t random = (uintptr_t)number;
    size_t count = 1 + random % 200;
    void *taken[200];
    for (size_t i = 0; i < count; i++) {
        size_t size = 1 + next_random(&random) % (random % 8 == 0 ? 60000 : 500);
        taken[i] = owl_malloc(size);
        check(taken[i] != NULL);
        memset(taken[i], (int)size, size < 64 ? size : 64);
    }
    for (size_t i = 0; i < count; i++)
        owl_free(taken[i]);
    return NULL;
}

static void *start_lives(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    while (owl_u32_load_relaxed(&stop) == 0)
        on_other_thread(live, (void *)(uintptr_t)(next_random(&random) >> 16));
    return NULL;
}

static void nobody_notices(void)
{
    enum { STARTERS = 4 };
    pthread_t starters[STARTERS];
    for (uintptr_t i = 0; i < STARTERS; i++)
        check(pthread_create(&starters[i], NULL, start_lives, (void *)(i + 1)) == 0);
    for (int i = 0; i < RANDOM_ROUNDS(2000); i++) {
        if (i % 5 == 0)
            owl_cache_reclaim_all(i % 2 == 0);
        else
            live((void *)(uintptr_t)i);
        if (i % 50 == 0)
            owl_cache_flush_others();
    }
    owl_u32_store_relaxed(&stop, 1);
    for (int i = 0; i < STARTERS; i++)
        pthread_join(starters[i], NULL);
    owl_trim(0);
    check(parked() == 0 && owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(the_next_thread_finds_the_blocks),
        child_test(little_is_kept),
        child_test(who_holds_much_is_not_parked),
        child_test(what_waits_is_used_before_clean_memory),
        child_test(who_holds_many_slabs_is_not_parked),
        child_test(not_many_are_parked),
        child_test(the_first_is_reclaimed_before_the_pool_is_asked),
        child_test(slabs_with_blocks_are_adopted),
        child_test(nothing_is_left_in_its_inbox),
        child_test(idle_ones_end),
        child_test(a_forks_child_has_them),
        child_test(who_reclaims_is_not_its_thread),
        child_test(a_fork_in_the_middle_of_it),
        child_test(nobody_notices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
