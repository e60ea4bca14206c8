/* SPDX-License-Identifier: BSD-2-Clause */
#include "remap.h"

#include <string.h>

#include "check.h"
#include "os.h"
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

int owl_remap_move(void *from, void *to, size_t bytes)
{
    return owl_remap_may() ? owl_os.move(from, to, bytes) : -1;
}

/* The exchange stopped before its last step, or before the one before. What private memory has
 * aside is put where it belongs by copying; that of a file was only shown there. */
static int finish_private(void *to, void *aside, size_t bytes, int result)
{
    memcpy(to, aside, bytes);
    owl_os.unmap(aside, bytes);
    return result;
}

static int undo_file(void *a, void *b, void *aside, size_t bytes, bool moved)
{
    if (!moved)
        owl_os.unmap(aside, bytes);
    else if (owl_os.carry(aside, b, bytes) != 0)
        owl_report(OWL_FAULT_REMAP, a, bytes);
    return -1;
}

int owl_remap_exchange(void *a, void *b, size_t bytes, bool file)
{
    if (!owl_remap_may())
        return -1;
    void *aside = owl_os.reserve(bytes);
    if (aside == NULL)
        return -1;
    if (owl_os.move(b, aside, bytes) != 0) {
        owl_os.unmap(aside, bytes);
        return -1;
    }
    bool moved = owl_os.move(a, b, bytes) == 0;
    if (moved && owl_os.carry(aside, a, bytes) == 0)
        return 0;
    if (file)
        return undo_file(a, b, aside, bytes, moved);
    return moved ? finish_private(a, aside, bytes, 0) : finish_private(b, aside, bytes, -1);
}
