/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that are allocated in one thread and freed in another. The idea, not the code: C. Lever
 * and D. Boreham, malloc() Performance in a Multithreaded Linux Environment (2000).
 */
#include "bench_work.h"

enum { BATCH_BLOCKS = 120, QUEUE_MOST = 32 };

struct batch {
    struct batch *next;
    struct bench_block block[BATCH_BLOCKS];
};

/* The lock guards all but `batches`, which does not change. */
struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *first;
    struct batch **end;
    unsigned length;
    unsigned producers;         /* that have not ended */
    uint64_t batches;           /* of each producer */
};

struct queues {
    unsigned producers;         /* for each consumer; index 0 of each group consumes */
    struct queue queue[];
};

static void queue_put(struct queue *q, struct batch *batch)
{
    batch->next = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->length == QUEUE_MOST)
        pthread_cond_wait(&q->changed, &q->lock);
    *q->end = batch;
    q->end = &batch->next;
    if (q->length++ == 0)
        pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

/* All that is there; NULL when no more comes. */
static struct batch *queue_take(struct queue *q)
{
    struct batch *batch;

    pthread_mutex_lock(&q->lock);
    while (q->length == 0 && q->producers > 0)
        pthread_cond_wait(&q->changed, &q->lock);
    batch = q->first;
    q->first = NULL;
    q->end = &q->first;
    q->length = 0;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return batch;
}

static void produce(struct bench_thread *t, struct queue *q)
{
    for (uint64_t left = q->batches; left > 0; left--) {
        struct batch *batch = bench_malloc(sizeof(*batch));

        for (unsigned i = 0; i < BATCH_BLOCKS; i++) {
            bench_fill(&batch->block[i], bench_skewed(&t->random, 16, 5));
            t->sum += batch->block[i].size;
        }
        queue_put(q, batch);
    }
    pthread_mutex_lock(&q->lock);
    q->producers--;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static void consume(struct bench_thread *t, struct queue *q)
{
    struct batch *batch;

    while ((batch = queue_take(q)) != NULL)
        while (batch != NULL) {
            struct batch *next = batch->next;

            for (unsigned i = 0; i < BATCH_BLOCKS; i++)
                t->sum += 3 * (uint64_t)batch->block[i].size;
            bench_empty_all(batch->block, BATCH_BLOCKS);
            free(batch);
            batch = next;
        }
}

static void xmalloc_life(struct bench_thread *t)
{
    struct queues *all = t->shared;
    struct queue *q = &all->queue[t->index / (all->producers + 1)];

    if (t->index % (all->producers + 1) == 0)
        consume(t, q);
    else
        produce(t, q);
}

static uint64_t xmalloc(struct bench *b, unsigned groups, unsigned producers, double blocks)
{
    struct queues *all = bench_map(sizeof(*all) + groups * sizeof(all->queue[0]));

    all->producers = producers;
    for (unsigned i = 0; i < groups; i++) {
        struct queue *q = &all->queue[i];

        pthread_mutex_init(&q->lock, NULL);
        pthread_cond_init(&q->changed, NULL);
        q->end = &q->first;
        q->producers = producers;
        q->batches = bench_count(b, blocks / BATCH_BLOCKS / (groups * producers));
    }
    return bench_crew(b, groups * (producers + 1), xmalloc_life, all);
}

uint64_t bench_xmalloc_pairs(struct bench *b)
{
    return xmalloc(b, b->threads < 2 ? 1 : (unsigned)b->threads / 2, 1, 8e6);
}

uint64_t bench_xmalloc_funnel(struct bench *b)
{
    return xmalloc(b, 1, b->threads < 2 ? 1 : (unsigned)b->threads - 1, 8e6);
}
