/* SPDX-License-Identifier: BSD-2-Clause */
#include "pagefile.h"

#include <errno.h>
#include <stdlib.h>

#include "line.h"

static void enter(struct owl_pagefile *p, sigset_t *mask)
{
    owl_os.signals_block(mask);
    owl_lock(&p->lock);
}

static void leave(struct owl_pagefile *p, const sigset_t *mask)
{
    owl_unlock(&p->lock);
    owl_os.signals_restore(mask);
}

/* In a child of fork others may have held the lock for ever. */
static bool is_usable(const struct owl_pagefile *p)
{
    if (!p->watch->ending)
        return true;
    errno = ENOTSUP;
    return false;
}

/* --- faults --- */

_Noreturn static void cannot_read(uint32_t page, int error)
{
    struct owl_line l = {.length = 0};
    owl_line_text(&l, "owlalloc: page file: page ");
    owl_line_number(&l, page, 10);
    owl_line_text(&l, " cannot be read: errno ");
    owl_line_number(&l, (uintptr_t)error, 10);
    owl_line_write(&l);
    abort();
}

/* Contents of pages that are out, to where they are set aside. */
static int read_run(struct owl_pagefile *p, uint32_t first, size_t count)
{
    char *to = p->watch->shadow + first * owl_os.page;
    if (owl_os.pagefile_read(&p->file, to, count * owl_os.page, first * owl_os.page) != 0)
        return -1;
    p->counts.reads += count;
    return 0;
}

static void on_access(struct owl_pagefile *p, uint32_t page)
{
    if ((p->state[page] & OWL_PAGE_ASIDE) != 0) {
        p->counts.returns++;
        owl_pagefile_take(p, &p->aside, page);
    } else {
        p->counts.faults++;
        owl_pagefile_make_room(p, 1);
        bool stored = p->named || (p->state[page] & OWL_PAGE_STORED) != 0;
        if (stored && read_run(p, page, 1) != 0)
            cannot_read(page, errno);
    }
    owl_pagefile_add(p, &p->place, page);
    p->state[page] &= (uint8_t)~OWL_PAGE_ASIDE;
    p->state[page] |= OWL_PAGE_IN;
}

static void on_event(const struct owl_watch_event *event, void *context)
{
    struct owl_pagefile *p = context;
    uint32_t page = (uint32_t)((size_t)((char *)event->page - p->start) / owl_os.page);
    owl_lock(&p->lock);
    if (event->contents != NULL)
        on_access(p, page);
    if (event->write) {
        p->counts.write_faults++;
        p->dirty += (p->state[page] & OWL_PAGE_DIRTY) == 0;
        p->state[page] |= OWL_PAGE_DIRTY;
    }
    owl_unlock(&p->lock);
}

/* --- sync --- */

/* All dirty pages, sorted, in memory of its own. */
static uint32_t *dirty_pages(const struct owl_pagefile *p, size_t *count, size_t *mapped)
{
    const uint32_t heads[] = {p->place.head, p->aside.head};
    *count = 0;
    *mapped = owl_round_up(p->dirty * sizeof(uint32_t) + 1, owl_os.page);
    uint32_t *pages = owl_os.map(*mapped);
    for (size_t i = 0; i < 2 && pages != NULL; i++)
        for (uint32_t at = p->links[heads[i]].next; at != heads[i]; at = p->links[at].next)
            if ((p->state[at] & OWL_PAGE_DIRTY) != 0)
                pages[(*count)++] = at;
    if (pages != NULL)
        owl_pagefile_sort(pages, *count);
    return pages;
}

/* How many pages from the first on follow one another, are dirty, and in place, as that is. */
static size_t dirty_run(const struct owl_pagefile *p, const uint32_t *pages, size_t count)
{
    const uint8_t mask = OWL_PAGE_DIRTY | OWL_PAGE_ASIDE;
    size_t follow = owl_pagefile_run(pages, count), run = 1;
    while (run < follow && (p->state[pages[run]] & mask) == OWL_PAGE_DIRTY)
        run++;
    return run;
}

/* Writes those of some pages that are dirty still. Pages on their way into place are put at the
 * front of `later`, which may be the same array, and *count is set to their number. */
static int sync_some(struct owl_pagefile *p, const uint32_t *pages, size_t *count, uint32_t *later)
{
    uint32_t ready[OWL_PAGEFILE_BATCH];
    size_t n = 0, left = 0, run;
    for (size_t i = 0; i < *count; i += run) {
        run = 1;
        if ((p->state[pages[i]] & OWL_PAGE_DIRTY) == 0)
            continue;
        if ((p->state[pages[i]] & OWL_PAGE_ASIDE) == 0) {
            run = dirty_run(p, pages + i, *count - i);
            run = owl_watch_arm(p->watch, pages[i], run, OWL_WATCH_WRITE);
            if (run == 0) {
                later[left++] = pages[i];
                run = 1;
                continue;
            }
        }
        for (size_t j = i; j < i + run; j++)
            ready[n++] = pages[j];
    }
    *count = left;
    return n > 0 ? owl_pagefile_write(p, ready, n) : 0;
}

/* One round over the pages; how many are left for the next, in the same array. Between batches
 * others have their turn. */
static size_t sync_round(struct owl_pagefile *p, uint32_t *pages, size_t count, int *result)
{
    size_t left = 0;
    for (size_t done = 0; done < count; done += OWL_PAGEFILE_BATCH) {
        size_t some = count - done < OWL_PAGEFILE_BATCH ? count - done : OWL_PAGEFILE_BATCH;
        sigset_t mask;
        enter(p, &mask);
        if (sync_some(p, pages + done, &some, pages + left) != 0)
            *result = -1;
        leave(p, &mask);
        left += some;
    }
    return left;
}

static void note_error(struct owl_pagefile *p, int error)
{
    sigset_t mask;
    enter(p, &mask);
    p->counts.failures++;
    p->counts.error = error;
    leave(p, &mask);
}

/* All rounds. A page that is not on its way, and yet refused again and again, cannot be
 * protected. */
static int write_all(struct owl_pagefile *p, uint32_t *pages, size_t count)
{
    int result = 0;
    for (int refused = 0; (count = sync_round(p, pages, count, &result)) > 0; refused++) {
        if (owl_watch_settle(p->watch, pages[0]))
            refused = 0;
        if (refused == OWL_PAGEFILE_TRIES) {
            note_error(p, ENOMEM);
            return -1;
        }
    }
    return result;
}

int owl_pagefile_sync(struct owl_pagefile *p)
{
    size_t count, mapped;
    sigset_t mask;
    if (!is_usable(p))
        return -1;
    enter(p, &mask);
    uint32_t *pages = dirty_pages(p, &count, &mapped);
    leave(p, &mask);
    if (pages == NULL) {
        errno = ENOMEM;
        return -1;
    }
    int result = write_all(p, pages, count);
    owl_os.unmap(pages, mapped);
    if (result == 0 && p->named && owl_os.pagefile_flush(&p->file) != 0) {
        note_error(p, errno);
        result = -1;
    }
    enter(p, &mask);
    if (result == 0)
        p->counts.error = 0;
    int error = p->counts.error;
    leave(p, &mask);
    if (result != 0)
        errno = error;
    return result;
}

/* --- advice and counts --- */

/* In batches, so that others have their turn. */
static void bring_in(struct owl_pagefile *p, uint32_t first, uint32_t end)
{
    size_t left = p->budget / 2;
    while (first < end && left > 0) {
        sigset_t mask;
        enter(p, &mask);
        for (; first < end && (p->state[first] & OWL_PAGE_IN) != 0;)
            first++;
        size_t run = 0, most = left < p->batch ? left : p->batch;
        while (run < most && first + run < end && (p->state[first + run] & OWL_PAGE_IN) == 0)
            run++;
        owl_pagefile_make_room(p, run);
        bool read = run > 0 && read_run(p, first, run) == 0;
        for (size_t i = 0; i < run && read; i++) {
            p->state[first + i] |= OWL_PAGE_IN | OWL_PAGE_ASIDE;
            owl_pagefile_add(p, &p->aside, (uint32_t)(first + i));
        }
        leave(p, &mask);
        first += (uint32_t)run;
        left -= run;
        if (!read)
            return;
    }
}

static void let_leave(struct owl_pagefile *p, uint32_t first, uint32_t end)
{
    while (first < end) {
        uint32_t pages[OWL_PAGEFILE_BATCH];
        size_t in_place = 0, aside = 0;
        sigset_t mask;
        enter(p, &mask);
        uint32_t next = first;
        for (; next < end && in_place < OWL_PAGEFILE_BATCH; next++)
            if ((p->state[next] & (OWL_PAGE_IN | OWL_PAGE_ASIDE)) == OWL_PAGE_IN)
                pages[in_place++] = next;
        owl_pagefile_set_aside(p, pages, in_place);
        for (; first < next && aside < OWL_PAGEFILE_BATCH; first++)
            if ((p->state[first] & OWL_PAGE_ASIDE) != 0)
                pages[aside++] = first;
        owl_pagefile_leave(p, pages, aside);
        leave(p, &mask);
    }
}

int owl_pagefile_advise(struct owl_pagefile *p, const void *start, size_t bytes, int advice)
{
    size_t offset = (uintptr_t)start - (uintptr_t)p->start;
    if (!is_usable(p))
        return -1;
    if (offset > p->bytes || bytes > p->bytes - offset ||
        (advice != OWL_PAGEFILE_WILLNEED && advice != OWL_PAGEFILE_DONTNEED)) {
        errno = EINVAL;
        return -1;
    }
    uint32_t first = (uint32_t)(offset / owl_os.page);
    uint32_t end = (uint32_t)((offset + bytes + owl_os.page - 1) / owl_os.page);
    if (bytes == 0)
        return 0;
    if (advice == OWL_PAGEFILE_WILLNEED)
        bring_in(p, first, end);
    else
        let_leave(p, first, end);
    return 0;
}

int owl_pagefile_stats(struct owl_pagefile *p, struct owl_pagefile_stats *stats)
{
    sigset_t mask;
    if (!is_usable(p))
        return -1;
    enter(p, &mask);
    *stats = p->counts;
    stats->bytes = p->bytes;
    stats->budget = p->budget * owl_os.page;
    stats->resident = (p->place.count + p->aside.count) * owl_os.page;
    stats->dirty = p->dirty * owl_os.page;
    leave(p, &mask);
    return 0;
}

void *owl_pagefile_address(const struct owl_pagefile *p)
{
    return p->start;
}

/* --- begin and end --- */

static struct owl_pagefile *new_pagefile(size_t bytes, size_t budget)
{
    size_t pages = bytes / owl_os.page;
    size_t states = owl_round_up(sizeof(struct owl_pagefile) + pages, sizeof(uint64_t));
    size_t links = (pages + 2) * sizeof(struct owl_pagefile_link);
    size_t mapped = owl_round_up(states + links, owl_os.page);
    struct owl_pagefile *p = owl_os.map(mapped);
    if (p == NULL)
        return NULL;
    p->lock.rank = OWL_RANK_PAGEFILE;
    p->bytes = bytes;
    p->pages = pages;
    p->mapped = mapped;
    p->budget = budget / owl_os.page;
    p->state = (uint8_t *)(p + 1);
    p->links = (struct owl_pagefile_link *)((char *)p + states);
    p->place.head = (uint32_t)pages;
    p->aside.head = (uint32_t)pages + 1;
    p->links[pages] = (struct owl_pagefile_link){(uint32_t)pages, (uint32_t)pages};
    p->links[pages + 1] = (struct owl_pagefile_link){(uint32_t)pages + 1, (uint32_t)pages + 1};
    return p;
}

/* All pages are out, and watched. */
static int make_range(struct owl_pagefile *p)
{
    p->start = owl_os.reserve(p->bytes);
    if (p->start == NULL || owl_os.commit(p->start, p->bytes) != 0 ||
        owl_os.no_fork(p->start, p->bytes) != 0) {
        errno = ENOMEM;
        return -1;
    }
    owl_os.huge(p->start, p->bytes, false);
    int mode = OWL_WATCH_ACCESS | OWL_WATCH_WRITE;
    owl_lock(&p->lock);
    p->watch = owl_watch_begin_own(p->start, p->bytes, mode, on_event, p);
    size_t mappings = owl_os.mapping_limit();
    if (p->watch != NULL && p->watch->by == &owl_watch_protection && mappings != 0 &&
        p->budget > mappings / 4)
        p->budget = mappings / 4;
    p->batch = p->budget / 8 < OWL_PAGEFILE_BATCH ? p->budget / 8 : OWL_PAGEFILE_BATCH;
    owl_unlock(&p->lock);
    return p->watch != NULL ? 0 : -1;
}

struct owl_pagefile *owl_pagefile_create(const char *path, size_t bytes, size_t budget)
{
    if (owl_os.page == 0)
        owl_os_init();
    if (bytes == 0 || bytes > (size_t)(UINT32_MAX - 2) * owl_os.page ||
        budget < OWL_PAGEFILE_LEAST * owl_os.page) {
        errno = EINVAL;
        return NULL;
    }
    struct owl_pagefile *p = new_pagefile(owl_round_up(bytes, owl_os.page), budget);
    if (p == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    p->named = path != NULL;
    p->file.descriptor = -1;
    if (owl_os.pagefile_open(&p->file, path) == 0 && make_range(p) == 0)
        return p;
    int saved = errno;
    owl_pagefile_destroy(p);
    errno = saved;
    return NULL;
}

/* In a child of fork there is neither range nor watch, but the descriptor. */
void owl_pagefile_destroy(struct owl_pagefile *p)
{
    if (p == NULL)
        return;
    bool in_child = p->watch != NULL && p->watch->ending;
    if (p->watch != NULL && !in_child)
        owl_watch_end_own(p->watch);
    if (p->start != NULL && !in_child)
        owl_os.unmap(p->start, p->bytes);
    if (p->file.descriptor >= 0)
        owl_os.file_close(&p->file);
    owl_os.unmap(p, p->mapped);
}
