/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs of granules that a test has taken, with a word on each page by which they are known
 * again. */
#ifndef OWL_TESTS_POOL_STAMP_H
#define OWL_TESTS_POOL_STAMP_H

#include "pool.h"

struct run {
    struct owl_span *span;
    size_t granules;
    uint64_t tag;
};

/* A word on every page of a run; which one, the tag says. */
static inline uint64_t *word_of(const struct run *r, size_t page)
{
    return (uint64_t *)(owl_span_address(r->span) + page * 4096) + r->tag % 512;
}

static inline size_t pages_of(const struct run *r)
{
    return r->granules * (OWL_GRANULE / 4096);
}

static inline void stamp(struct run *r, uint64_t tag)
{
    r->tag = tag;
    for (size_t i = 0; i < pages_of(r); i++)
        *word_of(r, i) = tag ^ i;
}

static inline bool has_stamp(const struct run *r)
{
    for (size_t i = 0; i < pages_of(r); i++)
        if (*word_of(r, i) != (r->tag ^ i))
            return false;
    return true;
}

static inline bool is_zero(const void *p, size_t bytes)
{
    const uint64_t *words = p;
    for (size_t i = 0; i < bytes / 8; i++)
        if (words[i] != 0)
            return false;
    return true;
}

#endif
