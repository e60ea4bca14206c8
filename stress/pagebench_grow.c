/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that grow: by doubling, all of them to one size before the first gets the next, so that
 * they are in each other's way; and blocks of random size by 16 pages at a time.
 *
 * All pages of a block are touched before it grows, so there are contents to keep. The growth is
 * timed by itself, then the touch of what was added; an allocator that copies has more of the
 * faults in the former. Each block's first and last words are checked after each growth.
 */
#include "pagebench_work.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "figures_latency.h"
#include "work_random.h"

enum { BLOCKS_MOST = 4096, GROW_PAGES = 16 };

#define GROW_MOST (UINT64_C(16) << 20)

struct block {
    unsigned char *start;
    size_t bytes;
};

static struct block blocks[BLOCKS_MOST];

static bool fault(struct pagebench_record *record, const char *what, size_t bytes)
{
    snprintf(record->error, sizeof(record->error), "%s, at a block of %zu bytes%s%s", what, bytes,
             errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
    return false;
}

/* A block's marks tell its number and its size. */
static void mark(const struct block *b, unsigned number)
{
    uint64_t value = work_mix(b->bytes + number);

    memcpy(b->start, &value, sizeof(value));
    memcpy(b->start + b->bytes - sizeof(value), &value, sizeof(value));
}

static bool is_marked(const unsigned char *start, size_t bytes, unsigned number)
{
    uint64_t value = work_mix(bytes + number);

    return memcmp(start, &value, sizeof(value)) == 0
        && memcmp(start + bytes - sizeof(value), &value, sizeof(value)) == 0;
}

static bool make(const struct pagebench_calls *calls, unsigned number, size_t bytes,
                 struct pagebench_record *record)
{
    struct block *b = &blocks[number];

    errno = 0;
    b->start = calls->alloc(bytes);
    b->bytes = bytes;
    if (b->start == NULL)
        return fault(record, "no memory", bytes);
    pagebench_touch(b->start, 0, bytes);
    mark(b, number);
    return true;
}

static void end(const struct pagebench_calls *calls, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        calls->free(blocks[i].start, blocks[i].bytes);
}

static bool grow(const struct pagebench_calls *calls, unsigned number, size_t bytes,
                 struct pagebench_record *record)
{
    struct block *b = &blocks[number];
    size_t old = b->bytes;
    uint64_t from;
    uint64_t between;
    void *now;

    errno = 0;
    from = figures_ticks();
    now = calls->grow(b->start, old, bytes);
    between = figures_ticks();
    pagebench_clock_add(PAGEBENCH_FIRST, bytes, from, between);
    if (now == NULL)
        return fault(record, "no memory", bytes);
    b->start = now;
    b->bytes = bytes;
    errno = 0;
    if (!is_marked(b->start, old, number))
        return fault(record, "contents were lost", bytes);
    from = figures_ticks();
    pagebench_touch(b->start, old, bytes);
    between = figures_ticks();
    pagebench_clock_add(PAGEBENCH_SECOND, bytes, from, between);
    mark(b, number);
    return true;
}

/* How many blocks go on to so many bytes. */
static unsigned going_on(const struct pagebench_options *o, size_t bytes)
{
    uint64_t fit = o->live / bytes;

    return (unsigned)(fit < 2 ? 2 : fit > o->blocks ? o->blocks : fit);
}

bool pagebench_double(const struct pagebench_options *o, const struct pagebench_calls *calls,
                      struct pagebench_record *record)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    unsigned count = going_on(o, bytes);

    for (unsigned i = 0; i < count; i++)
        if (!make(calls, i, bytes, record))
            return false;
    pagebench_clock_start();
    for (bytes *= 2; bytes <= o->to; bytes *= 2) {
        unsigned left = going_on(o, bytes);

        end(calls, left, count);
        count = left;
        for (unsigned i = 0; i < count; i++)
            if (!grow(calls, i, bytes, record))
                return false;
    }
    pagebench_clock_end(record);
    end(calls, 0, count);
    return true;
}

bool pagebench_grow(const struct pagebench_options *o, const struct pagebench_calls *calls,
                    struct pagebench_record *record)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint64_t state = work_mix(o->seed);
    unsigned count = (unsigned)o->blocks;

    for (unsigned i = 0; i < count; i++) {
        size_t pages = 1 + work_below(work_random(&state), (uint32_t)(GROW_MOST / page));

        if (!make(calls, i, pages * page, record))
            return false;
    }
    pagebench_clock_start();
    for (uint64_t pass = 0; pass < o->passes; pass++)
        for (unsigned i = 0; i < count; i++)
            if (!grow(calls, i, blocks[i].bytes + GROW_PAGES * page, record))
                return false;
    pagebench_clock_end(record);
    end(calls, 0, count);
    return true;
}
