/* SPDX-License-Identifier: BSD-2-Clause */
#include "soak_requests.h"

#include <string.h>

enum {
    BLOCKS_LEAST = 40, BLOCKS_MORE = 160,       /* in a request */
    LARGER_ONE_IN = 64, LARGER_LEAST = 1 << 10, LARGER_MOST = 16 << 10,
    LIVES = 64,                                 /* of so many blocks, these do not end at once: */
    LIVES_CACHED = 1, LIVES_LATER = 5, LIVES_OUT = 6,   /* 1, 4 and 1 */
    PAGE_ONE_IN = 100, PAGE_LEAST = 64 << 10, PAGE_MOST = 8 << 20, PAGE_PIECE = 16 << 10,
    MIX_LEAST = 16, MIX_LEAST_MORE = 4, MIX_MOST = 128, MIX_MOST_MORE = 64, NOON = 12
};

struct soak_mix soak_mix_at(double hour)
{
    unsigned h = (unsigned)hour % 24;
    unsigned up = h < NOON ? h : 24 - h;

    return (struct soak_mix){
        .least = MIX_LEAST + (size_t)up * MIX_LEAST_MORE,
        .most = MIX_MOST + (size_t)up * MIX_MOST_MORE
    };
}

static void put_out(struct soak_slot *slot, unsigned turn, struct soak_block *b)
{
    unsigned *count = &slot->out_count[turn & 1];

    if (*count == SLOT_OUT) {
        soak_end(b);
        return;
    }
    slot->out[turn & 1][(*count)++] = *b;
    b->p = NULL;
}

/* A page is appended to, and room for as much again is made whenever it is full, as Tcl does. */
static void build_page(struct soak_slot *slot, unsigned turn)
{
    size_t wanted = soak_size(work_random(&slot->random), PAGE_LEAST, PAGE_MOST);
    struct soak_block page = soak_new(PAGE_PIECE);
    size_t used = 0;

    while (used < wanted) {
        size_t piece = 1 + work_below(work_random(&slot->random), PAGE_PIECE);

        if (used + piece > page.size)
            soak_grow(&page, 2 * (used + piece));
        memset(page.p + used, 'x', piece);
        used += piece;
    }
    if (work_random(&slot->random) % 4 == 0)
        put_out(slot, turn, &page);
    else
        soak_end(&page);
}

/* A block that outlives its request. */
static void keep(struct soak_slot *slot, unsigned turn, unsigned life, struct soak_block *b)
{
    struct soak_block *place;

    if (life < LIVES_CACHED)
        place = &slot->cache[work_random(&slot->random) % SLOT_CACHE];
    else if (life < LIVES_LATER)
        place = &slot->later[work_random(&slot->random) % SLOT_LATER];
    else {
        put_out(slot, turn, b);
        return;
    }
    soak_end(place);
    *place = *b;
    b->p = NULL;
}

void soak_request(struct soak_slot *slot, const struct soak_mix *mix, unsigned turn)
{
    struct soak_block here[BLOCKS_LEAST + BLOCKS_MORE];
    unsigned count = BLOCKS_LEAST + work_below(work_random(&slot->random), BLOCKS_MORE);

    soak_end(&slot->later[slot->requests % SLOT_LATER]);
    for (unsigned i = 0; i < count; i++) {
        uint64_t random = work_random(&slot->random);
        unsigned life = (unsigned)(random >> 8) % LIVES;

        if (random % LARGER_ONE_IN == 0)
            here[i] = soak_new(soak_size(work_random(&slot->random), LARGER_LEAST, LARGER_MOST));
        else
            here[i] = soak_new(soak_size(work_random(&slot->random), mix->least, mix->most));
        if (life < LIVES_OUT)
            keep(slot, turn, life, &here[i]);
    }
    if (slot->sessions.count > 0)
        soak_sessions_change(&slot->sessions, &slot->random, mix->least, mix->most);
    if (work_random(&slot->random) % PAGE_ONE_IN == 0)
        build_page(slot, turn);
    /* The newest first, as a stack of calls ends. */
    for (unsigned i = count; i-- > 0;)
        soak_end(&here[i]);
    slot->requests++;
}

void soak_take_over(struct soak_slot *neighbour, unsigned turn)
{
    unsigned before = (turn + 1) & 1;

    soak_end_all(neighbour->out[before], neighbour->out_count[before]);
    neighbour->out_count[before] = 0;
}
