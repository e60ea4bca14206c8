/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches by protection: accesses that the mapping forbids raise SIGSEGV, and its handler calls
 * those of the watches, in the thread that does the access.
 *
 * Contents go from the shadow into place by a move of the page, which joins with neighbours in
 * place.
 */
#include "os.h"
#include "watch.h"

/* Between these all watches are, or were. A fault there that is no watch's may be of an access that
 * was stopped when there was one. */
static owl_word lowest, highest;

static bool caught;

static char *in_place(const struct owl_watch *w, size_t page)
{
    return w->start + page * owl_os.page;
}

static char *in_shadow(const struct owl_watch *w, size_t page)
{
    return w->shadow + page * owl_os.page;
}

static bool on_fault(uintptr_t address, bool write)
{
    uint32_t begun;
    do {
        begun = owl_watch_begun();
        if (owl_watch_fault(&owl_watch_protection, address, write))
            return true;
        if (address < owl_word_load_relaxed(&lowest) || address >= owl_word_load_relaxed(&highest))
            return false;
        if (owl_os.permits(address, write))
            return true;
        /* What forbids it now may be a watch that has begun after the first look. */
    } while (begun != owl_watch_begun());
    return false;
}

static int protection_begin(struct owl_watch *w)
{
    uintptr_t start = (uintptr_t)w->start, end = start + w->bytes;
    if (!caught && owl_os.catch(on_fault) != 0)
        return -1;
    caught = true;
    uintptr_t low = owl_word_load_relaxed(&lowest);
    if (low == 0 || start < low)
        owl_word_store_relaxed(&lowest, start);
    if (end > owl_word_load_relaxed(&highest))
        owl_word_store_relaxed(&highest, end);
    return 0;
}

/* The pages are all in one state. First forbidden, then moved: in between nobody can take the
 * emptied pages for their contents. */
static int protection_hide(struct owl_watch *w, size_t first, size_t pages)
{
    size_t bytes = pages * owl_os.page;
    if (owl_os.protect(in_place(w, first), bytes, false, false) != 0)
        return -1;
    if (owl_os.move(in_place(w, first), in_shadow(w, first), bytes) == 0) {
        if (owl_os.protect(in_shadow(w, first), bytes, true, true) == 0)
            return 0;
        owl_os.move(in_shadow(w, first), in_place(w, first), bytes);
    }
    bool writable = (w->state[first] & OWL_WATCH_WRITE) == 0;
    owl_os.protect(in_place(w, first), bytes, true, writable);
    return -1;
}

static int protection_protect(struct owl_watch *w, size_t first, size_t pages)
{
    return owl_os.protect(in_place(w, first), pages * owl_os.page, true, false);
}

/* A page that may not be written to must arrive so. */
static int protection_grant(struct owl_watch *w, size_t page, bool hidden, bool writable)
{
    char *to = in_place(w, page), *from = hidden ? in_shadow(w, page) : NULL;
    if (!hidden)
        return owl_os.protect(to, owl_os.page, true, writable);
    if (!writable && owl_os.protect(from, owl_os.page, true, false) != 0)
        return -1;
    int result = owl_os.move(from, to, owl_os.page);
    if (!writable)
        owl_os.protect(from, owl_os.page, true, true);
    return result;
}

static int protection_retry(struct owl_watch *w, size_t page, bool writable)
{
    return protection_grant(w, page, false, writable);
}

static int protection_end(struct owl_watch *w)
{
    if (w->own)
        return 0;
    for (size_t first = 0, pages; (pages = owl_watch_hidden_run(w, &first)) > 0; first += pages) {
        if (owl_os.move(in_shadow(w, first), in_place(w, first), pages * owl_os.page) != 0)
            return -1;
        for (size_t i = first; i < first + pages; i++)
            w->state[i] = 0;
    }
    return owl_os.protect(w->start, w->bytes, true, true);
}

static void protection_end_in_child(struct owl_watch *w)
{
    protection_end(w);
}

/* The handler of SIGSEGV stays: an access that was stopped may be on its way to it, and others may
 * have set theirs after it. */
static void protection_close(bool in_child)
{
    (void)in_child;
}

const struct owl_watch_mechanism owl_watch_protection = {
    .name = OWL_WATCH_PROTECTION,
    .begin = protection_begin,
    .hide = protection_hide,
    .protect = protection_protect,
    .grant = protection_grant,
    .retry = protection_retry,
    .nest = NULL,
    .end = protection_end,
    .end_in_child = protection_end_in_child,
    .close = protection_close,
};
