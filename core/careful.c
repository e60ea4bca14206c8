/* SPDX-License-Identifier: BSD-2-Clause */
#include "careful.h"

#include <errno.h>
#include <string.h>

#include "block.h"
#include "fault.h"
#include "large_span.h"
#include "lock.h"
#include "os.h"
#include "tools.h"

struct owl_careful owl_careful OWL_START;

/* Blocks in quarantine, `count` of them from `first` on. */
static struct {
    struct owl_lock lock;
    void **ring;
    size_t first, count;
    size_t bytes; /* of all */
} held = {.lock.rank = OWL_RANK_QUARANTINE};

void owl_careful_begin(void)
{
    struct owl_careful c = {
        .junk = owl_option(OWL_OPTION_JUNK) != 0,
        .zero = owl_option(OWL_OPTION_ZERO_ON_FREE) != 0,
        .quarantine = (size_t)owl_option(OWL_OPTION_QUARANTINE),
    };
    size_t bytes = owl_round_up(OWL_QUARANTINE_BLOCKS * sizeof *held.ring, owl_os.page);
    if (c.quarantine == 0 && owl_tools.on)
        c.quarantine = OWL_QUARANTINE_WATCHED;
    if (c.quarantine > 0 && held.ring == NULL)
        held.ring = owl_os.map(bytes);
    if (held.ring != NULL)
        owl_tools_hide(held.ring, bytes);
    else
        c.quarantine = 0;
    c.on = c.junk || c.zero || c.quarantine > 0;
    owl_careful = c;
}

/* --- filling and looking --- */

/* The first of the bytes that is not `value`; NULL: all are. */
static const char *find_other(const char *p, size_t bytes, int value)
{
    if (bytes == 0 || ((unsigned char)*p == value && memcmp(p, p + 1, bytes - 1) == 0))
        return NULL;
    while ((unsigned char)*p == value)
        p++;
    return p;
}

/* Reports what was written to a free block; of a small one, behind its mark. */
static void look(const struct owl_span *s, const char *p)
{
    size_t mark = s->kind == OWL_KIND_SLAB ? sizeof(struct owl_block) : 0;
    const char *other = find_other(p + mark, s->bytes - mark, owl_junk_free());
    if (other != NULL)
        owl_fault(OWL_FAULT_WRITTEN, other, 0);
}

void owl_careful_hand_out(void *p, bool zero)
{
    const struct owl_span *s = owl_span_of(p);
    if (!owl_careful.junk || s == NULL)
        return;
    if (s->kind == OWL_KIND_SLAB && s->filled)
        look(s, p);
    if (!zero)
        memset(p, OWL_JUNK_OUT, s->bytes);
}

/* Private pages of the range's own are zeroed by giving them back. What processes share is theirs
 * too. */
static void fill_large(const struct owl_span *s, size_t from)
{
    char *p = (char *)s->start;
    size_t whole = owl_round_up(s->start + from, owl_os.page) - s->start;
    if (s->shared)
        return;
    if (owl_careful.zero && owl_is_private(s) &&
        whole < s->bytes && owl_os.purge(p + whole, s->bytes - whole) == 0)
        memset(p + from, 0, whole - from);
    else
        memset(p + from, owl_junk_free(), s->bytes - from);
}

static void fill_free(const struct owl_span *s, void *p)
{
    if (s->kind == OWL_KIND_SLAB)
        memset(p, owl_junk_free(), s->bytes);
    else
        fill_large(s, 0);
}

void owl_careful_cut(struct owl_span *s, size_t bytes)
{
    if ((owl_careful.junk || owl_careful.zero) && s->kind == OWL_KIND_LARGE && bytes < s->bytes)
        fill_large(s, bytes);
}

/* --- the quarantine --- */

static void mark_held(void *p, struct owl_span *s)
{
    if (s->kind == OWL_KIND_SLAB)
        owl_block_mark(p);
    else
        s->held = 1;
    owl_tools_hold(p, s->bytes);
}

/* It leaves: a last look. What processes share was not filled. */
static void mark_released(void *p)
{
    struct owl_span *s = owl_span_of(p);
    bool small = s->kind == OWL_KIND_SLAB;
    owl_tools_release(p, s->bytes);
    if (small && !owl_block_is_marked(p))
        owl_fault(OWL_FAULT_WRITTEN, p, 0);
    if (owl_careful.junk && (small || !s->shared))
        look(s, p);
    if (!small)
        s->held = 0;
}

/* The lock is held. */
static void *take_oldest(void)
{
    void *p = held.ring[held.first];
    held.first = (held.first + 1) % OWL_QUARANTINE_BLOCKS;
    held.count--;
    held.bytes -= owl_span_of(p)->bytes;
    return p;
}

static void *put_newest(void *p, size_t bytes)
{
    void *oldest = NULL;
    owl_lock(&held.lock);
    if (held.count == OWL_QUARANTINE_BLOCKS)
        oldest = take_oldest();
    held.ring[(held.first + held.count++) % OWL_QUARANTINE_BLOCKS] = p;
    held.bytes += bytes;
    owl_unlock(&held.lock);
    return oldest;
}

void *owl_careful_take_in(void *p)
{
    int saved = errno;
    struct owl_span *s = owl_span_of(p);
    if (owl_careful.junk || owl_careful.zero)
        fill_free(s, p);
    if (s->bytes <= owl_careful.quarantine) {
        mark_held(p, s);
        p = put_newest(p, s->bytes);
        if (p != NULL)
            mark_released(p);
    }
    errno = saved;
    return p;
}

void *owl_careful_let_go(bool any)
{
    int saved = errno;
    void *p = NULL;
    owl_lock(&held.lock);
    if (held.count > 0 && (any || held.bytes > owl_careful.quarantine))
        p = take_oldest();
    owl_unlock(&held.lock);
    if (p != NULL)
        mark_released(p);
    errno = saved;
    return p;
}

void owl_careful_fork_prepare(void)
{
    owl_lock_before_fork(&held.lock);
}

void owl_careful_fork_parent(void)
{
    owl_lock_after_fork(&held.lock);
}

void owl_careful_fork_child(void)
{
    owl_lock_in_child(&held.lock);
}
