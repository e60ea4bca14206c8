/* SPDX-License-Identifier: BSD-2-Clause */
#include "remap.h"

#include <string.h>

#include "os.h"
#include "range.h"
#include "tune.h"

/* Mappings that a move can add: one where it comes to lie between others, two at most at each
 * end of both places. */
enum { ADDED = 4 };

/* All relaxed: the numbers are guarded by nothing and guard nothing. */
static owl_word bound;    /* mappings that there may be; 0: not known yet */
static owl_word estimate; /* mappings that there are, at the most */
static owl_u32 refused;   /* moves, since the last that was not */

static void look(void)
{
    size_t limit = owl_os.mapping_limit();
    if (limit == 0)
        limit = OWL_MAPPINGS_LIMIT;
    owl_word_store_relaxed(&bound, limit - limit / OWL_MAPPINGS_SHARE);
    owl_word_store_relaxed(&estimate, owl_os.mapping_count());
}

static bool add_to_estimate(void)
{
    for (;;) {
        uintptr_t now = owl_word_load_relaxed(&estimate);
        if (now + ADDED > owl_word_load_relaxed(&bound))
            return false;
        if (owl_word_cas(&estimate, now, now + ADDED))
            return true;
    }
}

bool owl_remap_may(void)
{
    if (add_to_estimate()) {
        owl_u32_store_relaxed(&refused, 0);
        return true;
    }
    uint32_t times = owl_u32_load_relaxed(&refused);
    owl_u32_store_relaxed(&refused, times + 1);
    if (times % OWL_MAPPINGS_LOOK != 0)
        return false;
    look();
    return add_to_estimate();
}

static int carry(void *from, void *to, size_t bytes)
{
    return owl_os.carry(from, bytes, to, bytes);
}

/* Moves the mappings of a place one by one: only so is it known, after a refusal, how far that has
 * come, and kernels before 6.17 refuse several at once. The bytes moved. */
static size_t move_each(char *from, char *to, size_t bytes, int (*move)(void *, void *, size_t))
{
    size_t done = 0;
    while (done < bytes) {
        size_t piece = owl_os.piece(from + done, bytes - done);
        if (done > 0)
            owl_remap_may(); /* is counted at least */
        if (piece == 0 || move(from + done, to + done, piece) != 0)
            break;
        done += piece;
    }
    return done;
}

int owl_remap_move(void *from, void *to, size_t bytes)
{
    if (!owl_remap_may())
        return -1;
    size_t done = move_each(from, to, bytes, owl_os.move);
    if (done == bytes)
        return 0;
    memcpy(from, to, done);
    return -1;
}

/* Moves all mappings but the last one. The bytes moved; `bytes`: refused, and they are back. */
static size_t move_but_last(char *from, char *to, size_t bytes)
{
    size_t done = 0;
    for (;;) {
        size_t piece = owl_os.piece(from + done, bytes - done);
        if (piece == bytes - done)
            return done;
        owl_remap_may(); /* is counted at least */
        if (piece == 0 || owl_os.move(from + done, to + done, piece) != 0) {
            memcpy(from, to, done);
            return bytes;
        }
        done += piece;
    }
}

/* Fills a hole that there was for a moment. 0; or -1: it is not ours any more. */
static int fill(void *start, size_t bytes)
{
    if (owl_os.fill(start, bytes) != 0)
        return -1;
    owl_range_advise(start, bytes);
    return 0;
}

/* Most blocks are one mapping, and nobody need ask how many they are. */
enum owl_remap_left owl_remap_grow(void *from, size_t bytes, void *to, size_t to_bytes)
{
    size_t done = 0;
    if (!owl_remap_may())
        return OWL_REMAP_REFUSED;
    if (owl_os.carry(from, bytes, to, to_bytes) != 0) {
        done = move_but_last(from, to, bytes);
        if (done == bytes)
            return OWL_REMAP_REFUSED;
        if (owl_os.carry((char *)from + done, bytes - done, (char *)to + done, to_bytes - done) !=
            0) {
            memcpy(from, to, done);
            return OWL_REMAP_REFUSED;
        }
    }
    if (fill((char *)from + done, bytes - done) != 0)
        return OWL_REMAP_LOST;
    return done == 0 ? OWL_REMAP_FRESH : OWL_REMAP_STALE;
}

/* What private memory has aside is put where it belongs by copying; that of a file was only shown
 * there. */
static int end_exchange(void *a, void *b, char *aside, size_t bytes, size_t moved, bool file)
{
    size_t back = 0;
    if (moved == bytes)
        back = move_each(aside, a, bytes, carry);
    if (back == bytes)
        return 0;
    if (!file && moved == bytes) {
        memcpy((char *)a + back, aside + back, bytes - back);
    } else if (!file) {
        memcpy(a, b, moved);
        memcpy(b, aside, bytes);
    }
    owl_os.unmap(aside + back, bytes - back);
    if (file)
        return OWL_REMAP_TORN;
    return moved == bytes ? 0 : -1;
}

int owl_remap_exchange(void *a, void *b, size_t bytes, bool file)
{
    if (!owl_remap_may())
        return -1;
    void *aside = owl_os.reserve(bytes);
    if (aside == NULL)
        return -1;
    size_t moved = move_each(b, aside, bytes, owl_os.move);
    if (moved < bytes) {
        if (!file)
            memcpy(b, aside, moved);
        owl_os.unmap(aside, bytes);
        return -1;
    }
    moved = move_each(a, b, bytes, owl_os.move);
    return end_exchange(a, b, aside, bytes, moved, file);
}
