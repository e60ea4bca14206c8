/* SPDX-License-Identifier: BSD-2-Clause */
#include "figures_latency.h"

enum { CALIBRATE_NS = 10000000, CALIBRATE_PAIRS = 1001 };

static unsigned latency_index(uint64_t ticks)
{
    unsigned power;
    unsigned index;

    if (ticks < 2 * LATENCY_SUB)
        return (unsigned)ticks;
    power = 63u - (unsigned)__builtin_clzll(ticks) - LATENCY_SUB_BITS;
    index = power * LATENCY_SUB + (unsigned)(ticks >> power);
    return index < LATENCY_BUCKETS ? index : LATENCY_BUCKETS - 1;
}

/* The middle of a bucket: the inverse of latency_index(). */
static double latency_value(unsigned index)
{
    unsigned power;

    if (index < 2 * LATENCY_SUB)
        return index;
    power = index / LATENCY_SUB - 1;
    return ((double)(index - power * LATENCY_SUB) + 0.5) * (double)(UINT64_C(1) << power);
}

void figures_latency_add(struct figures_latency *l, uint64_t ticks)
{
    l->bucket[latency_index(ticks)]++;
    l->samples++;
}

void figures_latency_merge(struct figures_latency *to, const struct figures_latency *from)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        to->bucket[i] += from->bucket[i];
    to->samples += from->samples;
}

double figures_latency_percentile(const struct figures_latency *l, double share,
                                  const struct figures_clock *clock)
{
    uint64_t wanted = (uint64_t)(share * (double)l->samples);
    uint64_t seen = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += l->bucket[i];
        if (seen > wanted || (seen == l->samples && seen > 0))
            return latency_value(i) * clock->ns_per_tick;
    }
    return 0.0;
}

/*
 * The median: a reading that an interrupt hit must not count. A histogram finds it without sorting,
 * because the C library's sort may call the allocator under test.
 */
static uint64_t clock_overhead(void)
{
    static struct figures_latency pairs;
    const struct figures_clock ticks = { .ns_per_tick = 1.0 };

    for (int i = 0; i < CALIBRATE_PAIRS; i++) {
        uint64_t start = figures_ticks();

        figures_latency_add(&pairs, figures_ticks() - start);
    }
    return (uint64_t)figures_latency_percentile(&pairs, 0.5, &ticks);
}

struct figures_clock figures_clock_calibrate(void)
{
    struct figures_clock clock = { .ns_per_tick = 1.0, .overhead = clock_overhead() };
    uint64_t start_ns = figures_now_ns();
    uint64_t start = figures_ticks();
    uint64_t ns;

    do {
        ns = figures_now_ns() - start_ns;
    } while (ns < CALIBRATE_NS);
    clock.ns_per_tick = (double)ns / (double)(figures_ticks() - start);
    return clock;
}
