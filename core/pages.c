/* SPDX-License-Identifier: BSD-2-Clause */
#include "pages.h"

#include <errno.h>
#include <owl/large.h>
#include <stdint.h>
#include <string.h>

#include "alloc.h"
#include "cache.h"
#include "large_span.h"
#include "mapping.h"
#include "os.h"
#include "pool.h"
#include "pressure_read.h"
#include "scavenger.h"
#include "tools.h"

#define FLAGS                                                                                     \
    (OWL_PAGES_ZERO | OWL_PAGES_COMMIT | OWL_PAGES_NO_COMMIT | OWL_PAGES_TOP_DOWN | OWL_PAGES_SCRUB)

static int fails(int error)
{
    errno = error;
    return -1;
}

static void *gives_none(int error)
{
    errno = error;
    return NULL;
}

bool owl_pages_place(const void *block, size_t first, size_t pages, char **start, size_t *bytes)
{
    size_t all = owl_malloc_usable_size(block) / owl_os.page;
    if (block == NULL || (uintptr_t)block % owl_os.page != 0 || first > all || pages > all - first)
        return false;
    *start = (char *)(uintptr_t)block + first * owl_os.page;
    *bytes = pages * owl_os.page;
    return true;
}

/* Mappings are, and slabs. */
bool owl_pages_are_private(const void *block)
{
    OWL_TOOLS_INSIDE;
    const struct owl_span *s = owl_span_of(block);
    return s == NULL || s->kind == OWL_KIND_SLAB ||
           owl_is_private(s);
}

void owl_pages_clear(char *start, size_t bytes, bool private)
{
    if (bytes > 0 && (!private || owl_os.purge(start, bytes) != 0))
        memset(start, 0, bytes);
    owl_tools_filled(start, bytes);
}

/* Nobody reads what is written, for all that the compiler knows: so it is told that somebody
 * may. */
static void wipe(char *start, size_t bytes, bool private)
{
    if (bytes >= OWL_GRANULE)
        owl_pages_clear(start, bytes, private);
    else
        memset(start, 0, bytes);
    __asm__ volatile("" : : "r"(start) : "memory");
}

static void *take_large(size_t bytes, unsigned flags, bool *dirty)
{
    size_t granules = owl_large_granules(bytes);
    bool zero = true;
    struct owl_span *s = NULL;
    if (bytes <= OWL_STOCK_MAX && !(flags & (OWL_PAGES_TOP_DOWN | OWL_PAGES_ZERO)))
        s = owl_cache_take_span(owl_cache_mine(), granules);
    if (s != NULL)
        return owl_large_begin_anew(s, bytes);
    if (bytes <= OWL_SPAN_MAX)
        s = flags & OWL_PAGES_TOP_DOWN ? owl_pool_take_high(granules, &zero)
                                       : owl_pool_take(OWL_PRIVATE, granules, 0, &zero);
    void *p = s != NULL ? (void *)s->start : owl_mapping_make(bytes, owl_os.page, 0);
    if (s != NULL)
        owl_large_begin(s, bytes);
    *dirty = s != NULL && !zero;
    return p;
}

/* Of every multiple of the page up to OWL_SMALL_MAX there is a class, and its blocks start at
 * pages, as slabs do. */
void *owl_pages_take(size_t pages, unsigned flags, bool *dirty)
{
    owl_cache_get(); /* the page size must be known */
    if (pages > PTRDIFF_MAX / owl_os.page)
        return gives_none(ENOMEM);
    int saved = errno;
    size_t bytes = pages * owl_os.page;
    *dirty = true;
    void *p;
    if (owl_tools.on)
        p = owl_malloc_watched(bytes, owl_os.page, false);
    else
        p = bytes <= OWL_SMALL_MAX ? owl_malloc_fast(bytes) : take_large(bytes, flags, dirty);
    bool large = bytes > OWL_SMALL_MAX && !owl_tools.on;
    for (struct owl_rescue r = {.bytes = bytes}; p == NULL && large && owl_scavenger_rescue(&r);)
        p = take_large(bytes, flags, dirty);
    if (p == NULL)
        return gives_none(ENOMEM);
    if ((flags & OWL_PAGES_ZERO) && !(flags & OWL_PAGES_NO_COMMIT) && *dirty)
        memset(p, 0, bytes);
    errno = saved;
    return p;
}

bool owl_pages_flags_are_good(unsigned flags)
{
    return (flags & ~(unsigned)FLAGS) == 0 &&
           (flags & (OWL_PAGES_COMMIT | OWL_PAGES_NO_COMMIT)) !=
               (OWL_PAGES_COMMIT | OWL_PAGES_NO_COMMIT);
}

void *owl_pages_alloc(size_t pages, unsigned flags)
{
    if (pages == 0 || !owl_pages_flags_are_good(flags))
        return gives_none(EINVAL);
    owl_cache_get(); /* the page size must be known */
    if (flags == OWL_PAGES_RECYCLED && pages <= OWL_SMALL_MAX / owl_os.page && !owl_tools.on)
        return owl_malloc_fast(pages * owl_os.page);
    int saved = errno;
    bool dirty;
    char *p = owl_pages_take(pages, flags, &dirty);
    if (p == NULL)
        return NULL;
    if ((flags & OWL_PAGES_NO_COMMIT) && dirty)
        owl_pages_clear(p, pages * owl_os.page, owl_pages_are_private(p));
    if ((flags & OWL_PAGES_COMMIT) && owl_os.populate(p, pages * owl_os.page) != 0) {
        owl_free(p);
        return gives_none(ENOMEM);
    }
    errno = saved;
    return p;
}

void owl_pages_free(void *block, unsigned flags)
{
    if ((flags & OWL_PAGES_SCRUB) && block != NULL) {
        int saved = errno;
        size_t bytes = owl_malloc_usable_size(block);
        if (bytes > 0)
            wipe(block, bytes, owl_pages_are_private(block));
        errno = saved;
        if (bytes == 0) /* no block, which has been reported */
            return;
    }
    owl_free_fast(block);
}

static void *copied(char *block, size_t old, size_t pages, unsigned flags)
{
    bool dirty;
    size_t bytes = pages * owl_os.page;
    char *p = owl_pages_take(pages, flags & OWL_PAGES_TOP_DOWN, &dirty);
    if (p == NULL)
        return NULL;
    memcpy(p, block, old < bytes ? old : bytes);
    owl_pages_free(block, flags);
    return p;
}

/* Whose end is its beginning too. */
static bool is_ring(const char *block)
{
    const struct owl_span *s = owl_span_of(block);
    return s != NULL && s->kind == OWL_KIND_LARGE && owl_large_is_ring(s);
}

/* Small blocks are copied even where they could stay, so that a block has exactly the pages asked
 * for; and so is what does not start at a page. A large one that shrinks stays where it is: its end
 * can be wiped before. */
static void *resized(char *block, size_t old, size_t pages, unsigned flags)
{
    size_t bytes = pages * owl_os.page;
    bool at_page = (uintptr_t)block % owl_os.page == 0;
    if (old == bytes && at_page)
        return block;
    if (owl_tools.on || !at_page || old <= OWL_SMALL_MAX || bytes <= OWL_SMALL_MAX ||
        ((flags & OWL_PAGES_SCRUB) && (bytes > old || is_ring(block))))
        return copied(block, old, pages, flags);
    if (flags & OWL_PAGES_SCRUB)
        wipe(block + bytes, old - bytes, owl_pages_are_private(block));
    return owl_realloc(block, bytes);
}

/* The flags, for pages that were added. */
static void prepare(char *start, size_t bytes, unsigned flags, bool private)
{
    if ((flags & OWL_PAGES_NO_COMMIT) || ((flags & OWL_PAGES_ZERO) && bytes >= OWL_GRANULE))
        owl_pages_clear(start, bytes, private);
    else if (flags & OWL_PAGES_ZERO)
        memset(start, 0, bytes);
    if (flags & OWL_PAGES_COMMIT)
        owl_os.populate(start, bytes);
}

void *owl_pages_realloc(void *block, size_t pages, unsigned flags)
{
    if (block == NULL)
        return owl_pages_alloc(pages, flags);
    if (pages == 0 || !owl_pages_flags_are_good(flags))
        return gives_none(EINVAL);
    size_t old = owl_malloc_usable_size(block);
    if (old == 0) /* no block, which has been reported */
        return gives_none(EINVAL);
    if (pages > PTRDIFF_MAX / owl_os.page)
        return gives_none(ENOMEM);
    int saved = errno;
    size_t bytes = pages * owl_os.page;
    char *p = resized(block, old, pages, flags);
    if (p == NULL)
        return NULL;
    if (bytes > old)
        prepare(p + old, bytes - old, flags, owl_pages_are_private(p));
    errno = saved;
    return p;
}

int owl_pages_commit(void *block, size_t first, size_t pages)
{
    char *start;
    size_t bytes;
    int saved = errno;
    if (!owl_pages_place(block, first, pages, &start, &bytes))
        return fails(EINVAL);
    if (bytes > 0 && owl_os.populate(start, bytes) != 0)
        return fails(ENOMEM);
    errno = saved;
    return 0;
}

int owl_pages_release(void *block, size_t first, size_t pages)
{
    char *start;
    size_t bytes;
    int saved = errno;
    if (!owl_pages_place(block, first, pages, &start, &bytes))
        return fails(EINVAL);
    owl_pages_clear(start, bytes, owl_pages_are_private(block));
    errno = saved;
    return 0;
}

int owl_pages_swap(void *block, void *other, size_t pages)
{
    char *start[2];
    size_t bytes;
    if (block == other || !owl_pages_place(block, 0, pages, &start[0], &bytes) ||
        !owl_pages_place(other, 0, pages, &start[1], &bytes))
        return fails(EINVAL);
    return owl_swap(block, other, bytes);
}

size_t owl_pages_trim(double pressure)
{
    OWL_TOOLS_INSIDE;
    int saved = errno;
    double share = owl_pressure_share(pressure);
    owl_trim(SIZE_MAX);
    size_t dirty = owl_pool_count().dirty << OWL_GRANULE_SHIFT;
    size_t must = share < 1.0 ? (size_t)((double)dirty * share) : dirty;
    size_t purged = must > 0 ? owl_pool_purge(dirty - must) : 0;
    errno = saved;
    return purged / owl_os.page;
}
