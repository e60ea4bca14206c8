/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that are counted, and fail when a test says so: faults_install() puts these
 * functions into owl_os.
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
    FAULT_COMMIT,
    FAULT_PURGE,
    FAULT_MAP,
    FAULT_REMAP,
    FAULT_UNMAP,
    FAULT_MOVE,
    FAULT_CARRY,
    FAULT_FILL,
    FAULT_RESET,
    FAULT_FILE_MAKE,
    FAULT_FILE_MAP,
    FAULT_PUNCH,
    FAULT_CHANGED,
    FAULT_CALLS
};

static struct {
    struct owl_os real;
    atomic_ulong calls[FAULT_CALLS]; /* since the last faults_clear */
    unsigned long from[FAULT_CALLS]; /* calls with these numbers fail; the first is number 1 */
    unsigned long to[FAULT_CALLS];
    size_t reserve_most; /* larger reservations fail */
    size_t commit_most;  /* larger commits fail */
} faults;

static inline bool fault_due(enum fault_call call)
{
    unsigned long number = atomic_fetch_add(&faults.calls[call], 1) + 1;
    if (number < faults.from[call] || number > faults.to[call])
        return false;
    errno = ENOMEM;
    return true;
}

static inline void *fault_reserve(size_t bytes)
{
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
    return fault_due(FAULT_RESERVE) ? NULL : faults.real.reserve_apart(bytes, apart);
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

/* A move that is refused may have put fresh memory where it was to go. */
static inline int fault_move(void *from, void *to, size_t bytes)
{
    if (!fault_due(FAULT_MOVE))
        return faults.real.move(from, to, bytes);
    faults.real.reset(to, bytes);
    return -1;
}

static inline int fault_carry(void *from, size_t bytes, void *to, size_t to_bytes)
{
    if (!fault_due(FAULT_CARRY))
        return faults.real.carry(from, bytes, to, to_bytes);
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

static inline int fault_file_make(struct owl_file *file, size_t bytes)
{
    return fault_due(FAULT_FILE_MAKE) ? -1 : faults.real.file_make(file, bytes);
}

static inline int fault_file_map(const struct owl_file *file, size_t offset, void *start,
                                 size_t bytes, bool shared)
{
    return fault_due(FAULT_FILE_MAP) ? -1
                                     : faults.real.file_map(file, offset, start, bytes, shared);
}

static inline int fault_punch(void *start, size_t bytes)
{
    return fault_due(FAULT_PUNCH) ? -1 : faults.real.punch(start, bytes);
}

static inline int fault_changed(const void *start, size_t pages, uint8_t *changed)
{
    return fault_due(FAULT_CHANGED) ? -1 : faults.real.changed(start, pages, changed);
}

/* No faults from now on, and no calls so far. */
static inline void faults_clear(void)
{
    for (int i = 0; i < FAULT_CALLS; i++) {
        atomic_store(&faults.calls[i], 0);
        faults.from[i] = 1;
        faults.to[i] = 0;
    }
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
}

#endif
