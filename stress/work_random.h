/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work_random: the workloads' random numbers, by one multiplication of 64 by 64 bits (the idea of
 * Wang Yi's wyrand), so that the allocator dominates what is measured. Each thread has a state of
 * its own. work_mix makes well-mixed numbers of such as 0, 1, 2 (splitmix64's finish).
 */
#ifndef OWL_STRESS_WORK_RANDOM_H
#define OWL_STRESS_WORK_RANDOM_H

#include <stdint.h>

static inline uint64_t work_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static inline uint64_t work_random(uint64_t *state)
{
    unsigned __int128 product;

    *state += UINT64_C(0x9E3779B97F4A7C15);
    product = (unsigned __int128)*state * (*state ^ UINT64_C(0xBF58476D1CE4E5B9));
    return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

/* A number below `bound`, from the upper half of a random number. */
static inline uint32_t work_below(uint64_t random, uint32_t bound)
{
    return (uint32_t)(((random >> 32) * bound) >> 32);
}

#endif
