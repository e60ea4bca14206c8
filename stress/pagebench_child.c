/* SPDX-License-Identifier: BSD-2-Clause */
#include "pagebench_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "figures_latency.h"
#include "figures_memory.h"
#include "memtest_child.h"
#include "memtest_record.h"

/* Static: nothing here comes from the allocator under test. */
static struct figures_latency times[PAGEBENCH_PARTS][PAGEBENCH_BINS];
static uint64_t ticks[PAGEBENCH_PARTS][PAGEBENCH_BINS];
static struct figures_clock the_clock;
static uint64_t faults_before;

static uint64_t faults_now(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

/* Everything is written to, so that our own pages are there before the clock starts. */
void pagebench_clock_start(void)
{
    memset(times, 0, sizeof(times));
    memset(ticks, 0, sizeof(ticks));
    faults_before = faults_now();
}

/* Ticks are summed whole, the clock's share is taken off at the end: so it is not lost that some
 * readings are a little shorter than the clock takes in the median. */
void pagebench_clock_add(int part, size_t bytes, uint64_t from, uint64_t to)
{
    unsigned bin = 63u - (unsigned)__builtin_clzll(bytes);
    uint64_t interval = to - from;

    ticks[part][bin] += interval;
    figures_latency_add(&times[part][bin],
                        interval > the_clock.overhead ? interval - the_clock.overhead : 0);
}

static void summarise(const struct figures_latency *l, uint64_t sum, struct pagebench_figure *f)
{
    double mean;

    f->count = l->samples;
    if (l->samples == 0)
        return;
    mean = (double)sum / (double)l->samples - (double)the_clock.overhead;
    f->mean_ns = mean > 0.0 ? mean * the_clock.ns_per_tick : 0.0;
    f->p50_ns = figures_latency_percentile(l, 0.5, &the_clock);
    f->p99_ns = figures_latency_percentile(l, 0.99, &the_clock);
}

void pagebench_clock_end(struct pagebench_record *record)
{
    record->faults = faults_now() - faults_before;
    for (int part = 0; part < PAGEBENCH_PARTS; part++)
        for (int bin = 0; bin < PAGEBENCH_BINS; bin++)
            summarise(&times[part][bin], ticks[part][bin], &record->part[part][bin]);
    record->clock_ns = (double)the_clock.overhead * the_clock.ns_per_tick;
}

void pagebench_touch(void *block, size_t from, size_t to)
{
    size_t page = (size_t)4096; /* the smallest there is: no page is left out */
    volatile char *p = block;

    for (size_t at = from; at < to; at += page)
        p[at] = 1;
}

/* Whether the allocator is there, for alloc_find, which reads a record of memtest. */
static int probe(int fd, enum alloc_kind kind, const char *library)
{
    static struct memtest_record record;
    struct alloc_opened opened;
    bool good = alloc_table_open(kind, library, &opened);

    memcpy(record.file, opened.file, sizeof(record.file));
    memcpy(record.error, opened.error, sizeof(record.error));
    return write(fd, &record, sizeof(record)) == (ssize_t)sizeof(record) && good ? 0 : 1;
}

static bool run(const struct pagebench_options *o, enum alloc_kind kind, const char *library,
                struct pagebench_record *record)
{
    struct pagebench_calls calls;
    struct alloc_opened opened;
    bool good = alloc_table_open(kind, library, &opened);

    memcpy(record->file, opened.file, sizeof(record->file));
    memcpy(record->error, opened.error, sizeof(record->error));
    if (!good || !pagebench_calls_open(o->calls, o->most, &calls, record->error))
        return false;
    the_clock = figures_clock_calibrate();
    pagebench_clock_start(); /* the tests' preparations are measured too, and forgotten */
    if (o->tests == 1u << TEST_RING)
        good = pagebench_ring(o, &calls, record);
    else if (o->tests == 1u << TEST_DOUBLE)
        good = pagebench_double(o, &calls, record);
    else
        good = pagebench_grow(o, &calls, record);
    record->rss_peak = figures_memory_peak();
    return good;
}

static bool send_record(int fd, const struct pagebench_record *record)
{
    size_t sent = 0;

    while (sent < sizeof(*record)) {
        ssize_t n = write(fd, (const char *)record + sent, sizeof(*record) - sent);

        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

int pagebench_child_main(int argc, char **argv)
{
    static struct pagebench_record record;
    struct pagebench_options options;
    bool good;

    if (argc < MEMTEST_CHILD_ARGS) {
        fprintf(stderr, "owl-pages-bench: " MEMTEST_CHILD_FLAG " is for its own use only\n");
        return 2;
    }
    if (atoi(argv[3]) == MEMTEST_CHILD_PROBE)
        return probe(atoi(argv[2]), (enum alloc_kind)atoi(argv[4]), argv[5]);
    if (pagebench_options_parse(argc - MEMTEST_CHILD_ARGS + 1, argv + MEMTEST_CHILD_ARGS - 1,
                                &options) != OPTIONS_RUN || options.calls == NULL)
        return 2;
    good = run(&options, (enum alloc_kind)atoi(argv[4]), argv[5], &record);
    if (!send_record(atoi(argv[2]), &record))
        return 1;
    /* No clean-up: a library's handlers at exit are not part of the run. */
    _exit(good ? 0 : 1);
}
