/* SPDX-License-Identifier: BSD-2-Clause */
#include "mapping.h"

#include "lock.h"
#include "os.h"
#include "pool.h"

/*
 * An open hash table with linear probing, at most half full. An entry is removed by moving back
 * those that its place had pushed on (Knuth, vol. 3, 6.4, algorithm R), so there are no marks of
 * removed ones.
 */
struct entry {
    uintptr_t start; /* 0: the place is empty */
    size_t bytes;
};

static struct {
    struct owl_lock lock;
    struct entry *places;
    size_t capacity; /* a power of two, or 0 */
    size_t number;
    size_t bytes; /* of all blocks */
} table;

static size_t home_of(uintptr_t start)
{
    return (size_t)(((start / owl_os.page) * 0x9e3779b97f4a7c15u) >> 32) & (table.capacity - 1);
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
    table.places = places;
    table.capacity = bytes / sizeof *places;
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].start != 0)
            *place_of(old[i].start) = old[i];
    if (old != NULL)
        owl_os.unmap(old, old_bytes);
    return true;
}

static bool insert(uintptr_t start, size_t bytes)
{
    if (2 * (table.number + 1) > table.capacity && !grow_table())
        return false;
    *place_of(start) = (struct entry){start, bytes};
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

void *owl_mapping_make(size_t bytes, size_t alignment)
{
    bytes = owl_round_up(bytes, owl_os.page);
    char *p = map_aligned(bytes, alignment);
    if (p == NULL)
        return NULL;
    owl_lock(&table.lock);
    bool kept = insert((uintptr_t)p, bytes);
    owl_pool_note_mapped(table.bytes);
    owl_unlock(&table.lock);
    if (kept)
        return p;
    owl_os.unmap(p, bytes);
    return NULL;
}

/* The entry goes first: once the addresses are free another thread may get them. */
bool owl_mapping_end(void *p)
{
    owl_lock(&table.lock);
    struct entry *e = find(p);
    size_t bytes = e != NULL ? e->bytes : 0;
    if (e != NULL)
        remove_entry(e);
    owl_pool_note_mapped(table.bytes);
    owl_unlock(&table.lock);
    if (bytes == 0)
        return false;
    /* A refusal (too many mappings) keeps the addresses, but not the memory. */
    if (owl_os.unmap(p, bytes) != 0)
        owl_os.purge(p, bytes);
    return true;
}

size_t owl_mapping_bytes(const void *p)
{
    owl_lock(&table.lock);
    const struct entry *e = find(p);
    size_t bytes = e != NULL ? e->bytes : 0;
    owl_unlock(&table.lock);
    return bytes;
}

bool owl_mapping_contains(const void *p)
{
    bool inside = false;
    owl_lock(&table.lock);
    for (size_t i = 0; i < table.capacity; i++)
        inside = inside || (table.places[i].start != 0 &&
                            (uintptr_t)p - table.places[i].start < table.places[i].bytes);
    owl_unlock(&table.lock);
    return inside;
}

/* The lock is held across the move, so that no other thread can be given the old addresses, and
 * enter them, before they are out of the table. */
void *owl_mapping_resize(void *p, size_t bytes)
{
    bytes = owl_round_up(bytes, owl_os.page);
    owl_lock(&table.lock);
    struct entry *e = find(p);
    void *moved = e != NULL ? owl_os.remap(p, e->bytes, bytes) : NULL;
    if (moved != NULL) {
        remove_entry(e);
        insert((uintptr_t)moved, bytes); /* in the place just freed: cannot fail */
        owl_pool_note_mapped(table.bytes);
    }
    owl_unlock(&table.lock);
    return moved;
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
    owl_lock(&table.lock);
}

void owl_mapping_fork_parent(void)
{
    owl_unlock(&table.lock);
}

void owl_mapping_fork_child(void)
{
    owl_lock_reset(&table.lock);
}
