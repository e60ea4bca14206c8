/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many changes of pages by few calls of the system. Parts are sorted by address and joined to
 * pieces where they touch or overlap; pieces go to the kernel in lists. Where that fails, piece by
 * piece; and where a piece fails, part by part, so that each change learns its own fate.
 */
#include "pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"
#include "tools.h"
#include "tune.h"

/* Pieces, and the parts that they were joined of: piece i has those from first[i] to first[i + 1] -
 * 1. */
struct list {
    struct owl_piece piece[OWL_PAGES_PIECES];
    size_t first[OWL_PAGES_PIECES + 1];
    size_t count;
};

static int by_address(const void *a, const void *b)
{
    const struct owl_pages_part *p = a;
    const struct owl_pages_part *q = b;
    return p->start < q->start ? -1 : p->start > q->start;
}

/* What the system does not take back reads as zero all the same. */
static void apply_one(const struct owl_pages_part *part, bool commit)
{
    if (!commit)
        owl_pages_clear(part->start, part->bytes, true);
    else if (owl_os.populate(part->start, part->bytes) != 0 && part->error != NULL)
        *part->error = ENOMEM;
}

static void apply_list(const struct owl_pages_part *parts, const struct list *l, bool commit)
{
    size_t done = 0;
    if (l->count > 1 && !owl_tools.memcheck) /* which does not know that call */
        done = commit ? owl_os.populate_many(l->piece, l->count)
                      : owl_os.purge_many(l->piece, l->count);
    for (size_t i = done; i < l->count; i++) {
        const struct owl_piece *p = &l->piece[i];
        if ((commit ? owl_os.populate : owl_os.purge)(p->start, p->bytes) == 0)
            continue;
        for (size_t j = l->first[i]; j < l->first[i + 1]; j++)
            apply_one(&parts[j], commit);
    }
}

/* Joins parts from number `from` on, until the list is full. The number of the next part. */
static size_t join(const struct owl_pages_part *parts, size_t from, size_t count, struct list *l)
{
    l->count = 0;
    for (; from < count; from++) {
        struct owl_piece *last = &l->piece[l->count - (l->count > 0)];
        const struct owl_pages_part *part = &parts[from];
        char *end = l->count > 0 ? (char *)last->start + last->bytes : NULL;
        if (l->count > 0 && part->start <= end) {
            if (part->start + part->bytes > end)
                last->bytes = (size_t)(part->start + part->bytes - (char *)last->start);
            continue;
        }
        if (l->count == OWL_PAGES_PIECES)
            break;
        l->first[l->count] = from;
        l->piece[l->count++] = (struct owl_piece){part->start, part->bytes};
    }
    l->first[l->count] = from;
    return from;
}

void owl_pages_apply(struct owl_pages_part *parts, size_t count, bool commit)
{
    struct list l;
    if (count > 1)
        qsort(parts, count, sizeof *parts, by_address);
    for (size_t from = 0; from < count;) {
        from = join(parts, from, count, &l);
        apply_list(parts, &l, commit);
    }
    for (size_t i = 0; i < count && !commit; i++)
        owl_tools_filled(parts[i].start, parts[i].bytes);
}

static void add_part(struct owl_pages_part *parts, size_t *count, char *start, size_t bytes,
                     int *error)
{
    if (bytes > 0)
        parts[(*count)++] = (struct owl_pages_part){start, bytes, error};
}

/* Parts that must be cleared, or committed, for the new block. */
static void alloc_one(struct owl_pages_change *c, struct owl_pages_part *clear, size_t *clears)
{
    bool dirty;
    c->block = NULL;
    c->error = EINVAL;
    if (c->pages == 0 || !owl_pages_flags_are_good(c->flags))
        return;
    c->block = owl_pages_take(c->pages, c->flags, &dirty);
    c->error = c->block != NULL ? 0 : ENOMEM;
    if (c->block == NULL || !(c->flags & OWL_PAGES_NO_COMMIT) || !dirty)
        return;
    if (owl_pages_are_private(c->block))
        add_part(clear, clears, c->block, c->pages * owl_os.page, NULL);
    else
        owl_pages_clear(c->block, c->pages * owl_os.page, false);
}

/* What is not private memory cannot be joined with it. */
static void release_one(struct owl_pages_change *c, struct owl_pages_part *clear, size_t *clears)
{
    char *start;
    size_t bytes;
    if (!owl_pages_place(c->block, c->first, c->pages, &start, &bytes))
        c->error = EINVAL;
    else if (owl_pages_are_private(c->block))
        add_part(clear, clears, start, bytes, NULL);
    else
        owl_pages_clear(start, bytes, false);
}

static void commit_one(struct owl_pages_change *c, struct owl_pages_part *commit, size_t *commits)
{
    char *start;
    size_t bytes;
    bool is_new = c->op == OWL_PAGES_OP_ALLOC;
    if (is_new && (c->block == NULL || !(c->flags & OWL_PAGES_COMMIT)))
        return;
    if (owl_pages_place(c->block, is_new ? 0 : c->first, c->pages, &start, &bytes))
        add_part(commit, commits, start, bytes, &c->error);
    else
        c->error = EINVAL;
}

/* The parts of a pass over the changes: each change adds one at most. */
static void clear_all(struct owl_pages_change *changes, size_t count, struct owl_pages_part *parts)
{
    size_t clears = 0;
    for (size_t i = 0; i < count; i++) {
        changes[i].error = 0;
        if (changes[i].op == OWL_PAGES_OP_ALLOC)
            alloc_one(&changes[i], parts, &clears);
        else if (changes[i].op == OWL_PAGES_OP_RELEASE)
            release_one(&changes[i], parts, &clears);
    }
    owl_pages_apply(parts, clears, false);
}

static void commit_all(struct owl_pages_change *changes, size_t count, struct owl_pages_part *parts)
{
    size_t commits = 0;
    for (size_t i = 0; i < count; i++)
        if (changes[i].op == OWL_PAGES_OP_ALLOC || changes[i].op == OWL_PAGES_OP_COMMIT)
            commit_one(&changes[i], parts, &commits);
    owl_pages_apply(parts, commits, true);
}

/* Blocks that are not wanted any more, and new ones that could not be committed. */
static size_t end_all(struct owl_pages_change *changes, size_t count)
{
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        struct owl_pages_change *c = &changes[i];
        bool unmade = c->op == OWL_PAGES_OP_ALLOC && c->error != 0;
        if (c->op == OWL_PAGES_OP_FREE || unmade) {
            owl_pages_free(c->block, unmade ? 0 : c->flags);
            c->block = NULL;
        }
        if (c->op > OWL_PAGES_OP_FREE)
            c->error = EINVAL;
        failed += c->error != 0;
    }
    return failed;
}

size_t owl_pages_batch(struct owl_pages_change *changes, size_t count)
{
    struct owl_pages_part few[16];
    struct owl_pages_part *parts = few;
    int saved = errno;
    if (count > sizeof few / sizeof *few)
        parts = owl_reallocarray(NULL, count, sizeof *parts);
    if (parts == NULL) {
        for (size_t i = 0; i < count; i++)
            changes[i].error = ENOMEM;
        errno = saved;
        return count;
    }
    clear_all(changes, count, parts);
    commit_all(changes, count, parts);
    size_t failed = end_all(changes, count);
    if (parts != few)
        owl_free(parts);
    errno = saved;
    return failed;
}
