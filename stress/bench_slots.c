/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workloads of threads that keep to themselves: slots and batches.
 *
 * The ideas, not the code: alloc-test is from the OLogN company's comparison of allocators (2018),
 * malloc-simple and malloc-thread from the C library's own benchmarks, sh6bench and sh8bench from
 * MicroQuill; realloc is ours.
 */
#include <string.h>

#include "bench_work.h"

/* --- alloc-test -------------------------------------------------------------- */

enum { SET_SLOTS = 1 << 16 };

/* An empty slot gets a block, a full one loses it. */
static void flip(struct bench_thread *t, struct bench_block *slot, size_t size)
{
    if (slot->p == NULL) {
        bench_fill(slot, size);
        t->sum += size;
    } else {
        bench_empty(slot);
    }
}

static uint32_t set_slots(const struct bench_thread *t)
{
    uint32_t slots = SET_SLOTS / (uint32_t)t->bench->threads;

    return slots < 64 ? 64 : slots;
}

static void uniform_life(struct bench_thread *t)
{
    uint32_t slots = set_slots(t);
    struct bench_block *slot = bench_map(slots * sizeof(slot[0]));

    for (uint64_t left = bench_share(t->bench, 20e6); left > 0; left--) {
        uint64_t random = work_random(&t->random);

        flip(t, &slot[work_below(random, slots)], 1 + (random & 0xFFFF) * 1000 / 65536);
    }
    bench_empty_all(slot, slots);
}

uint64_t bench_alloc_uniform(struct bench *b)
{
    return bench_crew_all(b, uniform_life, NULL);
}

/* The slot is the square of a uniform number, so that a tenth of them gets a third of the calls. */
static void skewed_life(struct bench_thread *t)
{
    uint32_t slots = set_slots(t);
    struct bench_block *slot = bench_map(slots * sizeof(slot[0]));

    for (uint64_t left = bench_share(t->bench, 20e6); left > 0; left--) {
        uint32_t uniform = bench_below(&t->random, 1 << 16);
        uint64_t square = (uint64_t)uniform * uniform >> 16;

        flip(t, &slot[square * slots >> 16], bench_skewed(&t->random, 8, 9));
    }
    bench_empty_all(slot, slots);
}

uint64_t bench_alloc_skewed(struct bench *b)
{
    return bench_crew_all(b, skewed_life, NULL);
}

/* --- sh6 and sh8 --------------------------------------------------------------- */

enum { BATCH = 400, KEPT = 16 * BATCH, SIZES = 10, PLACES = 1024 };

/* How many blocks of a batch have each size: the small ones are the frequent ones. */
static const uint16_t graded[SIZES][2] = {
    { 12, 90 }, { 16, 80 }, { 24, 60 }, { 40, 50 }, { 64, 40 },
    { 100, 30 }, { 180, 20 }, { 320, 15 }, { 600, 10 }, { 1000, 5 }
};

/* Where survivors of sh8 change hands: a place for a block, for all threads. */
struct exchange {
    unsigned char *place[PLACES];
};

static void batch_fill(struct bench_thread *t, struct bench_block *batch)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SIZES; i++)
        for (unsigned j = 0; j < graded[i][1]; j++, n++) {
            bench_fill(&batch[n], graded[i][0] + bench_below(&t->random, 8));
            t->sum += batch[n].size;
        }
}

/*
 * Every fourth block survives: it takes the place of one that has survived so far. The others are
 * freed in the order of their birth, in the reverse order, or the odd ones before the even ones.
 */
static void batch_end(struct bench_block *batch, struct bench_block *kept, uint64_t round)
{
    for (unsigned i = 0; i < BATCH; i += 4) {
        struct bench_block *old = &kept[(round * (BATCH / 4) + i / 4) % KEPT];

        bench_empty(old);
        *old = batch[i];
        batch[i].p = NULL;
    }
    switch (round % 3) {
    case 0:
        bench_empty_all(batch, BATCH);
        break;
    case 1:
        for (unsigned i = BATCH; i-- > 0;)
            bench_empty(&batch[i]);
        break;
    default:
        for (unsigned i = 1; i < BATCH; i += 2)
            bench_empty(&batch[i]);
        for (unsigned i = 0; i < BATCH; i += 2)
            bench_empty(&batch[i]);
        break;
    }
}

/* A block that crosses has its size in its first bytes. */
static void cross(struct bench_thread *t, struct exchange *exchange)
{
    for (unsigned i = 0; i < BATCH / 4; i++) {
        size_t size = 16 + bench_below(&t->random, 200);
        unsigned char *p = bench_malloc(size);
        unsigned char *old;

        memcpy(p, &size, sizeof(size));
        p[size - 1] = (unsigned char)~size;
        t->sum += size;
        old = __atomic_exchange_n(&exchange->place[bench_below(&t->random, PLACES)], p,
                                  __ATOMIC_ACQ_REL);
        if (old == NULL)
            continue;
        memcpy(&size, old, sizeof(size));
        if (size > 16 + 200 || old[size - 1] != (unsigned char)~size)
            bench_fail("a block that changed hands was damaged");
        free(old);
    }
}

static void sh_life(struct bench_thread *t)
{
    struct bench_block *batch = bench_map((BATCH + KEPT) * sizeof(batch[0]));
    struct bench_block *kept = batch + BATCH;
    uint64_t rounds = bench_share(t->bench, t->shared != NULL ? 40000 : 70000);

    for (uint64_t round = 0; round < rounds; round++) {
        batch_fill(t, batch);
        if (t->shared != NULL)
            cross(t, t->shared);
        batch_end(batch, kept, round);
    }
    bench_empty_all(kept, KEPT);
}

uint64_t bench_sh6(struct bench *b)
{
    return bench_crew_all(b, sh_life, NULL);
}

uint64_t bench_sh8(struct bench *b)
{
    struct exchange *exchange = bench_map(sizeof(*exchange));
    uint64_t sum = bench_crew_all(b, sh_life, exchange);

    for (unsigned i = 0; i < PLACES; i++)
        free(exchange->place[i]);
    return sum;
}

/* --- glibc's two ----------------------------------------------------------------- */

enum { SIMPLE_MOST = 1600, THREAD_SLOTS = 1024 };

uint64_t bench_glibc_simple(struct bench *b)
{
    static const uint16_t counts[] = { 25, 100, 400, SIMPLE_MOST };
    static const uint16_t sizes[] = { 16, 32, 48, 64, 128, 256, 512, 1024, 4096 };
    static unsigned char *block[SIMPLE_MOST];
    uint64_t sum = 0;

    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (unsigned j = 0; j < sizeof(counts) / sizeof(counts[0]); j++)
            for (uint64_t left = bench_count(b, 5e5 / counts[j]); left > 0; left--) {
                for (unsigned n = 0; n < counts[j]; n++)
                    block[n] = bench_new(sizes[i]);
                for (unsigned n = 0; n < counts[j]; n++)
                    bench_end(block[n], sizes[i]);
                sum += sizes[i];
            }
    return sum;
}

static void glibc_life(struct bench_thread *t)
{
    struct bench_block *slot = bench_map(THREAD_SLOTS * sizeof(slot[0]));

    for (uint64_t left = bench_share(t->bench, 20e6); left > 0; left--)
        flip(t, &slot[bench_below(&t->random, THREAD_SLOTS)], bench_skewed(&t->random, 4, 13));
    bench_empty_all(slot, THREAD_SLOTS);
}

uint64_t bench_glibc_thread(struct bench *b)
{
    return bench_crew_all(b, glibc_life, NULL);
}

/* --- realloc ----------------------------------------------------------------------- */

enum { GROWING = 64, STRING_MOST = 1 << 16, VECTOR_MOST = 1 << 22 };

static void grow(struct bench_block *b, size_t size)
{
    unsigned char *p;

    if (b->p != NULL)
        bench_check(b->p, b->size);
    p = realloc(b->p, size);
    if (p == NULL)
        bench_fail("realloc to %zu bytes returned NULL", size);
    if (b->p != NULL
        && (p[0] != (unsigned char)b->size || p[b->size - 1] != (unsigned char)b->size))
        bench_fail("realloc to %zu bytes lost the contents", size);
    bench_mark(p, size);
    b->p = p;
    b->size = (uint32_t)size;
}

/*
 * Even slots are strings that get 1 to 64 bytes more at a time, to just what they need. Odd ones
 * are vectors that double. At its largest each is freed; one vector in sixteen may become large.
 */
static void realloc_life(struct bench_thread *t)
{
    struct bench_block *slot = bench_map(GROWING * sizeof(slot[0]));

    for (uint64_t left = bench_share(t->bench, 2.5e6); left > 0; left--) {
        uint32_t i = bench_below(&t->random, GROWING);
        size_t most = i % 32 == 1 ? VECTOR_MOST : STRING_MOST >> (i / 4 % 8);
        size_t old = slot[i].p != NULL ? slot[i].size : 0;
        size_t size = old + 1 + bench_below(&t->random, 64);

        if (i % 2 == 1)
            size = old == 0 ? 64 : 2 * old;
        if (size > most) {
            bench_empty(&slot[i]);
            continue;
        }
        grow(&slot[i], size);
        t->sum += size;
    }
    bench_empty_all(slot, GROWING);
}

uint64_t bench_realloc(struct bench *b)
{
    return bench_crew_all(b, realloc_life, NULL);
}
