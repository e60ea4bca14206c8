/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* MAP_POPULATE */
#include "soak_work.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "figures_latency.h"
#include "figures_memory.h"

enum { PAGE = 4096 }; /* the smallest there is: no page is left out */

struct soak_run_state soak_run_state;

static _Atomic int64_t live_total;
static __thread int64_t live_here;

void *soak_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
                   -1, 0);

    if (p == MAP_FAILED)
        soak_fail("no memory for a table of %zu bytes", bytes);
    return p;
}

/* The parent takes what comes first, so two threads that fail at once do not have to be kept apart
 * further than by the text. */
void soak_fail(const char *format, ...)
{
    static atomic_flag failed = ATOMIC_FLAG_INIT;
    struct soak_record *record = soak_run_state.record;
    const char *at = (const char *)record;
    size_t left = sizeof(*record);
    va_list values;

    while (atomic_flag_test_and_set(&failed))
        pause();
    va_start(values, format);
    vsnprintf(record->summary.error, ALLOC_ERROR_MAX, format, values);
    va_end(values);
    while (left > 0) {
        ssize_t n = write(soak_run_state.fd, at, left);

        if (n <= 0)
            break;
        at += n;
        left -= (size_t)n;
    }
    _exit(1);
}

static uint64_t faults_now(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

void soak_begin(void)
{
    soak_run_state.record->summary.rss_start = figures_memory_now().rss;
    soak_run_state.faults_start = faults_now();
    soak_run_state.start_ns = figures_now_ns();
}

double soak_now(void)
{
    return (double)(figures_now_ns() - soak_run_state.start_ns) / 1e9;
}

void soak_sample(double hour, uint64_t requests, const char *format, ...)
{
    struct soak_summary *summary = &soak_run_state.record->summary;
    struct soak_sample *s = &soak_run_state.record->sample[summary->count];
    va_list values;

    if (summary->count == SOAK_SAMPLES_MAX)
        soak_fail("more than %d samples", SOAK_SAMPLES_MAX);
    soak_publish();
    va_start(values, format);
    vsnprintf(s->phase, sizeof(s->phase), format, values);
    va_end(values);
    s->seconds = soak_now();
    s->hour = hour;
    s->live = (uint64_t)atomic_load(&live_total);
    s->rss = figures_memory_now().rss;
    s->requests = requests;
    s->faults = faults_now() - soak_run_state.faults_start;
    summary->count++;
}

void soak_sleep_until(double seconds)
{
    uint64_t until = soak_run_state.start_ns + (uint64_t)(seconds * 1e9);
    struct timespec when = {
        .tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)
    };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR) {
    }
}

void soak_idle(double seconds)
{
    soak_sleep_until(soak_now() + seconds);
    soak_sample(0.0, 0, "idle");
}

void soak_publish(void)
{
    atomic_fetch_add(&live_total, live_here);
    live_here = 0;
}

static void touch(unsigned char *p, size_t from, size_t to)
{
    for (size_t at = from; at < to; at += PAGE)
        p[at] = 1;
    if (to > from)
        p[to - 1] = 1;
}

struct soak_block soak_new(size_t size)
{
    struct soak_block b = { .p = alloc_calls.malloc(size), .size = size };

    if (b.p == NULL)
        soak_fail("malloc of %zu bytes returned NULL", size);
    touch(b.p, 0, size);
    live_here += (int64_t)size;
    return b;
}

void soak_grow(struct soak_block *b, size_t size)
{
    unsigned char *p = alloc_calls.realloc(b->p, size);

    if (p == NULL)
        soak_fail("realloc to %zu bytes returned NULL", size);
    touch(p, b->size, size);
    live_here += (int64_t)size - (int64_t)b->size;
    *b = (struct soak_block){ .p = p, .size = size };
}

void soak_end(struct soak_block *b)
{
    if (b->p == NULL)
        return;
    live_here -= (int64_t)b->size;
    alloc_calls.free(b->p);
    *b = (struct soak_block){ .p = NULL };
}

void soak_end_all(struct soak_block *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        soak_end(&b[i]);
}

size_t soak_size(uint64_t random, size_t least, size_t most)
{
    unsigned first = 63u - (unsigned)__builtin_clzll(least);
    unsigned last = 63u - (unsigned)__builtin_clzll(most - 1);
    size_t base = (size_t)1 << (first + work_below(random << 32, last - first + 1));
    size_t size = base + work_below(random, (uint32_t)base);

    return size < least ? least : size > most ? most : size;
}

size_t soak_scaled(size_t count)
{
    double scaled = (double)count * soak_run_state.options.scale;

    return scaled < 1.0 ? 1 : (size_t)scaled;
}
