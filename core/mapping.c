/* SPDX-License-Identifier: BSD-2-Clause */
#include "mapping.h"

#include "lock.h"
#include "os.h"
#include "pool.h"
#include "remap.h"
#include "tools.h"

/*
 * An open hash table with linear probing, at most half full. An entry is removed by moving back
 * those that its place had pushed on (Knuth, vol. 3, 6.4, algorithm R), so there are no marks of
 * removed ones.
 */
struct entry {
    uintptr_t start; /* of the block; 0: the place is empty */
    uintptr_t base;  /* of the mapping: the block may begin later */
    size_t bytes;    /* of the mapping */
    size_t unused;
};

_Static_assert((sizeof(struct entry) & (sizeof(struct entry) - 1)) == 0,
               "a power of two, so that pages hold whole ones");

static struct {
    struct owl_lock lock;
    struct entry *places;
    size_t capacity; /* a power of two, or 0 */
    size_t number;
    size_t bytes; /* of all blocks */
} table = {.lock.rank = OWL_RANK_MAPPINGS};

static size_t home_of(uintptr_t start)
{
    return (size_t)(((start / OWL_QUANTUM) * 0x9e3779b97f4a7c15u) >> 32) & (table.capacity - 1);
}

/* Where the entry of start is, or the empty place where it would be. */
static struct entry *place_of(uintptr_t start)
{
    size_t i = home_of(start);
    while (table.places[i].start != 0 && table.places[i].start != start)
        i = (i + 1) & (table.capacity - 1);
    return &table.places[i];
}

static struct entry *find(const void *p)
{
    if (table.capacity == 0 || p == NULL)
        return NULL;
    struct entry *e = place_of((uintptr_t)p);
    return e->start != 0 ? e : NULL;
}

static bool grow_table(void)
{
    struct entry *old = table.places;
    size_t old_capacity = table.capacity;
    size_t old_bytes = old_capacity * sizeof *old;
    size_t bytes = old_bytes != 0 ? 2 * old_bytes : owl_os.page;
    struct entry *places = owl_os.map(bytes);
    if (places == NULL)
        return false;
    owl_tools_hide(places, bytes);
    table.places = places;
    table.capacity = bytes / sizeof *places;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].start != 0)
            *place_of(old[i].start) = old[i];
    if (old != NULL)
        owl_os.unmap(old, old_bytes);
    return true;
}

static bool insert(uintptr_t start, uintptr_t base, size_t bytes)
{
    if (2 * (table.number + 1) > table.capacity && !grow_table())
        return false;
    *place_of(start) = (struct entry){.start = start, .base = base, .bytes = bytes};
    table.number++;
    table.bytes += bytes;
    return true;
}

static void remove_entry(struct entry *e)
{
    size_t mask = table.capacity - 1;
    size_t hole = (size_t)(e - table.places);
    table.number--;
    table.bytes -= e->bytes;
    for (size_t i = (hole + 1) & mask; table.places[i].start != 0; i = (i + 1) & mask) {
        size_t home = home_of(table.places[i].start);
        /* It may fill the hole unless its home lies cyclically in (hole, i]. */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            table.places[hole] = table.places[i];
            hole = i;
        }
    }
    table.places[hole].start = 0;
}

/* A mapping of `bytes` that starts at a multiple of `alignment`. */
static char *map_aligned(size_t bytes, size_t alignment)
{
    if (alignment <= owl_os.page)
        return owl_os.map(bytes);
    if (bytes + alignment < bytes)
        return NULL;
    char *p = owl_os.map(bytes + alignment);
    if (p == NULL)
        return NULL;
    size_t before = owl_round_up((uintptr_t)p, alignment) - (uintptr_t)p;
    if (before > 0)
        owl_os.unmap(p, before);
    owl_os.unmap(p + before + bytes, alignment - before);
    return p + before;
}

static char *make(size_t bytes, size_t alignment)
{
    char *p = map_aligned(bytes, alignment);
    if (p == NULL)
        return NULL;
    owl_lock(&table.lock);
    bool kept = insert((uintptr_t)p, (uintptr_t)p, bytes);
    owl_pool_note_mapped(table.bytes);
    owl_unlock(&table.lock);
    if (kept)
        return p;
    owl_os.unmap(p, bytes);
    return NULL;
}

void *owl_mapping_make(size_t bytes, size_t alignment, size_t moved)
{
    bytes = owl_round_up(bytes, owl_os.page);
    if (!owl_pool_charge(bytes, moved))
        return NULL;
    char *p = make(bytes, alignment);
    if (p == NULL) {
        owl_pool_end_move(moved);
        owl_pool_discharge(bytes);
    }
    return p;
}

/* The entry goes first: once the addresses are free another thread may get them. */
bool owl_mapping_end(void *p)
{
    owl_lock(&table.lock);
    struct entry *e = find(p);
    if (e == NULL) {
        owl_unlock(&table.lock);
        return false;
    }
    const struct entry was = *e;
    remove_entry(e);
    owl_pool_note_mapped(table.bytes);
    owl_unlock(&table.lock);
    /* A refusal (too many mappings) keeps the addresses, but not the memory. */
    if (owl_os.unmap((void *)was.base, was.bytes) != 0)
        owl_os.purge((void *)was.base, was.bytes);
    owl_pool_discharge(was.bytes);
    return true;
}

size_t owl_mapping_bytes(const void *p)
{
    owl_lock(&table.lock);
    const struct entry *e = find(p);
    size_t bytes = e != NULL ? e->base + e->bytes - e->start : 0;
    owl_unlock(&table.lock);
    return bytes;
}

bool owl_mapping_contains(const void *p)
{
    bool inside = false;
    owl_lock(&table.lock);
    for (size_t i = 0; i < table.capacity; i++)
        inside = inside || (table.places[i].start != 0 &&
                            (uintptr_t)p - table.places[i].base < table.places[i].bytes);
    owl_unlock(&table.lock);
    return inside;
}

/* Moves the pages of a mapping, so far from its base, to a larger one, whose base it becomes.
 * For what has been put together from several mappings, which the kernel does not resize. 0:
 * refused. */
static uintptr_t move_pages(const struct entry *e, size_t bytes, size_t before)
{
    char *base = owl_os.map(bytes);
    if (base == NULL)
        return 0;
    size_t kept = e->bytes < bytes ? e->bytes : bytes;
    if (owl_remap_move((void *)e->base, base + before, kept) != 0) {
        owl_os.unmap(base, bytes);
        return 0;
    }
    owl_os.unmap((void *)e->base, e->bytes);
    return (uintptr_t)base;
}

/* Puts a block that is in the table to other addresses there. In the place just freed: it cannot
 * fail. */
static void *replace(struct entry *e, uintptr_t start, uintptr_t base, size_t bytes)
{
    remove_entry(e);
    insert(start, base, bytes);
    owl_pool_note_mapped(table.bytes);
    return (void *)start;
}

static void *resize(struct entry *e, size_t bytes)
{
    size_t head = e->start - e->base;
    bytes = owl_round_up(head + bytes, owl_os.page);
    size_t more = bytes > e->bytes ? bytes - e->bytes : 0;
    size_t less = bytes < e->bytes ? e->bytes - bytes : 0;
    if (!owl_pool_charge(more, 0))
        return NULL;
    uintptr_t base = (uintptr_t)owl_os.remap((void *)e->base, e->bytes, bytes);
    if (base == 0)
        base = move_pages(e, bytes, 0);
    owl_pool_discharge(base != 0 ? less : more);
    return base != 0 ? replace(e, base + head, base, bytes) : NULL;
}

static void *grow_front(struct entry *e, size_t more)
{
    size_t head = e->start - e->base;
    if (more <= head)
        return replace(e, e->start - more, e->base, e->bytes);
    size_t before = owl_round_up(more - head, owl_os.page);
    if (!owl_pool_charge(before, 0))
        return NULL;
    uintptr_t base = move_pages(e, e->bytes + before, before);
    if (base == 0)
        owl_pool_discharge(before);
    return base != 0 ? replace(e, base + before + head - more, base, e->bytes + before) : NULL;
}

static void *shrink_front(struct entry *e, size_t less)
{
    uintptr_t start = e->start + less;
    size_t free = (start - e->base) & ~(owl_os.page - 1);
    if (free > 0 && owl_os.unmap((void *)e->base, free) != 0)
        free = 0;
    owl_pool_discharge(free);
    return replace(e, start, e->base + free, e->bytes - free);
}

/* The lock is held across the change, so that no other thread can be given the old addresses, and
 * enter them, before they are out of the table. */
static void *change(const void *p, size_t bytes, void *(*how)(struct entry *, size_t))
{
    owl_lock(&table.lock);
    struct entry *e = find(p);
    void *changed = e != NULL ? how(e, bytes) : NULL;
    owl_unlock(&table.lock);
    return changed;
}

void *owl_mapping_resize(void *p, size_t bytes)
{
    return change(p, bytes, resize);
}

void *owl_mapping_grow_front(void *p, size_t bytes)
{
    return change(p, bytes, grow_front);
}

void *owl_mapping_shrink_front(void *p, size_t bytes)
{
    return change(p, bytes, shrink_front);
}

void owl_mapping_count(size_t *number, size_t *bytes)
{
    owl_lock(&table.lock);
    *number = table.number;
    *bytes = table.bytes;
    owl_unlock(&table.lock);
}

void owl_mapping_fork_prepare(void)
{
    owl_lock_before_fork(&table.lock);
}

void owl_mapping_fork_parent(void)
{
    owl_lock_after_fork(&table.lock);
}

void owl_mapping_fork_child(void)
{
    owl_lock_in_child(&table.lock);
}
