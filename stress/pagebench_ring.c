/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring: each step frees the oldest block and allocates another in its place.
 *
 * Two ways to draw a size, both in whole pages:
 *
 *   even       the logarithm is uniform, so every bin gets as many blocks as the others.
 *   published  as the author's program did: 2 to a power that is uniform over 64 doublings from a
 *              page up, of which only the bits below the largest size are kept; what is less than
 *              a page is drawn again, and so is 2^64 and more, which does not fit the program's
 *              integer (it becomes zero on x86-64). With pages of 4 KiB and 8 MiB, the logarithm is
 *              uniform in 11 of the 52 doublings that remain; in the others the size itself is:
 *              half of these blocks fall into the topmost bin, one in 1,024 into the lowest.
 *
 * The author's program divides by the number of allocations alone and measures from the first, so
 * that frees of the last ring are never counted; here the ring is filled before the clock starts,
 * and frees and allocations have counts of their own.
 */
#include "pagebench_work.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "figures_latency.h"
#include "work_random.h"

struct slot {
    void *block;
    size_t bytes;
};

/* Uniform in [0, 1), of the upper 53 bits. */
static double uniform(uint64_t *state)
{
    return (double)(work_random(state) >> 11) * 0x1p-53;
}

static size_t draw_even(const struct pagebench_options *o, size_t page, uint64_t *state)
{
    double least = log2((double)o->least);
    double bits = log2((double)o->most) - least;
    size_t bytes = (size_t)exp2(least + uniform(state) * bits) & ~(page - 1);

    return bytes < o->least ? (o->least + page - 1) & ~(page - 1) : bytes;
}

static size_t draw_published(const struct pagebench_options *o, size_t page, uint64_t *state)
{
    unsigned top = 63u - (unsigned)__builtin_clzll(o->most);
    size_t bytes;

    do {
        double power = uniform(state) * 64.0 + (double)__builtin_ctzl(page);

        bytes = power < 64.0 ? (size_t)exp2(power) : 0;
        bytes &= (((size_t)1 << top) - 1) & ~(page - 1);
    } while (bytes < page);
    return bytes;
}

static size_t draw(const struct pagebench_options *o, size_t page, uint64_t *state)
{
    return o->generators == 1u << GENERATOR_PUBLISHED ? draw_published(o, page, state)
                                                      : draw_even(o, page, state);
}

static bool no_memory(struct pagebench_record *record, size_t bytes)
{
    snprintf(record->error, sizeof(record->error), "no memory for a block of %zu bytes: %s", bytes,
             strerror(errno));
    return false;
}

/* One step. The intervals hold the calls and the touch, nothing of our own. */
static bool step(const struct pagebench_calls *calls, struct slot *slot, size_t bytes, bool touch)
{
    uint64_t from;
    uint64_t to;

    if (slot->block != NULL) {
        from = figures_ticks();
        calls->free(slot->block, slot->bytes);
        to = figures_ticks();
        pagebench_clock_add(PAGEBENCH_FIRST, slot->bytes, from, to);
    }
    from = figures_ticks();
    slot->block = calls->alloc(bytes);
    if (touch && slot->block != NULL)
        pagebench_touch(slot->block, 0, bytes);
    to = figures_ticks();
    pagebench_clock_add(PAGEBENCH_SECOND, bytes, from, to);
    slot->bytes = bytes;
    return slot->block != NULL;
}

static bool run(const struct pagebench_options *o, const struct pagebench_calls *calls,
                struct slot *ring, struct pagebench_record *record)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t state = work_mix(o->seed);
    bool touch = o->touches == 2;

    for (uint64_t i = 0; i < o->slots + o->loops; i++) {
        size_t bytes = draw(o, page, &state);

        if (i == o->slots)
            pagebench_clock_start();
        if (!step(calls, &ring[i % o->slots], bytes, touch))
            return no_memory(record, bytes);
    }
    pagebench_clock_end(record);
    for (uint64_t i = 0; i < o->slots; i++)
        calls->free(ring[i].block, ring[i].bytes);
    return true;
}

/* The ring itself does not come from the allocator under test. */
bool pagebench_ring(const struct pagebench_options *o, const struct pagebench_calls *calls,
                    struct pagebench_record *record)
{
    size_t bytes = o->slots * sizeof(struct slot);
    struct slot *ring = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    bool good = ring != MAP_FAILED ? run(o, calls, ring, record) : no_memory(record, bytes);

    if (ring != MAP_FAILED)
        munmap(ring, bytes);
    return good;
}
