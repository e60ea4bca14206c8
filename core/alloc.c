/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc_inside.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "careful.h"
#include "due.h"
#include "fault.h"
#include "guard.h"
#include "large.h"
#include "mapping.h"
#include "os.h"
#include "scavenger.h"
#include "tools.h"

static void *out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

/* The owner is read after the thread has its cache: that may be the one of a thread which has just
 * ended, whose slabs are orphans since. */
static void free_small(struct owl_span *s, struct owl_block *b)
{
    if (!owl_slab_is_sealed(s)) {
        owl_fault(OWL_FAULT_OWNER, b, 0);
        return;
    }
    struct owl_cache *c = owl_cache_mine();
    if (c == &owl_cache_none)
        c = owl_cache_get();
    uintptr_t owner = owl_word_load_relaxed(&s->owner);
    if (c == NULL || c == &owl_cache_gone) {
        owl_block_mark(b);
        owl_slab_give(&b, 1);
    } else if (owner == (uintptr_t)c) {
        owl_cache_push(c, s->class, b);
    } else {
        owl_cache_push_remote(c, (struct owl_owner *)owner, b, s->bytes);
    }
}

static void give_large(struct owl_span *s)
{
    struct owl_cache *c = owl_large_may_retire(s) ? owl_cache_get() : NULL;
    if (c != NULL)
        owl_cache_give_span_full(c, s);
    else
        owl_large_free(s);
}

/* Ends a block of a slab or span, after all checks. */
static void release(struct owl_span *s, void *p)
{
    if (s->kind == OWL_KIND_SLAB)
        free_small(s, p);
    else
        give_large(s);
}

/* As release, or later. */
static void release_carefully(void *p)
{
    void *q = owl_careful_take_in(p);
    if (q != NULL)
        release(owl_span_of(q), q);
    while ((q = owl_careful_let_go(false)) != NULL)
        release(owl_span_of(q), q);
}

static void release_all_held(void)
{
    void *p;
    while (owl_careful.on && (p = owl_careful_let_go(true)) != NULL)
        release(owl_span_of(p), p);
}

static bool rescue(struct owl_rescue *r)
{
    release_all_held();
    return owl_scavenger_rescue(r);
}

static void *take_class(unsigned class)
{
    struct owl_cache *c = owl_cache_get();
    void *p = c != NULL ? owl_cache_pop(c, class) : owl_cache_take_uncached(class);
    return p == NULL && c != NULL ? owl_cache_refill(c, class) : p;
}

/* A success keeps errno, whatever the system calls on the way did to it. */
void *owl_alloc_class(unsigned class)
{
    int saved = errno;
    void *p = take_class(class);
    for (struct owl_rescue r = {0}; p == NULL && rescue(&r);)
        p = take_class(class);
    if (p == NULL)
        return out_of_memory();
    if (owl_careful.on)
        owl_careful_hand_out(p, false);
    errno = saved;
    return p;
}

/* As owl_alloc_class, for a request that may be among those that are guarded. */
static void *alloc_small(unsigned class, size_t size, size_t alignment)
{
    void *p = NULL;
    if (owl_guard.rate != 0 && owl_guard_is_due(owl_guard.exact ? 1 : owl_classes[class].fill))
        p = owl_guard_alloc(size, alignment);
    if (p == NULL)
        return owl_alloc_class(class);
    if (owl_careful.junk)
        memset(p, OWL_JUNK_OUT, size);
    return p;
}

void *owl_alloc_large(size_t size, size_t alignment, bool zero)
{
    if (size > PTRDIFF_MAX || alignment > PTRDIFF_MAX)
        return out_of_memory();
    int saved = errno;
    owl_cache_get(); /* the allocator must be set up */
    void *p = owl_large_alloc(size, alignment, zero);
    for (struct owl_rescue r = {.bytes = size}; p == NULL && rescue(&r);)
        p = owl_large_alloc(size, alignment, zero);
    if (p == NULL)
        return out_of_memory();
    if (owl_careful.on)
        owl_careful_hand_out(p, zero);
    errno = saved;
    return p;
}

/* A medium block from the thread's stock; its contents are anything. NULL: there is none. */
static inline void *alloc_medium(size_t size)
{
    if (size > OWL_STOCK_MAX)
        return NULL;
    struct owl_span *s = owl_cache_take_span(owl_cache_mine(), owl_large_granules(size));
    return s != NULL ? owl_large_begin_anew(s, size) : NULL;
}

void *owl_malloc_slow(size_t size)
{
    if (owl_tools.on)
        return owl_malloc_watched(size, OWL_QUANTUM, false);
    if (size <= OWL_SMALL_MAX)
        return alloc_small(owl_class_of(size), size, OWL_QUANTUM);
    void *p = alloc_medium(size);
    return p != NULL ? p : owl_alloc_large(size, OWL_QUANTUM, false);
}

/* Whether a caller may free p; if not, that has been reported. */
static inline bool check_small(const struct owl_span *s, const void *p)
{
    bool start = owl_is_block_start(s, p);
    if (start && !owl_block_is_marked(p))
        return true;
    owl_fault(start ? OWL_FAULT_DOUBLE : OWL_FAULT_INTERIOR, p, 0);
    return false;
}

static bool check_large(const struct owl_span *s, const void *p)
{
    if (s->kind == OWL_KIND_LARGE && (uintptr_t)p == s->start && !s->held)
        return true;
    if (s->kind != OWL_KIND_LARGE)
        owl_fault(OWL_FAULT_INVALID, p, 0);
    else
        owl_fault((uintptr_t)p == s->start ? OWL_FAULT_DOUBLE : OWL_FAULT_INTERIOR, p, 0);
    return false;
}

/* What a pointer is that a caller hands in, after all checks. */
enum is { WRONG, SPAN, MAPPING, GUARDED };

/* WRONG has been reported. *s: the descriptor of a block in a slab or SPAN; else NULL. */
static enum is look_up(const void *p, struct owl_span **s)
{
    *s = owl_span_of(p);
    if (*s != NULL) {
        if ((*s)->kind == OWL_KIND_SLAB ? check_small(*s, p) : check_large(*s, p))
            return SPAN;
        *s = NULL;
        return WRONG;
    }
    if (owl_guard_contains(p))
        return owl_guard_bytes(p) != 0 ? GUARDED : WRONG;
    if (owl_mapping_bytes(p) != 0)
        return MAPPING;
    owl_fault(owl_mapping_contains(p) ? OWL_FAULT_INTERIOR : OWL_FAULT_FOREIGN, p, 0);
    return WRONG;
}

static size_t usable_of(enum is what, const struct owl_span *s, const void *p)
{
    if (owl_tools.on && (what == SPAN || what == MAPPING))
        return owl_watched_bytes(s, p);
    switch (what) {
    case SPAN:
        return s->bytes;
    case MAPPING:
        return owl_mapping_bytes(p);
    case GUARDED:
        return owl_guard_bytes(p);
    default:
        return 0;
    }
}

static void free_checked(struct owl_span *s, void *p)
{
    if (owl_tools.on)
        owl_watched_end(s, p);
    if (__builtin_expect(owl_careful.on, 0))
        release_carefully(p);
    else
        release(s, p);
}

static void free_mapping(void *p)
{
    if (owl_tools.on)
        owl_watched_end(NULL, p);
    owl_mapping_end(p);
}

static void free_large(void *p)
{
    int saved = errno;
    struct owl_span *s = owl_span_of(p);
    if (s == NULL && owl_guard_contains(p))
        owl_guard_free(p);
    else if (look_up(p, &s) == MAPPING)
        free_mapping(p);
    else if (s != NULL)
        free_checked(s, p);
    errno = saved;
}

void owl_free_slow(void *p)
{
    OWL_TOOLS_INSIDE;
    struct owl_span *s = owl_span_of(p);
    if (s != NULL && s->kind == OWL_KIND_SLAB) {
        if (check_small(s, p))
            free_checked(s, p);
    } else if (p != NULL) {
        free_large(p);
    }
}

void owl_free_other(void *p, struct owl_span *s, struct owl_cache *c)
{
    uintptr_t owner = owl_word_load_relaxed(&s->owner);
    if (owner == 0 && s->kind == OWL_KIND_LARGE && s->start == (uintptr_t)p &&
        owl_large_may_retire(s) && owl_cache_give_span(c, s))
        return;
    if (owner == 0 || !owl_is_block_start(s, p) || owl_block_is_marked(p) ||
        !owl_cache_add_remote(c, (struct owl_owner *)owner, p, s->bytes))
        owl_free_slow(p);
}

void *owl_malloc(size_t size)
{
    return owl_malloc_fast(size);
}

void owl_free(void *p)
{
    owl_free_fast(p);
}

/* A pointer that is no block is free's business. */
void owl_free_sized(void *p, size_t size)
{
    OWL_TOOLS_INSIDE;
    struct owl_span *s = owl_span_of(p);
    size_t usable = 0;
    if (s != NULL && (s->kind == OWL_KIND_SLAB || s->kind == OWL_KIND_LARGE))
        usable = usable_of(SPAN, s, p);
    else if (s == NULL && p != NULL)
        usable = owl_guard_contains(p) ? owl_guard_peek(p) : usable_of(MAPPING, s, p);
    if (usable == 0 || size <= usable)
        owl_free_fast(p);
    else if (owl_guard_contains(p))
        owl_guard_fault(OWL_FAULT_SIZE, p);
    else
        owl_fault(OWL_FAULT_SIZE, p, usable);
}

void owl_free_aligned_sized(void *p, size_t alignment, size_t size)
{
    (void)alignment;
    owl_free_sized(p, size);
}

void *owl_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return out_of_memory();
    void *p = bytes <= OWL_SMALL_MAX ? owl_malloc_fast(bytes) : alloc_medium(bytes);
    if (p == NULL && bytes > OWL_SMALL_MAX)
        return owl_tools.on ? owl_malloc_watched(bytes, OWL_QUANTUM, true)
                            : owl_alloc_large(bytes, OWL_QUANTUM, true);
    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

size_t owl_malloc_usable_size(const void *p)
{
    OWL_TOOLS_INSIDE;
    if (p == NULL)
        return 0;
    struct owl_span *s;
    enum is what = look_up(p, &s);
    return usable_of(what, s, p);
}

size_t owl_good_size(size_t size)
{
    if (size > PTRDIFF_MAX)
        return 0;
    if (owl_tools.on)
        return size > 0 ? size : 1;
    owl_cache_get(); /* the page size must be known */
    return size <= OWL_SMALL_MAX ? owl_classes[owl_class_of(size)].size : owl_large_good_size(size);
}

/* A small block stays if it is not more than twice what is needed. */
static bool fits_small(const struct owl_span *s, size_t size)
{
    return size <= s->bytes && (size >= s->bytes / 2 || owl_class_of(size) == s->class);
}

/* Resizes the block where it is, or by moving its pages. NULL: it has to be copied; `dense` as for
 * owl_large_resize. */
static void *resize_in_place(void *p, struct owl_span *s, size_t size, bool *dense)
{
    if (s != NULL && s->kind == OWL_KIND_SLAB)
        return fits_small(s, size) ? p : NULL;
    if (size <= OWL_SMALL_MAX)
        return NULL;
    if (s == NULL)
        return owl_mapping_resize(p, size);
    return owl_large_resize(s, size, dense);
}

/* There is no other block to be had, but to look for one has made what room can be made. A large
 * block does not become a small one then; and a ring, whose bytes are there twice, cannot pass for
 * an ordinary block. */
static void *make_do(void *p, struct owl_span *s, size_t usable, size_t size)
{
    if (s != NULL && s->kind == OWL_KIND_LARGE && owl_large_is_ring(s))
        return NULL;
    if (owl_tools.on)
        return size <= usable ? p : NULL;
    bool dense = false;
    void *q = resize_in_place(p, s, size > OWL_SMALL_MAX ? size : OWL_SMALL_MAX + 1, &dense);
    return q == NULL && size <= usable ? p : q;
}

/* A block for the contents of one that gets another size. */
static void *alloc_for(const struct owl_span *s, size_t size, bool dense)
{
    void *p = NULL;
    if (s != NULL && size > OWL_SMALL_MAX && !owl_tools.on)
        p = owl_large_alloc_roomy(s, size, dense);
    if (p == NULL)
        return owl_malloc_fast(size);
    if (owl_careful.on)
        owl_careful_hand_out(p, false);
    return p;
}

/* Where a tool watches, each block moves, so that it sees who goes on with the old one. */
static void *resize(void *p, struct owl_span *s, size_t usable, size_t size)
{
    if (owl_careful.on && !owl_tools.on && s != NULL && size > OWL_SMALL_MAX)
        owl_careful_cut(s, size);
    bool dense = false;
    void *moved = owl_tools.on ? NULL : resize_in_place(p, s, size, &dense);
    if (moved != NULL)
        return moved;
    moved = alloc_for(s, size, dense);
    if (moved == NULL)
        return make_do(p, s, usable, size);
    memcpy(moved, p, usable < size ? usable : size);
    owl_free_fast(p);
    return moved;
}

void *owl_realloc(void *p, size_t size)
{
    if (p == NULL)
        return owl_malloc_fast(size);
    if (size == 0) {
        owl_free_fast(p);
        return NULL;
    }
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    OWL_TOOLS_INSIDE;
    struct owl_span *s;
    enum is what = look_up(p, &s);
    if (what == WRONG) {
        errno = EINVAL;
        return NULL;
    }
    int saved = errno;
    void *moved = resize(p, s, usable_of(what, s, p), size);
    errno = moved != NULL ? saved : ENOMEM;
    return moved;
}

void *owl_reallocarray(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return out_of_memory();
    return owl_realloc(p, bytes);
}

/* The smallest class whose blocks all start at multiples of the alignment: slabs start at granules,
 * so its size must be a multiple. OWL_CLASSES: none. */
unsigned owl_aligned_class(size_t alignment, size_t size)
{
    if (alignment > OWL_SMALL_MAX || size > OWL_SMALL_MAX)
        return OWL_CLASSES;
    unsigned class = owl_class_of(size < alignment ? alignment : size);
    while (class < OWL_CLASSES && owl_classes[class].size % alignment != 0)
        class++;
    return class;
}

static void *alloc_aligned(size_t alignment, size_t size)
{
    if (owl_tools.on)
        return owl_malloc_watched(size, alignment, false);
    if (alignment <= OWL_QUANTUM)
        return owl_malloc_fast(size);
    unsigned class = owl_aligned_class(alignment, size);
    if (class == OWL_CLASSES)
        return owl_alloc_large(size, alignment, false);
    return alloc_small(class, size, alignment);
}

void *owl_aligned_alloc(size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return alloc_aligned(alignment, size);
}

int owl_posix_memalign(void **block, size_t alignment, size_t size)
{
    if (!is_power_of_two(alignment) || alignment < sizeof(void *))
        return EINVAL;
    int saved = errno;
    void *p = alloc_aligned(alignment, size);
    errno = saved;
    if (p == NULL)
        return ENOMEM;
    *block = p;
    return 0;
}

void *owl_memalign(size_t alignment, size_t size)
{
    if (alignment > PTRDIFF_MAX)
        return out_of_memory();
    size_t rounded = OWL_QUANTUM;
    while (rounded < alignment)
        rounded *= 2;
    return alloc_aligned(rounded, size);
}

void *owl_valloc(size_t size)
{
    owl_cache_get(); /* the page size must be known */
    return alloc_aligned(owl_os.page, size);
}

void *owl_pvalloc(size_t size)
{
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    owl_cache_get();
    return alloc_aligned(owl_os.page, owl_round_up(size, owl_os.page));
}

size_t owl_trim(size_t keep)
{
    int saved = errno;
    size_t purged = owl_scavenger_purge(keep);
    errno = saved;
    return purged;
}

int owl_malloc_trim(size_t keep)
{
    return owl_trim(keep) > 0;
}

const char *owl_version(void)
{
    return OWL_VERSION;
}
