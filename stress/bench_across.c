/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workloads of threads that give blocks to one another, and that end.
 *
 * The ideas, not the code: P. Larson and M. Krishnan, Memory Allocation for Long-Running Server
 * Applications (1998); mstress from D. Leijen, B. Zorn and L. de Moura, Mimalloc: Free List
 * Sharding in Action (2019); rptest from M. Jansson's benchmark of rpmalloc.
 */
#include <semaphore.h>
#include <sys/mman.h>

#include "bench_work.h"

/* --- larson -------------------------------------------------------------------- */

enum { LARSON_SLOTS = 1000, LARSON_LIVES = 12 };

/* A line of threads of which one lives at a time. What it has is handed to the next one. */
struct lane {
    struct bench *bench;
    struct bench_block slot[LARSON_SLOTS];
    uint64_t random;
    uint64_t sum;
    unsigned lives;             /* yet to come */
    pthread_t last;             /* the thread before; when all is done, the last one */
    sem_t done;
};

/* A thread is joined by the one that it has started. */
static void *larson_life(void *argument)
{
    struct lane *lane = argument;

    if (lane->lives < LARSON_LIVES)
        pthread_join(lane->last, NULL);
    for (uint64_t left = bench_share(lane->bench, 32e6 / LARSON_LIVES); left > 0; left--) {
        struct bench_block *slot = &lane->slot[bench_below(&lane->random, LARSON_SLOTS)];
        size_t size = 8 + bench_below(&lane->random, 993);

        bench_empty(slot);
        bench_fill(slot, size);
        lane->sum += size;
    }
    lane->last = pthread_self();
    if (--lane->lives > 0)
        bench_start(larson_life, lane);
    else
        sem_post(&lane->done);
    return NULL;
}

uint64_t bench_larson(struct bench *b)
{
    struct lane *lanes = bench_map(b->threads * sizeof(lanes[0]));
    uint64_t sum = 0;

    for (unsigned i = 0; i < b->threads; i++) {
        lanes[i].bench = b;
        lanes[i].random = bench_seed(b, i);
        lanes[i].lives = LARSON_LIVES;
        sem_init(&lanes[i].done, 0, 0);
        bench_start(larson_life, &lanes[i]);
    }
    for (unsigned i = 0; i < b->threads; i++) {
        while (sem_wait(&lanes[i].done) != 0) {
        }
        pthread_join(lanes[i].last, NULL);
        bench_empty_all(lanes[i].slot, LARSON_SLOTS);
        sum += lanes[i].sum;
    }
    return sum;
}

/* --- what blocks that cross have in common ---------------------------------------- */

/* The head of a block that changes hands, which so carries its own size. */
struct crossing {
    struct crossing *next;
    size_t size;
};

static struct crossing *crossing_new(struct bench_thread *t, size_t size)
{
    struct crossing *c;

    if (size < sizeof(*c) + 1)
        size = sizeof(*c) + 1;
    c = bench_malloc(size);
    c->size = size;
    ((unsigned char *)c)[size - 1] = (unsigned char)~size;
    t->sum += size;
    return c;
}

static void crossing_end(struct crossing *c)
{
    if (((unsigned char *)c)[c->size - 1] != (unsigned char)~c->size)
        bench_fail("a block that changed hands was damaged");
    free(c);
}

static void crossing_end_list(struct crossing *c)
{
    while (c != NULL) {
        struct crossing *next = c->next;

        crossing_end(c);
        c = next;
    }
}

static struct crossing *swap(struct crossing **place, struct crossing *c)
{
    return __atomic_exchange_n(place, c, __ATOMIC_ACQ_REL);
}

/* --- mstress ----------------------------------------------------------------------- */

enum { TRANSFERS = 1000, STRESS_LIVES = 20, STRESS_KEPT = 2000 };

struct stress {
    struct crossing *transfer[TRANSFERS];       /* never NULL while there are threads */
    unsigned life;
};

static struct crossing *stress_new(struct bench_thread *t)
{
    size_t size = bench_skewed(&t->random, 16, 6);

    /* One in 1,024 is larger. */
    return crossing_new(t, bench_below(&t->random, 1024) == 0 ? size * 100 : size);
}

/*
 * Replace blocks at random places of a table, and swap some with all other threads. What comes in
 * by a swap is never NULL, and its size decides nothing: so the calls do not depend on time.
 */
static void stress_life(struct bench_thread *t)
{
    struct stress *all = t->shared;
    struct crossing **kept = bench_map(STRESS_KEPT * sizeof(kept[0]));

    t->random = bench_seed(t->bench, t->index + BENCH_THREADS_MAX * (uint64_t)all->life);
    for (uint64_t left = bench_share(t->bench, 12e6 / STRESS_LIVES); left > 0; left--) {
        struct crossing **place = &kept[bench_below(&t->random, STRESS_KEPT)];
        uint32_t what = bench_below(&t->random, 8);

        if (*place != NULL && what < 6)
            crossing_end(*place);
        if (*place == NULL || what < 6)
            *place = stress_new(t);
        if (what >= 6)
            *place = swap(&all->transfer[bench_below(&t->random, TRANSFERS)], *place);
    }
    for (unsigned i = 0; i < STRESS_KEPT; i++)
        if (kept[i] != NULL)
            crossing_end(kept[i]);
    munmap(kept, STRESS_KEPT * sizeof(kept[0]));
}

uint64_t bench_mstress(struct bench *b)
{
    struct bench_thread own = { .bench = b, .random = bench_seed(b, BENCH_THREADS_MAX - 1) };
    struct stress *all = bench_map(sizeof(*all));
    uint64_t sum = 0;

    for (unsigned i = 0; i < TRANSFERS; i++)
        all->transfer[i] = stress_new(&own);
    for (; all->life < STRESS_LIVES; all->life++) {
        sum += bench_crew_all(b, stress_life, all);
        /* Half of what is in transfer goes, the rest waits for the next threads. */
        for (unsigned i = 0; i < TRANSFERS; i += 2)
            crossing_end(swap(&all->transfer[i], stress_new(&own)));
    }
    for (unsigned i = 0; i < TRANSFERS; i++)
        crossing_end(all->transfer[i]);
    return sum + own.sum;
}

/* --- rptest ------------------------------------------------------------------------- */

enum { RP_BLOCKS = 600, RP_LIST = 100, RP_PLACES = 64 };

struct mailbox {
    struct crossing *list[RP_PLACES];
};

/*
 * In each loop some blocks of random sizes replace older ones, and a list of fresh blocks is left
 * in a mailbox; who finds one there frees it.
 */
static void rp_life(struct bench_thread *t)
{
    struct mailbox *mailbox = t->shared;
    struct bench_block *slot = bench_map(RP_BLOCKS * sizeof(slot[0]));

    for (uint64_t left = bench_share(t->bench, 24e3); left > 0; left--) {
        struct crossing *list = NULL;

        for (unsigned i = 0; i < RP_BLOCKS / 2; i++) {
            uint32_t n = bench_below(&t->random, RP_BLOCKS);

            bench_empty(&slot[n]);
            bench_fill(&slot[n], bench_skewed(&t->random, 16, 9));
            t->sum += slot[n].size;
        }
        for (unsigned i = 0; i < RP_LIST; i++) {
            struct crossing *c = crossing_new(t, 16 + bench_below(&t->random, 985));

            c->next = list;
            list = c;
        }
        crossing_end_list(swap(&mailbox->list[bench_below(&t->random, RP_PLACES)], list));
    }
    bench_empty_all(slot, RP_BLOCKS);
}

uint64_t bench_rptest(struct bench *b)
{
    struct mailbox *mailbox = bench_map(sizeof(*mailbox));
    uint64_t sum = bench_crew_all(b, rp_life, mailbox);

    for (unsigned i = 0; i < RP_PLACES; i++)
        crossing_end_list(mailbox->list[i]);
    return sum;
}
