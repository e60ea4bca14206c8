/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work_slots: `uniform` and `small`, the random walk over a table of blocks.
 *
 * Each thread has --live slots. An operation picks one at random, frees the block in it and
 * allocates another: one free and one malloc. The two workloads differ in their sizes only:
 *
 *   uniform   14 random bits, so 0 .. 16383 bytes, cut to --cap (16000)
 *   small     as an interpreter's: see work_small_size()
 */
#include "work.h"

enum { UNIFORM_MASK = 0x3FFF };

static size_t slots_bytes(const struct work *w)
{
    return w->options->live * sizeof(struct work_block);
}

/* An operation with all that is seldom wanted: patterns, and calls that are timed. */
static __attribute__((noinline)) void slot_renew_slowly(struct work_thread *t,
                                                        struct work_block *b, size_t size)
{
    work_block_end(t, b);
    work_block_new(t, b, size);
}

/*
 * The random walk until the next check. What changes in each operation is kept in variables and not
 * in *t, and only one operation in some hundred looks at its calls' time: a malloc takes a dozen
 * nanoseconds, so that all else counts.
 */
static inline void slots_walk(struct work_thread *t, size_t (*size_of)(uint64_t, size_t),
                              size_t argument)
{
    struct work_block *table = t->table;
    uint32_t live = (uint32_t)t->work->options->live;
    uint64_t random = t->random;
    uint64_t left = t->ops_check - t->ops;
    uint64_t until_sample = t->verify ? 1 : t->sample_in;
    int64_t more = 0;

    t->ops += left - 1; /* work_next() counts the last one */
    for (; left != 0; left--) {
        uint64_t r = work_random(&random);
        struct work_block *b = &table[work_below(r, live)];
        size_t size = size_of(r, argument);

        if (__builtin_expect(--until_sample == 0, 0)) {
            t->sample_in = 1 + (uint32_t)(r >> 63); /* the free is timed, or the malloc */
            slot_renew_slowly(t, b, size);
            until_sample = t->verify ? 1 : t->sample_in;
            continue;
        }
        if (b->p != NULL)
            alloc_calls.free(b->p);
        b->p = alloc_calls.malloc(size);
        if (__builtin_expect(b->p == NULL && size != 0, 0))
            work_fail("malloc of %zu bytes returned NULL", size);
        more += (int64_t)size - b->size;
        b->size = (uint32_t)size;
        work_touch(b->p, size);
    }
    t->sample_in = (uint32_t)until_sample;
    t->random = random;
    t->live += more;
}

static size_t uniform_size(uint64_t random, size_t cap)
{
    size_t size = random & UNIFORM_MASK;

    return size < cap ? size : cap;
}

static void uniform_run(struct work_thread *t)
{
    size_t cap = t->work->options->cap != 0 ? t->work->options->cap : UNIFORM_MASK;

    do
        slots_walk(t, uniform_size, cap);
    while (work_next(t));
}

/*
 * Half of the sizes lie in 16..31, a quarter in 32..63, an eighth in 64..127 and so on up to
 * 512..1023, evenly within each. One in 64 is larger, 1024..8191; one in 64 of those is 8 KiB to
 * 64 KiB. The mean is about 150 bytes. Uses the lower 25 bits.
 */
size_t work_small_size(uint64_t random)
{
    uint32_t choice = (uint32_t)random & 63;
    uint32_t spread = (uint32_t)(random >> 6) & 0x1FFF;
    uint32_t rare = (uint32_t)(random >> 19) & 63;
    unsigned octave;

    if (choice != 0) {
        octave = (unsigned)__builtin_ctz(choice);
        return ((size_t)16 << octave) + (((size_t)spread << octave) >> 9);
    }
    if (rare != 0)
        return 1024 + spread * 7 / 8;
    return 8192 + (size_t)spread * 7;
}

static size_t small_size(uint64_t random, size_t unused)
{
    (void)unused;
    return work_small_size(random);
}

static void small_run(struct work_thread *t)
{
    do
        slots_walk(t, small_size, 0);
    while (work_next(t));
}

static void slots_drain(struct work_thread *t)
{
    work_blocks_end(t, t->table, t->work->options->live);
}

const struct work_kind work_uniform = {
    .name = "uniform", .table_bytes = slots_bytes, .run = uniform_run, .drain = slots_drain
};

const struct work_kind work_small = {
    .name = "small", .table_bytes = slots_bytes, .run = small_run, .drain = slots_drain
};
