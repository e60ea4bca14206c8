/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much free memory may be resident, roughly, so that it is known when there is enough of it to
 * be worth a scavenger. Whoever makes memory free writes it down here and looks whether it is time;
 * which is two loads as a rule, once in a batch of frees.
 */
#ifndef OWL_CORE_DUE_H
#define OWL_CORE_DUE_H

#include <stdbool.h>
#include <stddef.h>

#include "atomic.h"
#include "tune.h"

struct owl_due {
    owl_u32 slabs;       /* units: blocks at home in slabs, of all owners */
    owl_u32 caches;      /* units: what all caches may hold */
    owl_u32 seen;        /* of these, what was left at the last look: it is in use, or out of
                            reach, and not due */
    owl_u32 pool;        /* units: dirty runs */
    owl_u32 kept;        /* 1: of these more than the softer bound allows, for a while; then
                            somebody has to look */
    owl_u32 least;       /* so many MiB are worth a call of serve; OWL_DUE_NEVER: none are, or
                            somebody is busy with them already */
    void (*serve)(void); /* keeps errno */
};

#define OWL_DUE_NEVER UINT32_MAX

extern OWL_LOCAL struct owl_due owl_due;

/* From now on serve is called, with whatever locks, when there are so many MiB. The release pairs
 * with the acquire in owl_due_look. */
static inline void owl_due_begin(void (*serve)(void), uint32_t least)
{
    owl_due.serve = serve;
    owl_u32_store_release(&owl_due.least, least);
}

/* In MiB. */
static inline uint32_t owl_due_now(void)
{
    uint32_t units = owl_u32_load_relaxed(&owl_due.slabs) + owl_u32_load_relaxed(&owl_due.pool);
    uint32_t caches = owl_u32_load_relaxed(&owl_due.caches);
    uint32_t seen = owl_u32_load_relaxed(&owl_due.seen);
    return (units + (caches > seen ? caches - seen : 0)) >> (20 - OWL_DUE_SHIFT);
}

/* What caches may hold now is not due. */
static inline void owl_due_see(void)
{
    owl_u32_store_relaxed(&owl_due.seen, owl_u32_load_relaxed(&owl_due.caches));
}

/* Caches have been emptied: what they may hold from now on is due. */
static inline void owl_due_unsee(void)
{
    if (owl_u32_load_relaxed(&owl_due.caches) < owl_u32_load_relaxed(&owl_due.seen))
        owl_due_see();
}

/* Whether the pool has dirty memory, or had it a moment ago. */
static inline bool owl_due_has_dirty(void)
{
    return owl_u32_load_relaxed(&owl_due.pool) > 0;
}

static inline void owl_due_look(void)
{
    if (__builtin_expect(owl_due_now() >= owl_u32_load_acquire(&owl_due.least), 0))
        owl_due.serve();
}

/* Units that an owner has of so many bytes. */
static inline uint32_t owl_due_units(size_t bytes)
{
    return (uint32_t)(bytes >> OWL_DUE_SHIFT);
}

/* What an owner has noted may be so much out of date: who takes and gives back the same few blocks
 * leaves the word alone that all threads share. Not so what has nothing: of thousands of owners
 * small errors are a large one. */
static inline bool owl_due_is_near(uint32_t noted, size_t bytes)
{
    uint32_t now = owl_due_units(bytes);
    uint32_t off = now > noted ? now - noted : noted - now;
    return off == 0 || (off < OWL_DUE_STEP && now > 0);
}

/* An owner's part of the sum was `noted`, and now is that of so many bytes. A child of a fork that
 * comes in the middle finds a sum that is too high: one too low would come below zero. */
static inline void owl_due_note(owl_u32 *sum, uint32_t *noted, size_t bytes)
{
    uint32_t now = owl_due_units(bytes), before = *noted;
    if (owl_due_is_near(before, bytes))
        return;
    if (now > before)
        owl_u32_add(sum, now - before);
    owl_barrier_compiler();
    *noted = now;
    owl_barrier_compiler();
    if (now < before)
        owl_u32_add(sum, now - before);
}

#endif
