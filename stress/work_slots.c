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

static void uniform_run(struct work_thread *t)
{
    struct work_block *table = t->table;
    uint32_t live = (uint32_t)t->work->options->live;
    size_t cap = t->work->options->cap != 0 ? t->work->options->cap : UNIFORM_MASK;

    do {
        uint64_t random = work_random(&t->random);
        struct work_block *b = &table[work_below(random, live)];
        size_t size = random & UNIFORM_MASK;

        work_block_end(t, b);
        work_block_new(t, b, size < cap ? size : cap);
    } while (work_next(t));
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

static void small_run(struct work_thread *t)
{
    struct work_block *table = t->table;
    uint32_t live = (uint32_t)t->work->options->live;

    do {
        uint64_t random = work_random(&t->random);
        struct work_block *b = &table[work_below(random, live)];

        work_block_end(t, b);
        work_block_new(t, b, work_small_size(random));
    } while (work_next(t));
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
