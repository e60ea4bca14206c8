/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "figures_memory.h"
#include "memtest_child.h"
#include "memtest_record.h"
#include "soak_work.h"

/* Static: nothing here comes from the allocator under test. */
static struct soak_record record;

static void (*const workloads[SOAK_WORKLOADS])(void) = {
    soak_day, soak_sparse, soak_sizes, soak_strings, soak_producer, soak_sleeper, soak_churn,
    soak_idle_peak
};

/* Whether the allocator is there, for alloc_find, which reads a record of memtest. */
static int probe(int fd, enum alloc_kind kind, const char *library)
{
    static struct memtest_record answer;
    struct alloc_opened opened;
    bool good = alloc_table_open(kind, library, &opened);

    memcpy(answer.file, opened.file, sizeof(answer.file));
    memcpy(answer.error, opened.error, sizeof(answer.error));
    return write(fd, &answer, sizeof(answer)) == (ssize_t)sizeof(answer) && good ? 0 : 1;
}

/* Of all threads but this one, which takes the samples and, in a day, does nothing else. */
static uint64_t cpu_now(void)
{
    struct timespec all;
    struct timespec here;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &all);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &here);
    return (uint64_t)(all.tv_sec - here.tv_sec) * 1000000000u + (uint64_t)all.tv_nsec
         - (uint64_t)here.tv_nsec;
}

static bool run(enum alloc_kind kind, const char *library)
{
    struct alloc_opened opened;
    bool good = alloc_table_open(kind, library, &opened);
    uint64_t cpu;

    /* Resident before the first reading, as the samples come to lie in it. */
    for (size_t at = 0; at < sizeof(record); at += 4096)
        ((volatile char *)&record)[at] = 0;
    memcpy(record.summary.file, opened.file, sizeof(opened.file));
    memcpy(record.summary.error, opened.error, sizeof(opened.error));
    if (!good)
        return false;
    cpu = cpu_now();
    workloads[__builtin_ctz(soak_run_state.options.workloads)]();
    record.summary.cpu_ns = cpu_now() - cpu;
    record.summary.rss_peak = figures_memory_peak();
    return true;
}

static bool send_record(int fd)
{
    size_t sent = 0;

    while (sent < sizeof(record)) {
        ssize_t n = write(fd, (const char *)&record + sent, sizeof(record) - sent);

        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

int soak_child_main(int argc, char **argv)
{
    bool good;

    if (argc < MEMTEST_CHILD_ARGS) {
        fprintf(stderr, "owl-soak: " MEMTEST_CHILD_FLAG " is for its own use only\n");
        return 2;
    }
    if (atoi(argv[3]) == MEMTEST_CHILD_PROBE)
        return probe(atoi(argv[2]), (enum alloc_kind)atoi(argv[4]), argv[5]);
    if (soak_options_parse(argc - MEMTEST_CHILD_ARGS + 1, argv + MEMTEST_CHILD_ARGS - 1,
                           &soak_run_state.options) != OPTIONS_RUN)
        return 2;
    soak_run_state.record = &record;
    soak_run_state.fd = atoi(argv[2]);
    good = run((enum alloc_kind)atoi(argv[4]), argv[5]);
    if (!send_record(soak_run_state.fd))
        return 1;
    /* No clean-up: a library's handlers at exit are not part of the run. */
    _exit(good ? 0 : 1);
}
