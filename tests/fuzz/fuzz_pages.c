/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions of owl/pages.h. All blocks that start at a page are blocks of pages too; not rings
 * here, of which a page is there twice. */
#include <errno.h>
#include <owl/owl.h>
#include <owl/pages.h>
#include <unistd.h>

#include "fuzz.h"

enum { MOST = 600, PIECE = 64 };

/* Pages of a block, and where they are. */
struct part {
    struct fuzz_block *b;
    size_t first, pages, from, to;
};

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* Some pages of block b. False: it has none. */
static bool choose(struct part *part, struct fuzz_block *b, size_t most)
{
    size_t page = page_bytes();
    if (b == NULL || b->ring || (uintptr_t)b->p % page != 0 || b->usable < page)
        return false;
    size_t all = b->usable / page;
    part->b = b;
    part->first = fuzz_word() % all;
    part->pages = 1 + fuzz_word() % most;
    if (part->pages > all - part->first)
        part->pages = all - part->first;
    part->from = part->first * page;
    part->to = part->from + part->pages * page;
    return true;
}

/* They are zero now, all else of the block is as it was. */
static void were_cleared(const struct part *part)
{
    const struct fuzz_block *b = part->b;
    fuzz_be_zero(b->p + part->from, part->to - part->from);
    fuzz_compare(b, b->p, 0, part->from);
    fuzz_compare(b, b->p + part->to, part->to, b->usable);
    fuzz_fill(part->b);
}

static bool had(const void *p)
{
    fuzz_check(errno == (p != NULL ? FUZZ_ERRNO : ENOMEM) && (p != NULL || fuzz.limited));
    return p != NULL;
}

static unsigned some_flags(void)
{
    static const unsigned flags[] = {0, OWL_PAGES_ZERO, OWL_PAGES_COMMIT, OWL_PAGES_NO_COMMIT,
                                     OWL_PAGES_TOP_DOWN, OWL_PAGES_ZERO | OWL_PAGES_COMMIT,
                                     OWL_PAGES_NO_COMMIT | OWL_PAGES_TOP_DOWN, OWL_PAGES_SCRUB};
    return flags[fuzz_byte() % 8];
}

/* So many pages as there is room for. */
static size_t some_pages(void)
{
    size_t pages = 1 + fuzz_word() % MOST;
    return pages * page_bytes() <= FUZZ_BUDGET - fuzz.live ? pages : 1;
}

static void keep(unsigned char *p, size_t pages, unsigned flags)
{
    size_t bytes = pages * page_bytes();
    if (flags & (OWL_PAGES_ZERO | OWL_PAGES_NO_COMMIT))
        fuzz_be_zero(p, bytes);
    struct fuzz_block *b = fuzz_free_slot();
    fuzz_born(b, p, bytes, page_bytes());
    fuzz_check(b->usable == bytes);
}

static void make(void)
{
    size_t pages = some_pages();
    unsigned flags = some_flags();
    errno = FUZZ_ERRNO;
    unsigned char *p = owl_pages_alloc(pages, flags);
    if (had(p))
        keep(p, pages, flags);
}

static void resize(struct fuzz_block *b)
{
    size_t pages = some_pages(), bytes = pages * page_bytes();
    unsigned flags = some_flags();
    if (b == NULL || b->usable > FUZZ_GIB)
        return;
    errno = FUZZ_ERRNO;
    unsigned char *q = owl_pages_realloc(b->p, pages, flags);
    if (!had(q))
        return;
    struct fuzz_block was = *b;
    fuzz_gone(b);
    fuzz_compare(&was, q, 0, was.usable < bytes ? was.usable : bytes);
    if (bytes > was.usable && (flags & (OWL_PAGES_ZERO | OWL_PAGES_NO_COMMIT)))
        fuzz_be_zero(q + was.usable, bytes - was.usable);
    bool ring = was.ring && was.usable == bytes; /* which is left as it is */
    fuzz_born(b, q, bytes, page_bytes());
    b->ring = ring;
    fuzz_fill(b);
}

static void release(struct fuzz_block *b)
{
    struct part part;
    if (!choose(&part, b, MOST))
        return;
    errno = FUZZ_ERRNO;
    fuzz_check(owl_pages_release(b->p, part.first, SIZE_MAX) == -1 && errno == EINVAL);
    errno = FUZZ_ERRNO;
    fuzz_check(owl_pages_release(b->p, part.first, part.pages) == 0 && errno == FUZZ_ERRNO);
    were_cleared(&part);
}

static void commit(struct fuzz_block *b)
{
    struct part part;
    if (!choose(&part, b, MOST))
        return;
    errno = FUZZ_ERRNO;
    fuzz_check(owl_pages_commit(b->p, part.first, part.pages) == 0 && errno == FUZZ_ERRNO);
    fuzz_compare_block(b);
}

static void swap(struct fuzz_block *b)
{
    struct part part, other;
    if (!choose(&part, b, MOST) || !choose(&other, fuzz_live_slot(), MOST))
        return;
    size_t most = b->usable < other.b->usable ? b->usable : other.b->usable;
    size_t pages = 1 + fuzz_word() % MOST, bytes = pages * page_bytes();
    bool right = b != other.b && bytes <= most;
    errno = FUZZ_ERRNO;
    fuzz_check(owl_pages_swap(b->p, other.b->p, pages) == (right ? 0 : -1));
    fuzz_check(errno == (right ? FUZZ_ERRNO : EINVAL));
    if (!right)
        return;
    fuzz_compare(b, other.b->p, 0, bytes);
    fuzz_compare(other.b, b->p, 0, bytes);
    fuzz_compare(b, b->p + bytes, bytes, b->usable);
    fuzz_compare(other.b, other.b->p + bytes, bytes, other.b->usable);
    fuzz_fill(b);
    fuzz_fill(other.b);
}

static void gather(struct fuzz_block *b)
{
    struct part part[2];
    if (2 * PIECE * page_bytes() > FUZZ_BUDGET - fuzz.live || !choose(&part[0], b, PIECE))
        return;
    size_t n = 1 + (choose(&part[1], fuzz_live_slot(), PIECE) && part[1].b != b);
    struct owl_pages_piece list[2];
    for (size_t i = 0; i < n; i++)
        list[i] = (struct owl_pages_piece){part[i].b->p, part[i].first, part[i].pages};
    errno = FUZZ_ERRNO;
    unsigned char *p = owl_pages_gather(list, n), *at = p;
    if (!had(p))
        return;
    for (size_t i = 0; i < n; at += part[i].to - part[i].from, i++)
        fuzz_compare(part[i].b, at, part[i].from, part[i].to);
    for (size_t i = 0; i < n; i++)
        were_cleared(&part[i]);
    keep(p, (size_t)(at - p) / page_bytes(), 0);
}

static void end(struct fuzz_block *b)
{
    if (b == NULL)
        return;
    errno = FUZZ_ERRNO;
    owl_pages_free(b->p, OWL_PAGES_SCRUB);
    fuzz_check(errno == FUZZ_ERRNO);
    fuzz_gone(b);
}

/* A new block, pages of another released, and a third freed. */
static void batch(struct fuzz_block *b)
{
    struct part part;
    size_t pages = some_pages();
    unsigned flags = some_flags();
    if (!choose(&part, b, MOST))
        return;
    struct fuzz_block *o = fuzz_live_slot();
    struct owl_pages_change changes[] = {
        {.op = OWL_PAGES_OP_RELEASE, .block = b->p, .first = part.first, .pages = part.pages},
        {.op = OWL_PAGES_OP_ALLOC, .pages = pages, .flags = flags},
        {.op = OWL_PAGES_OP_FREE, .block = o->p, .flags = flags & OWL_PAGES_SCRUB}};
    size_t failed = owl_pages_batch(changes, o != b ? 3 : 2);
    fuzz_check(changes[0].error == 0 && failed == (changes[1].error != 0));
    fuzz_check(changes[1].error == 0 || (changes[1].error == ENOMEM && fuzz.limited));
    if (o != b) {
        fuzz_check(changes[2].error == 0 && changes[2].block == NULL);
        fuzz_gone(o);
    }
    were_cleared(&part);
    if (changes[1].error == 0)
        keep(changes[1].block, pages, flags);
}

void fuzz_pages(unsigned which)
{
    static void (*const change[])(struct fuzz_block *) = {resize, release, commit, swap,
                                                          gather, end,     batch};
    if (which < 2)
        make();
    else
        change[which - 2](fuzz_live_slot());
}
