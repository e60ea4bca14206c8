/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs that are sparse: the system's pages in which all blocks are at home are given back, though
 * other blocks of the slab are out. What is at home is known by its bit alone, so its memory may be
 * taken away; when a block there goes out again, its page is fresh.
 *
 * `looked` is 0 if blocks were taken from a slab since it was last looked at; else the epoch of the
 * look since which none were. Slabs whose free blocks are filled with junk, for writes to be seen,
 * are left alone. Blocks that come home do not count: so a slab to which they only
 * come, while others serve, loses its free pages all the time.
 *
 * Orphans of which all blocks are at home have waited for a thread that wants them (slab.h): they
 * go to the pool, which purges longer runs.
 */
#include "due.h"
#include "os.h"
#include "pool.h"
#include "slab.h"

/* The number of the first block from `number` on whose bit is `value`; `blocks`: there is none. */
static unsigned next_bit(const uint64_t *bits, unsigned number, unsigned blocks, bool value)
{
    while (number < blocks) {
        uint64_t word = value ? bits[number / 64] : ~bits[number / 64];
        word &= ~(uint64_t)0 << number % 64;
        if (word != 0) {
            number = (number & ~63u) + (unsigned)__builtin_ctzl(word);
            break;
        }
        number = (number & ~63u) + 64;
    }
    return number < blocks ? number : blocks;
}

/* Gives back the whole pages between two addresses. The bytes. */
static size_t purge_between(uintptr_t from, uintptr_t to)
{
    from = owl_round_up(from, owl_os.page);
    to &= ~(owl_os.page - 1);
    return from < to && owl_os.purge((void *)from, to - from) == 0 ? to - from : 0;
}

/* What lies behind the last block is nobody's: it goes with the last blocks, or alone. */
static size_t purge_slab(struct owl_owner *o, struct owl_span *s)
{
    const uint64_t *bits = owl_span_bits(s);
    unsigned blocks = owl_classes[s->class].blocks;
    uintptr_t end = s->start + (s->granules << OWL_GRANULE_SHIFT);
    size_t purged = 0;
    unsigned to;
    for (unsigned from = 0; from < blocks; from = to) {
        from = next_bit(bits, from, blocks, true);
        to = next_bit(bits, from, blocks, false);
        purged += purge_between(s->start + (uintptr_t)from * s->bytes,
                                to < blocks ? s->start + (uintptr_t)to * s->bytes : end);
    }
    o->idle -= owl_slab_idle(s);
    s->dry = s->free_blocks * (uint32_t)s->bytes;
    s->sparse = 1;
    return purged;
}

/* What one call does. */
struct purge {
    struct owl_owner *owner;
    unsigned epoch;
    bool later;             /* there is more to be done in a later epoch */
    bool awaited;           /* somebody waits for the owner's lock */
    size_t purged;          /* bytes */
    struct owl_span *ended; /* slabs for the pool, linked by `next` */
};

static bool waits_for_thread(const struct purge *p, const struct owl_span *s)
{
    return p->owner == &owl_orphans && owl_slab_is_whole(s);
}

/* The next slab from s on that is to be purged, or to end; NULL: there is none. Those that were
 * used since they were last looked at are left for a later epoch, and so noted; in epoch 0 they are
 * not. */
static struct owl_span *next_due(struct purge *p, struct owl_span *s)
{
    for (; s != NULL; s = s->next) {
        if ((owl_slab_idle(s) == 0 || s->filled) && !waits_for_thread(p, s))
            continue;
        if (p->epoch == 0 || (s->looked != 0 && s->looked != p->epoch))
            break;
        s->looked = (uint8_t)p->epoch;
        p->later = true;
    }
    return s;
}

/* Until the end of the list, or until somebody waits for the owner's lock, which is held. */
static void purge_list(struct purge *p, unsigned class)
{
    struct owl_span *s = next_due(p, p->owner->with_free[class]);
    while (s != NULL && !p->awaited) {
        struct owl_span *next = s->next;
        if (waits_for_thread(p, s))
            owl_slab_end(p->owner, s, &p->ended);
        else
            p->purged += purge_slab(p->owner, s);
        p->awaited = owl_lock_is_awaited(&p->owner->lock);
        s = next_due(p, next);
    }
}

static void purge(struct purge *p)
{
    struct owl_owner *o = p->owner;
    owl_lock(&o->lock);
    for (unsigned class = 0; class < OWL_CLASSES;) {
        purge_list(p, class);
        if (p->awaited) {
            owl_due_note(&owl_due.slabs, &o->noted, o->idle);
            owl_unlock(&o->lock);
            p->awaited = false;
            owl_lock(&o->lock);
        } else {
            class++;
        }
    }
    owl_due_note(&owl_due.slabs, &o->noted, o->idle);
    owl_unlock(&o->lock);
    if (p->ended != NULL)
        owl_pool_give_idle(p->ended);
}

bool owl_slab_end_waiting(size_t most)
{
    struct owl_span *ended = NULL;
    if (owl_word_load_relaxed(&owl_slab_waiting) == 0)
        return false;
    owl_lock(&owl_orphans.lock);
    for (unsigned class = 0; owl_orphans.idle > most && class < OWL_CLASSES; class++)
        for (struct owl_span *s = owl_orphans.with_free[class], *next;
             s != NULL && owl_word_load_relaxed(&owl_slab_waiting) > 0; s = next) {
            next = s->next;
            if (owl_slab_is_whole(s))
                owl_slab_end(&owl_orphans, s, &ended);
        }
    owl_due_note(&owl_due.slabs, &owl_orphans.noted, owl_orphans.idle);
    owl_unlock(&owl_orphans.lock);
    if (ended != NULL)
        owl_pool_give_all(ended);
    return ended != NULL;
}

size_t owl_slab_purge(struct owl_owner *o)
{
    struct purge p = {.owner = o};
    purge(&p);
    return p.purged;
}

bool owl_slab_purge_idle(struct owl_owner *o, unsigned epoch)
{
    struct purge p = {.owner = o, .epoch = epoch};
    purge(&p);
    return p.later;
}
