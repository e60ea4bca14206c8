/* SPDX-License-Identifier: BSD-2-Clause */
#include "slab.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "due.h"
#include "fault.h"
#include "option.h"
#include "os.h"
#include "pool.h"

struct owl_owner owl_orphans = {.lock.rank = OWL_RANK_ORPHANS};
owl_word owl_slab_waiting;

static uintptr_t owner_word(const struct owl_owner *o)
{
    return (uintptr_t)o;
}

/* One slab more, or less. The owner's lock is held. */
static void count_slab(struct owl_owner *o, uintptr_t more)
{
    owl_word_store_relaxed(&o->slabs, owl_word_load_relaxed(&o->slabs) + more);
}

/* A slab that waits more, or less: if it does, as an orphan with all blocks at home. The owner's
 * lock is held. */
static void count_waiting(const struct owl_owner *o, const struct owl_span *s, uintptr_t more)
{
    if (o == &owl_orphans && owl_slab_is_whole(s))
        owl_word_store_relaxed(&owl_slab_waiting, owl_word_load_relaxed(&owl_slab_waiting) + more);
}

/* The list that a slab belongs in. */
static struct owl_span **list_for(struct owl_owner *o, const struct owl_span *s)
{
    return s->free_blocks > 0 ? &o->with_free[s->class] : &o->full;
}

static void list_add(struct owl_span **list, struct owl_span *s)
{
    s->previous = NULL;
    s->next = *list;
    if (*list != NULL)
        (*list)->previous = s;
    *list = s;
}

static void list_remove(struct owl_span **list, struct owl_span *s)
{
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        *list = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
}

/* Writes the owner into every granule's descriptor. Relaxed: see the proof in slab.h. */
static void set_owner(struct owl_span *s, uintptr_t owner)
{
    for (size_t i = 0; i < s->granules; i++) {
        owl_word_store_relaxed(&s[i].owner, owner);
        owl_word_store_relaxed(&s[i].seal, owl_span_seal_of(&s[i], owner));
    }
}

bool owl_slab_look_again(const struct owl_span *s)
{
    owl_lock(&owl_orphans.lock);
    bool sealed = owl_slab_bears_seal(s);
    owl_unlock(&owl_orphans.lock);
    return sealed;
}

static bool slab_is_valid(const struct owl_owner *o, const struct owl_span *s)
{
    const struct owl_class *c = &owl_classes[s->class];
    const uint64_t *bits = owl_span_bits(s);
    unsigned ones = 0;
    for (unsigned word = 0; word < (c->blocks + 63u) / 64; word++) {
        if (word < s->first_word && bits[word] != 0)
            return false;
        ones += (unsigned)__builtin_popcountl(bits[word]);
    }
    for (size_t i = 0; i < s->granules; i++)
        if (owl_word_load_relaxed(&s[i].owner) != owner_word(o) || s[i].kind != OWL_KIND_SLAB ||
            s[i].start != s->start || s[i].class != s->class)
            return false;
    return ones == s->free_blocks && ones <= c->blocks && s->bytes == c->size &&
           s->dry <= (size_t)ones * c->size;
}

/* What any free block is like with the option `junk`: filled, and marked, so that one that was
 * never handed out is known as well. */
static void fill(struct owl_span *s, const struct owl_class *c)
{
    memset((void *)s->start, owl_junk_free(), (size_t)c->blocks * c->size);
    for (uintptr_t b = s->start; b <= s->last; b += c->size)
        owl_block_mark((struct owl_block *)b);
}

/* Who has many slabs of a class and needs one more is about to use it up: its pages are had by one
 * call, and not by a fault each; without the lock, for others free to this owner meanwhile. Nobody
 * knows of the slab yet. Of longer slabs they are too many at once. */
static void note_growth(struct owl_owner *me, const struct owl_span *s, bool zero)
{
    uint8_t *grown = &me->grown[s->class];
    if (*grown < UINT8_MAX)
        ++*grown;
    if (*grown > OWL_GROWN && zero && s->granules == 1 && !s->filled) {
        owl_unlock(&me->lock);
        owl_os.populate((void *)s->start, OWL_GRANULE);
        owl_lock(&me->lock);
    }
}

/* A fresh slab: all blocks at home. */
static struct owl_span *make_slab(struct owl_owner *me, unsigned class)
{
    const struct owl_class *c = &owl_classes[class];
    size_t granules = (size_t)1 << c->order;
    bool zero;
    struct owl_span *s = owl_pool_take(OWL_PRIVATE, granules, 0, &zero);
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < granules; i++) {
        s[i].kind = OWL_KIND_SLAB;
        s[i].class = (uint8_t)class;
        s[i].range = s->range;
        s[i].start = s->start;
        s[i].last = s->start + (c->blocks - 1) * (uintptr_t)c->size;
        s[i].bytes = c->size;
        s[i].granules = granules;
        s[i].reciprocal = c->reciprocal;
    }
    uint64_t *bits = owl_span_bits(s);
    memset(bits, 0xff, c->blocks / 64 * 8);
    if (c->blocks % 64 != 0)
        bits[c->blocks / 64] = ((uint64_t)1 << c->blocks % 64) - 1;
    s->free_blocks = c->blocks;
    s->first_word = 0;
    s->looked = 0;
    s->sparse = 0;
    s->filled = owl_option(OWL_OPTION_JUNK) != 0;
    if (s->filled)
        fill(s, c);
    s->dry = zero && !s->filled ? c->blocks * c->size : 0;
    note_growth(me, s, zero);
    set_owner(s, owner_word(me));
    list_add(&me->with_free[class], s);
    count_slab(me, 1);
    count_waiting(me, s, 1);
    me->idle += owl_slab_idle(s);
    return s;
}

void owl_slab_end(struct owl_owner *o, struct owl_span *s, struct owl_span **ended)
{
    count_waiting(o, s, -(uintptr_t)1);
    list_remove(&o->with_free[s->class], s);
    count_slab(o, -(uintptr_t)1);
    if (o->grown[s->class] > 0)
        o->grown[s->class]--;
    o->idle -= owl_slab_idle(s);
    set_owner(s, 0);
    for (size_t i = 0; i < s->granules; i++)
        s[i].kind = OWL_KIND_NONE;
    s->next = *ended;
    *ended = s;
}

/* From one owner to another; both locks are held. */
static void move_slab(struct owl_owner *from, struct owl_owner *to, struct owl_span *s)
{
    list_remove(list_for(from, s), s);
    count_waiting(from, s, -(uintptr_t)1);
    count_slab(from, -(uintptr_t)1);
    from->idle -= owl_slab_idle(s);
    set_owner(s, owner_word(to));
    list_add(list_for(to, s), s);
    count_slab(to, 1);
    count_waiting(to, s, 1);
    to->idle += owl_slab_idle(s);
}

/* An orphan with free blocks of the class changes hands. Mostly there are none, and then nobody
 * takes that lock, which is one for all threads. */
static struct owl_span *adopt(struct owl_owner *me, unsigned class)
{
    if (me == &owl_orphans || owl_word_load_relaxed(&owl_orphans.slabs) == 0)
        return NULL;
    owl_lock(&owl_orphans.lock);
    struct owl_span *s = owl_orphans.with_free[class];
    if (s != NULL)
        move_slab(&owl_orphans, me, s);
    owl_due_note(&owl_due.slabs, &owl_orphans.noted, owl_orphans.idle);
    owl_unlock(&owl_orphans.lock);
    return s;
}

/* So many blocks are not at home any more: they may be those without pages. */
static void note_taken(struct owl_owner *me, struct owl_span *s, unsigned taken)
{
    size_t bytes = (size_t)taken * s->bytes;
    size_t dry = bytes < s->dry ? bytes : s->dry;
    s->dry -= (uint32_t)dry;
    s->looked = 0;
    me->idle -= bytes - dry;
}

/* Takes up to `want` blocks, lowest address first. */
static unsigned take_bits(struct owl_span *s, unsigned want, struct owl_block **blocks)
{
    uint64_t *bits = owl_span_bits(s);
    unsigned taken = 0;
    unsigned word = s->first_word;
    if (want > s->free_blocks)
        want = s->free_blocks;
    while (taken < want) {
        uint64_t ones = bits[word];
        for (; ones != 0 && taken < want; taken++) {
            unsigned number = word * 64 + (unsigned)__builtin_ctzl(ones);
            struct owl_block *b = (struct owl_block *)(s->start + (uintptr_t)number * s->bytes);
            ones &= ones - 1;
            owl_block_mark(b);
            blocks[taken] = b;
        }
        bits[word] = ones;
        if (ones == 0)
            word++;
    }
    s->first_word = word;
    s->free_blocks -= taken;
    return taken;
}

unsigned owl_slab_take(struct owl_owner *me, unsigned class, unsigned want, bool fresh,
                       struct owl_block **blocks)
{
    unsigned taken = 0;
    owl_lock(&me->lock);
    while (taken < want) {
        struct owl_span *s = me->with_free[class];
        /* Nothing new is fetched for the rest of a magazine. */
        if (s == NULL && taken > 0)
            break;
        if (s == NULL)
            s = adopt(me, class);
        if (s == NULL && fresh)
            s = make_slab(me, class);
        if (s == NULL)
            break;
        count_waiting(me, s, -(uintptr_t)1);
        unsigned more = owl_option(OWL_OPTION_SECURE) != 0
                            ? owl_slab_take_random(s, want - taken, blocks + taken, &me->random)
                            : take_bits(s, want - taken, blocks + taken);
        note_taken(me, s, more);
        taken += more;
        if (s->free_blocks == 0) {
            list_remove(&me->with_free[class], s);
            list_add(&me->full, s);
        }
        owl_assert(slab_is_valid(me, s));
    }
    owl_due_note(&owl_due.slabs, &me->noted, me->idle);
    owl_unlock(&me->lock);
    return taken;
}

/* What is left to do when the owner's lock has been released. */
struct given {
    size_t others;          /* blocks that belong to other owners, at the front of the array */
    struct owl_span *ended; /* spans of slabs that ended, linked by `next` */
    struct owl_block *bad;  /* a block that is at home already, or whose owner word is damaged: to
                               be reported, but not under the lock, for a handler may allocate */
    enum owl_fault fault;   /* what is wrong with it */
};

/* One block comes home. The lock of o, who owns s, is held. False: it is at home already. */
static bool give_one(struct owl_owner *o, struct owl_span *s, struct owl_block *b,
                     struct given *given)
{
    uint64_t *bits = owl_span_bits(s);
    unsigned number =
        (unsigned)(((unsigned __int128)((uintptr_t)b - s->start) * s->reciprocal) >> 64);
    unsigned word = number / 64;
    uint64_t bit = (uint64_t)1 << number % 64;
    if (bits[word] & bit)
        return false;
    bits[word] |= bit;
    o->idle += s->bytes;
    if (word < s->first_word)
        s->first_word = word;
    if (s->free_blocks++ == 0) {
        list_remove(&o->full, s);
        list_add(&o->with_free[s->class], s);
        s->first_word = word;
    }
    owl_assert(slab_is_valid(o, s));
    count_waiting(o, s, 1);
    if (owl_slab_is_whole(s) && !o->keeps)
        owl_slab_end(o, s, &given->ended);
    return true;
}

/* Leaves out block number i, and what comes after it for later. */
static void set_aside(struct given *given, struct owl_block **blocks, size_t n, size_t i,
                      enum owl_fault fault)
{
    given->bad = blocks[i];
    given->fault = fault;
    memmove(&blocks[given->others], &blocks[i + 1], (n - i - 1) * sizeof *blocks);
    given->others += n - i - 1;
}

/* Brings home those of the blocks whose slabs belong to o. Others there are few: those whose slab
 * changed hands while they were on the way. */
static struct given give_to(struct owl_owner *o, struct owl_block **blocks, size_t n)
{
    struct given given = {.others = 0};
    owl_lock(&o->lock);
    for (size_t i = 0; i < n; i++) {
        struct owl_block *b = blocks[i];
        struct owl_span *s = owl_span_of(b);
        if (owl_word_load_relaxed(&s->owner) != owner_word(o)) {
            blocks[given.others++] = b;
        } else if (!owl_slab_bears_seal(s)) {
            set_aside(&given, blocks, n, i, OWL_FAULT_OWNER);
            break;
        } else if (!give_one(o, owl_span_of((void *)s->start), b, &given)) {
            set_aside(&given, blocks, n, i, OWL_FAULT_DOUBLE);
            break;
        }
    }
    owl_due_note(&owl_due.slabs, &o->noted, o->idle);
    owl_unlock(&o->lock);
    return given;
}

void owl_slab_give(struct owl_block **blocks, size_t n)
{
    int saved = errno; /* free keeps it, and locks and the pool may make system calls */
    while (n > 0) {
        const struct owl_span *s = owl_span_of(blocks[0]);
        uintptr_t owner = owl_word_load_relaxed(&s->owner);
        bool sealed = owl_slab_is_sealed(s);
        if (owner == 0 || !sealed) {
            owl_fault(sealed ? OWL_FAULT_DOUBLE : OWL_FAULT_OWNER, *blocks++, 0);
            n--;
            continue;
        }
        struct given given = give_to((struct owl_owner *)owner, blocks, n);
        if (given.ended != NULL)
            owl_pool_give_all(given.ended);
        if (given.bad != NULL)
            owl_fault(given.fault, given.bad, 0);
        n = given.others;
        owl_due_look();
    }
    errno = saved;
}

void owl_slab_keep(struct owl_owner *me)
{
    owl_lock(&me->lock);
    me->keeps = true;
    owl_unlock(&me->lock);
}

/* Where a block was used a whole page is resident, which is what counts when nobody uses the slab:
 * it may be a hundred times as much. Blocks are used one after the other, but not those of a slab
 * that was sparse: they may be on a page each. */
static void count_pages(struct owl_owner *me, struct owl_span *s)
{
    size_t all = (size_t)s->free_blocks * s->bytes;
    size_t used = all - s->dry;
    size_t touched = s->sparse ? used / s->bytes * owl_round_up(s->bytes, owl_os.page)
                               : owl_round_up(used, owl_os.page);
    size_t dry = touched < all ? all - touched : 0;
    me->idle += s->dry - dry;
    s->dry = (uint32_t)dry;
}

/* Whether one that has all blocks at home may wait among the orphans, whose lock is held. With what
 * is dirty in the pool they are no more than the harder of its bounds allows; and none where that
 * is the softer one, or where nobody looks after what is idle. */
static bool may_wait(const struct owl_span *s)
{
    size_t dirty = (size_t)owl_u32_load_relaxed(&owl_due.pool) << OWL_DUE_SHIFT;
    size_t idle = owl_orphans.idle + owl_slab_idle(s) + dirty;
    return owl_option(OWL_OPTION_SCAVENGER) != OWL_SCAVENGER_INLINE &&
           owl_option(OWL_OPTION_DIRTY_SHARE) != 0 &&
           idle / OWL_DIRTY_STORM < (size_t)owl_option(OWL_OPTION_DIRTY);
}

/* Both locks are held. The slabs that ended, linked by `next`. */
static struct owl_span *leave_all(struct owl_owner *me)
{
    struct owl_span *ended = NULL;
    while (me->full != NULL)
        move_slab(me, &owl_orphans, me->full);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        for (struct owl_span *s; (s = me->with_free[class]) != NULL;) {
            bool whole = owl_slab_is_whole(s);
            s->looked = 0;
            if (whole)
                count_pages(me, s);
            if (!whole || may_wait(s))
                move_slab(me, &owl_orphans, s);
            else
                owl_slab_end(me, s, &ended);
        }
    return ended;
}

void owl_slab_abandon(struct owl_owner *me)
{
    struct owl_span *ended = NULL;
    owl_lock(&me->lock);
    me->keeps = false;
    memset(me->grown, 0, sizeof me->grown);
    if (owl_word_load_relaxed(&me->slabs) > 0) {
        owl_lock(&owl_orphans.lock);
        ended = leave_all(me);
        owl_due_note(&owl_due.slabs, &owl_orphans.noted, owl_orphans.idle);
        owl_unlock(&owl_orphans.lock);
    }
    owl_due_note(&owl_due.slabs, &me->noted, me->idle);
    owl_unlock(&me->lock);
    if (ended != NULL)
        owl_pool_give_all(ended);
}

static void count_list(const struct owl_span *list, struct owl_slab_counts *counts)
{
    for (const struct owl_span *s = list; s != NULL; s = s->next) {
        size_t out = owl_classes[s->class].blocks - s->free_blocks;
        counts->slabs++;
        counts->granules += s->granules;
        counts->blocks_out += out;
        counts->bytes_out += out * s->bytes;
        counts->classes[s->class].slabs++;
        counts->classes[s->class].blocks_out += out;
    }
}

void owl_slab_count(struct owl_owner *o, struct owl_slab_counts *counts)
{
    owl_lock(&o->lock);
    count_list(o->full, counts);
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        count_list(o->with_free[class], counts);
    owl_unlock(&o->lock);
}

/* class: of all slabs in the list; OWL_CLASSES: full slabs of any class. */
static bool list_is_valid(const struct owl_owner *o, const struct owl_span *list, unsigned class,
                          size_t *slabs)
{
    const struct owl_span *previous = NULL;
    for (const struct owl_span *s = list; s != NULL; previous = s, s = s->next, ++*slabs)
        if (s->previous != previous || !slab_is_valid(o, s) ||
            (class == OWL_CLASSES ? s->free_blocks != 0
                                  : s->free_blocks == 0 || s->class != class))
            return false;
    return true;
}

bool owl_slab_is_valid(struct owl_owner *o)
{
    size_t slabs = 0, idle = 0, whole = 0;
    owl_lock(&o->lock);
    bool valid = list_is_valid(o, o->full, OWL_CLASSES, &slabs);
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        valid = valid && list_is_valid(o, o->with_free[class], class, &slabs);
        for (const struct owl_span *s = o->with_free[class]; s != NULL; s = s->next)
            idle += owl_slab_idle(s), whole += owl_slab_is_whole(s);
    }
    valid = valid && slabs == owl_word_load_relaxed(&o->slabs) && idle == o->idle &&
            owl_due_is_near(o->noted, idle);
    if (o == &owl_orphans)
        valid = valid && whole == owl_word_load_relaxed(&owl_slab_waiting);
    owl_unlock(&o->lock);
    return valid;
}
