/* SPDX-License-Identifier: BSD-2-Clause */
/* Operands, and the model of blocks. */
#include <errno.h>
#include <owl/owl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fuzz.h"

struct fuzz fuzz;

void fuzz_failed(const char *what, const char *file, int line)
{
    dprintf(STDERR_FILENO, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

unsigned fuzz_byte(void)
{
    return fuzz.at < fuzz.end ? *fuzz.at++ : 0;
}

size_t fuzz_word(void)
{
    size_t low = fuzz_byte();
    return low | (size_t)fuzz_byte() << 8;
}

/* A power of two, a neighbour of one, or something between two of them; up to 128 MiB, a little
 * above 1 GiB, or what nobody has. */
size_t fuzz_size(void)
{
    unsigned kind = fuzz_byte(), shift = kind % 32;
    size_t more = fuzz_byte(), base = (size_t)1 << shift;
    switch (shift) {
    case 27:
        return FUZZ_GIB + (more << 20) + 1;
    case 28:
        return 0;
    case 29:
        return PTRDIFF_MAX - more * 16;
    case 30:
        return (size_t)PTRDIFF_MAX + 1 + more;
    case 31:
        return SIZE_MAX - more;
    default:
        break;
    }
    switch (kind / 32) {
    case 0:
        return base;
    case 1:
        return base + 1;
    case 2:
        return base - 1;
    case 3:
        return base + more;
    default:
        return base + (base * more >> 8);
    }
}

size_t fuzz_bounded(size_t bytes)
{
    if (fuzz_is_absurd(bytes))
        return bytes;
    if (bytes > FUZZ_GIB)
        return fuzz.huge < FUZZ_HUGE ? bytes : bytes % (64 * FUZZ_KIB);
    return bytes <= FUZZ_BUDGET - fuzz.live ? bytes : bytes % (4 * FUZZ_KIB);
}

static unsigned char pattern(uint64_t seed, size_t i)
{
    return (unsigned char)((seed * 0x9e3779b97f4a7c15u + i * 0xff51afd7ed558ccdu) >> 56);
}

/* How far the starts of chunks are apart. Those of larger blocks are the starts of pages, where
 * fuzz_alloc looks for zeros. */
static size_t stride(size_t span)
{
    if (span <= 2 * FUZZ_KIB)
        return FUZZ_CHUNK;
    if (span <= 64 * FUZZ_KIB)
        return 512;
    return (span / 256 + 4096) / 4096 * 4096;
}

static void compare_chunk(const struct fuzz_block *b, const unsigned char *at, size_t chunk,
                          size_t base, size_t from, size_t to)
{
    for (size_t i = chunk; i < chunk + FUZZ_CHUNK && i < b->span; i++)
        if (base + i >= from && base + i < to)
            fuzz_check(at[base + i - from] == pattern(b->seed, i));
}

void fuzz_compare(const struct fuzz_block *b, const unsigned char *at, size_t from, size_t to)
{
    size_t step = stride(b->span);
    for (size_t base = 0; base <= (b->twice ? b->span : 0); base += b->span) {
        for (size_t chunk = 0; chunk < b->span; chunk += step)
            compare_chunk(b, at, chunk, base, from, to);
        compare_chunk(b, at, b->span - FUZZ_CHUNK, base, from, to);
    }
}

void fuzz_compare_block(const struct fuzz_block *b)
{
    fuzz_check(owl_malloc_usable_size(b->p) == b->usable);
    fuzz_compare(b, b->p, 0, b->usable);
}

void fuzz_compare_all(void)
{
    for (unsigned i = 0; i < FUZZ_BLOCKS; i++)
        if (fuzz.blocks[i].p != NULL)
            fuzz_compare_block(&fuzz.blocks[i]);
}

static void fill_chunk(struct fuzz_block *b, size_t chunk)
{
    for (size_t i = chunk; i < chunk + FUZZ_CHUNK && i < b->span; i++)
        b->p[i] = pattern(b->seed, i);
}

void fuzz_fill(struct fuzz_block *b)
{
    b->seed = ++fuzz.seeds;
    b->twice = b->ring;
    b->span = b->ring ? b->usable / 2 : b->usable;
    size_t step = stride(b->span);
    for (size_t chunk = 0; chunk < b->span; chunk += step)
        fill_chunk(b, chunk);
    fill_chunk(b, b->span - FUZZ_CHUNK);
}

/* Enters a block into the model. Every block is aligned to 16 bytes, has at least as many, and lies
 * in no other. */
static void enter(struct fuzz_block *b, unsigned char *p, size_t asked, size_t alignment)
{
    size_t usable = owl_malloc_usable_size(p);
    fuzz_check(b->p == NULL && p != NULL);
    fuzz_check(usable >= asked && usable >= 16);
    fuzz_check((uintptr_t)p % 16 == 0 && (uintptr_t)p % alignment == 0);
    for (unsigned i = 0; i < FUZZ_BLOCKS; i++) {
        const struct fuzz_block *o = &fuzz.blocks[i];
        fuzz_check(o->p == NULL || p + usable <= o->p || o->p + o->usable <= p);
    }
    *b = (struct fuzz_block){.p = p, .asked = asked, .usable = usable};
    fuzz.huge += usable > FUZZ_GIB;
    fuzz.live += usable > FUZZ_GIB ? 0 : usable;
}

void fuzz_born(struct fuzz_block *b, void *p, size_t asked, size_t alignment)
{
    enter(b, p, asked, alignment);
    fuzz_fill(b);
}

void fuzz_born_twin(struct fuzz_block *b, void *p, const struct fuzz_block *of)
{
    enter(b, p, of->usable, 1);
    b->seed = of->seed;
    b->span = of->span;
    b->twice = of->twice;
    fuzz_compare_block(b);
}

void fuzz_gone(struct fuzz_block *b)
{
    fuzz.huge -= b->usable > FUZZ_GIB;
    fuzz.live -= b->usable > FUZZ_GIB ? 0 : b->usable;
    b->p = NULL;
}

static void free_block(struct fuzz_block *b)
{
    fuzz_compare_block(b);
    errno = FUZZ_ERRNO;
    owl_free(b->p);
    fuzz_check(errno == FUZZ_ERRNO);
    fuzz_gone(b);
}

struct fuzz_block *fuzz_free_slot(void)
{
    struct fuzz_block *b = &fuzz.blocks[fuzz_byte() % FUZZ_BLOCKS];
    if (b->p != NULL)
        free_block(b);
    return b;
}

struct fuzz_block *fuzz_live_slot(void)
{
    unsigned first = fuzz_byte();
    for (unsigned i = 0; i < FUZZ_BLOCKS; i++) {
        struct fuzz_block *b = &fuzz.blocks[(first + i) % FUZZ_BLOCKS];
        if (b->p != NULL) {
            fuzz_compare_block(b);
            return b;
        }
    }
    return NULL;
}

void fuzz_free_blocks(void)
{
    for (unsigned i = 0; i < FUZZ_BLOCKS; i++)
        if (fuzz.blocks[i].p != NULL)
            free_block(&fuzz.blocks[i]);
    fuzz_check(fuzz.live == 0 && fuzz.huge == 0);
}
