/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work_producer: allocated by one thread, freed by another.
 *
 * Threads work in pairs (--threads 1 is one pair too). The even thread of a pair allocates blocks
 * of the sizes of `small`; the odd one frees them. Between them is a bounded ring with room for
 * --live blocks, with one writer and one reader. Blocks pass in batches, so that the ring is
 * touched seldom and the allocator is what gets measured. An operation is one malloc here and one
 * free there; the reader counts it, and --ops is what each pair does.
 *
 * A side that finds the ring full or empty spins for a moment and then yields the processor.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "work.h"

enum { BATCH_MOST = 64, BATCHES_LEAST = 2 };

struct batch {
    uint32_t count;
    struct work_block block[BATCH_MOST];
};

/*
 * `head` counts the batches written, `tail` those read. Each is written by one side with release
 * after it is done with a batch, and read by the other with acquire before it touches that batch.
 */
struct ring {
    uint32_t batches;
    uint32_t batch_blocks;
    _Atomic uint64_t head __attribute__((aligned(128)));
    _Atomic bool closed;        /* by the writer, after its last batch */
    _Atomic uint64_t tail __attribute__((aligned(128)));
    struct batch batch[] __attribute__((aligned(128)));
};

static unsigned producer_threads(const struct work *w)
{
    return ((unsigned)w->options->threads + 1) / 2 * 2;
}

static uint32_t batch_blocks(uint64_t live)
{
    uint64_t blocks = live / 16;

    return blocks < 1 ? 1 : blocks > BATCH_MOST ? BATCH_MOST : (uint32_t)blocks;
}

static uint32_t ring_batches(uint64_t live)
{
    uint32_t batches = (uint32_t)(live / batch_blocks(live));

    return batches < BATCHES_LEAST ? BATCHES_LEAST : batches;
}

static size_t producer_bytes(const struct work *w)
{
    return sizeof(struct ring) + ring_batches(w->options->live) * sizeof(struct batch);
}

static bool producer_prepare(struct work *w, const char *argument, char *error, size_t error_size)
{
    unsigned pairs = producer_threads(w) / 2;
    struct ring **rings = work_map(pairs * sizeof(rings[0]));

    (void)argument, (void)error, (void)error_size;
    for (unsigned i = 0; i < pairs; i++) {
        rings[i] = work_map(producer_bytes(w));
        rings[i]->batch_blocks = batch_blocks(w->options->live);
        rings[i]->batches = ring_batches(w->options->live);
    }
    w->shared = rings;
    return true;
}

/* Returns the next batch to fill, once the reader has left one. */
static struct batch *ring_room(struct ring *r)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    unsigned spins = 0;

    while (head - atomic_load_explicit(&r->tail, memory_order_acquire) == r->batches)
        work_wait(&spins);
    return &r->batch[head % r->batches];
}

/* Returns the next batch to empty, or NULL when the writer has closed the ring and it is empty. */
static struct batch *ring_next(struct ring *r)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    unsigned spins = 0;

    for (;;) {
        /* In this order: nothing is written after `closed`, so an empty ring is empty for good. */
        bool closed = atomic_load_explicit(&r->closed, memory_order_acquire);

        if (atomic_load_explicit(&r->head, memory_order_acquire) != tail)
            return &r->batch[tail % r->batches];
        if (closed)
            return NULL;
        work_wait(&spins);
    }
}

static void produce(struct work_thread *t, struct ring *r)
{
    bool more = true;

    while (more) {
        struct batch *b = ring_room(r);

        b->count = 0;
        do {
            work_block_new(t, &b->block[b->count++], work_small_size(work_random(&t->random)));
            more = work_next(t);
        } while (more && b->count < r->batch_blocks);
        work_publish(t);
        atomic_fetch_add_explicit(&r->head, 1, memory_order_release);
    }
    atomic_store_explicit(&r->closed, true, memory_order_release);
    t->ops = 0;     /* the reader counts */
}

static void consume(struct work_thread *t, struct ring *r)
{
    struct batch *b;

    while ((b = ring_next(r)) != NULL) {
        work_blocks_end(t, b->block, b->count);
        t->ops += b->count;
        work_publish(t);
        atomic_fetch_add_explicit(&r->tail, 1, memory_order_release);
    }
}

static void producer_run(struct work_thread *t)
{
    struct ring **rings = t->work->shared;
    struct ring *r = rings[t->index / 2];

    if (t->index % 2 == 0)
        produce(t, r);
    else
        consume(t, r);
}

const struct work_kind work_producer = {
    .name = "producer", .prepare = producer_prepare, .threads = producer_threads,
    .run = producer_run
};
