/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * array_bench: ways to hold an array that grows by one double at a time. Each is a function that is
 * run in a process of its own. Those that need libowl or C++ are in shared objects,
 * lib/owl/array-bench/NAME.so, which are opened in that process only; such an object has a table,
 * array_bench_ways.
 */
#ifndef OWL_STRESS_ARRAY_BENCH_H
#define OWL_STRESS_ARRAY_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* What is added as number i. By way of a signed number: from an unsigned one processors convert
 * less easily, with a branch in every loop. */
static inline double array_bench_number(size_t i)
{
    return (double)(ptrdiff_t)i;
}

/* Both in nanoseconds. The second suffers less from what else the machine does. */
struct array_bench_time {
    uint64_t elapsed;
    uint64_t processor;
};

struct array_bench_result {
    struct array_bench_time took;
    const char *error; /* NULL: it was done, and the elements are as they should be */
};

/* Adds the numbers from 0 to count - 1, one at a time, at the back or at the front. What is
 * timed begins with an array that does not exist yet, and ends with the last element. */
typedef struct array_bench_result (*array_bench_run)(size_t count, bool front);

struct array_bench_way {
    const char *name; /* NULL: the end of a table */
    array_bench_run run;
};

/* Those that are in the program itself. */
extern const struct array_bench_way array_bench_own_ways[];

static inline uint64_t array_bench_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline struct array_bench_time array_bench_now(void)
{
    struct array_bench_time t = {array_bench_clock(CLOCK_MONOTONIC),
                                 array_bench_clock(CLOCK_PROCESS_CPUTIME_ID)};
    return t;
}

static inline struct array_bench_time array_bench_since(struct array_bench_time began)
{
    struct array_bench_time t = array_bench_now();
    t.elapsed -= began.elapsed;
    t.processor -= began.processor;
    return t;
}

/* What a way has to return: elements at distances of a prime are looked at, and the last. */
static inline struct array_bench_result array_bench_done(struct array_bench_time took,
                                                         const double *data, size_t count,
                                                         bool front)
{
    struct array_bench_result r = {took, NULL};
    for (size_t i = 0; i < count; i += 509)
        if (data[front ? count - 1 - i : i] != array_bench_number(i))
            r.error = "an element is not what was added";
    if (data[front ? 0 : count - 1] != array_bench_number(count - 1))
        r.error = "the last element is not what was added";
    return r;
}

static inline struct array_bench_result array_bench_failed(const char *why)
{
    struct array_bench_result r = {{0, 0}, why};
    return r;
}

#endif
