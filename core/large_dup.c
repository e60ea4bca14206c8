/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Large blocks that share pages: duplicates, exports and rings. What the first of these finds in
 * the block's own pages becomes a store, and the block shows it from then on.
 */
#include <errno.h>
#include <string.h>

#include "large.h"
#include "large_span.h"
#include "pool.h"
#include "remap.h"

static size_t span_bytes(const struct owl_span *s)
{
    return s->granules << OWL_GRANULE_SHIFT;
}

/* A taken run of a file becomes a store. */
static struct owl_span *begin_store(struct owl_span *store)
{
    if (store == NULL)
        return NULL;
    owl_word_store_relaxed(&store->owner, 0);
    store->kind = OWL_KIND_STORE;
    store->bytes = span_bytes(store);
    store->users = 1;
    return store;
}

static struct owl_span *new_store(size_t granules)
{
    bool zero;
    return begin_store(owl_memfd_take(granules, OWL_TABLE_ORDER, &zero));
}

static void note_shown(struct owl_span *s, struct owl_span *store)
{
    s->store = store;
    s->remapped = 1;
    s->whole = 1;
}

/* Lets a block show a store instead of what it showed. */
static int show(struct owl_span *s, struct owl_span *store)
{
    if (!owl_remap_may() || owl_memfd_map(store, span_bytes(s), owl_granule_at(s, 0), false) != 0)
        return -1;
    note_shown(s, store);
    return 0;
}

/* The pages of a file that a block has, which lie in a row, move to a new run, which becomes a
 * store. */
static struct owl_span *store_by_move(struct owl_span *s)
{
    struct owl_span *store = begin_store(owl_memfd_take_clean(s->granules, OWL_TABLE_ORDER));
    if (store == NULL)
        return NULL;
    if (store->range != s->range) {
        owl_memfd_drop(store);
        return NULL;
    }
    if (owl_memfd_move(s, store, s->granules) == 0) {
        note_shown(s, store);
        return store;
    }
    store->kind = OWL_KIND_NONE;
    owl_memfd_give(store, store->granules);
    return NULL;
}

/* A new store whose bytes lie in a row in the file. What was exchanged before may be in pieces;
 * those that are found so are kept until one is found that is not. */
static struct owl_span *new_store_in_a_row(size_t granules)
{
    struct owl_span *tried[8];
    struct owl_span *store = NULL;
    size_t n = 0;
    size_t offset;
    while (store == NULL && n < sizeof tried / sizeof *tried &&
           (tried[n] = new_store(granules)) != NULL) {
        if (owl_memfd_offset(tried[n], granules, &offset))
            store = tried[n];
        else
            n++;
    }
    while (n > 0)
        owl_memfd_drop(tried[--n]);
    return store;
}

/* The bytes of a block are copied to a new store in one piece: so the block shows either all of
 * it then, or what it showed before. */
static struct owl_span *store_by_copy(struct owl_span *s)
{
    struct owl_span *old = s->store;
    struct owl_span *store = new_store_in_a_row(s->granules);
    if (store == NULL)
        return NULL;
    memcpy((char *)owl_granule_at(store, 0) + owl_head(s), (void *)s->start, s->bytes);
    if (show(s, store) != 0) {
        owl_memfd_drop(store);
        return NULL;
    }
    if (old != NULL)
        owl_memfd_drop(old);
    return store;
}

/* Brings the store of a block up to date: what the block has written to its own copies of pages
 * goes there, if nobody else shows it. True: the block shows nothing but the store then. */
static bool settle(struct owl_span *s)
{
    static uint8_t changed[16384]; /* each call opens a file; the files' lock is held */
    char *own = owl_granule_at(s, 0);
    char *stored = owl_granule_at(s->store, 0);
    size_t pages = span_bytes(s) / owl_os.page;
    bool any = false;
    for (size_t from = 0; from < pages; from += sizeof changed) {
        size_t n = pages - from < sizeof changed ? pages - from : sizeof changed;
        if (owl_os.changed(own + from * owl_os.page, n, changed) != 0)
            return false;
        for (size_t i = 0; i < n; i++) {
            size_t at = (from + i) * owl_os.page;
            if (changed[i] && s->store->users > 1)
                return false;
            if (changed[i])
                memcpy(stored + at, own + at, owl_os.page);
            any = any || changed[i];
        }
    }
    return !any || owl_os.purge(own, span_bytes(s)) == 0;
}

/* The store that shows the contents of a block, for others to show too; NULL: there is none to
 * be had. */
static struct owl_span *store_of(struct owl_span *s)
{
    if (s->shared)
        return NULL;
    if (s->store != NULL && s->whole && owl_memfd_is_live(s->store) && settle(s))
        return s->store;
    size_t offset;
    if (s->store == NULL && owl_memfd_is_live(s) && owl_memfd_offset(s, s->granules, &offset))
        return store_by_move(s);
    return store_by_copy(s);
}

/* Room for the copy is had first: if there is none for a store beside it, the caller can use that
 * to copy the bytes. */
static void *dup_locked(struct owl_span *s)
{
    struct owl_span *d = owl_pool_take_clean(OWL_PRIVATE, s->granules, OWL_TABLE_ORDER, 0);
    if (d == NULL)
        return NULL;
    struct owl_span *store = store_of(s);
    if (store == NULL) {
        owl_pool_give_clean(d, d->granules);
        return NULL;
    }
    owl_large_begin(d, s->bytes);
    d->start += owl_head(s);
    d->bytes = s->bytes;
    if (show(d, store) != 0) {
        d->kind = OWL_KIND_NONE;
        owl_memfd_give(d, d->granules);
        return NULL;
    }
    store->users++;
    return (void *)d->start;
}

void *owl_large_dup(struct owl_span *s)
{
    if (s->granules << OWL_GRANULE_SHIFT < OWL_MOVE_MIN)
        return NULL;
    owl_memfd_lock();
    void *p = dup_locked(s);
    owl_memfd_unlock();
    return p;
}

/* A block of a file may be shared as it is; others get a store of their own, unless they have one
 * that is shared. They show it privately until there is a descriptor: a block that could not be
 * exported is copied by a fork. */
static int export_locked(struct owl_span *s, size_t *offset)
{
    bool as_is = s->store == NULL && owl_memfd_is_live(s);
    if (!s->shared && !(as_is && owl_memfd_offset(s, s->granules, offset)) &&
        store_by_copy(s) == NULL)
        return -1;
    struct owl_span *shown = s->store != NULL ? s->store : s;
    if (!owl_memfd_offset(shown, shown->granules, offset))
        return -1;
    *offset += owl_head(s);
    struct owl_file file = owl_ranges[shown->range].file;
    file.descriptor = owl_os.file_open(&file);
    if (file.descriptor < 0 || s->shared)
        return file.descriptor;
    if (shown != s && owl_memfd_map(shown, span_bytes(s), owl_granule_at(s, 0), true) != 0) {
        owl_os.file_close(&file);
        return -1;
    }
    s->shared = 1;
    return file.descriptor;
}

int owl_large_export(struct owl_span *s, size_t *offset)
{
    owl_memfd_lock();
    errno = ENOTSUP;
    int descriptor = export_locked(s, offset);
    owl_memfd_unlock();
    return descriptor;
}

/* Both halves show the same bytes of a store. */
static bool show_twice(struct owl_span *s, struct owl_span *store, size_t bytes)
{
    char *start = owl_granule_at(s, 0);
    return owl_memfd_map(store, bytes, start, true) == 0 &&
           owl_memfd_map(store, bytes, start + bytes, true) == 0;
}

static void *ring_locked(size_t bytes)
{
    struct owl_span *store = new_store_in_a_row(owl_large_granules(bytes));
    if (store == NULL)
        store = new_store(owl_large_granules(bytes));
    if (store == NULL)
        return NULL;
    struct owl_span *s = owl_pool_take_clean(OWL_PRIVATE, owl_large_granules(2 * bytes), 0, 0);
    if (s != NULL && !show_twice(s, store, bytes)) {
        owl_memfd_give(s, s->granules);
        s = NULL;
    }
    if (s == NULL) {
        owl_memfd_drop(store);
        return NULL;
    }
    owl_large_begin(s, 2 * bytes);
    s->store = store;
    s->shared = 1;
    s->remapped = 1;
    return (void *)s->start;
}

bool owl_large_is_ring(const struct owl_span *s)
{
    return owl_is_ring(s);
}

void *owl_large_ring(size_t bytes)
{
    owl_memfd_lock();
    void *p = ring_locked(bytes);
    owl_memfd_unlock();
    return p;
}
