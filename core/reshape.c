/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operations of owl/large.h, on any block: by moving pages where that goes, else by copying.
 */
#include <errno.h>
#include <owl/large.h>
#include <string.h>

#include "cache.h"
#include "guard.h"
#include "large.h"
#include "mapping.h"
#include "option.h"
#include "os.h"
#include "pool.h"
#include "scavenger.h"
#include "tools.h"

static void *refuse(int error)
{
    errno = error;
    return NULL;
}

/* The descriptor of a large block; NULL: it is a small one, a guarded one, or a mapping. p was
 * checked. */
static struct owl_span *large_of(const void *p)
{
    OWL_TOOLS_INSIDE;
    struct owl_span *s = owl_span_of(p);
    return s != NULL && s->kind == OWL_KIND_LARGE ? s : NULL;
}

static bool is_mapping(const void *p)
{
    OWL_TOOLS_INSIDE;
    return owl_span_of(p) == NULL && !owl_guard_contains(p);
}

/* Where a tool watches, nothing moves without its seeing it: bytes are copied. */
static struct owl_span *movable_large(const void *p)
{
    return owl_tools.on ? NULL : large_of(p);
}

static bool is_movable_mapping(const void *p)
{
    return !owl_tools.on && is_mapping(p);
}

/* A new block with `bytes` bytes of p, from `from` on, at `to`; p is freed, unless `keep`. */
static void *copy(void *p, size_t from, size_t to, size_t bytes, bool keep)
{
    char *q = bytes <= PTRDIFF_MAX - to ? owl_malloc(to + bytes) : refuse(ENOMEM);
    if (q == NULL)
        return NULL;
    memcpy(q + to, (char *)p + from, bytes);
    if (!keep)
        owl_free(p);
    return q;
}

void *owl_grow_front(void *p, size_t bytes)
{
    size_t usable = owl_malloc_usable_size(p);
    if (usable == 0 || bytes % OWL_QUANTUM != 0)
        return refuse(EINVAL);
    if (bytes > PTRDIFF_MAX - usable)
        return refuse(ENOMEM);
    int saved = errno;
    struct owl_span *s = movable_large(p);
    void *q = NULL;
    if (s != NULL)
        q = owl_large_grow_front(s, bytes);
    else if (is_movable_mapping(p))
        q = owl_mapping_grow_front(p, bytes);
    errno = saved;
    if (q == NULL)
        q = copy(p, 0, bytes, usable, false);
    if (q == NULL && s != NULL) { /* what it was to be copied to may be gone */
        q = owl_large_grow_front(s, bytes);
        errno = q != NULL ? saved : ENOMEM;
    }
    return q;
}

void *owl_shrink_front(void *p, size_t bytes)
{
    size_t usable = owl_malloc_usable_size(p);
    if (bytes >= usable || bytes % OWL_QUANTUM != 0)
        return refuse(EINVAL);
    int saved = errno;
    struct owl_span *s = movable_large(p);
    void *q = NULL;
    if (s != NULL)
        q = owl_large_shrink_front(s, bytes);
    else if (is_movable_mapping(p))
        q = owl_mapping_shrink_front(p, bytes);
    errno = saved;
    return q != NULL ? q : copy(p, bytes, 0, usable - bytes, false);
}

static void swap_bytes(char *p, char *q, size_t bytes)
{
    char aside[4096];
    while (bytes > 0) {
        size_t n = bytes < sizeof aside ? bytes : sizeof aside;
        memcpy(aside, p, n);
        memcpy(p, q, n);
        memcpy(q, aside, n);
        p += n;
        q += n;
        bytes -= n;
    }
}

int owl_swap(void *p, void *q, size_t bytes)
{
    if (p == q || owl_malloc_usable_size(p) < bytes || owl_malloc_usable_size(q) < bytes) {
        errno = EINVAL;
        return -1;
    }
    int saved = errno;
    struct owl_span *s = movable_large(p);
    struct owl_span *t = movable_large(q);
    size_t done = 0;
    if ((s != NULL || is_movable_mapping(p)) && (t != NULL || is_movable_mapping(q)))
        done = owl_large_swap(s, p, t, q, bytes);
    swap_bytes((char *)p + done, (char *)q + done, bytes - done);
    errno = saved;
    return 0;
}

void *owl_dup(void *p)
{
    size_t usable = owl_malloc_usable_size(p);
    if (usable == 0)
        return refuse(EINVAL);
    int saved = errno;
    struct owl_span *s = movable_large(p);
    void *q = s != NULL ? owl_large_dup(s) : NULL;
    errno = saved;
    return q != NULL ? q : copy(p, 0, 0, usable, true);
}

/* Its bytes are copied to the file, and mapped from there: with all that is not the caller's. */
static int export_block(struct owl_span *s, void *p, size_t *offset)
{
    size_t bytes = owl_malloc_usable_size(p);
    char *end = (char *)p + bytes;
    size_t rest = s->bytes - bytes;
    if (owl_tools.on)
        owl_tools_open(end, rest);
    int descriptor = owl_large_export(s, offset);
    if (owl_tools.on) {
        owl_tools_filled(p, bytes);
        owl_tools_close(end, rest);
    }
    return descriptor;
}

/* Whether so many bytes more pass the limit. */
static bool is_past_limit(size_t bytes)
{
    size_t limit = (size_t)owl_option(OWL_OPTION_LIMIT);
    return limit != 0 && owl_pool_count().in_use + bytes > limit;
}

int owl_export(void *p, size_t *offset)
{
    bool block = owl_malloc_usable_size(p) != 0;
    struct owl_span *s = block ? large_of(p) : NULL;
    if (s == NULL || (uintptr_t)p % owl_os.page != 0) {
        errno = block && is_mapping(p) ? ENOTSUP : EINVAL;
        return -1;
    }
    OWL_TOOLS_INSIDE;
    int saved = errno;
    int descriptor = export_block(s, p, offset);
    size_t bytes = s->granules << OWL_GRANULE_SHIFT;
    for (struct owl_rescue r = {.bytes = s->bytes};
         descriptor < 0 && errno == ENOTSUP && is_past_limit(bytes) && owl_scavenger_rescue(&r);)
        descriptor = export_block(s, p, offset);
    if (descriptor >= 0)
        errno = saved;
    else if (errno != ENOMEM && errno != EMFILE)
        errno = ENOTSUP;
    return descriptor;
}

void *owl_ring(size_t bytes)
{
    owl_cache_get(); /* the page size must be known */
    if (bytes == 0 || bytes % owl_os.page != 0 || bytes > OWL_SPAN_MAX)
        return refuse(EINVAL);
    OWL_TOOLS_INSIDE;
    int saved = errno;
    void *p = owl_large_ring(bytes);
    for (struct owl_rescue r = {.bytes = bytes}; p == NULL && owl_scavenger_rescue(&r);)
        p = owl_large_ring(bytes);
    if (p != NULL)
        owl_tools_hand_out_ring(p, 2 * bytes);
    errno = p != NULL ? saved : ENOMEM;
    return p;
}
