/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guarded blocks: one in so many allocations gets pages of its own, with pages beside them that
 * cannot be touched, and none are left when it is freed. So a use beyond its ends or after it was
 * freed is a fault, which is reported with the stacks of who allocated and who freed it. (K.
 * Serebryany and others, "GWP-ASan: Sampling-Based Detection of Memory-Safety Bugs", 2023.)
 *
 *    one reservation, OWL_GUARD_SLOTS times
 *    | guard |          slot: OWL_GUARD_BYTES, in pages | guard | slot ...
 *            |     not accessible     | beside | block  |          at the right end, or
 *            | block | beside | not accessible          |          at the left
 *
 * What lies beside a block on its pages is filled, and looked at when it is freed. Slots are used
 * again in the order in which they became free.
 *
 * Which allocations. With the option `guard` it is each N-th, at random: then no thread uses its
 * fast paths (owl_cache_harden), and the slow doors count every call. A count on the fast path
 * would cost all programs an instruction or two. With the option `secure` alone the calls that find
 * an empty magazine are counted, each for as many as a magazine is filled with: that costs nothing,
 * but calls which swing to and fro within a magazine are not seen.
 *
 * The addresses are in no range, so a guarded block that is freed comes to the slow door by itself.
 *
 * The lock guards which slots are free. A slot in use is its holder's; which thread frees it is
 * decided by a compare-and-swap of its state. What a report reads of a slot is read without the
 * lock, in a handler of signals: it may be of two moments if another thread is just using the slot.
 */
#ifndef OWL_CORE_GUARD_H
#define OWL_CORE_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "check.h"
#include "tune.h"

/* Written once, before there are threads. */
struct owl_guard {
    uintptr_t base; /* of the reservation; its bytes; 0: there are no guarded blocks */
    size_t bytes;
    uint32_t rate;  /* one in so many; 0: none */
    bool exact;     /* all calls are counted */
};
extern OWL_LOCAL struct owl_guard owl_guard;

/* From now on one in `rate` allocations is guarded; `exact`: all are counted. Without the memory
 * for it none is. At the start of the program. */
void owl_guard_begin(uint32_t rate, bool exact);

/* Counts so many allocations of this thread. Whether the one at hand is to be guarded. */
bool owl_guard_is_due(uint32_t calls);

/* A guarded block that reads as zero. NULL: it is too large, or there is no slot. Keeps errno. */
void *owl_guard_alloc(size_t size, size_t alignment);

static inline bool owl_guard_contains(const void *p)
{
    return (uintptr_t)p - owl_guard.base < owl_guard.bytes;
}

/* Of an address in the reservation. The bytes of the block that starts there; 0: none does, which
 * has been reported. */
size_t owl_guard_bytes(const void *p);

/* The same without a report. */
size_t owl_guard_peek(const void *p);

/* Reports what is wrong with a call for the block that starts at p. */
void owl_guard_fault(enum owl_fault fault, const void *p);

/* Frees the block that starts at p, or reports why not. */
void owl_guard_free(void *p);

void owl_guard_fork_prepare(void);
void owl_guard_fork_parent(void);
void owl_guard_fork_child(void);

#endif
