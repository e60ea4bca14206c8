/* SPDX-License-Identifier: BSD-2-Clause */
/* For the tests of owl/pages.h: system calls that are counted, and contents of pages. */
#ifndef OWL_TESTS_PAGES_OS_H
#define OWL_TESTS_PAGES_OS_H

#include <errno.h>
#include <owl/owl.h>
#include <owl/pages.h>
#include <sys/mman.h>

#include "child.h"
#include "os.h"
#include "pool.h"

static size_t page;

/* Counts, and failures on demand, of the calls that move memory between process and system. */
static struct {
    struct owl_os real;
    unsigned purge, purge_many, populate, populate_many, move;
    bool no_many, no_populate, no_move;
    char *populate_fails_at;
} os;

static inline int count_purge(void *start, size_t bytes)
{
    os.purge++;
    return os.real.purge(start, bytes);
}

static inline size_t count_purge_many(const struct owl_piece *pieces, size_t count)
{
    os.purge_many++;
    return os.no_many ? 0 : os.real.purge_many(pieces, count);
}

static inline bool covers(const void *start, size_t bytes)
{
    return os.populate_fails_at != NULL && (size_t)(os.populate_fails_at - (char *)start) < bytes;
}

static inline int count_populate(void *start, size_t bytes)
{
    os.populate++;
    if (!os.no_populate && !covers(start, bytes))
        return os.real.populate(start, bytes);
    errno = EFAULT;
    return -1;
}

static inline size_t count_populate_many(const struct owl_piece *pieces, size_t count)
{
    size_t n = 0;
    os.populate_many++;
    while (n < count && !covers(pieces[n].start, pieces[n].bytes))
        n++;
    return os.no_many ? 0 : os.real.populate_many(pieces, n);
}

static inline int count_move(void *from, void *to, size_t bytes)
{
    os.move++;
    return os.no_move ? -1 : os.real.move(from, to, bytes);
}

static inline unsigned calls(void)
{
    return os.purge + os.purge_many + os.populate + os.populate_many + os.move;
}

static inline void forget_calls(void)
{
    os.purge = os.purge_many = os.populate = os.populate_many = os.move = 0;
}

static inline void set_up(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    owl_free(opaque(owl_malloc(1)));
    os.real = owl_os;
    owl_os.purge = count_purge;
    owl_os.purge_many = count_purge_many;
    owl_os.populate = count_populate;
    owl_os.populate_many = count_populate_many;
    owl_os.move = count_move;
    forget_calls();
}

static inline bool is_filled(const char *p, size_t pages, char value)
{
    for (size_t i = 0; i < pages * page; i++)
        if (p[i] != value)
            return false;
    return true;
}

static inline void fill(char *p, size_t pages, char value)
{
    memset(p, value, pages * page);
}

static inline size_t resident(char *p, size_t pages)
{
    static unsigned char in[16384];
    size_t count = 0;
    check(pages <= sizeof in && mincore(p, pages * page, in) == 0);
    for (size_t i = 0; i < pages; i++)
        count += in[i] & 1;
    return count;
}

#endif
