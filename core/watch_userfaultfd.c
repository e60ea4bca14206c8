/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches by userfaultfd: threads that wait for accesses call the handlers.
 *
 * Contents go from the shadow into place as a copy. Moves that userfaultfd knows of exist only from
 * Linux 6.8 on; others would take pages out of the watch.
 */
#include <errno.h>

#include "os.h"
#include "tune.h"
#include "watch.h"

/* All but the descriptors' making and closing is guarded by the table's lock. A thread that is not
 * `waiting` is on its way from an access to its next wait. */
static struct {
    int descriptor, bell; /* -1: not open */
    bool unpopulated;
    pthread_t threads[OWL_WATCH_THREADS];
    size_t count, waiting;
} server = {.descriptor = -1, .bell = -1};

static char *in_place(const struct owl_watch *w, size_t page)
{
    return w->start + page * owl_os.page;
}

static char *in_shadow(const struct owl_watch *w, size_t page)
{
    return w->shadow + page * owl_os.page;
}

static void *serve(void *nothing)
{
    struct owl_os_fault fault;
    owl_os.thread_name("owl-watch");
    while (owl_os.watch_next(server.descriptor, server.bell, &fault) > 0) {
        owl_watch_lock();
        server.waiting--;
        owl_watch_unlock();
        owl_watch_fault(&owl_watch_userfaultfd, fault.address, fault.write);
        owl_watch_lock();
        server.waiting++;
        owl_watch_unlock();
    }
    return nothing;
}

/* With the table's lock held. */
static int start_thread(void)
{
    if (server.count == OWL_WATCH_THREADS ||
        owl_os.thread_start(&server.threads[server.count], serve) != 0)
        return -1;
    server.count++;
    server.waiting++;
    return 0;
}

/* If there is no thread to be had the handler is called all the same: it need not touch such
 * pages. */
static void uffd_nest(void)
{
    if (server.waiting == 0)
        start_thread();
}

static void uffd_close(bool in_child)
{
    if (!in_child && server.count > 0) {
        owl_os.bell_ring(server.bell);
        for (size_t i = 0; i < server.count; i++)
            owl_os.thread_join(server.threads[i]);
    }
    server.count = server.waiting = 0;
    if (server.bell >= 0)
        owl_os.close(server.bell);
    if (server.descriptor >= 0)
        owl_os.close(server.descriptor);
    server.bell = server.descriptor = -1;
}

static int open_server(void)
{
    if (server.count > 0)
        return 0;
    int descriptor = owl_os.watch_open(&server.unpopulated);
    if (descriptor < 0)
        return -1;
    server.descriptor = descriptor;
    int bell = owl_os.bell_make();
    if (bell < 0)
        return -1;
    server.bell = bell;
    return start_thread();
}

static int uffd_begin(struct owl_watch *w)
{
    bool missing = (w->mode & OWL_WATCH_ACCESS) != 0, write = (w->mode & OWL_WATCH_WRITE) != 0;
    if (open_server() != 0)
        return -1;
    return owl_os.watch_register(server.descriptor, w->start, w->bytes, missing, write);
}

static int uffd_hide(struct owl_watch *w, size_t first, size_t pages)
{
    size_t bytes = pages * owl_os.page;
    if (owl_os.move(in_place(w, first), in_shadow(w, first), bytes) != 0)
        return -1;
    owl_os.join(in_shadow(w, first), bytes);
    return 0;
}

/* An older kernel cannot protect what is not there. */
static int uffd_protect(struct owl_watch *w, size_t first, size_t pages)
{
    char *start = in_place(w, first);
    size_t bytes = pages * owl_os.page;
    if (!server.unpopulated && owl_os.populate_read(start, bytes) != 0)
        return -1;
    return owl_os.watch_protect(server.descriptor, start, bytes, true);
}

/* Whatever comes of it, those who wait for the page try again. */
static int uffd_grant(struct owl_watch *w, size_t page, bool hidden, bool writable)
{
    int failed = 0;
    char *to = in_place(w, page);
    if (hidden) {
        char *from = in_shadow(w, page);
        if (owl_os.watch_copy(server.descriptor, to, from, owl_os.page, !writable) == 0) {
            owl_os.purge(from, owl_os.page);
            return 0;
        }
        failed = errno == EEXIST ? 0 : -1;
    }
    if (failed != 0 || !writable ||
        owl_os.watch_protect(server.descriptor, to, owl_os.page, false) != 0)
        owl_os.watch_wake(server.descriptor, to, owl_os.page);
    return failed;
}

/* Several threads can have faulted at once; or the page was dropped, and its shadow is empty. */
static int uffd_retry(struct owl_watch *w, size_t page, bool writable)
{
    return uffd_grant(w, page, w->shadow != NULL, writable);
}

/* Puts pages into place, those that have contents. Pages that are there are left alone. */
static int bring_back(struct owl_watch *w, size_t first, size_t pages)
{
    uint8_t full[256];
    for (size_t done = 0, some; done < pages; done += some) {
        some = pages - done < sizeof full ? pages - done : sizeof full;
        bool known = owl_os.changed(in_shadow(w, first + done), some, full) == 0;
        for (size_t i = 0; i < some; i++) {
            size_t page = first + done + i;
            if ((!known || full[i]) &&
                owl_os.watch_copy(server.descriptor, in_place(w, page), in_shadow(w, page),
                                  owl_os.page, false) != 0 &&
                errno == ENOMEM)
                return -1;
            w->state[page] = 0;
        }
        owl_os.purge(in_shadow(w, first + done), some * owl_os.page);
    }
    return 0;
}

static int uffd_end(struct owl_watch *w)
{
    if (!w->own)
        for (size_t first = 0, pages; (pages = owl_watch_hidden_run(w, &first)) > 0; first += pages)
            if (bring_back(w, first, pages) != 0) {
                owl_os.watch_wake(server.descriptor, w->start, w->bytes);
                return -1;
            }
    owl_os.watch_unregister(server.descriptor, w->start, w->bytes);
    return 0;
}

/* The descriptor is the parent's, and the child's pages are not registered with it. */
static void uffd_end_in_child(struct owl_watch *w)
{
    for (size_t first = 0, pages; (pages = owl_watch_hidden_run(w, &first)) > 0; first += pages)
        owl_os.move(in_shadow(w, first), in_place(w, first), pages * owl_os.page);
}

const struct owl_watch_mechanism owl_watch_userfaultfd = {
    .name = OWL_WATCH_USERFAULTFD,
    .begin = uffd_begin,
    .hide = uffd_hide,
    .protect = uffd_protect,
    .grant = uffd_grant,
    .retry = uffd_retry,
    .nest = uffd_nest,
    .end = uffd_end,
    .end_in_child = uffd_end_in_child,
    .close = uffd_close,
};
