/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace_write.h"
#include "trace_format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct trace_writer {
    FILE *out;
    char *name, *part;          /* the file, and the name it has until it is complete */
    struct trace_header head;
    uint32_t current;           /* in the trace's own numbering, as are the values of `number` */
    uint32_t *number;           /* thread -> its number in the trace plus 1, 0: not met yet */
    size_t number_room;
    int error;                  /* the first errno */
};

static void put_byte(struct trace_writer *w, unsigned byte)
{
    unsigned char c = (unsigned char)byte;
    w->head.checksum = trace_checksum(w->head.checksum, &c, 1);
    w->head.body_bytes++;
    if (putc(c, w->out) == EOF && !w->error)
        w->error = errno;
}

static void put_varint(struct trace_writer *w, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte(w, (unsigned)(value & 0x7f) | 0x80);
    put_byte(w, (unsigned)value);
}

static void put_event(struct trace_writer *w, unsigned kind, uint64_t value)
{
    if (value < TRACE_INLINE_MAX) {
        put_byte(w, kind | (unsigned)value << TRACE_KIND_BITS);
    } else {
        put_byte(w, kind | TRACE_INLINE_MAX << TRACE_KIND_BITS);
        put_varint(w, value - TRACE_INLINE_MAX);
    }
}

/* Where a thread's number is kept, or NULL when there is no memory for it. */
static uint32_t *number_of(struct trace_writer *w, uint32_t thread)
{
    if (thread >= w->number_room) {
        size_t room = (size_t)thread + thread / 2 + 16;
        uint32_t *more = realloc(w->number, room * sizeof *more);
        if (!more) {
            w->error = ENOMEM;
            return NULL;
        }
        memset(more + w->number_room, 0, (room - w->number_room) * sizeof *more);
        w->number = more;
        w->number_room = room;
    }
    return &w->number[thread];
}

static void begin_op(struct trace_writer *w, uint32_t thread)
{
    uint32_t *number = number_of(w, thread);
    if (!number)
        return;
    if (!*number)
        *number = ++w->head.threads;
    if (*number - 1 != w->current) {
        w->current = *number - 1;
        put_event(w, TRACE_SWITCH, w->current);
    }
    w->head.ops++;
}

static void release(struct trace_writer *w)
{
    free(w->number);
    free(w->part);
    free(w->name);
    free(w);
}

struct trace_writer *trace_writer_open(const char *file)
{
    static const unsigned char no_header[TRACE_HEADER_BYTES];
    struct trace_writer *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    size_t n = strlen(file);
    w->name = strdup(file);
    w->part = malloc(n + sizeof ".part");
    if (w->name && w->part) {
        memcpy(w->part, file, n);
        memcpy(w->part + n, ".part", sizeof ".part");
        w->out = fopen(w->part, "we");
    }
    if (!w->out) {
        release(w);
        return NULL;
    }
    w->head.checksum = TRACE_CHECKSUM_START;
    if (fwrite(no_header, sizeof no_header, 1, w->out) != 1)
        w->error = errno;
    return w;
}

uint32_t trace_write_alloc(struct trace_writer *w, uint32_t thread, enum trace_call call,
                           uint64_t size, unsigned align_log2)
{
    begin_op(w, thread);
    put_event(w, call, call == TRACE_ALIGNED ? align_log2 : size);
    if (call == TRACE_ALIGNED)
        put_varint(w, size);
    return (uint32_t)w->head.allocations++;
}

uint32_t trace_write_realloc(struct trace_writer *w, uint32_t thread, uint32_t old_block,
                             uint64_t size)
{
    begin_op(w, thread);
    put_event(w, TRACE_REALLOC, w->head.allocations - 1 - old_block);
    put_varint(w, size);
    return (uint32_t)w->head.allocations++;
}

void trace_write_free(struct trace_writer *w, uint32_t thread, uint32_t block)
{
    begin_op(w, thread);
    put_event(w, TRACE_FREE, w->head.allocations - 1 - block);
}

void trace_write_end(struct trace_writer *w, uint32_t thread)
{
    uint32_t *number = number_of(w, thread);
    if (number && *number)
        put_event(w, TRACE_END, *number - 1);
}

static void put_le(unsigned char *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static int write_header(struct trace_writer *w)
{
    unsigned char h[TRACE_HEADER_BYTES];
    memcpy(h, TRACE_MAGIC, sizeof TRACE_MAGIC - 1);
    put_le(h + 8, TRACE_VERSION, 4);
    put_le(h + 12, w->head.threads, 4);
    put_le(h + 16, w->head.ops, 8);
    put_le(h + 24, w->head.allocations, 8);
    put_le(h + 32, w->head.body_bytes, 8);
    put_le(h + 40, w->head.checksum, 8);
    put_le(h + 48, trace_checksum(TRACE_CHECKSUM_START, h, 48), 8);
    return fseek(w->out, 0, SEEK_SET) != 0 || fwrite(h, sizeof h, 1, w->out) != 1;
}

uint64_t trace_writer_calls(const struct trace_writer *w)
{
    return w->head.ops;
}

uint32_t trace_writer_threads(const struct trace_writer *w)
{
    return w->head.threads;
}

int trace_writer_close(struct trace_writer *w)
{
    if (write_header(w) && !w->error)
        w->error = errno;
    if (fclose(w->out) != 0 && !w->error)
        w->error = errno;
    if (!w->error && rename(w->part, w->name) != 0)
        w->error = errno;
    int error = w->error;
    if (error)
        unlink(w->part);
    release(w);
    errno = error;
    return error ? -1 : 0;
}

void trace_writer_abandon(struct trace_writer *w)
{
    int saved = errno;
    fclose(w->out);
    unlink(w->part);
    release(w);
    errno = saved;
}
