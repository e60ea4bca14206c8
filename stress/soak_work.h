/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_work: what the workloads of owl-soak have in common; it runs in the measured process.
 *
 * All blocks go through soak_new, soak_grow and soak_end, which count live bytes in the calling
 * thread; soak_publish() adds what a thread has counted to the total. A thread publishes before it
 * tells another that it is done, so that the total is exact when nobody is at work.
 */
#ifndef OWL_STRESS_SOAK_WORK_H
#define OWL_STRESS_SOAK_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc_table.h"
#include "soak_options.h"
#include "soak_record.h"
#include "work_random.h"

/* A live block, as tables and queues keep it. */
struct soak_block {
    unsigned char *p;           /* NULL: no block */
    size_t size;
};

/* Zeroed memory for the workload's own tables, resident at once, not from the allocator under test.
 * Ends the process if there is none. */
void *soak_map(size_t bytes);

/* Ends the process with this reason; any thread. */
void soak_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* The workload's tables are there; its first call comes next. */
void soak_begin(void);

/* A sample now. Master thread only. */
void soak_sample(double hour, uint64_t requests, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sleeps until so many seconds have passed since the workload began; at once if they have. */
void soak_sleep_until(double seconds);

/* Nothing for so many seconds, then a sample, "idle". */
void soak_idle(double seconds);

/* Seconds since the workload began. */
double soak_now(void);

/* Adds what this thread has counted to the total of live bytes. */
void soak_publish(void);

/* A new block, with a byte written in each page and the last one. Ends the process if there is
 * none. */
struct soak_block soak_new(size_t size);

/* The same block with another size. What is added is written to like a new one. */
void soak_grow(struct soak_block *b, size_t size);

/* Frees it; `b` may be empty, and is then. */
void soak_end(struct soak_block *b);

void soak_end_all(struct soak_block *b, size_t count);

/* A size between the two, 1 < least < most, with as many in each power of two as in the others. */
size_t soak_size(uint64_t random, size_t least, size_t most);

/* So many times --scale, one at least. */
size_t soak_scaled(size_t count);

/* The run: its options, and where its figures go. Set before the workload starts. */
struct soak_run_state {
    struct soak_options options;
    struct soak_record *record;
    uint64_t start_ns, faults_start;
    int fd;
};

extern struct soak_run_state soak_run_state;

/* The workloads. */
void soak_day(void);
void soak_sparse(void);
void soak_sizes(void);
void soak_strings(void);
void soak_idle_peak(void);
void soak_producer(void);
void soak_sleeper(void);
void soak_churn(void);

/* The measured process; argv[1] is MEMTEST_CHILD_FLAG. Its exit status. */
int soak_child_main(int argc, char **argv);

#endif
