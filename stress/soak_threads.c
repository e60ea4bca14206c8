/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_threads: patterns in which memory goes from thread to thread, or threads come and go.
 */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "soak_crew.h"
#include "soak_work.h"

enum {
    PRODUCERS = 16, PRODUCER_SIZE = 592, PRODUCER_MIB = 370, PRODUCER_PASSES = 4,
    RING = 1024,                /* blocks under way from one producer; a power of two */
    SLEEPERS = 4, SLEEPER_MIB = 200,
    BIRTHS = 10000, BIRTHS_FIRST = 100, BIRTH_BYTES = 1 << 20, NURSERY = 4
};

/* `head` is written by the producer, `tail` by the consumer, each after it is done with a slot. */
struct ring {
    _Atomic uint64_t head __attribute__((aligned(128)));
    _Atomic uint64_t tail __attribute__((aligned(128)));
    struct soak_block slot[RING] __attribute__((aligned(128)));
};

struct producers {
    size_t blocks;              /* of each producer */
    struct soak_block *block[PRODUCERS];
    uint64_t random[PRODUCERS];
    struct ring *ring;          /* PRODUCERS of them */
    uint64_t awake;             /* set of producers that take part */
    _Atomic uint64_t closed;    /* set of producers that are through */
};

static bool produce_first(void *arg, unsigned member)
{
    struct producers *all = arg;

    for (size_t i = 0; i < all->blocks; i++)
        all->block[member][i] = soak_new(PRODUCER_SIZE);
    return true;
}

static void hand_over(struct ring *r, struct soak_block *b)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

    while (head - atomic_load_explicit(&r->tail, memory_order_acquire) == RING)
        sched_yield();
    r->slot[head % RING] = *b;
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
}

static uint64_t free_handed(struct ring *r)
{
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    uint64_t count = head - tail;

    for (; tail != head; tail++)
        soak_end(&r->slot[tail % RING]);
    atomic_store_explicit(&r->tail, tail, memory_order_release);
    return count;
}

/* The member after the producers never allocates: it frees until all that are awake are through. */
static void consume(struct producers *all)
{
    bool more = true;

    while (more) {
        uint64_t count = 0;

        /* Read before the rings: who is through puts nothing more into them. */
        more = atomic_load(&all->closed) != all->awake;
        for (unsigned i = 0; i < PRODUCERS; i++)
            count += free_handed(&all->ring[i]);
        if (more && count == 0)
            sched_yield();
    }
}

static bool produce_on(void *arg, unsigned member)
{
    struct producers *all = arg;

    if (member == PRODUCERS) {
        consume(all);
        return true;
    }
    for (size_t i = 0; i < PRODUCER_PASSES * all->blocks; i++) {
        size_t at = work_below(work_random(&all->random[member]), (uint32_t)all->blocks);

        hand_over(&all->ring[member], &all->block[member][at]);
        all->block[member][at] = soak_new(PRODUCER_SIZE);
    }
    atomic_fetch_or(&all->closed, UINT64_C(1) << member);
    return true;
}

static void produce_with(struct soak_crew *crew, struct producers *all, uint64_t awake)
{
    all->awake = awake;
    atomic_store(&all->closed, 0);
    soak_crew_run(crew, awake | UINT64_C(1) << PRODUCERS, produce_on, all);
}

/* Threads that hold 370 MiB together replace blocks, which another thread frees; then half of them
 * fall asleep with what they hold. */
void soak_producer(void)
{
    static struct producers all;
    static struct soak_crew crew;

    all.blocks = soak_scaled(((size_t)PRODUCER_MIB << 20) / PRODUCER_SIZE) / PRODUCERS + 1;
    all.ring = soak_map(PRODUCERS * sizeof(*all.ring));
    for (unsigned i = 0; i < PRODUCERS; i++) {
        all.block[i] = soak_map(all.blocks * sizeof(*all.block[i]));
        all.random[i] = work_mix(work_mix(soak_run_state.options.seed) + i);
    }
    soak_begin();
    soak_crew_start(&crew, PRODUCERS + 1);
    soak_crew_run(&crew, soak_crew_first(PRODUCERS), produce_first, &all);
    soak_sample(0.0, 0, "filled");
    produce_with(&crew, &all, soak_crew_first(PRODUCERS));
    soak_sample(0.0, 0, "replaced");
    produce_with(&crew, &all, soak_crew_first(PRODUCERS / 2));
    soak_sample(0.0, 0, "half asleep");
    soak_idle(soak_run_state.options.idle);
}

/* Member 0 frees what the others have made. The blocks of a round, `count` of them. */
struct sleepers {
    struct soak_block *block;
    size_t count, size, bytes;
};

static bool sleeper_fill(void *arg, unsigned member)
{
    struct sleepers *s = arg;

    (void)member;
    for (s->count = 0; s->count * s->size < s->bytes; s->count++)
        s->block[s->count] = soak_new(s->size);
    return true;
}

static bool sleeper_free(void *arg, unsigned member)
{
    struct sleepers *s = arg;

    (void)member;
    soak_end_all(s->block, s->count);
    s->count = 0;
    return true;
}

/* A thread takes 200 MiB and sleeps for ever; another frees it, and takes as much in another size,
 * which it frees when the next thread has fallen asleep. */
void soak_sleeper(void)
{
    static const size_t theirs[SLEEPERS] = { 48, 400, 1500, 6000 };
    static const size_t mine[SLEEPERS] = { 1000, 96, 3000, 200 };
    static struct soak_crew crew;
    struct sleepers s = { .bytes = soak_scaled((size_t)SLEEPER_MIB << 20) };

    s.block = soak_map((s.bytes / theirs[0] + 1) * sizeof(*s.block));
    soak_begin();
    soak_crew_start(&crew, SLEEPERS + 1);
    for (unsigned i = 0; i < SLEEPERS; i++) {
        s.size = theirs[i];
        soak_crew_run(&crew, UINT64_C(2) << i, sleeper_fill, &s);
        soak_sample(0.0, 0, "asleep %u", i + 1);
        soak_crew_run(&crew, 1, sleeper_free, &s);
        s.size = mine[i];
        soak_crew_run(&crew, 1, sleeper_fill, &s);
        soak_sample(0.0, 0, "other size %u", i + 1);
        soak_crew_run(&crew, 1, sleeper_free, &s);
    }
    soak_sample(0.0, 0, "freed");
    soak_idle(soak_run_state.options.idle);
}

/* How many threads each place has yet to see born. */
struct nursery {
    size_t left[NURSERY];
    uint64_t random[NURSERY];
    struct soak_block *block[NURSERY];
};

/* One thread's life. It ends, and its place asks for another, until there have been enough. */
static bool life(void *arg, unsigned member)
{
    struct nursery *n = arg;
    struct soak_block *b = n->block[member];
    size_t count = 0;
    size_t bytes = 0;

    if (n->left[member] == 0)
        return true;
    n->left[member]--;
    while (bytes < BIRTH_BYTES) {
        b[count] = soak_new(soak_size(work_random(&n->random[member]), 16, 16 << 10));
        bytes += b[count++].size;
    }
    soak_end_all(b, count);
    return false;
}

static void bear(struct soak_crew *crew, struct nursery *n, size_t births)
{
    for (unsigned i = 0; i < NURSERY; i++)
        n->left[i] = births / NURSERY;
    soak_crew_run(crew, soak_crew_first(NURSERY), life, n);
}

/* 10,000 threads, four at a time, each of which takes 1 MiB in mixed sizes and gives it back. */
void soak_churn(void)
{
    static struct nursery n;
    static struct soak_crew crew;
    size_t births = soak_scaled(BIRTHS);
    size_t first = births > 2 * BIRTHS_FIRST ? BIRTHS_FIRST : births / 2;

    for (unsigned i = 0; i < NURSERY; i++) {
        n.block[i] = soak_map((BIRTH_BYTES / 16 + 1) * sizeof(*n.block[i]));
        n.random[i] = work_mix(work_mix(soak_run_state.options.seed) + i);
    }
    soak_begin();
    soak_crew_start(&crew, NURSERY);
    bear(&crew, &n, first);
    soak_sample(0.0, 0, "%zu threads", first);
    bear(&crew, &n, births - first);
    soak_sample(0.0, 0, "%zu threads", births);
    soak_idle(soak_run_state.options.idle);
}
