/* SPDX-License-Identifier: BSD-2-Clause */
/* Thread caches: magazines, remote frees, the start and end of threads. */
#include <pthread.h>

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "pool.h"
#include "stats.h"

enum { CLASS = 10, BLOCKS = 6 * OWL_MAGAZINE_BLOCKS };

static void *blocks[BLOCKS];

static size_t small_size(unsigned class)
{
    return owl_classes[class].size;
}

static void take_many(void **array, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        array[i] = owl_malloc(size);
        check(array[i] != NULL);
    }
}

static void free_many(void **array, size_t n)
{
    for (size_t i = 0; i < n; i++)
        owl_free(array[i]);
}

/* Blocks of an owner's slabs that are not at home. */
static size_t out_of(struct owl_owner *o)
{
    struct owl_slab_counts c = {.slabs = 0};
    owl_slab_count(o, &c);
    return c.blocks_out;
}

static size_t cached_by(struct owl_cache *c)
{
    struct owl_cache_counts counts = {.blocks = 0};
    owl_cache_count(c, &counts);
    return counts.blocks;
}

/* Blocks that others have freed for an owner's thread. */
static size_t left_for(const struct owl_owner *o)
{
    return owl_u32_peek(&((const struct owl_cache *)o)->inbox.count);
}

static void last_freed_comes_first(void)
{
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        void *mine[8];
        take_many(blocks, 1000, small_size(class)); /* so that the magazines have grown */
        free_many(blocks, 1000);
        take_many(mine, 8, small_size(class));
        for (int i = 0; i < 8; i++)
            owl_free(mine[i]);
        for (int i = 0; i < 8; i++)
            check(opaque(owl_malloc(small_size(class))) == mine[7 - i]);
        check(owl_cache_is_valid(owl_cache_mine()));
    }
}

static void magazines_grow_to_their_limit(void)
{
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_class *k = &owl_classes[class];
        size_t most = (size_t)k->magazine;
        owl_free(owl_malloc(k->size));
        struct owl_magazine *m = &owl_cache_mine()->magazines[class];
        check(m->limit == 2 * k->first);
        size_t n = most * 6;
        for (int round = 0; round < 2; round++) {
            take_many(blocks, n, k->size);
            check(owl_cache_is_valid(owl_cache_mine()));
            free_many(blocks, n);
            check(owl_cache_is_valid(owl_cache_mine()));
        }
        check(m->limit == k->magazine);
        check(most * k->size <= OWL_MAGAZINE_BYTES);
        check(cached_by(owl_cache_mine()) <= most);
        owl_cache_flush(owl_cache_mine());
        check(cached_by(owl_cache_mine()) == 0);
        check(out_of(&owl_cache_mine()->owner) == 0);
    }
}

/* Whatever the order of calls, frees visit the slabs once in as many calls as half a magazine,
 * or a part that leaves it, has blocks, and mallocs once in as many as an empty one is filled
 * with (or a little more often: the last blocks of a slab may be fewer). */
static void slabs_are_visited_seldom(void)
{
    size_t limit = (size_t)owl_classes[CLASS].magazine / 2, size = small_size(CLASS);
    size_t fill = (size_t)owl_classes[CLASS].fill;
    size_t part = limit < OWL_MAGAZINE_PART ? limit : OWL_MAGAZINE_PART;
    size_t have = limit * 8, calls = 0, fills = 0, gives = 0;
    uint64_t random = 9;
    take_many(blocks, have, size);
    free_many(blocks + limit * 4, limit * 4);
    have = limit * 4;
    struct owl_owner *mine = &owl_cache_mine()->owner;
    size_t out = out_of(mine);
    for (int step = 0; step < 400; step++) {
        size_t length = 1 + next_random(&random) % (limit * 2);
        bool more = next_random(&random) % 2 == 0;
        for (size_t i = 0; i < length; i++) {
            if (more ? have < limit * 8 : have == 0)
                blocks[have++] = owl_malloc(size);
            else
                owl_free(blocks[--have]);
            calls++;
            fills += out_of(mine) > out;
            gives += out_of(mine) < out;
            out = out_of(mine);
        }
    }
    check(gives > 10 && gives * part <= calls);
    check(fills > 10 && fills * fill * 3 / 4 <= calls);
    free_many(blocks, have);
}

/* At every level of filling, going to and fro within a quarter of a magazine costs two visits at
 * most, one at each end. */
static void to_and_fro_costs_no_visits(void)
{
    size_t limit = (size_t)owl_classes[CLASS].magazine / 2, size = small_size(CLASS);
    take_many(blocks, limit * 8, size);
    free_many(blocks, limit * 8);
    for (size_t level = 0; level < limit * 3; level += 3) {
        int visits = 0;
        take_many(blocks, level, size);
        size_t out = out_of(&owl_cache_mine()->owner);
        for (int round = 0; round < 50; round++) {
            take_many(blocks + level, limit / 2, size);
            free_many(blocks + level, limit / 2);
            visits += out_of(&owl_cache_mine()->owner) != out;
            out = out_of(&owl_cache_mine()->owner);
        }
        check(visits <= 1);
        free_many(blocks, level);
    }
}

static void flush_brings_all_home(void)
{
    take_many(blocks, BLOCKS, 100);
    free_many(blocks, BLOCKS / 2);
    check(cached_by(owl_cache_mine()) > 0);
    owl_cache_flush(owl_cache_mine());
    check(cached_by(owl_cache_mine()) == 0 && owl_cache_is_valid(owl_cache_mine()));
    check(out_of(&owl_cache_mine()->owner) == BLOCKS / 2);
    check(owl_stats_heap_is_valid());
    free_many(blocks + BLOCKS / 2, BLOCKS / 2);
    owl_cache_flush(owl_cache_mine());
    check(owl_pool_count().used == 0);
}

/* A thread that lives until it is told to end, and the blocks that it took. */
struct owner_thread {
    pthread_t thread;
    pthread_barrier_t ready, end;
    size_t size, number;
    struct owl_owner *owner;
};

static void *own(void *argument)
{
    struct owner_thread *t = argument;
    take_many(blocks, t->number, t->size);
    t->owner = &owl_cache_mine()->owner;
    owl_cache_flush(owl_cache_mine());
    pthread_barrier_wait(&t->ready);
    pthread_barrier_wait(&t->end);
    return NULL;
}

static void owner_starts(struct owner_thread *t, size_t number, size_t size)
{
    t->number = number;
    t->size = size;
    pthread_barrier_init(&t->ready, NULL, 2);
    pthread_barrier_init(&t->end, NULL, 2);
    check(pthread_create(&t->thread, NULL, own, t) == 0);
    pthread_barrier_wait(&t->ready);
}

static void owner_ends(struct owner_thread *t)
{
    pthread_barrier_wait(&t->end);
    pthread_join(t->thread, NULL);
    pthread_barrier_destroy(&t->ready);
    pthread_barrier_destroy(&t->end);
}

/* A batch is left for the owner's thread while there is room, then brought home. */
static void remote_frees_leave_in_batches(void)
{
    static const unsigned classes[] = {0, 10, 30, 50, 60, 71};
    for (size_t k = 0; k < sizeof classes / sizeof *classes; k++) {
        struct owner_thread t;
        size_t size = small_size(classes[k]);
        size_t batch = OWL_REMOTE_BYTES / size, room = OWL_INBOX_BYTES / size;
        batch = batch < OWL_REMOTE_BLOCKS ? batch : OWL_REMOTE_BLOCKS;
        room = room < OWL_INBOX_BLOCKS ? room : OWL_INBOX_BLOCKS;
        size_t all = room + 3 * batch, left = 0, home = 0;
        owner_starts(&t, all, size);
        for (size_t i = 0; i < all; i++) {
            owl_free(blocks[i]);
            left = left_for(t.owner);
            home = all - out_of(t.owner);
            check(i + 1 - home - left == cached_by(owl_cache_mine()));
            check(i + 1 - home - left <= batch && i < home + left + batch);
            check(home == 0 || left + batch > room);
        }
        check(home > 0 && left > 0 && left <= room);
        owl_cache_flush(owl_cache_mine());
        check(out_of(t.owner) == left && left_for(t.owner) == left);
        owl_cache_flush_others();
        check(out_of(t.owner) == 0 && owl_pool_count().used == 0);
        check(owl_stats_heap_is_valid());
        owner_ends(&t);
    }
}

/* More owners than buffers: at most one block a buffer waits, for a buffer is one owner's. */
static void buffers_are_given_up_for_others(void)
{
    enum { OWNERS = OWL_REMOTE_OWNERS + 1 };
    static struct owner_thread threads[OWNERS];
    void *taken[OWNERS];
    for (int i = 0; i < OWNERS; i++) {
        owner_starts(&threads[i], 1, 64);
        taken[i] = blocks[0];
    }
    for (int i = 0; i < OWNERS; i++)
        owl_free(taken[i]);
    size_t gone = 0;
    for (int i = 0; i < OWNERS; i++)
        gone += left_for(threads[i].owner);
    check(gone > 0 && gone + cached_by(owl_cache_mine()) == OWNERS);
    check(owl_cache_is_valid(owl_cache_mine()));
    for (int i = 0; i < OWNERS; i++)
        owner_ends(&threads[i]);
    owl_cache_flush(owl_cache_mine());
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void *take_and_free(void *array)
{
    take_many(array, 400, 40);
    free_many(array, 400);
    owl_free(owl_malloc(100000));
    return NULL;
}

static void *only_free(void *array)
{
    free_many(array, 30);
    return NULL;
}

static void all_parked_end(void)
{
    check(!owl_cache_reclaim_all(false) && owl_u32_load_relaxed(&owl_cache_deserted) == 0);
}

static void ended_threads_leave_nothing(void)
{
    on_other_thread(take_and_free, blocks);
    all_parked_end();
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
    take_many(blocks, 30, 48);
    on_other_thread(only_free, blocks); /* they go into the thread's batch, which it gives */
    owl_cache_flush(owl_cache_mine());
    all_parked_end();
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void *only_take(void *array)
{
    take_many(array, 30, 48);
    return NULL;
}

static void blocks_outlive_their_thread(void)
{
    on_other_thread(only_take, blocks);
    all_parked_end();
    check(owl_orphans.slabs == 1 && owl_stats_heap_is_valid());
    for (int i = 0; i < 30; i++)
        memset(blocks[i], i, 48);
    void *p = owl_malloc(48); /* adopts */
    check(owl_orphans.slabs == 0);
    for (int i = 0; i < 30; i++)
        check(((unsigned char *)blocks[i])[47] == i);
    free_many(blocks, 30);
    owl_free(p);
    owl_cache_flush(owl_cache_mine());
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static pthread_key_t key_before, key_after;
static int destructor_runs;

/* What a thread's last destructors may do. */
static void late(void *argument)
{
    void **held = argument;
    destructor_runs++;
    for (size_t size = 1; size < 200000; size = size * 3 + 1) {
        char *p = owl_calloc(1, size);
        check(p != NULL && p[0] == 0 && p[size - 1] == 0);
        memset(p, 1, size);
        p = owl_realloc(p, size * 2);
        check(p != NULL && p[size - 1] == 1);
        owl_free(p);
    }
    owl_free(held[0]); /* a block from before the end, and one for the next round */
    held[0] = owl_malloc(64);
    check(held[0] != NULL);
    if (destructor_runs == 1)
        owl_malloc_trim(0);
    check(destructor_runs > 2 || owl_cache_mine() != &owl_cache_gone); /* the first round */
    check(destructor_runs < 5 || owl_cache_mine() == &owl_cache_gone);
    /* (ThreadSanitizer believes the thread ended when the last round of destructors begins.) */
    if (destructor_runs < (SANITIZED ? 4 : 6))
        pthread_setspecific(destructor_runs % 2 ? key_before : key_after, argument);
}

static void *end_with_destructors(void *held)
{
    take_many(held, 1, 64);
    pthread_setspecific(key_before, held);
    pthread_setspecific(key_after, held);
    return NULL;
}

static void destructors_may_still_call(void)
{
    check(pthread_key_create(&key_before, late) == 0);
    owl_free(owl_malloc(1)); /* makes the allocator's own key */
    check(pthread_key_create(&key_after, late) == 0);
    for (int round = 0; round < 10; round++) {
        destructor_runs = 0;
        on_other_thread(end_with_destructors, blocks);
        check(destructor_runs >= 4);
        owl_free(blocks[0]);
        owl_cache_flush(owl_cache_mine());
        all_parked_end();
        check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
    }
    struct owl_stats s;
    owl_stats_get(&s);
    check(s.caches == 2);
}

static void caches_are_used_again(void)
{
    enum { AT_ONCE = 8 };
    faults_install();
    for (int wave = 0; wave < ROUNDS(400); wave++) {
        pthread_t threads[AT_ONCE];
        static void *arrays[AT_ONCE][400];
        for (int i = 0; i < AT_ONCE; i++)
            check(pthread_create(&threads[i], NULL, take_and_free, arrays[i]) == 0);
        for (int i = 0; i < AT_ONCE; i++)
            pthread_join(threads[i], NULL);
    }
    struct owl_stats s;
    owl_stats_get(&s);
    check(s.caches <= AT_ONCE);
    check(calls_of(FAULT_MAP) <= AT_ONCE);
    all_parked_end();
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void another_thread_may_be_first(void)
{
    on_other_thread(take_and_free, blocks);
    void *p = owl_malloc(10);
    check(p != NULL && owl_cache_mine() != &owl_cache_none);
    owl_free(p);
    check(owl_stats_heap_is_valid());
}

static pthread_barrier_t start;

static void *start_together(void *array)
{
    pthread_barrier_wait(&start);
    return take_and_free(array);
}

static void all_threads_may_be_first(void)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    static void *arrays[THREADS][400];
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, start_together, arrays[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    all_parked_end();
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void no_memory_for_a_cache(void)
{
    faults_install();
    fault_always(FAULT_MAP);
    take_many(blocks, 100, 64);
    check(owl_cache_mine() == &owl_cache_none);
    free_many(blocks, 50);
    check(owl_orphans.slabs > 0 && owl_stats_heap_is_valid());
    fault_never(FAULT_MAP);
    owl_free(owl_malloc(1));
    check(owl_cache_mine() != &owl_cache_none);
    free_many(blocks + 50, 50);
    owl_cache_flush(owl_cache_mine());
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

/* A process can have no more than so many keys; those of others are not to be touched. */
static void no_key_for_the_allocator(void)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX];
    int number = 0;
    while (pthread_key_create(&keys[number], NULL) == 0) {
        check(pthread_setspecific(keys[number], keys) == 0);
        number++;
    }
    void *p = owl_malloc(100);
    check(p != NULL);
    for (int i = 0; i < number; i++)
        check(pthread_getspecific(keys[i]) == keys);
    owl_free(p);
    for (int i = 0; i < 5; i++)
        on_other_thread(take_and_free, blocks);
    check(owl_stats_heap_is_valid());
}

static void invalid_caches_are_seen(void)
{
    take_many(blocks, 50, 64);
    free_many(blocks, 50);
    struct owl_cache *c = owl_cache_mine();
    unsigned class = owl_class_of(64);
    struct owl_block **top = (struct owl_block **)owl_word_peek(&c->top[class]);
    check(owl_cache_is_valid(c));
    top[-2]->mark ^= 1;
    check(!owl_cache_is_valid(c) && !owl_stats_heap_is_valid());
    top[-2]->mark ^= 1;
    owl_word_poke(&c->limit[class], owl_word_peek(&c->limit[class]) + sizeof *top);
    check(!owl_cache_is_valid(c));
    owl_word_poke(&c->limit[class], owl_word_peek(&c->limit[class]) - sizeof *top);
    c->magazines[class].fill = 1000;
    check(!owl_cache_is_valid(c));
    c->magazines[class].fill = 1;
    check(owl_cache_is_valid(c));
}

static void invalid_marks_on_the_way_are_seen(void)
{
    on_other_thread(only_take, blocks);
    owl_free(blocks[0]);
    struct owl_cache *c = owl_cache_mine();
    check(owl_cache_is_valid(c));
    ((struct owl_block *)opaque(blocks[0]))->mark ^= 1;
    check(!owl_cache_is_valid(c));
    ((struct owl_block *)opaque(blocks[0]))->mark ^= 1;
    check(owl_cache_is_valid(c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(last_freed_comes_first),
        child_test(magazines_grow_to_their_limit),
        child_test(slabs_are_visited_seldom),
        child_test(to_and_fro_costs_no_visits),
        child_test(flush_brings_all_home),
        child_test(remote_frees_leave_in_batches),
        child_test(buffers_are_given_up_for_others),
        child_test(ended_threads_leave_nothing),
        child_test(blocks_outlive_their_thread),
        child_test(destructors_may_still_call),
        child_test(caches_are_used_again),
        child_test(another_thread_may_be_first),
        child_test(all_threads_may_be_first),
        child_test(no_memory_for_a_cache),
        child_test(no_key_for_the_allocator),
        child_test(invalid_caches_are_seen),
        child_test(invalid_marks_on_the_way_are_seen),
    };
    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
