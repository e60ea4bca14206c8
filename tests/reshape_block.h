/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks that are told by what they should hold, and the operations of owl/large.h on them; tests
 * that are done with all sizes and backings.
 */
#ifndef OWL_TESTS_RESHAPE_BLOCK_H
#define OWL_TESTS_RESHAPE_BLOCK_H

#include <owl/large.h>
#include <owl/option.h>

#include "child.h"
#include "faults.h"
#include "option.h"
#include "stats.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* What a block should hold: words at every stride, told by a number and their distance from an
 * origin, which moves as the block grows and shrinks at its front. */
struct block {
    char *start;
    size_t bytes;  /* from the start on; the usable size may be more */
    int64_t front; /* how far the start lies before the origin */
    uint64_t number;
};

#define STRIDE ((size_t)1024)

static inline uint64_t word_at(const struct block *b, size_t at)
{
    return b->number * 0x9e3779b97f4a7c15u + (uint64_t)((int64_t)at - b->front);
}

/* Words lie at multiples of the stride from the origin, so that a move of the start keeps them. */
static inline size_t first_word(const struct block *b)
{
    int64_t at = b->front % (int64_t)STRIDE;
    return (size_t)(at < 0 ? at + (int64_t)STRIDE : at);
}

static inline void fill(struct block *b, size_t from, size_t to)
{
    for (size_t at = first_word(b); at + 8 <= to; at += STRIDE)
        if (at + 8 > from)
            *(uint64_t *)(void *)(b->start + at) = word_at(b, at);
}

static inline bool holds(const struct block *b)
{
    for (size_t at = first_word(b); at + 8 <= b->bytes; at += STRIDE)
        if (*(uint64_t *)(void *)(b->start + at) != word_at(b, at))
            return false;
    return owl_malloc_usable_size(b->start) >= b->bytes;
}

static inline struct block make(size_t bytes, uint64_t number)
{
    struct block b = {.start = owl_malloc(bytes), .bytes = bytes, .number = number};
    check(b.start != NULL);
    fill(&b, 0, bytes);
    return b;
}

static inline void grow_front(struct block *b, size_t bytes)
{
    b->start = owl_grow_front(b->start, bytes);
    check(b->start != NULL && (uintptr_t)b->start % 16 == 0);
    b->bytes += bytes;
    b->front += (int64_t)bytes;
    check(b->bytes <= owl_malloc_usable_size(b->start));
    fill(b, 0, bytes);
}

static inline void shrink_front(struct block *b, size_t bytes)
{
    b->start = owl_shrink_front(b->start, bytes);
    check(b->start != NULL && (uintptr_t)b->start % 16 == 0);
    b->bytes -= bytes;
    b->front -= (int64_t)bytes;
}

static inline void resize(struct block *b, size_t bytes)
{
    size_t before = b->bytes;
    b->start = owl_realloc(b->start, bytes);
    check(b->start != NULL);
    b->bytes = bytes;
    fill(b, before, bytes);
}

static inline struct block duplicate(const struct block *b)
{
    struct block d = *b;
    d.start = owl_dup(b->start);
    check(d.start != NULL && d.start != b->start);
    check(owl_malloc_usable_size(d.start) >= owl_malloc_usable_size(b->start));
    return d;
}

/* Gives a block other contents, all of it or a part. */
static inline void change(struct block *b, uint64_t number)
{
    b->number = number;
    fill(b, 0, b->bytes);
}

static const size_t sizes[] = {100,       5000,     32 * KIB, 33 * KIB, 200 * KIB,
                               300 * KIB, 3 * MIB, 20 * MIB, 33 * MIB, 40 * MIB};
enum { SIZES = sizeof sizes / sizeof *sizes };

static const int backings[] = {OWL_BACKING_AUTO, OWL_BACKING_PRIVATE, OWL_BACKING_MEMFD};

static inline void set_up(int backing)
{
    if (faults.real.page == 0) {
        owl_free(owl_malloc(1));
        faults_install();
    }
    faults_clear();
    check(owl_option_set("backing", backing) == 0);
}

static inline size_t used_bytes(void)
{
    struct owl_stats stats;
    owl_stats(&stats);
    return stats.large_bytes + stats.mapping_bytes;
}

/* Whatever a test makes it frees, and with the blocks go the stores that they show. */
static inline void for_all(void (*body)(size_t bytes))
{
    for (size_t i = 0; i < sizeof backings / sizeof *backings; i++) {
        set_up(backings[i]);
        size_t before = used_bytes();
        for (size_t k = 0; k < SIZES; k++)
            body(sizes[k]);
        check(used_bytes() == before);
        check(owl_stats_heap_is_valid());
    }
}

#endif
