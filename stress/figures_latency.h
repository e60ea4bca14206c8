/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * figures_latency: how long single calls take, as a histogram of constant size.
 *
 * One histogram a thread, written by that thread alone and merged when it has ended. A histogram is
 * plain memory: no call here allocates.
 *
 * Times are counted in ticks of the fastest clock that the machine has. Bucket i < 64 holds exactly
 * i ticks; above, every power of two is divided into 32 buckets, so that a value is known to about
 * 3 %.
 */
#ifndef OWL_STRESS_FIGURES_LATENCY_H
#define OWL_STRESS_FIGURES_LATENCY_H

#include <stdint.h>
#include <time.h>

enum {
    LATENCY_SUB_BITS = 5,
    LATENCY_SUB = 1 << LATENCY_SUB_BITS,
    LATENCY_POWERS = 36,                        /* up to 2^41 ticks: minutes */
    LATENCY_BUCKETS = (LATENCY_POWERS + 1) * LATENCY_SUB
};

struct figures_latency {
    uint64_t samples;
    uint32_t bucket[LATENCY_BUCKETS];
};

/* What a tick is worth, and what reading the clock twice costs. */
struct figures_clock {
    double ns_per_tick;
    uint64_t overhead;          /* ticks between two readings with nothing in between */
};

static inline uint64_t figures_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The fences keep the measured call from moving out of the interval, in either direction. */
static inline uint64_t figures_ticks(void)
{
#ifdef __x86_64__
    uint64_t ticks;

    __builtin_ia32_lfence();
    ticks = __builtin_ia32_rdtsc();
    __builtin_ia32_lfence();
    return ticks;
#else
    return figures_now_ns();
#endif
}

struct figures_clock figures_clock_calibrate(void);

void figures_latency_add(struct figures_latency *l, uint64_t ticks);
void figures_latency_merge(struct figures_latency *to, const struct figures_latency *from);

/* The time that `share` (0 .. 1) of the calls did not exceed, in ns; 0 if there are no samples. */
double figures_latency_percentile(const struct figures_latency *l, double share,
                                  const struct figures_clock *clock);

#endif
