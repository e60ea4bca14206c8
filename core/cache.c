/* SPDX-License-Identifier: BSD-2-Clause */
#include "cache_inside.h"

#include <string.h>

#include "check.h"
#include "option.h"

/* The slots of a magazine that has no room: it is empty and full. */
static struct owl_block *no_slots[1];
#define NO_ROOM {[0 ... OWL_CLASSES - 1] = (uintptr_t)&no_slots[1]}

struct owl_cache owl_cache_none = {.top = NO_ROOM, .limit = NO_ROOM};
struct owl_cache owl_cache_gone = {.top = NO_ROOM, .limit = NO_ROOM};
__thread owl_word owl_cache_self __attribute__((tls_model("initial-exec"))) =
    (uintptr_t)&owl_cache_none;

/* Slots for a magazine: some that the cache has to spare, or new ones. NULL: no memory. */
static struct owl_block **find_slots(struct owl_cache *c, unsigned shift)
{
    void **slots = c->spare[shift];
    if (slots != NULL)
        c->spare[shift] = *slots;
    else
        slots = owl_cache_carve(sizeof *slots << shift);
    return (struct owl_block **)slots;
}

static void use_slots(struct owl_cache *c, unsigned class, struct owl_block **slots, size_t count)
{
    c->magazines[class].slots = slots;
    owl_word_poke(&c->magazines[class].base, (uintptr_t)slots);
    owl_word_hand(&c->top[class], (uintptr_t)(slots + 1 + count));
    owl_word_poke(&c->limit[class], (uintptr_t)(slots + 1 + c->magazines[class].limit));
}

/* Blocks in a magazine. Of another thread's this is a guess, which may be far off. */
static size_t count_of(const struct owl_cache *c, unsigned class)
{
    return (owl_word_peek(&c->top[class]) - owl_word_peek(&c->magazines[class].base)) /
               sizeof(struct owl_block *) -
           1;
}

/* The blocks of a magazine, at the bottom of its slots again, from where those below them have been
 * taken away. */
static struct owl_block **settle(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    struct owl_block **base = (struct owl_block **)owl_word_peek(&m->base);
    if (base != m->slots) {
        size_t count = count_of(c, class);
        memmove(m->slots + 1, base + 1, count * sizeof *base);
        use_slots(c, class, m->slots, count);
    }
    return m->slots + 1;
}

static void spare_slots(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    if (m->limit > 0) {
        void **slots = (void **)m->slots;
        *slots = c->spare[m->shift];
        c->spare[m->shift] = slots;
    }
}

void owl_cache_open(struct owl_cache *c)
{
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        use_slots(c, class, no_slots, 0);
}

void owl_cache_close(struct owl_cache *c)
{
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        spare_slots(c, class);
        c->magazines[class].limit = 0;
        c->magazines[class].fill = 0;
    }
    owl_cache_open(c);
}

static bool all_marked(struct owl_block *const *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (blocks[i] == NULL || !owl_block_is_marked(blocks[i]))
            return false;
    return true;
}

static bool magazine_is_valid(const struct owl_cache *c, unsigned class)
{
    const struct owl_magazine *m = &c->magazines[class];
    struct owl_block **base = (struct owl_block **)owl_word_peek(&m->base);
    return m->slots[0] == NULL && base[0] == NULL && base >= m->slots && m->fill <= m->limit &&
           (m->limit == 0 || m->limit < 1u << m->shift) &&
           owl_word_peek(&c->limit[class]) == (uintptr_t)(m->slots + 1 + m->limit) &&
           owl_word_peek(&c->top[class]) <= owl_word_peek(&c->limit[class]) &&
           all_marked(base + 1, count_of(c, class));
}

bool owl_cache_is_valid(const struct owl_cache *c)
{
    bool valid = true;
    if (c->torn)
        return true;
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        valid = valid && magazine_is_valid(c, class);
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++)
        valid = valid && all_marked(c->remote[i].blocks, owl_u32_peek(&c->remote[i].count));
    return valid && owl_stock_is_valid(&c->stock);
}

static uint16_t doubled(unsigned n, unsigned first, unsigned most)
{
    if (n == 0)
        return (uint16_t)first;
    return (uint16_t)(n < most / 2 ? 2 * n : most);
}

/* Most blocks that a magazine of the class may have. */
static uint16_t most_blocks(unsigned class)
{
    const struct owl_class *k = &owl_classes[class];
    size_t wanted = (size_t)owl_option(OWL_OPTION_MAGAZINE) / k->size;
    if (wanted >= k->magazine)
        return k->magazine;
    return wanted > 0 ? (uint16_t)wanted : 1;
}

/* The limit after this one. It is never lower, though what the first calls made, before the options
 * were read, may be past what these allow. */
static uint16_t next_limit(const struct owl_magazine *m, unsigned class)
{
    uint16_t most = most_blocks(class);
    uint16_t limit = doubled(m->limit, 2u * owl_classes[class].first, most);
    if (limit > most)
        limit = most;
    return limit > m->limit ? limit : m->limit;
}

/* What is in a magazine is written down nowhere; so what it may hold counts as due until it is
 * emptied: all that was put into it by refills, or what was in it when it was full. Frees alone
 * count when they fill it. */
static void count_room(struct owl_cache *c, unsigned class, size_t blocks)
{
    struct owl_magazine *m = &c->magazines[class];
    if (blocks > m->limit)
        blocks = m->limit;
    if (blocks > m->counted) {
        size_t more = (blocks - m->counted) * owl_classes[class].size;
        m->counted = (uint16_t)blocks;
        owl_cache_count_room(c, more);
    }
}

void owl_cache_forget_room(struct owl_cache *c)
{
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        c->magazines[class].counted = 0;
    c->stock.counted = 0;
    owl_word_poke(&c->room, 0);
    owl_due_note(&owl_due.caches, &c->noted, 0);
    owl_due_unsee();
}

/* Doubles a magazine's limit. False: it has no slots, and there is no memory for them. */
static bool grow(struct owl_cache *c, unsigned class)
{
    struct owl_magazine *m = &c->magazines[class];
    uint16_t limit = next_limit(m, class);
    struct owl_block **slots = settle(c, class) - 1;
    size_t count = count_of(c, class);
    if (m->limit == 0 || limit >= 1u << m->shift) {
        unsigned shift = OWL_MAGAZINE_MIN_SHIFT;
        while (limit >= 1u << shift)
            shift++;
        struct owl_block **more = find_slots(c, shift);
        if (more == NULL)
            return m->limit > 0;
        memcpy(more + 1, slots + 1, count * sizeof *slots);
        more[0] = NULL;
        spare_slots(c, class);
        m->shift = (uint8_t)shift;
        slots = more;
    }
    m->limit = limit;
    use_slots(c, class, slots, count);
    return true;
}

static void reverse(struct owl_block **blocks, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        struct owl_block *b = blocks[i];
        blocks[i] = blocks[n - 1 - i];
        blocks[n - 1 - i] = b;
    }
}

/* Frees what others have freed for this cache, as if its thread had been called. */
static void unpack(struct owl_cache *c)
{
    struct owl_block *blocks[OWL_INBOX_TAKEN];
    unsigned others = 0, n = owl_inbox_take(&c->inbox, blocks);
    for (unsigned i = 0; i < n; i++) {
        const struct owl_span *s = owl_span_of(blocks[i]);
        if (owl_word_peek(&s->owner) == (uintptr_t)c)
            owl_cache_put(c, s->class, owl_cache_top(c, s->class), blocks[i]);
        else
            blocks[others++] = blocks[i];
    }
    if (others > 0)
        owl_slab_give(blocks, others);
}

/* Fills an empty magazine, and takes a block out. `fresh`: a slab may be made for it. */
static void *refill(struct owl_cache *c, unsigned class, bool fresh)
{
    struct owl_magazine *m = &c->magazines[class];
    const struct owl_class *k = &owl_classes[class];
    if (m->limit == 0 && !grow(c, class))
        return owl_cache_take_uncached(class);
    uint16_t fill = doubled(m->fill, k->first, k->fill);
    if (fill > m->limit && (!grow(c, class) || fill > m->limit))
        fill = m->limit;
    struct owl_block **blocks = settle(c, class);
    owl_u32_store_release(&c->waits, 1);
    size_t taken = owl_slab_take(&c->owner, class, fill, fresh, blocks);
    owl_u32_store_relaxed(&c->waits, 0);
    owl_barrier_compiler();
    if (taken == 0)
        return NULL;
    m->fill = fill;
    count_room(c, class, m->counted + taken);
    reverse(blocks, taken);
    owl_word_hand(&c->top[class], (uintptr_t)(blocks + taken));
    owl_assert(owl_cache_is_valid(c));
    return owl_cache_pop(c, class);
}

static void *find_block(struct owl_cache *c, unsigned class, bool fresh)
{
    void *p = NULL;
    owl_cache_enter(c);
    if (!owl_inbox_is_empty(&c->inbox)) {
        unpack(c);
        p = owl_cache_pop(c, class);
    }
    if (p == NULL)
        p = refill(c, class, fresh);
    owl_cache_leave(c);
    owl_due_look();
    return p;
}

/* What caches without a thread have, or left, is looked for before the pool is asked for a slab. */
void *owl_cache_refill(struct owl_cache *c, unsigned class)
{
    bool others = owl_u32_load_relaxed(&owl_cache_deserted) != 0 ||
                  (owl_word_load_relaxed(&owl_slab_waiting) != 0 && !owl_due_has_dirty());
    void *p = find_block(c, class, !others);
    if (p == NULL && others) {
        owl_cache_reclaim();
        p = find_block(c, class, true);
    }
    return p;
}

/* Puts a block into a magazine that was full. How many have to go home for it: the older half, but
 * a part at most, and the block too if there is no memory for slots. */
static size_t make_room(struct owl_cache *c, unsigned class, struct owl_block *b,
                        struct owl_block **older)
{
    struct owl_block **blocks = settle(c, class);
    size_t count = count_of(c, class), half = 0;
    bool room = count < c->magazines[class].limit;
    if (!room) {
        half = (count + 1) / 2;
        if (half > OWL_MAGAZINE_PART)
            half = OWL_MAGAZINE_PART;
        memcpy(older, blocks, half * sizeof *blocks);
        memmove(blocks, blocks + half, (count - half) * sizeof *blocks);
        owl_word_hand(&c->top[class], (uintptr_t)(blocks + count - half));
        room = grow(c, class);
    }
    if (room)
        owl_cache_push(c, class, b);
    else
        older[half++] = b;
    count_room(c, class, count);
    return half;
}

/* What goes home is taken out first: a report of what is wrong with it may end in a handler that
 * allocates. */
void owl_cache_push_full(struct owl_cache *c, struct owl_block *b)
{
    struct owl_block *older[OWL_MAGAZINE_PART + 1];
    owl_cache_enter(c);
    size_t n = make_room(c, owl_span_of(b)->class, b, older);
    owl_assert(owl_cache_is_valid(c));
    owl_cache_leave(c);
    if (n > 0)
        owl_slab_give(older, n);
}

unsigned owl_cache_empty_remote(struct owl_remote *r, struct owl_block **blocks)
{
    unsigned count = owl_u32_peek(&r->count);
    memcpy(blocks, r->blocks, count * sizeof *blocks);
    owl_u32_poke(&r->count, 0);
    owl_u32_poke(&r->bytes, 0);
    return count;
}

/* Takes the blocks of a buffer out: leaves them for their owner's thread, or else, and if they are
 * for several owners, puts them into `home`. Their number there. */
static unsigned send(struct owl_remote *r, struct owl_block **home)
{
    uint32_t bytes = owl_u32_peek(&r->bytes);
    unsigned n = owl_cache_empty_remote(r, home);
    if (n > 0 && r->owner != &owl_orphans &&
        owl_inbox_post(&((struct owl_cache *)r->owner)->inbox, home, n, bytes))
        return 0;
    return n;
}

/* A buffer is emptied when another owner needs it, or when it is full. */
void owl_cache_push_remote(struct owl_cache *c, struct owl_owner *owner, struct owl_block *b,
                           size_t bytes)
{
    struct owl_block *home[OWL_REMOTE_BLOCKS];
    struct owl_remote *r = owl_remote_for(c, owner);
    owl_cache_enter(c);
    unsigned n = r->owner != owner || !owl_remote_has_room(r, bytes) ? send(r, home) : 0;
    r->owner = owner;
    owl_remote_put(r, b, bytes);
    owl_cache_leave(c);
    owl_slab_give(home, n);
}

/* Takes blocks out of a magazine, at most OWL_MAGAZINE_PART, of which `keep` stay. Their number. */
static size_t take_newest(struct owl_cache *c, unsigned class, size_t keep,
                          struct owl_block **blocks)
{
    owl_cache_enter(c);
    size_t n = count_of(c, class);
    n = n > keep ? n - keep : 0;
    if (n > OWL_MAGAZINE_PART)
        n = OWL_MAGAZINE_PART;
    struct owl_block **top = owl_cache_top(c, class) - n;
    memcpy(blocks, top, n * sizeof *blocks);
    owl_word_hand(&c->top[class], (uintptr_t)top);
    owl_cache_leave(c);
    return n;
}

static void shrink_magazine(struct owl_cache *c, unsigned class, size_t keep)
{
    struct owl_block *home[OWL_MAGAZINE_PART];
    for (size_t n; (n = take_newest(c, class, keep, home)) > 0;)
        owl_slab_give(home, n);
}

/* Gives back what is not in magazines, which the caller does with these. */
static void flush_rest(struct owl_cache *c)
{
    struct owl_block *home[OWL_REMOTE_BLOCKS];
    owl_inbox_flush(&c->inbox);
    owl_cache_enter(c);
    struct owl_span *all = owl_stock_empty(&c->stock);
    owl_cache_forget_room(c);
    owl_cache_leave(c);
    owl_stock_release(all);
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++) {
        owl_cache_enter(c);
        unsigned n = owl_cache_empty_remote(&c->remote[i], home);
        owl_cache_leave(c);
        owl_slab_give(home, n);
    }
}

void owl_cache_flush(struct owl_cache *c)
{
    flush_rest(c);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        shrink_magazine(c, class, 0);
}

size_t owl_cache_shrink(struct owl_cache *c)
{
    size_t bytes = 0;
    flush_rest(c);
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        shrink_magazine(c, class, c->magazines[class].fill);
        bytes += count_of(c, class) * owl_classes[class].size;
    }
    return bytes;
}

void *owl_cache_take_uncached(unsigned class)
{
    struct owl_block *b = NULL;
    if (owl_slab_take(&owl_orphans, class, 1, true, &b) == 0)
        return NULL;
    owl_block_wipe(b);
    return b;
}

void owl_cache_count(struct owl_cache *c, struct owl_cache_counts *counts)
{
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        size_t n = count_of(c, class);
        if (n <= OWL_MAGAZINE_BLOCKS) { /* as it would be if they were of one moment */
            counts->blocks += n;
            counts->bytes += n * owl_classes[class].size;
            counts->classes[class] += n;
        }
    }
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++) {
        size_t blocks = owl_u32_peek(&c->remote[i].count);
        size_t bytes = owl_u32_peek(&c->remote[i].bytes);
        counts->blocks += blocks;
        counts->bytes += bytes;
        counts->remote_blocks += blocks;
        counts->remote_bytes += bytes;
    }
    owl_inbox_count(&c->inbox, counts);
    counts->stock_bytes += (size_t)owl_u32_peek(&c->stock.granules) << OWL_GRANULE_SHIFT;
}
