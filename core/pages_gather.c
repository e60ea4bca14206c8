/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages in a new order. Runs that are contiguous at both places go over in one move; short ones are
 * copied, and their memory is given back in one batch.
 */
#include "pages.h"

#include <errno.h>
#include <string.h>

#include "remap.h"
#include "tools.h"
#include "tune.h"

/* Pages of one block that follow each other. */
struct run {
    const void *block;
    char *start;
    size_t bytes;
};

/* The run of piece i, with those after it that continue it; i becomes the next. */
static struct run next_run(const struct owl_pages_piece *list, size_t count, size_t *i)
{
    struct run r = {.block = list[*i].block};
    char *start;
    size_t bytes;
    owl_pages_place(list[*i].block, list[*i].first, list[*i].pages, &r.start, &r.bytes);
    for (++*i; *i < count && list[*i].block == r.block; ++*i) {
        owl_pages_place(list[*i].block, list[*i].first, list[*i].pages, &start, &bytes);
        if (start != r.start + r.bytes)
            break;
        r.bytes += bytes;
    }
    return r;
}

/* The pages of the list in all; 0: some are not where the list says. */
static size_t all_pages(const struct owl_pages_piece *list, size_t count)
{
    size_t all = 0;
    for (size_t i = 0; i < count; i++) {
        char *start;
        size_t bytes;
        if (!owl_pages_place(list[i].block, list[i].first, list[i].pages, &start, &bytes) ||
            __builtin_add_overflow(all, list[i].pages, &all))
            return 0;
    }
    return all;
}

/* The pages of slabs stay: they are the slab's, not the block's. */
static bool may_move(const void *block)
{
    if (owl_tools.on)
        return false;
    const struct owl_span *s = owl_span_of(block);
    return owl_pages_are_private(block) && (s == NULL || s->kind == OWL_KIND_LARGE);
}

static void note_moved(const void *block)
{
    struct owl_span *s = owl_span_of(block);
    if (s != NULL)
        s->remapped = 1;
}

/* Brings a run to its place in the new block. Whether its memory is still at the old one. */
static bool bring(const struct run *r, void *block, char *to)
{
    if (r->bytes >= OWL_PAGES_MOVE_MIN && may_move(r->block) && may_move(block) &&
        owl_remap_move(r->start, to, r->bytes) == 0) {
        note_moved(r->block);
        note_moved(block);
        return false;
    }
    memcpy(to, r->start, r->bytes);
    return true;
}

static void gather(const struct owl_pages_piece *list, size_t count, char *block,
                   struct owl_pages_part *parts)
{
    char *to = block;
    size_t left = 0;
    for (size_t i = 0; i < count;) {
        struct run r = next_run(list, count, &i);
        if (r.bytes > 0 && bring(&r, block, to)) {
            if (owl_pages_are_private(r.block))
                parts[left++] = (struct owl_pages_part){r.start, r.bytes, NULL};
            else
                memset(r.start, 0, r.bytes);
        }
        to += r.bytes;
    }
    owl_pages_apply(parts, left, false);
}

void *owl_pages_gather(const struct owl_pages_piece *list, size_t count)
{
    int saved = errno;
    bool dirty;
    size_t pages = all_pages(list, count);
    if (pages == 0) {
        errno = EINVAL;
        return NULL;
    }
    struct owl_pages_part *parts = owl_reallocarray(NULL, count, sizeof *parts);
    void *block = parts != NULL ? owl_pages_take(pages, 0, &dirty) : NULL;
    if (block != NULL)
        gather(list, count, block, parts);
    owl_free(parts);
    errno = block != NULL ? saved : ENOMEM;
    return block;
}
