/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pagebench_work: the tests of owl-pages-bench, as they run in the measured process.
 *
 * They are those of N. Douglas, User Mode Memory Page Allocation (2011), section 3: blocks in a
 * ring, realloc by doubling, and random blocks that grow by 16 pages.
 */
#ifndef OWL_STRESS_PAGEBENCH_WORK_H
#define OWL_STRESS_PAGEBENCH_WORK_H

#include <stdbool.h>

#include "pagebench_calls.h"
#include "pagebench_options.h"
#include "pagebench_record.h"

/* Timing starts from zero, and page faults are counted from here on. */
void pagebench_clock_start(void);

/* Counts an interval, read by figures_ticks() at both ends, as one of a block of so many bytes. */
void pagebench_clock_add(int part, size_t bytes, uint64_t from, uint64_t to);

/* What has come together since the start. */
void pagebench_clock_end(struct pagebench_record *record);

/* Writes one byte into each page of [from, to) of a block. */
void pagebench_touch(void *block, size_t from, size_t to);

/* The tests. False: no memory, or the allocator lost contents, as record->error says. */
bool pagebench_ring(const struct pagebench_options *o, const struct pagebench_calls *calls,
                    struct pagebench_record *record);
bool pagebench_double(const struct pagebench_options *o, const struct pagebench_calls *calls,
                      struct pagebench_record *record);
bool pagebench_grow(const struct pagebench_options *o, const struct pagebench_calls *calls,
                    struct pagebench_record *record);

/* The measured process; argv[1] is MEMTEST_CHILD_FLAG. Its exit status. */
int pagebench_child_main(int argc, char **argv);

#endif
