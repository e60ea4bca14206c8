/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page file in user mode. The public functions are in include/owl/pagefile.h.
 *
 * Where a page's contents are:
 *
 *    out        in the file only                  --- touched: it is read --> in place
 *    in place   IN, and DIRTY if written to       --- room is wanted -------> aside
 *    aside      IN | ASIDE, in the watch's shadow --- touched --------------> in place
 *                                                 --- room is wanted: written if DIRTY -> out
 *
 * Pages that are IN are in one of two lists, in the order in which they came there; those in place
 * leave it from its head to the tail of the other.
 *
 * Nothing can reach a page that is aside without a fault, whose handler waits for our lock. So it
 * is written back and dropped without further care. A page in place is written back while it is
 * protected from writes, whose handlers wait as well. DIRTY is cleared after that, and set by the
 * handler before a write goes on; so a page that is not DIRTY is as the file has it.
 *
 * The lock guards everything here. A thread that holds it gets no signals, and may call the watch's
 * functions, which take locks of their own.
 */
#ifndef OWL_CORE_PAGEFILE_H
#define OWL_CORE_PAGEFILE_H

#include <owl/pagefile.h>
#include <signal.h>
#include <stdbool.h>

#include "lock.h"
#include "os.h"
#include "tune.h"
#include "watch.h"

enum {
    OWL_PAGE_IN = 1,
    OWL_PAGE_ASIDE = 2,
    OWL_PAGE_DIRTY = 4,
    OWL_PAGE_STORED = 8, /* we have written it to the file; an unnamed one has nothing else */
};

struct owl_pagefile_link {
    uint32_t next, previous;
};

/* A list is a ring through a link that is no page's. */
struct owl_pagefile_list {
    uint32_t head;
    size_t count;
};

struct owl_pagefile {
    struct owl_lock lock;
    struct owl_file file;
    bool named;
    char *start;
    size_t bytes, pages, budget; /* budget: in pages */
    size_t batch;                /* so many pages leave at a time */
    struct owl_watch *watch;
    uint8_t *state;              /* of each page */
    struct owl_pagefile_link *links; /* of each page and each list */
    struct owl_pagefile_list place, aside;
    size_t dirty;
    size_t mapped; /* bytes of this structure, with the above */
    struct owl_pagefile_stats counts;
};

/* Puts a page that is in no list at a list's tail; takes one out. */
void owl_pagefile_add(struct owl_pagefile *p, struct owl_pagefile_list *list, uint32_t page);
void owl_pagefile_take(struct owl_pagefile *p, struct owl_pagefile_list *list, uint32_t page);

/* Sorts page numbers. */
void owl_pagefile_sort(uint32_t *pages, size_t count);

/* How many of the pages from the first on follow one another. They are sorted. */
size_t owl_pagefile_run(const uint32_t *pages, size_t count);

/* Where the contents of a page are that is IN. */
char *owl_pagefile_contents(const struct owl_pagefile *p, uint32_t page);

/* Writes back pages that are sorted, DIRTY, and aside or protected. 0; or -1, if some could not
 * be, which stay DIRTY; their error is in the counts. */
int owl_pagefile_write(struct owl_pagefile *p, const uint32_t *pages, size_t count);

/* Sets pages aside that are sorted and in place. Those that are being worked on are in use: they
 * stay, and go to the tail of their list. */
void owl_pagefile_set_aside(struct owl_pagefile *p, const uint32_t *pages, size_t count);

/* Lets pages leave that are sorted and aside. How many did. */
size_t owl_pagefile_leave(struct owl_pagefile *p, uint32_t *pages, size_t count);

/* Room for so many more pages within the budget, if that is possible. */
void owl_pagefile_make_room(struct owl_pagefile *p, size_t count);

/* The structure of the whole holds together. */
bool owl_pagefile_is_valid(struct owl_pagefile *p);

#endif
