/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_requests: what a connection thread of the simulated server does with memory.
 *
 * A slot is the place of a connection thread. Threads are replaced; what they hold stays with the
 * slot, so that it is freed by threads which did not allocate it. During a step a slot belongs to
 * its thread, and so does what its neighbour put out in the step before.
 */
#ifndef OWL_STRESS_SOAK_REQUESTS_H
#define OWL_STRESS_SOAK_REQUESTS_H

#include "soak_sessions.h"

enum { SLOT_LATER = 64, SLOT_CACHE = 4096, SLOT_OUT = 8192 };

struct soak_slot {
    uint64_t random;            /* state of work_random(): decides on every call */
    uint64_t requests;          /* answered, ever */
    struct soak_sessions sessions;
    struct soak_block later[SLOT_LATER]; /* freed so many requests later, at most */
    struct soak_block cache[SLOT_CACHE]; /* replaced at random */
    struct soak_block out[2][SLOT_OUT];  /* for a neighbour to free, by turns */
    unsigned out_count[2];
};

/* The sizes that the hour brings: small at midnight, large at noon. */
struct soak_mix {
    size_t least, most;
};

struct soak_mix soak_mix_at(double hour);

/* One request. `turn` is the number of the step, even or odd. */
void soak_request(struct soak_slot *slot, const struct soak_mix *mix, unsigned turn);

/* Free what the neighbour put out in the step before. */
void soak_take_over(struct soak_slot *neighbour, unsigned turn);

#endif
