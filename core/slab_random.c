/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks in an order that nobody knows, for the option `secure`. One of the first words of free
 * bits is picked at random, and then the bits of that word at random, and those of the next. So it
 * is one of 256 blocks that is the next, and what is handed out together is near together: with a
 * choice from all of a slab, a thread has that many more lines and pages of memory in its hands.
 */
#include "slab.h"

/* G. Marsaglia's xorshift, begun with what an attacker does not know. */
static uint32_t next(uint64_t *random)
{
    uint64_t x = *random;
    if (x == 0)
        x = (owl_page_map.secret ^ (uintptr_t)random) | 1;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *random = x;
    return (uint32_t)((x * 0x2545f4914f6cdd1du) >> 32);
}

/* One of the ones of a word that is not 0. */
static unsigned pick(uint64_t ones, unsigned turn)
{
    uint64_t turned = turn != 0 ? ones >> turn | ones << (64 - turn) : ones;
    return ((unsigned)__builtin_ctzl(turned) + turn) % 64;
}

/* Words that the first block is picked from. */
enum { CHOICE = 4 };

/* A word to begin with: below it, from first_word on, there may be free bits. */
static unsigned first_pick(struct owl_span *s, unsigned words, uint32_t random)
{
    const uint64_t *bits = owl_span_bits(s);
    while (bits[s->first_word] == 0)
        s->first_word++;
    unsigned word = s->first_word + random % CHOICE;
    return word < words ? word : s->first_word;
}

unsigned owl_slab_take_random(struct owl_span *s, unsigned want, struct owl_block **blocks,
                              uint64_t *random)
{
    uint64_t *bits = owl_span_bits(s);
    unsigned words = (owl_classes[s->class].blocks + 63u) / 64;
    unsigned word = first_pick(s, words, next(random));
    if (want > s->free_blocks)
        want = s->free_blocks;
    for (unsigned taken = 0; taken < want; taken++) {
        while (bits[word] == 0)
            word = word + 1 < words ? word + 1 : s->first_word;
        unsigned bit = pick(bits[word], next(random) % 64);
        bits[word] &= ~((uint64_t)1 << bit);
        blocks[taken] = (struct owl_block *)(s->start + (uintptr_t)(word * 64 + bit) * s->bytes);
        owl_block_mark(blocks[taken]);
    }
    s->free_blocks -= want;
    return want;
}
