/* SPDX-License-Identifier: BSD-2-Clause */
#include "memfd.h"

#include <string.h>

#include "check.h"
#include "lock.h"
#include "option.h"
#include "pool.h"
#include "remap.h"
#include "tools.h"

static struct {
    struct owl_lock lock;
    sigset_t mask;      /* of the thread that has the lock */
    struct owl_span *half; /* the block that is being made private */
    owl_u32 late;       /* a fork could not freeze files: who has the lock does, at its end */
    owl_u32 forked;     /* a fork has frozen files */
} memfd = {.lock.rank = OWL_RANK_MEMFD};

/* Where the system counts memory when it is promised, a touch of a page of a file can find none,
 * and raises SIGBUS. */
bool owl_memfd_is_wanted(size_t bytes)
{
    switch (owl_option(OWL_OPTION_BACKING)) {
    case OWL_BACKING_MEMFD:
        return true;
    case OWL_BACKING_AUTO:
        return bytes >= OWL_MEMFD_MIN && owl_u32_load_relaxed(&memfd.forked) == 0 &&
               !owl_os.strict_overcommit();
    default:
        return false;
    }
}

/* Where a touch may not find memory, which would be too late, the pages are had at once. */
static struct owl_span *made_sure(struct owl_span *s)
{
    if (s != NULL && owl_os.strict_overcommit() &&
        owl_os.populate((void *)s->start, s->granules << OWL_GRANULE_SHIFT) != 0) {
        owl_pool_give(s, s->granules);
        return NULL;
    }
    return s;
}

/* New blocks are not for files: by the option, or because the program has closed a descriptor. What
 * is in that file can be neither duplicated nor kept from the children of a fork but by copying. */
static bool is_refused(void)
{
    if (owl_option(OWL_OPTION_BACKING) == OWL_BACKING_PRIVATE)
        return true;
    uint32_t count = owl_u32_load_acquire(&owl_range_count);
    for (uint32_t i = 0; i < count; i++)
        if (owl_u32_load_relaxed(&owl_ranges[i].live) != 0 &&
            !owl_os.file_is_open(&owl_ranges[i].file))
            return true;
    return false;
}

struct owl_span *owl_memfd_take(size_t granules, unsigned align_order, bool *zero)
{
    if (is_refused())
        return NULL;
    return made_sure(owl_pool_take(OWL_MEMFD, granules, align_order, zero));
}

struct owl_span *owl_memfd_take_clean(size_t granules, unsigned align_order)
{
    if (is_refused())
        return NULL;
    return made_sure(owl_pool_take_clean(OWL_MEMFD, granules, align_order, 0));
}

static void freeze(void);

/* With the lock: what a fork could not do. */
static void freeze_late(void)
{
    if (owl_u32_load_relaxed(&memfd.late) == 0)
        return;
    owl_pool_fork_prepare();
    freeze();
    owl_pool_fork_parent();
}

/* A fork in a handler of a signal must not come between: it could not freeze what is being moved.
 * But what a memory access raises cannot wait. */
void owl_memfd_lock(void)
{
    sigset_t mask;
    owl_os.signals_hold(&mask);
    owl_lock(&memfd.lock);
    memfd.mask = mask;
}

void owl_memfd_unlock(void)
{
    const sigset_t mask = memfd.mask;
    freeze_late();
    owl_unlock(&memfd.lock);
    while (owl_u32_load_relaxed(&memfd.late) != 0) {
        owl_lock(&memfd.lock);
        freeze_late();
        owl_unlock(&memfd.lock);
    }
    owl_os.signals_restore(&mask);
}

/* How many of n granules from s on lie in a row in the file. */
static size_t in_a_row(const struct owl_span *s, size_t n)
{
    size_t i = 1;
    while (i < n && s[i].shift == s->shift)
        i++;
    return i;
}

static size_t offset_of(const struct owl_range *r, const struct owl_span *s)
{
    return (size_t)((s - r->map) + s->shift) << OWL_GRANULE_SHIFT;
}

/* Only the first descriptor of a run knows its range. */
int owl_memfd_map(const struct owl_span *from, size_t bytes, void *at, bool shared)
{
    const struct owl_range *r = &owl_ranges[from->range];
    while (bytes > 0) {
        size_t n = in_a_row(from, owl_round_up(bytes, OWL_GRANULE) >> OWL_GRANULE_SHIFT);
        size_t some = n << OWL_GRANULE_SHIFT < bytes ? n << OWL_GRANULE_SHIFT : bytes;
        if (owl_os.file_map(&r->file, offset_of(r, from), at, some, shared) != 0)
            return -1;
        from += n;
        at = (char *)at + some;
        bytes -= some;
    }
    return 0;
}

/* Makes granules of a memfd range show the file again, after other pages were mapped there. 0,
 * or -1. */
static int restore(struct owl_span *s, size_t granules)
{
    return owl_memfd_map(s, granules << OWL_GRANULE_SHIFT, (void *)owl_span_address(s), true);
}

static void note_exchange(struct owl_span *a, struct owl_span *b, size_t granules)
{
    int64_t apart = b - a;
    for (size_t i = 0; i < granules; i++) {
        int64_t shift = a[i].shift;
        a[i].shift = b[i].shift + apart;
        b[i].shift = shift - apart;
    }
}

int owl_memfd_exchange(struct owl_span *a, struct owl_span *b, size_t granules)
{
    size_t bytes = granules << OWL_GRANULE_SHIFT;
    b->range = a->range;
    void *at = (void *)owl_span_address(a);
    int result = owl_remap_exchange(at, (void *)owl_span_address(b), bytes, true);
    if (result == 0) {
        note_exchange(a, b, granules);
        return 0;
    }
    if (result == OWL_REMAP_TORN &&
        (restore(a, granules) != 0 || restore(b, granules) != 0))
        owl_report_fatal(OWL_FAULT_REMAP, at, bytes);
    return -1;
}

int owl_memfd_move(struct owl_span *a, struct owl_span *b, size_t granules)
{
    void *from = (void *)owl_span_address(a), *to = (void *)owl_span_address(b);
    size_t bytes = granules << OWL_GRANULE_SHIFT;
    if (!owl_remap_may() || owl_os.move(from, to, bytes) != 0)
        return -1;
    note_exchange(a, b, granules);
    if (owl_remap_may() && owl_memfd_map(b, bytes, from, false) == 0)
        return 0;
    note_exchange(a, b, granules);
    return -1;
}

bool owl_memfd_offset(const struct owl_span *s, size_t granules, size_t *offset)
{
    *offset = offset_of(&owl_ranges[s->range], s);
    return in_a_row(s, granules) == granules;
}

/* Also asked without the lock: what is not live will not be again while the block is there. Who
 * finds that finds, by the acquire, what the fork has noted in the block. */
bool owl_memfd_is_live(const struct owl_span *s)
{
    return owl_u32_load_acquire(&owl_ranges[s->range].live) != 0;
}

bool owl_memfd_is_behind(const struct owl_span *s)
{
    return owl_memfd_is_live(s) || s->store != NULL || s->frozen;
}

bool owl_memfd_may_grow(const struct owl_span *s)
{
    return !owl_memfd_is_live(s) || !owl_os.strict_overcommit();
}

void owl_memfd_give(struct owl_span *s, size_t granules)
{
    bool live = owl_memfd_is_live(s);
    void *at = (void *)owl_span_address(s);
    size_t bytes = granules << OWL_GRANULE_SHIFT;
    if ((live ? restore(s, granules) : owl_range_reset(at, bytes)) != 0) {
        owl_os.purge(at, bytes);
        return;
    }
    s->remapped = 0;
    if (live)
        owl_pool_give(s, granules);
    else
        owl_pool_give_clean(s, granules);
}

/* After a fork the store's bytes are not ours alone: its addresses get other memory. */
void owl_memfd_drop(struct owl_span *store)
{
    if (--store->users > 0)
        return;
    store->kind = OWL_KIND_NONE;
    if (owl_memfd_is_live(store))
        owl_pool_give(store, store->granules);
    else
        owl_memfd_give(store, store->granules);
}

/* Copies a block whose file is lost to private memory, and puts that in its place. */
static int copy_out(struct owl_span *s)
{
    size_t bytes = s->granules << OWL_GRANULE_SHIFT;
    void *at = (void *)owl_span_address(s);
    void *copy = owl_os.map(bytes);
    if (copy == NULL)
        return -1;
    memcpy(copy, at, bytes);
    if (owl_os.carry(copy, bytes, at, bytes) == 0)
        return 0;
    memcpy(at, copy, bytes); /* which may be fresh memory by now */
    owl_os.unmap(copy, bytes);
    return -1;
}

/* Gives a block mappings that a fork copies. If the system refuses, it stays shared, which is
 * noted in it. A child may have been copied in the middle of just this, by a thread that is not
 * there: what was written since to what is mapped privately by then is in no file. */
static void make_private(struct owl_span *s)
{
    void *at = (void *)owl_span_address(s);
    size_t bytes = s->granules << OWL_GRANULE_SHIFT;
    bool half = memfd.half == s;
    memfd.half = s;
    owl_barrier_compiler();
    if (s->store == NULL && (half || owl_memfd_map(s, bytes, at, false) != 0) && copy_out(s) != 0)
        s->shared = 1;
    s->frozen = 1;
    owl_barrier_compiler(); /* who finds it remapped, and in the middle of this, finds that too */
    s->remapped = 1;
    owl_barrier_compiler();
    memfd.half = NULL;
}

static void freeze_range(unsigned number)
{
    struct owl_range *r = &owl_ranges[number];
    owl_u32_store_relaxed(&memfd.forked, 1);
    for (size_t i = 0; i < r->top;) {
        struct owl_span *s = &r->map[i];
        bool taken = s->kind == OWL_KIND_LARGE || s->kind == OWL_KIND_STORE;
        if (s->kind == OWL_KIND_LARGE && !s->shared && !(s->store == NULL && s->remapped))
            make_private(s);
        i += taken ? s->granules : 1;
    }
    owl_os.file_close(&r->file);
    owl_u32_store_release(&r->live, 0); /* after what is noted in blocks: owl_memfd_is_live */
    owl_range_end(number);
}

static void freeze(void)
{
    owl_u32_store_relaxed(&memfd.late, 0);
    uint32_t count = owl_u32_load_relaxed(&owl_range_count);
    bool any = false;
    for (uint32_t i = 0; i < count; i++) {
        if (owl_u32_load_relaxed(&owl_ranges[i].live) != 0)
            freeze_range(i);
        any = any || owl_backing_of(i) == OWL_MEMFD;
    }
    if (any)
        owl_pool_make_private();
}

/* In a handler of a signal the lock may be missed, or kept; then both sides freeze the files as
 * soon as they can: the parent when the lock is let go, and the child at once, unless it has kept
 * the lock. What the parent writes until then, the child sees. After `late` is set the lock is
 * tried again. The swap, and that of who lets it go, are full barriers (atomic.h), so that each
 * comes before the look at what the other wrote: it is free by then, or its holder looks at `late`
 * after that. */
void owl_memfd_fork_prepare(void)
{
    OWL_TOOLS_INSIDE;
    owl_lock_before_fork(&memfd.lock);
    owl_pool_fork_prepare();
    if (!owl_lock_is_taken(&memfd.lock)) {
        owl_u32_swap(&memfd.late, 1);
        if (!owl_lock_is_mine(&memfd.lock))
            owl_lock_before_fork(&memfd.lock);
    }
    if (owl_lock_is_taken(&memfd.lock))
        freeze();
}

void owl_memfd_fork_parent(void)
{
    OWL_TOOLS_INSIDE;
    owl_pool_fork_parent();
    owl_lock_after_fork(&memfd.lock);
}

void owl_memfd_fork_child(void)
{
    OWL_TOOLS_INSIDE;
    owl_lock_in_child(&memfd.lock);
    if (!owl_lock_is_mine(&memfd.lock))
        freeze(); /* while it is known whether the pool was taken or kept */
    owl_pool_fork_child();
}
