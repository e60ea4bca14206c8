/* SPDX-License-Identifier: BSD-2-Clause */
/* How pages are listed, written back, and leave. */
#include <errno.h>

#include "pagefile.h"

/* --- lists and arrays --- */

void owl_pagefile_add(struct owl_pagefile *p, struct owl_pagefile_list *list, uint32_t page)
{
    uint32_t last = p->links[list->head].previous;
    p->links[page] = (struct owl_pagefile_link){.next = list->head, .previous = last};
    p->links[last].next = page;
    p->links[list->head].previous = page;
    list->count++;
}

void owl_pagefile_take(struct owl_pagefile *p, struct owl_pagefile_list *list, uint32_t page)
{
    struct owl_pagefile_link link = p->links[page];
    p->links[link.previous].next = link.next;
    p->links[link.next].previous = link.previous;
    list->count--;
}

/* Up to `most` pages from a list's head on, sorted; they stay in the list. */
static size_t first_pages(const struct owl_pagefile *p, const struct owl_pagefile_list *list,
                          uint32_t *pages, size_t most)
{
    size_t count = 0;
    for (uint32_t at = p->links[list->head].next; at != list->head && count < most;) {
        pages[count++] = at;
        at = p->links[at].next;
    }
    owl_pagefile_sort(pages, count);
    return count;
}

static void sift_down(uint32_t *pages, size_t at, size_t count)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && pages[child + 1] > pages[child])
            child++;
        if (pages[at] >= pages[child])
            return;
        uint32_t larger = pages[child];
        pages[child] = pages[at];
        pages[at] = larger;
    }
}

/* Heapsort (J. Williams, 1964), which needs no memory. */
void owl_pagefile_sort(uint32_t *pages, size_t count)
{
    for (size_t i = count / 2; i-- > 0;)
        sift_down(pages, i, count);
    for (size_t left = count; left > 1;) {
        uint32_t largest = pages[0];
        pages[0] = pages[--left];
        pages[left] = largest;
        sift_down(pages, 0, left);
    }
}

size_t owl_pagefile_run(const uint32_t *pages, size_t count)
{
    size_t run = 1;
    while (run < count && pages[run] == pages[run - 1] + 1)
        run++;
    return run;
}

char *owl_pagefile_contents(const struct owl_pagefile *p, uint32_t page)
{
    char *base = (p->state[page] & OWL_PAGE_ASIDE) != 0 ? p->watch->shadow : p->start;
    return base + page * owl_os.page;
}

/* --- writing --- */

/* Pages that follow one another, in one call. Some may be aside and some in place. */
static int write_run(struct owl_pagefile *p, const uint32_t *pages, size_t count)
{
    struct iovec places[OWL_PAGEFILE_PLACES];
    int n = 1;
    places[0].iov_base = owl_pagefile_contents(p, pages[0]);
    places[0].iov_len = owl_os.page;
    for (size_t i = 1; i < count; i++) {
        char *contents = owl_pagefile_contents(p, pages[i]);
        if ((char *)places[n - 1].iov_base + places[n - 1].iov_len == contents)
            places[n - 1].iov_len += owl_os.page;
        else
            places[n++] = (struct iovec){.iov_base = contents, .iov_len = owl_os.page};
    }
    p->counts.batches++;
    if (owl_os.pagefile_write(&p->file, places, n, pages[0] * owl_os.page) != 0) {
        p->counts.failures++;
        p->counts.error = errno;
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        p->state[pages[i]] &= (uint8_t)~OWL_PAGE_DIRTY;
        p->state[pages[i]] |= OWL_PAGE_STORED;
    }
    p->dirty -= count;
    p->counts.writes += count;
    return 0;
}

int owl_pagefile_write(struct owl_pagefile *p, const uint32_t *pages, size_t count)
{
    int result = 0;
    for (size_t done = 0, run; done < count; done += run) {
        size_t most = count - done < OWL_PAGEFILE_PLACES ? count - done : OWL_PAGEFILE_PLACES;
        run = owl_pagefile_run(pages + done, most);
        if (write_run(p, pages + done, run) != 0)
            result = -1;
    }
    return result;
}

/* --- leaving --- */

void owl_pagefile_set_aside(struct owl_pagefile *p, const uint32_t *pages, size_t count)
{
    for (size_t done = 0, run; done < count; done += run) {
        run = owl_pagefile_run(pages + done, count - done);
        size_t hidden = owl_watch_arm(p->watch, pages[done], run, OWL_WATCH_KINDS);
        for (size_t i = done; i < done + hidden; i++) {
            owl_pagefile_take(p, &p->place, pages[i]);
            owl_pagefile_add(p, &p->aside, pages[i]);
            p->state[pages[i]] |= OWL_PAGE_ASIDE;
        }
        if (hidden < run) {
            owl_pagefile_take(p, &p->place, pages[done + hidden]);
            owl_pagefile_add(p, &p->place, pages[done + hidden]);
            run = hidden + 1;
        }
    }
}

/* Those that were longest in place. How many are aside now that were not. */
static size_t set_some_aside(struct owl_pagefile *p)
{
    uint32_t pages[OWL_PAGEFILE_BATCH];
    size_t before = p->aside.count;
    owl_pagefile_set_aside(p, pages, first_pages(p, &p->place, pages, p->batch));
    return p->aside.count - before;
}

/* Drops pages that follow one another and are not DIRTY. */
static void drop_run(struct owl_pagefile *p, const uint32_t *pages, size_t count)
{
    owl_os.purge(p->watch->shadow + pages[0] * owl_os.page, count * owl_os.page);
    for (size_t i = 0; i < count; i++) {
        owl_pagefile_take(p, &p->aside, pages[i]);
        p->state[pages[i]] &= (uint8_t)~(OWL_PAGE_IN | OWL_PAGE_ASIDE);
    }
}

size_t owl_pagefile_leave(struct owl_pagefile *p, uint32_t *pages, size_t count)
{
    uint32_t dirty[OWL_PAGEFILE_BATCH];
    size_t n = 0, clean = 0;
    for (size_t i = 0; i < count; i++)
        if ((p->state[pages[i]] & OWL_PAGE_DIRTY) != 0)
            dirty[n++] = pages[i];
    if (n > 0)
        owl_pagefile_write(p, dirty, n);
    for (size_t i = 0; i < count; i++) {
        if ((p->state[pages[i]] & OWL_PAGE_DIRTY) == 0) {
            pages[clean++] = pages[i];
            continue;
        }
        owl_pagefile_take(p, &p->aside, pages[i]);
        owl_pagefile_add(p, &p->aside, pages[i]);
    }
    for (size_t done = 0, run; done < clean; done += run) {
        run = owl_pagefile_run(pages + done, clean - done);
        drop_run(p, pages + done, run);
    }
    return clean;
}

/* Pages are set aside before they have to leave, so that those in use come back in time. Each time
 * at most as many are looked at as leave at a time; so a fault costs no more while nothing can be
 * written. */
void owl_pagefile_make_room(struct owl_pagefile *p, size_t count)
{
    uint32_t pages[OWL_PAGEFILE_BATCH];
    size_t in_place = p->budget - p->budget / OWL_PAGEFILE_ASIDE_SHARE - p->batch, left = 1;
    while (p->place.count + count > in_place && set_some_aside(p) > 0)
        continue;
    while (left > 0 && p->place.count + p->aside.count + count > p->budget)
        left = owl_pagefile_leave(p, pages, first_pages(p, &p->aside, pages, p->batch));
}

/* --- checking --- */

static bool list_is_valid(const struct owl_pagefile *p, const struct owl_pagefile_list *list,
                          bool aside)
{
    size_t count = 0;
    for (uint32_t at = list->head, next; (next = p->links[at].next) != list->head; at = next) {
        bool is_aside = (p->state[next] & OWL_PAGE_ASIDE) != 0;
        if (++count > p->pages || p->links[next].previous != at || is_aside != aside ||
            (p->state[next] & OWL_PAGE_IN) == 0)
            return false;
    }
    return count == list->count;
}

bool owl_pagefile_is_valid(struct owl_pagefile *p)
{
    owl_lock(&p->lock);
    size_t in = 0, dirty = 0;
    for (size_t i = 0; i < p->pages; i++) {
        in += (p->state[i] & OWL_PAGE_IN) != 0;
        dirty += (p->state[i] & OWL_PAGE_DIRTY) != 0;
    }
    bool valid = in == p->place.count + p->aside.count && dirty == p->dirty &&
                 list_is_valid(p, &p->place, false) && list_is_valid(p, &p->aside, true);
    owl_unlock(&p->lock);
    return valid;
}
