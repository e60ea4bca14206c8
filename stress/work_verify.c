/* SPDX-License-Identifier: BSD-2-Clause */
#include "work_verify.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "alloc_table.h"
#include "work.h"
#include "work_random.h"

enum { PATTERN_WORD = sizeof(uint64_t) };

/* A block's pattern: a sequence of words that starts and steps in its own way for each id. */
struct pattern {
    uint64_t start;
    uint64_t step;
};

static struct pattern pattern_of(uint64_t id)
{
    struct pattern p;

    p.start = work_mix(id + 1);
    p.step = work_mix(p.start) | 1;
    return p;
}

static uint64_t pattern_word(const struct pattern *p, size_t index)
{
    return p->start + p->step * index;
}

/* How many bytes carry the pattern. None in a block of size 0: it is an address, nothing more. */
static size_t pattern_extent(const void *block, size_t size)
{
    size_t usable;

    if (alloc_calls.usable == NULL || size == 0)
        return size;
    usable = alloc_calls.usable((void *)(uintptr_t)block);
    if (usable < size)
        work_fail("block %p of %zu bytes has a usable size of only %zu", block, size, usable);
    return usable;
}

static void verify_alignment(const void *block, size_t size, size_t alignment)
{
    size_t natural = size >= 16 ? 16 : 8;

    if (alignment < natural)
        alignment = natural;
    if ((uintptr_t)block % alignment != 0)
        work_fail("block %p of %zu bytes is not aligned to %zu", block, size, alignment);
}

void work_verify_fill(void *block, size_t size, uint64_t id, size_t alignment)
{
    struct pattern p = pattern_of(id);
    unsigned char *byte = block;
    size_t extent;
    size_t i;

    if (block == NULL)
        return;
    extent = pattern_extent(block, size);
    verify_alignment(block, size, alignment);
    for (i = 0; i + PATTERN_WORD <= extent; i += PATTERN_WORD) {
        uint64_t word = pattern_word(&p, i / PATTERN_WORD);

        memcpy(byte + i, &word, PATTERN_WORD);
    }
    if (i < extent) {
        uint64_t word = pattern_word(&p, i / PATTERN_WORD);

        memcpy(byte + i, &word, extent - i);
    }
}

static void report_difference(const unsigned char *block, size_t size, size_t at, uint64_t expected)
{
    unsigned char byte[PATTERN_WORD];
    size_t i = 0;

    memcpy(byte, &expected, PATTERN_WORD);
    while (block[at + i] == byte[i] && i < PATTERN_WORD - 1)
        i++;
    work_fail("block %p of %zu bytes: byte %zu is 0x%02x, not the 0x%02x that was written",
              (const void *)block, size, at + i, block[at + i], byte[i]);
}

static void verify_extent(const unsigned char *byte, size_t size, size_t extent, uint64_t id)
{
    struct pattern p = pattern_of(id);

    for (size_t i = 0; i < extent; i += PATTERN_WORD) {
        uint64_t expected = pattern_word(&p, i / PATTERN_WORD);
        size_t length = extent - i < PATTERN_WORD ? extent - i : PATTERN_WORD;

        if (memcmp(byte + i, &expected, length) != 0)
            report_difference(byte, size, i, expected);
    }
}

void work_verify_check(const void *block, size_t size, uint64_t id)
{
    if (block != NULL)
        verify_extent(block, size, pattern_extent(block, size), id);
}

void work_verify_prefix(const void *block, size_t kept, uint64_t id)
{
    if (block != NULL)
        verify_extent(block, kept, kept, id);
}

void work_verify_zero(const void *block, size_t size)
{
    const unsigned char *byte = block;

    for (size_t i = 0; i < size && byte != NULL; i++)
        if (byte[i] != 0)
            work_fail("calloc: block %p of %zu bytes: byte %zu is 0x%02x, not 0", block, size, i,
                      byte[i]);
}
