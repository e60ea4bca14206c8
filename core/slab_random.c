/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks in an order that nobody knows, for the option `secure`. Each is a bit that is picked at
 * random in a word of free bits that is: the first from there on that has any. So blocks behind
 * full words are somewhat more likely, which does no harm.
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

/* Leaves first_word as it is: there is no free bit below it still. */
unsigned owl_slab_take_random(struct owl_span *s, unsigned want, struct owl_block **blocks,
                              uint64_t *random)
{
    uint64_t *bits = owl_span_bits(s);
    unsigned first = s->first_word;
    unsigned words = (owl_classes[s->class].blocks + 63u) / 64 - first;
    if (want > s->free_blocks)
        want = s->free_blocks;
    for (unsigned taken = 0; taken < want; taken++) {
        uint32_t r = next(random);
        unsigned word = first + (unsigned)((uint64_t)(r >> 6) * words >> 26);
        while (bits[word] == 0)
            word = word + 1 < first + words ? word + 1 : first;
        unsigned bit = pick(bits[word], r % 64);
        bits[word] &= ~((uint64_t)1 << bit);
        blocks[taken] = (struct owl_block *)(s->start + (uintptr_t)(word * 64 + bit) * s->bytes);
        owl_block_mark(blocks[taken]);
    }
    s->free_blocks -= want;
    return want;
}
