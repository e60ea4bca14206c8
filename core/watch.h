/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches on pages. The public functions, and what they promise, are in include/owl/watch.h.
 *
 * A watch of accesses has a *shadow*: a range of addresses as large as the watched one, where the
 * contents of pages lie until their first access. There a handler can prepare them while nobody
 * sees them, and from there they are put into place at one stroke:
 *
 *    watched   | hidden: touching | in place, maybe | in place   |
 *              | it is an event   | write-protected |            |
 *    shadow    | the contents     | empty           | empty      |
 *    state     | ACCESS, or both  | WRITE           | 0          |
 *
 * The state is a byte a page: which first accesses are still to be told of, and
 *    BUSY      a handler is at work for the page, without the lock; nobody but its thread may
 *              change the page or its state
 *    PREPARED  the handler was called, but the page could not be put into place: when the access is
 *              tried again it is not called again
 *
 * Two locks: `control`, by which watches begin and end one after the other, and under it `table`,
 * for the table of watches and the states, which faults take. A thread that holds one gets no
 * signals, as their handlers may touch watched pages. No handler is called with a lock held.
 */
#ifndef OWL_CORE_WATCH_H
#define OWL_CORE_WATCH_H

#include <owl/watch.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    OWL_WATCH_KINDS = OWL_WATCH_ACCESS | OWL_WATCH_WRITE,
    OWL_WATCH_BUSY = 4,
    OWL_WATCH_PREPARED = 8,
    OWL_WATCH_UNDER_WAY = OWL_WATCH_BUSY | OWL_WATCH_PREPARED,
};

struct owl_watch {
    char *start;
    size_t bytes;
    int mode;
    const struct owl_watch_mechanism *by;
    owl_watch_handler *handler;
    void *context;
    bool leaf;         /* the handler touches no watched pages */
    bool own;          /* the pages are not in a child of fork; there, it is `ending` */
    bool ending;       /* as if all pages were busy */
    char *shadow;      /* NULL: writes only */
    size_t mapped;     /* bytes of this structure, with states */
    size_t visits;     /* handlers at work */
    uint8_t state[];   /* of each page */
};

/* How it is done. All but `close` are called with the table's lock held; those that fail return -1
 * and leave things as they were. */
struct owl_watch_mechanism {
    int name; /* of enum owl_watch_mode */
    /* Before a watch is added: what all watches of the mechanism need, and its registration. */
    int (*begin)(struct owl_watch *w);
    /* Sets contents of pages in place aside in the shadow; they are to be told of. */
    int (*hide)(struct owl_watch *w, size_t first, size_t pages);
    /* Writes to pages in place are to be told of. */
    int (*protect)(struct owl_watch *w, size_t first, size_t pages);
    /* Lets the access to a page go on: puts its contents into place, or permits writes, or both. */
    int (*grant)(struct owl_watch *w, size_t page, bool hidden, bool writable);
    /* The same for an access that nothing is known against. */
    int (*retry)(struct owl_watch *w, size_t page, bool writable);
    /* A handler that may touch watched pages is about to be called. NULL: that is no trouble. */
    void (*nest)(void);
    /* Everything in place, nothing is told of any more; states are 0. */
    int (*end)(struct owl_watch *w);
    /* The same after a fork, in the child. Nothing can be done against failures. */
    void (*end_in_child)(struct owl_watch *w);
    /* Without the table's lock: the last watch of the mechanism has ended. Or in the child. */
    void (*close)(bool in_child);
};

extern const struct owl_watch_mechanism owl_watch_userfaultfd, owl_watch_protection;

/* The table's lock, for the mechanisms. */
void owl_watch_lock(void);
void owl_watch_unlock(void);

/* What to do when a thread has touched an address: the handler is called if there is a cause, and
 * the access made possible. False: the address is none of the mechanism's, or the access cannot be
 * made possible. For mechanisms, without a lock. */
bool owl_watch_fault(const struct owl_watch_mechanism *by, uintptr_t address, bool write);

/* How many watches have begun. */
uint32_t owl_watch_begun(void);

/* Runs of pages in the state of being hidden, for the mechanisms' end: finds the next at *first or
 * after it and sets *first to its begin; the number of its pages, or 0. */
size_t owl_watch_hidden_run(const struct owl_watch *w, size_t *first);

/* As owl_watch and owl_unwatch, for pages of the library's own, which are fresh and not in a child
 * of fork; nor is the shadow then. The handler touches no watched pages. */
struct owl_watch *owl_watch_begin_own(void *start, size_t bytes, int mode,
                                      owl_watch_handler *handler, void *context);
int owl_watch_end_own(struct owl_watch *w);

/* As owl_watch_again for so many pages of a watch; but stops before a page that is under way. How
 * many are done; 0 also if there is no memory. May be called by a handler. */
size_t owl_watch_arm(struct owl_watch *w, size_t first, size_t pages, int mode);

/* Waits until a page is not under way. Whether it was. */
bool owl_watch_settle(struct owl_watch *w, size_t page);

#endif
