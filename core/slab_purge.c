/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slabs that are sparse: the system's pages in which all blocks are at home are given back, though
 * other blocks of the slab are out. What is at home is known by its bit alone, so its memory may be
 * taken away; when a block there goes out again, its page is fresh.
 */
#include "os.h"
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
static size_t purge_slab(struct owl_span *s)
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
    s->swept = 1;
    return purged;
}

/* The next slab in which something came home since it was last purged; NULL: there is none. */
static struct owl_span *next_unswept(struct owl_span *s)
{
    while (s != NULL && s->swept)
        s = s->next;
    return s;
}

/* Purges until the end of the list, or until somebody waits for the owner's lock, which is held. */
static size_t purge_list(struct owl_owner *o, unsigned class, bool *awaited)
{
    size_t purged = 0;
    struct owl_span *s = next_unswept(o->with_free[class]);
    while (s != NULL && !*awaited) {
        purged += purge_slab(s);
        *awaited = owl_lock_is_awaited(&o->lock);
        s = next_unswept(s);
    }
    return purged;
}

size_t owl_slab_purge(struct owl_owner *o)
{
    size_t purged = 0;
    bool awaited = false;
    owl_lock(&o->lock);
    for (unsigned class = 0; class < OWL_CLASSES;) {
        purged += purge_list(o, class, &awaited);
        if (awaited) {
            owl_unlock(&o->lock);
            awaited = false;
            owl_lock(&o->lock);
        } else {
            class++;
        }
    }
    owl_unlock(&o->lock);
    return purged;
}
