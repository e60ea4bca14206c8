/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace_write: makes a trace file, call by call, in the global order. One thread uses a writer.
 *
 * A thread is any number; a block is what an allocating call returned. Misuse (a block given up
 * twice) is not found here but by trace_load(). Errors are kept until trace_writer_close(), which
 * returns 0, or -1 with errno set. The file appears under its name only when it is complete.
 */
#ifndef OWL_STRESS_TRACE_WRITE_H
#define OWL_STRESS_TRACE_WRITE_H

#include "trace.h"

struct trace_writer;

struct trace_writer *trace_writer_open(const char *file);
uint32_t trace_write_alloc(struct trace_writer *w, uint32_t thread, enum trace_call call,
                           uint64_t size, unsigned align_log2);
uint32_t trace_write_realloc(struct trace_writer *w, uint32_t thread, uint32_t old_block,
                             uint64_t size);
void trace_write_free(struct trace_writer *w, uint32_t thread, uint32_t block);
void trace_write_end(struct trace_writer *w, uint32_t thread);

/* What has been written so far. */
uint64_t trace_writer_calls(const struct trace_writer *w);
uint32_t trace_writer_threads(const struct trace_writer *w);

int trace_writer_close(struct trace_writer *w);
void trace_writer_abandon(struct trace_writer *w);      /* instead: leaves no file */

#endif
