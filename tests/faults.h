/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that are counted, and fail when a test says so: faults_install() puts these
 * functions into owl_os. They are all that allocating and freeing uses of the table and that can
 * fail; what watches, page files and handlers of pressure need besides is not here.
 *
 * Which fail: of each kind those with certain numbers (fault_at and the like); and, of all kinds,
 * a share chosen at random (faults.rate).
 */
#ifndef OWL_TESTS_FAULTS_H
#define OWL_TESTS_FAULTS_H

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "os.h"

enum fault_call {
    FAULT_RESERVE,
    FAULT_APART, /* the memory is not where the system puts nothing by itself */
    FAULT_COMMIT,
    FAULT_PURGE,
    FAULT_MAP,
    FAULT_REMAP,
    FAULT_UNMAP,
    FAULT_MOVE,
    FAULT_CARRY,
    FAULT_FILL,
    FAULT_RESET,
    FAULT_POPULATE,
    FAULT_FILE_MAKE,
    FAULT_FILE_IS_OPEN, /* it is not */
    FAULT_FILE_MAP,
    FAULT_FILE_RESERVE,
    FAULT_FILE_OPEN,
    FAULT_PUNCH,
    FAULT_CHANGED,
    FAULT_MAPPING_LIMIT,
    FAULT_MAPPING_COUNT,
    FAULT_HIDDEN_START,
    FAULT_BARRIER,
    FAULT_ADDRESSES_ARE_FREE,
    FAULT_MAY_MAP,
    FAULT_RESIDENT,
    FAULT_RESIDENT_OF,
    FAULT_LINES,
    FAULT_CALLS
};

static const char *const fault_names[FAULT_CALLS] __attribute__((unused)) = {
    [FAULT_RESERVE] = "reserve",
    [FAULT_APART] = "reserve_apart, elsewhere",
    [FAULT_COMMIT] = "commit",
    [FAULT_PURGE] = "purge",
    [FAULT_MAP] = "map",
    [FAULT_REMAP] = "remap",
    [FAULT_UNMAP] = "unmap",
    [FAULT_MOVE] = "move",
    [FAULT_CARRY] = "carry",
    [FAULT_FILL] = "fill",
    [FAULT_RESET] = "reset",
    [FAULT_POPULATE] = "populate",
    [FAULT_FILE_MAKE] = "file_make",
    [FAULT_FILE_IS_OPEN] = "file_is_open",
    [FAULT_FILE_MAP] = "file_map",
    [FAULT_FILE_RESERVE] = "file_reserve",
    [FAULT_FILE_OPEN] = "file_open",
    [FAULT_PUNCH] = "punch",
    [FAULT_CHANGED] = "changed",
    [FAULT_MAPPING_LIMIT] = "mapping_limit",
    [FAULT_MAPPING_COUNT] = "mapping_count",
    [FAULT_HIDDEN_START] = "hidden_start",
    [FAULT_BARRIER] = "barrier",
    [FAULT_ADDRESSES_ARE_FREE] = "addresses_are_free",
    [FAULT_MAY_MAP] = "may_map",
    [FAULT_RESIDENT] = "resident",
    [FAULT_RESIDENT_OF] = "resident_of",
    [FAULT_LINES] = "lines",
};

static struct {
    struct owl_os real;
    atomic_ulong calls[FAULT_CALLS]; /* since the last faults_clear */
    atomic_ulong failed[FAULT_CALLS]; /* of these */
    atomic_ulong all;                /* calls of all kinds, which are numbered for the choice */
    unsigned rate;                   /* of 65,536 calls so many fail */
    unsigned long seed;              /* and which */
    int error;                       /* errno of those that fail */
    bool strict; /* the system promises no more memory than it has */
    unsigned long from[FAULT_CALLS]; /* calls with these numbers fail; the first is number 1 */
    unsigned long to[FAULT_CALLS];
    size_t reserve_most; /* larger reservations fail */
    size_t commit_most;  /* larger commits fail */
} faults;

static inline bool fault_is_chosen(void)
{
    if (faults.rate == 0)
        return false;
    unsigned long x = (atomic_fetch_add(&faults.all, 1) + faults.seed) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    return (x >> 40) % 65536 < faults.rate;
}

static inline bool fault_due(enum fault_call call)
{
    unsigned long number = atomic_fetch_add(&faults.calls[call], 1) + 1;
    if ((number < faults.from[call] || number > faults.to[call]) && !fault_is_chosen())
        return false;
    atomic_fetch_add(&faults.failed[call], 1);
    errno = faults.error;
    return true;
}

/* This thread was refused a move since it last reserved memory. If pages of a file that change
 * places are refused their way back, they are mapped anew; that this is refused too ends the
 * program (OWL_FAULT_REMAP), so it is not done. */
static __thread bool fault_is_torn __attribute__((unused));

static inline void *fault_reserve(size_t bytes)
{
    fault_is_torn = false;
    if (bytes > faults.reserve_most) {
        errno = ENOMEM;
        return NULL;
    }
    return fault_due(FAULT_RESERVE) ? NULL : faults.real.reserve(bytes);
}

static inline void *fault_reserve_apart(size_t bytes, bool *apart)
{
    if (bytes > faults.reserve_most) {
        errno = ENOMEM;
        return NULL;
    }
    void *p = fault_due(FAULT_RESERVE) ? NULL : faults.real.reserve_apart(bytes, apart);
    if (p != NULL && fault_due(FAULT_APART))
        *apart = false;
    return p;
}

static inline int fault_commit(void *start, size_t bytes)
{
    if (fault_due(FAULT_COMMIT))
        return -1;
    if (bytes > faults.commit_most) {
        errno = ENOMEM;
        return -1;
    }
    return faults.real.commit(start, bytes);
}

static inline int fault_purge(void *start, size_t bytes)
{
    return fault_due(FAULT_PURGE) ? -1 : faults.real.purge(start, bytes);
}

static inline void *fault_map(size_t bytes)
{
    return fault_due(FAULT_MAP) ? NULL : faults.real.map(bytes);
}

static inline void *fault_remap(void *start, size_t bytes, size_t new_bytes)
{
    return fault_due(FAULT_REMAP) ? NULL : faults.real.remap(start, bytes, new_bytes);
}

static inline int fault_unmap(void *start, size_t bytes)
{
    return fault_due(FAULT_UNMAP) ? -1 : faults.real.unmap(start, bytes);
}

/* A move that is refused may have put fresh memory where it was to go; it is refused as well where
 * nothing may be mapped. */
static inline int fault_move(void *from, void *to, size_t bytes)
{
    bool due = fault_due(FAULT_MOVE);
    if (!due && faults.real.move(from, to, bytes) == 0)
        return 0;
    fault_is_torn = true;
    if (due)
        faults.real.reset(to, bytes);
    return -1;
}

static inline int fault_carry(void *from, size_t bytes, void *to, size_t to_bytes)
{
    bool due = fault_due(FAULT_CARRY);
    if (!due && faults.real.carry(from, bytes, to, to_bytes) == 0)
        return 0;
    fault_is_torn = true;
    if (due)
        faults.real.reset(to, to_bytes);
    return -1;
}

static inline int fault_fill(void *start, size_t bytes)
{
    return fault_due(FAULT_FILL) ? -1 : faults.real.fill(start, bytes);
}

static inline int fault_reset(void *start, size_t bytes)
{
    return fault_due(FAULT_RESET) ? -1 : faults.real.reset(start, bytes);
}

static inline int fault_populate(void *start, size_t bytes)
{
    return fault_due(FAULT_POPULATE) ? -1 : faults.real.populate(start, bytes);
}

static inline int fault_file_make(struct owl_file *file, size_t bytes)
{
    return fault_due(FAULT_FILE_MAKE) ? -1 : faults.real.file_make(file, bytes);
}

static inline int fault_file_map(const struct owl_file *file, size_t offset, void *start,
                                 size_t bytes, bool shared)
{
    if (!fault_is_torn && fault_due(FAULT_FILE_MAP))
        return -1;
    return faults.real.file_map(file, offset, start, bytes, shared);
}

static inline bool fault_file_is_open(const struct owl_file *file)
{
    return !fault_due(FAULT_FILE_IS_OPEN) && faults.real.file_is_open(file);
}

static inline int fault_file_reserve(const struct owl_file *file, void *start, size_t bytes)
{
    return fault_due(FAULT_FILE_RESERVE) ? -1 : faults.real.file_reserve(file, start, bytes);
}

static inline int fault_file_open(const struct owl_file *file)
{
    return fault_due(FAULT_FILE_OPEN) ? -1 : faults.real.file_open(file);
}

static inline int fault_punch(void *start, size_t bytes)
{
    return fault_due(FAULT_PUNCH) ? -1 : faults.real.punch(start, bytes);
}

static inline int fault_changed(const void *start, size_t pages, uint8_t *changed)
{
    return fault_due(FAULT_CHANGED) ? -1 : faults.real.changed(start, pages, changed);
}

static inline bool fault_strict_overcommit(void)
{
    return faults.strict || faults.real.strict_overcommit();
}

static inline size_t fault_mapping_limit(void)
{
    return fault_due(FAULT_MAPPING_LIMIT) ? 0 : faults.real.mapping_limit();
}

static inline size_t fault_mapping_count(void)
{
    return fault_due(FAULT_MAPPING_COUNT) ? 0 : faults.real.mapping_count();
}

static inline int fault_hidden_start(void (*body)(bool alone), owl_word *local, uintptr_t value)
{
    return fault_due(FAULT_HIDDEN_START) ? -1 : faults.real.hidden_start(body, local, value);
}

static inline int fault_barrier(void)
{
    return fault_due(FAULT_BARRIER) ? -1 : faults.real.barrier();
}

static inline bool fault_addresses_are_free(void)
{
    return !fault_due(FAULT_ADDRESSES_ARE_FREE) && faults.real.addresses_are_free();
}

static inline bool fault_may_map(void)
{
    return !fault_due(FAULT_MAY_MAP) && faults.real.may_map();
}

static inline size_t fault_resident(void)
{
    return fault_due(FAULT_RESIDENT) ? 0 : faults.real.resident();
}

static inline size_t fault_resident_of(void *start, size_t bytes)
{
    return fault_due(FAULT_RESIDENT_OF) ? 0 : faults.real.resident_of(start, bytes);
}

static inline int fault_lines(const char *path, bool (*line)(char *text, void *context),
                              void *context)
{
    return fault_due(FAULT_LINES) ? -1 : faults.real.lines(path, line, context);
}

/* No faults from now on, and no calls so far. */
static inline void faults_clear(void)
{
    for (int i = 0; i < FAULT_CALLS; i++) {
        atomic_store(&faults.calls[i], 0);
        atomic_store(&faults.failed[i], 0);
        faults.from[i] = 1;
        faults.to[i] = 0;
    }
    faults.rate = 0;
    faults.error = ENOMEM;
    faults.strict = false;
    faults.reserve_most = SIZE_MAX;
    faults.commit_most = SIZE_MAX;
}

/* Of the calls from now on number n fails, or all from that one on, or all, or none. */
static inline void fault_at(enum fault_call call, unsigned long n)
{
    atomic_store(&faults.calls[call], 0);
    faults.from[call] = faults.to[call] = n;
}

static inline void fault_from(enum fault_call call, unsigned long n)
{
    atomic_store(&faults.calls[call], 0);
    faults.from[call] = n;
    faults.to[call] = ULONG_MAX;
}

static inline void fault_always(enum fault_call call)
{
    atomic_store(&faults.calls[call], 0);
    faults.from[call] = 1;
    faults.to[call] = ULONG_MAX;
}

static inline void fault_never(enum fault_call call)
{
    atomic_store(&faults.calls[call], 0);
    faults.from[call] = 1;
    faults.to[call] = 0;
}

static inline unsigned long calls_of(enum fault_call call)
{
    return atomic_load(&faults.calls[call]);
}

static inline void faults_install(void)
{
    faults.real = owl_os;
    faults_clear();
    owl_os.reserve = fault_reserve;
    owl_os.reserve_apart = fault_reserve_apart;
    owl_os.commit = fault_commit;
    owl_os.purge = fault_purge;
    owl_os.map = fault_map;
    owl_os.remap = fault_remap;
    owl_os.unmap = fault_unmap;
    owl_os.move = fault_move;
    owl_os.carry = fault_carry;
    owl_os.fill = fault_fill;
    owl_os.reset = fault_reset;
    owl_os.file_make = fault_file_make;
    owl_os.file_map = fault_file_map;
    owl_os.punch = fault_punch;
    owl_os.changed = fault_changed;
    owl_os.populate = fault_populate;
    owl_os.file_is_open = fault_file_is_open;
    owl_os.file_reserve = fault_file_reserve;
    owl_os.file_open = fault_file_open;
    owl_os.strict_overcommit = fault_strict_overcommit;
    owl_os.mapping_limit = fault_mapping_limit;
    owl_os.mapping_count = fault_mapping_count;
    owl_os.hidden_start = fault_hidden_start;
    owl_os.barrier = fault_barrier;
    owl_os.addresses_are_free = fault_addresses_are_free;
    owl_os.may_map = fault_may_map;
    owl_os.resident = fault_resident;
    owl_os.resident_of = fault_resident_of;
    owl_os.lines = fault_lines;
}

#endif
