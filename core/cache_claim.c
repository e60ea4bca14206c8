/* SPDX-License-Identifier: BSD-2-Clause */
/* Flushing the caches of other threads. */
#include "cache_inside.h"

#include "os.h"

/* Blocks that are taken away under one claim. They lie on the stack, of which threads may have no
 * more than 16 KiB. */
enum { MOST = 512 };

struct taken {
    struct owl_span *stock;
    unsigned count;
    struct owl_block *blocks[MOST];
};

/* Who claims takes the lock before it sets the mark: after each wait that may be another's. */
void owl_cache_await(struct owl_cache *c)
{
    do {
        owl_lock(&c->claim);
        owl_unlock(&c->claim);
    } while (!owl_cache_try_enter(c));
}

/* A fork in a handler over a claim, at any point of it, makes this NULL in the child, as the thread
 * is not there. What it was is memory still. */
static owl_word *self_of(const struct owl_cache *c)
{
    return *(owl_word *const volatile *)&c->self;
}

static void point(const struct owl_cache *c, const struct owl_cache *to)
{
    owl_word *self = self_of(c);
    if (self != NULL)
        owl_word_store_release(self, (uintptr_t)to);
}

static void end_claim(struct owl_cache *c)
{
    point(c, c);
    owl_u32_store_release(&c->claimed, 0);
    owl_unlock(&c->claim);
}

/* Not all threads run their destructors: those of one that allocates for the first time in the last
 * round of destructors do not, nor do those of one that leaves by the system call. What was its
 * owl_cache_self is no memory then, or that of a thread which came after it. So long as the claim's
 * lock is held, no thread ends that does run them. */
static bool has_thread(struct owl_cache *c)
{
    const owl_word *self = self_of(c);
    if (self != NULL && (!owl_os.thread_lives(&c->system) ||
                         owl_word_load_relaxed(self) != (uintptr_t)c))
        c->self = NULL;
    return c->self != NULL;
}

enum claim { CLAIMED, BUSY, NEVER };

/* NEVER: it has no thread, or the system has no barrier. */
static enum claim claim(struct owl_cache *c)
{
    owl_lock(&c->claim);
    if (!has_thread(c)) {
        owl_unlock(&c->claim);
        return NEVER;
    }
    owl_u32_store_relaxed(&c->claimed, 1);
    point(c, &owl_cache_none);
    bool passed = owl_os.barrier() == 0;
    if (passed && owl_u32_load_acquire(&c->busy) == 0)
        return CLAIMED;
    end_claim(c);
    return passed ? BUSY : NEVER;
}

/* All blocks of a magazine but the newest, as far as there is room for them. False: there are more.
 * The acquire of the top pairs with owl_word_hand in the fast paths. */
static bool take_magazine(struct owl_cache *c, unsigned class, struct taken *t)
{
    struct owl_magazine *m = &c->magazines[class];
    struct owl_block **top = (struct owl_block **)owl_word_load_acquire(&c->top[class]);
    struct owl_block **base = (struct owl_block **)owl_word_peek(&m->base);
    size_t count = (size_t)(top - base) - 1;
    if (count <= 1)
        return true;
    size_t n = count - 1 < MOST - t->count ? count - 1 : MOST - t->count;
    for (size_t i = 1; i <= n; i++)
        t->blocks[t->count++] = base[i];
    base[n] = NULL;
    owl_word_poke(&m->base, (uintptr_t)(base + n));
    return n == count - 1;
}

/* False: there is more. */
static bool take(struct owl_cache *c, struct taken *t)
{
    t->stock = owl_stock_empty(&c->stock);
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++) {
        if (MOST - t->count < OWL_REMOTE_BLOCKS)
            return false;
        t->count += owl_cache_empty_remote(&c->remote[i], t->blocks + t->count);
    }
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        if (!take_magazine(c, class, t))
            return false;
    owl_cache_forget_room(c);
    return true;
}

/* Whether there is something to take, or to forget; a guess while its thread runs. */
static bool has_some(const struct owl_cache *c)
{
    if (owl_word_peek(&c->room) != 0)
        return true;
    if (!owl_inbox_is_empty(&c->inbox) || owl_u32_peek(&c->stock.granules) > 0)
        return true;
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++)
        if (owl_u32_peek(&c->remote[i].count) > 0)
            return true;
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        if (owl_word_peek(&c->top[class]) - owl_word_peek(&c->magazines[class].base) >
            2 * sizeof(struct owl_block *))
            return true;
    return false;
}

/* A number that hardly stays the same when the thread uses its cache. */
static uintptr_t stamp_of(const struct owl_cache *c)
{
    uintptr_t stamp = 1 + owl_u32_peek(&c->inbox.count) + owl_u32_peek(&c->stock.granules);
    for (unsigned i = 0; i < OWL_REMOTE_OWNERS; i++)
        stamp = stamp * 31 + owl_u32_peek(&c->remote[i].count);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        stamp = stamp * 31 + owl_word_peek(&c->top[class]);
    return stamp;
}

owl_u32 owl_cache_carriers;

/* A child of a fork, in a handler over this, has counted anew. */
static void end_carrying(void)
{
    uint32_t n = owl_u32_load_relaxed(&owl_cache_carriers);
    while (n > 0 && !owl_u32_cas(&owl_cache_carriers, n, n - 1))
        n = owl_u32_load_relaxed(&owl_cache_carriers);
}

/* The blocks go home while nothing is held: a report of what is wrong with one may end in a handler
 * that allocates. */
static enum claim flush_other(struct owl_cache *c)
{
    struct taken t = {.count = 0};
    enum claim result = CLAIMED;
    bool all = false;
    owl_u32_add(&owl_cache_carriers, 1);
    owl_inbox_flush(&c->inbox);
    while (!all && (result = claim(c)) == CLAIMED) {
        all = take(c, &t);
        end_claim(c);
        owl_stock_release(t.stock);
        owl_slab_give(t.blocks, t.count);
        t.count = 0;
    }
    end_carrying();
    return result;
}

/* One without a thread may look busy, in a child of a fork. */
static bool is_busy(const struct owl_cache *c)
{
    return owl_u32_load_acquire(&c->busy) != 0 && owl_word_load_relaxed(&c->thread) != 0;
}

bool owl_cache_flush_others(void)
{
    bool under_way = false;
    owl_cache_reclaim_all(false);
    const struct owl_cache *mine = owl_cache_get();
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next)
        if (c != mine)
            under_way |= (has_some(c) && flush_other(c) == BUSY) || is_busy(c);
    return under_way || owl_u32_load_acquire(&owl_cache_carriers) != 0;
}

bool owl_cache_flush_idle(void)
{
    bool active = owl_cache_reclaim_all(true);
    for (struct owl_cache *c = owl_cache_all(); c != NULL; c = c->next) {
        uintptr_t stamp = stamp_of(c);
        if (!has_some(c))
            continue;
        bool possible = stamp != c->stamp || flush_other(c) != NEVER;
        c->stamp = stamp_of(c);
        active |= possible && has_some(c);
    }
    return active;
}
