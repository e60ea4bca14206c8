/* SPDX-License-Identifier: BSD-2-Clause */
/* Magazines: which blocks are in them, in which order, at every limit; and the arrays of slots that
 * they lie in, with and without memory for more of them. */
#include <pthread.h>
#include <sys/mman.h>

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "pool.h"
#include "stats.h"

enum { MOST = OWL_MAGAZINE_BLOCKS + 1 };

static size_t block_size(unsigned class)
{
    return owl_classes[class].size;
}

static struct owl_magazine *magazine(unsigned class)
{
    return &owl_cache_mine()->magazines[class];
}

static struct owl_block **slots_of(unsigned class)
{
    return magazine(class)->slots;
}

static struct owl_block **top_of(unsigned class)
{
    return (struct owl_block **)owl_word_peek(&owl_cache_mine()->top[class]);
}

static size_t count_of(unsigned class)
{
    return (size_t)(top_of(class) - slots_of(class)) - 1;
}

static size_t cached_blocks(void)
{
    struct owl_cache_counts c = {.blocks = 0};
    owl_cache_count(owl_cache_mine(), &c);
    return c.blocks;
}

static size_t blocks_out(void)
{
    struct owl_slab_counts c = {.slabs = 0};
    owl_slab_count(&owl_cache_mine()->owner, &c);
    return c.blocks_out;
}

static void take_many(void **blocks, size_t n, unsigned class)
{
    for (size_t i = 0; i < n; i++) {
        blocks[i] = owl_malloc(block_size(class));
        check(blocks[i] != NULL);
        memset(blocks[i], 0xff, block_size(class));
    }
}

struct area {
    uintptr_t start, end;
};

/* Memory for caches and slots, with a page behind it that must not be touched. */
static struct area maps[1000];
static size_t map_count;

static void *guarded_map(size_t bytes)
{
    char *p = fault_map(bytes + owl_os.page);
    if (p == NULL)
        return NULL;
    check(mprotect(p + bytes, owl_os.page, PROT_NONE) == 0 && map_count < 1000);
    maps[map_count++] = (struct area){(uintptr_t)p, (uintptr_t)p + bytes};
    return p;
}

static void install(void)
{
    faults_install();
    owl_os.map = guarded_map;
    owl_free(owl_malloc(1));
}

static bool no_more_memory;

/* The limit of a magazine that was full and has been halved. */
static bool is_next_limit(unsigned limit, unsigned before, unsigned most)
{
    return (no_more_memory && limit == before) || (limit == most && 2 * before + 1 >= most) ||
           (limit == 2 * before && limit < most);
}

/* What leaves a full one: the older half, or a part of it. */
static unsigned leaving(unsigned limit)
{
    unsigned half = (limit + 1) / 2;
    return half < OWL_MAGAZINE_PART ? half : OWL_MAGAZINE_PART;
}

/* Frees blocks one by one into the empty magazine, beside a model of what it then holds: all from
 * number `oldest` on. */
static void free_beside_model(void **blocks, size_t n, unsigned class)
{
    size_t oldest = 0, out = blocks_out();
    check(count_of(class) == 0);
    for (size_t i = 0; i < n; i++) {
        unsigned limit = magazine(class)->limit, shift = magazine(class)->shift;
        struct owl_block **slots = slots_of(class);
        bool full = i - oldest == limit;
        oldest += full ? leaving(limit) : 0;
        out -= full ? leaving(limit) : 0;
        owl_free(blocks[i]);
        check(full ? is_next_limit(magazine(class)->limit, limit, owl_classes[class].magazine)
                   : magazine(class)->limit == limit);
        check(count_of(class) == i + 1 - oldest && blocks_out() == out);
        check(magazine(class)->limit < 1u << magazine(class)->shift);
        check(magazine(class)->limit < 1u << shift ? slots_of(class) == slots
                                                   : magazine(class)->shift == shift + 1);
        check(memcmp(slots_of(class) + 1, &blocks[oldest], count_of(class) * sizeof *blocks) == 0);
    }
    check(cached_blocks() == n - oldest && owl_cache_is_valid(owl_cache_mine()));
}

static void the_older_half_goes_home(void)
{
    static void *blocks[MOST * 6];
    install();
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        unsigned most = owl_classes[class].magazine;
        take_many(blocks, most * 6u, class);
        owl_cache_flush(owl_cache_mine());
        /* At last it is full: all of its slots are in use. */
        free_beside_model(blocks, most * 5u, class);
        for (size_t i = most * 5u; count_of(class) < most; i++)
            owl_free(blocks[i]);
        check(magazine(class)->limit == most && count_of(class) == most);
        check(cached_blocks() == most && owl_cache_is_valid(owl_cache_mine()));
        for (size_t i = 0; i < most; i++)
            owl_malloc(block_size(class));
        check(count_of(class) == 0);
    }
}

/* Blocks come in the order of their addresses, first a few at once, then twice as many. */
static void fills_double(unsigned class)
{
    static char *blocks[OWL_SLAB_MAX_BLOCKS];
    const struct owl_class *k = &owl_classes[class];
    const struct owl_magazine *m = magazine(class);
    unsigned taken = 0, before = 0, left = 0;
    while (taken + 2 * before + k->first <= k->blocks) {
        blocks[taken] = owl_malloc(k->size);
        check(taken == 0 || blocks[taken] == blocks[taken - 1] + k->size);
        taken++;
        if (left == 0) {
            left = m->fill;
            check(before > 0 ? left == 2 * before || left + 1 >= k->fill : left == k->first);
            check(left >= before && (before == 0 || left <= 2 * before + 1) && left <= k->fill);
            check(m->limit >= left && m->limit <= 2 * left);
            before = left;
        }
        left--;
        check(count_of(class) == left && m->fill == before);
    }
    check(before + 1u >= k->fill);
    while (taken > 0)
        owl_free(blocks[--taken]);
    check(owl_cache_is_valid(owl_cache_mine()));
}

static void *fill_all(void *unused)
{
    check(owl_cache_get() == owl_cache_mine());
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        fills_double(class);
    return unused;
}

/* A thread begins with small magazines, whatever the one before that had its cache did. */
static void empty_magazines_are_filled(void)
{
    install();
    for (int i = 0; i < 3; i++)
        on_other_thread(fill_all, NULL);
    struct owl_stats s;
    owl_stats_get(&s);
    check(s.caches == 2 && owl_stats_heap_is_valid());
}

static int by_start(const void *a, const void *b)
{
    uintptr_t p = ((const struct area *)a)->start, q = ((const struct area *)b)->start;
    return (p > q) - (p < q);
}

static bool is_mapped(const struct area *a)
{
    for (size_t i = 0; i < map_count; i++)
        if (maps[i].start <= a->start && a->end <= maps[i].end)
            return true;
    return false;
}

/* The arrays of some caches, in use and to spare. */
static struct area arrays[20000];
static size_t array_count;

static void add_array(uintptr_t start, unsigned shift)
{
    check(array_count < sizeof arrays / sizeof *arrays);
    arrays[array_count++] = (struct area){start, start + (sizeof(void *) << shift)};
}

static void add_arrays(struct owl_owner *o, struct owl_cache *c, void *unused)
{
    (void)o;
    (void)unused;
    for (unsigned class = 0; c != NULL && class < OWL_CLASSES; class++)
        if (c->magazines[class].limit > 0)
            add_array((uintptr_t)c->magazines[class].slots, c->magazines[class].shift);
    for (unsigned shift = 0; c != NULL && shift <= OWL_MAGAZINE_SHIFT; shift++)
        for (void *const *slots = c->spare[shift]; slots != NULL; slots = *slots)
            add_array((uintptr_t)slots, shift);
}

/* They are as long as their caches believe: they lie in what was mapped, and do not overlap. Their
 * bytes. */
static size_t check_added(void)
{
    size_t bytes = 0;
    qsort(arrays, array_count, sizeof *arrays, by_start);
    for (size_t i = 0; i < array_count; bytes += arrays[i].end - arrays[i].start, i++)
        check(is_mapped(&arrays[i]) && (i == 0 || arrays[i - 1].end <= arrays[i].start));
    array_count = 0;
    return bytes;
}

static size_t check_arrays(struct owl_cache *c)
{
    add_arrays(NULL, c, NULL);
    return check_added();
}

static void grow_all(uint64_t random)
{
    static void *blocks[MOST];
    for (int step = 0; step < 100; step++) {
        unsigned class = (unsigned)(next_random(&random) % OWL_CLASSES);
        size_t n = next_random(&random) % (owl_classes[class].magazine + 1u);
        for (size_t i = 0; i < n; i++)
            blocks[i] = owl_malloc(block_size(class));
        for (size_t i = 0; i < n; i++)
            owl_free(blocks[i]);
    }
    check(owl_cache_is_valid(owl_cache_mine()));
    check_arrays(owl_cache_mine());
}

static void *grow_from_nothing(void *cache)
{
    owl_free(owl_malloc(1));
    check(*(void **)cache == NULL || *(void **)cache == owl_cache_mine());
    *(void **)cache = owl_cache_mine();
    grow_all(7);
    return NULL;
}

/* A cache keeps the arrays that it has outgrown, and a thread leaves them to the next. */
static void arrays_are_used_again(void)
{
    struct owl_cache *cache = NULL;
    size_t bytes = 0;
    unsigned long calls = 0;
    install();
    for (int i = 0; i < 5; i++) {
        on_other_thread(grow_from_nothing, &cache);
        check(owl_cache_is_valid(cache));
        check(i == 0 || (check_arrays(cache) == bytes && calls_of(FAULT_MAP) == calls));
        bytes = check_arrays(cache);
        calls = calls_of(FAULT_MAP);
    }
    check(bytes > OWL_GRANULE / 4);
}

/* Each thread lives until those after it have ended, so each makes a cache. */
static void *grow_one_after_another(void *number)
{
    grow_all((uintptr_t)number);
    if ((uintptr_t)number > 1)
        on_other_thread(grow_one_after_another, (void *)((uintptr_t)number - 1));
    check_arrays(owl_cache_mine());
    check(owl_cache_is_valid(owl_cache_mine()));
    return NULL;
}

static void caches_and_arrays_lie_side_by_side(void)
{
    enum { THREADS = ROUNDS(60) };
    install();
    on_other_thread(grow_one_after_another, (void *)(uintptr_t)THREADS);
    struct owl_stats s;
    owl_stats_get(&s);
    check(s.caches == THREADS + 1 && map_count > THREADS / 4u);
    check(owl_stats_heap_is_valid());
}

static pthread_barrier_t together;

static void *begin_all(void *unused)
{
    pthread_barrier_wait(&together);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        owl_free(owl_malloc(block_size(class)));
    pthread_barrier_wait(&together);
    return unused;
}

static void threads_carve_at_once(void)
{
    enum { THREADS = 8 };
    pthread_t threads[THREADS];
    install();
    pthread_barrier_init(&together, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, begin_all, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    owl_cache_each(add_arrays, NULL);
    check(check_added() >= THREADS * OWL_CLASSES * (sizeof(void *) << OWL_MAGAZINE_MIN_SHIFT));
    check(owl_stats_heap_is_valid());
}

/* There are no slots for the class: blocks come from the orphans' slabs, and go home at once. */
static void use_without_slots(unsigned class)
{
    static void *blocks[100];
    struct owl_block *own;
    check(owl_slab_take(&owl_cache_mine()->owner, class, 1, true, &own) == 1 && blocks_out() == 1);
    owl_block_wipe(own);
    owl_free(own);
    check(blocks_out() == 0);
    take_many(blocks, 100, class);
    check(owl_orphans.slabs > 0 && blocks_out() == 0 && magazine(class)->limit == 0);
    for (int i = 0; i < 100; i++)
        owl_free(blocks[i]);
    owl_cache_flush(owl_cache_mine());
    check(owl_orphans.slabs == 0 && owl_cache_is_valid(owl_cache_mine()));
}

static void use_class(unsigned class)
{
    static void *blocks[MOST * 3];
    size_t n = owl_classes[class].magazine * 3u;
    take_many(blocks, n, class);
    owl_cache_flush(owl_cache_mine());
    check(blocks_out() == n);
    free_beside_model(blocks, n, class);
    owl_cache_flush(owl_cache_mine());
    check(blocks_out() == 0);
}

/* Magazines that cannot grow do with what they have. */
static void no_memory_for_slots(void)
{
    unsigned without = 0, small = 0, grown = 0;
    install();
    fault_always(FAULT_MAP);
    no_more_memory = true;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        owl_free(owl_malloc(block_size(class)));
        owl_cache_flush(owl_cache_mine());
        if (magazine(class)->limit == 0)
            use_without_slots(class);
        else
            use_class(class);
        unsigned limit = magazine(class)->limit;
        *(limit == 0 ? &without : limit < owl_classes[class].magazine ? &small : &grown) += 1;
    }
    check(without > 0 && small > 0 && grown > 0);
    check_arrays(owl_cache_mine());
    fault_never(FAULT_MAP);
    no_more_memory = false;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        use_class(class);
        check(magazine(class)->limit > 2 * owl_classes[class].first);
    }
    check_arrays(owl_cache_mine());
    check(owl_stats_heap_is_valid() && owl_pool_count().used == 0);
}

enum { CLASS = 10, HELD = 100 };

static void *held[HELD];

static void say_nothing(const char *text, size_t bytes)
{
    (void)text;
    (void)bytes;
}

/* What a handler of SIGABRT takes is nobody else's. */
static void take_in_handler(int signal_number)
{
    static void *blocks[MOST * 4];
    (void)signal_number;
    for (uintptr_t i = 0; i < MOST * 4; i++) {
        blocks[i] = owl_malloc(block_size(CLASS));
        *(uintptr_t *)blocks[i] = i;
    }
    for (uintptr_t i = 0; i < MOST * 4; i++)
        check(*(uintptr_t *)blocks[i] == i);
    for (uintptr_t i = 0; i < HELD; i++)
        check(*(uintptr_t *)held[i] == i);
    for (uintptr_t i = 0; i < MOST * 4; i++)
        owl_free(blocks[i]);
    check(owl_cache_is_valid(owl_cache_mine()));
    _exit(0);
}

/* One of the blocks was freed twice, which is found when it comes home. */
static void report_from_magazine(bool flush)
{
    static void *blocks[MOST * 2];
    unsigned most = owl_classes[CLASS].magazine;
    install();
    owl_os.message = say_nothing;
    signal(SIGABRT, take_in_handler);
    for (int round = 0; round < 8; round++) {
        take_many(blocks, most * 2, CLASS);
        for (size_t i = 0; i < most * 2; i++)
            owl_free(blocks[i]);
    }
    take_many(held, HELD, CLASS);
    for (uintptr_t i = 0; i < HELD; i++)
        *(uintptr_t *)held[i] = i;
    take_many(blocks, most * 2, CLASS);
    owl_cache_flush(owl_cache_mine());
    for (size_t i = 0; i < most - 50; i++)
        owl_free(blocks[i]);
    memset(opaque(blocks[20]), 0, sizeof(struct owl_block));
    owl_free(opaque(blocks[20]));
    if (flush)
        owl_cache_flush(owl_cache_mine());
    for (size_t i = most; i < most * 2; i++)
        owl_free(blocks[i]);
    check(!"found");
}

static void report_from_full_magazine(void)
{
    report_from_magazine(false);
}

static void report_from_flush(void)
{
    report_from_magazine(true);
}

static void invalid_magazines_are_seen(void)
{
    static void *blocks[50];
    struct owl_block **slots, *second;
    take_many(blocks, 50, CLASS);
    for (int i = 0; i < 50; i++)
        owl_free(blocks[i]);
    struct owl_cache *c = owl_cache_mine();
    struct owl_magazine *m = magazine(CLASS);
    struct owl_magazine right = *m;
    uintptr_t limit = owl_word_peek(&c->limit[CLASS]);
    check(owl_cache_is_valid(c) && count_of(CLASS) > m->fill);

    m->shift = 0;
    check(!owl_cache_is_valid(c));
    m->shift = right.shift;

    m->limit = (uint16_t)(count_of(CLASS) - 1);
    owl_word_poke(&c->limit[CLASS], (uintptr_t)(top_of(CLASS) - 1));
    check(!owl_cache_is_valid(c));
    m->limit = right.limit;
    owl_word_poke(&c->limit[CLASS], limit);

    slots = slots_of(CLASS);
    second = slots[2];
    slots[0] = second;
    check(!owl_cache_is_valid(c));
    slots[0] = slots[2] = NULL;
    check(!owl_cache_is_valid(c));
    slots[2] = second;
    check(owl_cache_is_valid(c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(the_older_half_goes_home),
        child_test(empty_magazines_are_filled),
        child_test(arrays_are_used_again),
        child_test(caches_and_arrays_lie_side_by_side),
        child_test(threads_carve_at_once),
        child_test(no_memory_for_slots),
        child_test(report_from_full_magazine),
        child_test(report_from_flush),
        child_test(invalid_magazines_are_seen),
    };
    return cmocka_run_group_tests_name("magazine", tests, NULL, NULL);
}
