/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work_realloc: blocks that grow and shrink.
 *
 * Each thread has --live slots. An operation picks one at random and makes one call: malloc of 16
 * to 271 bytes if it is empty, otherwise, of sixteen times,
 *
 *    8  realloc to 1 .. 256 bytes more        (a string that is appended to)
 *    4  realloc to twice the size             (a list that ran out of room)
 *    2  realloc to a half                     (and what is no longer needed given back)
 *    2  free
 *
 * A block that would pass 128 KiB is freed instead. Most blocks are some hundred bytes long, most
 * of the memory is in blocks of tens of kilobytes.
 */
#include "work.h"

enum { REALLOC_LARGEST = 128 * 1024 };

static size_t realloc_bytes(const struct work *w)
{
    return w->options->live * sizeof(struct work_block);
}

/* The size that the block of `size` bytes should have next; 0: it should be freed. */
static size_t realloc_next_size(size_t size, uint64_t random)
{
    unsigned choice = random & 15;

    if (choice < 8)
        size += 1 + ((random >> 4) & 255);
    else if (choice < 12)
        size *= 2;
    else if (choice < 14)
        size = size / 2 + 1;
    else
        size = 0;
    return size <= REALLOC_LARGEST ? size : 0;
}

static void realloc_resize(struct work_thread *t, struct work_block *b, size_t size)
{
    void *p;

    if (t->verify)
        work_verify_check(b->p, b->size, b->id);
    p = work_call_realloc(t, b->p, size);
    if (p == NULL)
        work_fail("realloc from %u to %zu bytes returned NULL", (unsigned)b->size, size);
    if (t->verify) {
        work_verify_prefix(p, size < b->size ? size : b->size, b->id);
        b->id = t->next_id;
        t->next_id += t->id_step;
        work_verify_fill(p, size, b->id, 0);
    } else {
        work_touch(p, size);
    }
    t->live += (int64_t)size - (int64_t)b->size;
    b->p = p;
    b->size = (uint32_t)size;
}

static void realloc_run(struct work_thread *t)
{
    struct work_block *table = t->table;
    uint32_t live = (uint32_t)t->work->options->live;

    do {
        uint64_t random = work_random(&t->random);
        struct work_block *b = &table[work_below(random, live)];
        size_t size;

        if (b->p == NULL) {
            work_block_new(t, b, 16 + (random & 255));
            continue;
        }
        size = realloc_next_size(b->size, random);
        if (size != 0)
            realloc_resize(t, b, size);
        else
            work_block_end(t, b);
    } while (work_next(t));
}

static void realloc_drain(struct work_thread *t)
{
    work_blocks_end(t, t->table, t->work->options->live);
}

const struct work_kind work_realloc = {
    .name = "realloc", .table_bytes = realloc_bytes, .run = realloc_run, .drain = realloc_drain
};
