/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walks the log in its order and follows which block lives at which address. The log is what a
 * program did, seen from outside, so whatever does not fit is dropped or mended here, and the trace
 * is sound by construction:
 *
 *   a block freed that was never seen     left out (allocated before the recording began)
 *   a block at an address that lives      the old one was freed unseen (say, by a signal handler):
 *                                         a free is put in
 *   a realloc of a block never seen       a malloc
 *   a realloc that failed                 left out; answered by NULL for a size of 0 it is a free
 */
#include "record_seal.h"
#include "record_log.h"
#include "trace_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_BLOCK UINT32_MAX

/* address -> block: open addressing, linear probes, at most half full. Address 0: an empty slot. */
struct slot {
    uint64_t address;
    uint32_t block;
};

struct seal_thread {
    uint64_t last;              /* place of its last event */
    uint64_t moving;            /* inside a realloc: the address given up, */
    uint32_t moving_block;      /* and its block */
    bool ended;
};

struct sealer {
    const struct record_event *event;
    uint64_t events;
    struct seal_thread *thread;
    uint32_t threads;
    struct slot *slot;
    size_t slots, used;         /* slots: a power of two */
    struct trace_writer *out;
    struct seal_report *report;
};

static size_t home_of(const struct sealer *s, uint64_t address)
{
    return (size_t)((address >> 3) * 0x9e3779b97f4a7c15u >> 20) & (s->slots - 1);
}

static struct slot *find(const struct sealer *s, uint64_t address)
{
    size_t i = home_of(s, address);
    while (s->slot[i].address && s->slot[i].address != address)
        i = (i + 1) & (s->slots - 1);
    return &s->slot[i];
}

static int grow(struct sealer *s)
{
    struct slot *old = s->slot;
    size_t n = s->slots;
    s->slots = n ? n * 2 : 4096;
    s->slot = calloc(s->slots, sizeof *s->slot);
    if (!s->slot) {
        s->slot = old;
        s->slots = n;
        return -1;
    }
    for (size_t i = 0; i < n; i++)
        if (old[i].address)
            *find(s, old[i].address) = old[i];
    free(old);
    return 0;
}

static int insert(struct sealer *s, uint64_t address, uint32_t block)
{
    if (s->used * 2 >= s->slots && grow(s))
        return -1;
    *find(s, address) = (struct slot){ address, block };
    s->used++;
    return 0;
}

/* Takes the block out that lives at an address; those behind it move up, so that none is lost. */
static uint32_t take(struct sealer *s, uint64_t address)
{
    struct slot *found = find(s, address);
    if (!found->address)
        return NO_BLOCK;
    uint32_t block = found->block;
    size_t mask = s->slots - 1, hole = (size_t)(found - s->slot);
    for (size_t i = (hole + 1) & mask; s->slot[i].address; i = (i + 1) & mask) {
        size_t from_home = (i - home_of(s, s->slot[i].address)) & mask;
        if (from_home >= ((i - hole) & mask)) {
            s->slot[hole] = s->slot[i];
            hole = i;
        }
    }
    s->slot[hole].address = 0;
    s->used--;
    return block;
}

static int seal_alloc(struct sealer *s, const struct record_event *e, uint32_t old_block)
{
    uint32_t unseen = take(s, e->address);
    uint32_t block;
    if (unseen != NO_BLOCK) {
        trace_write_free(s->out, e->thread, unseen);
        s->report->unseen++;
    }
    if (old_block != NO_BLOCK)
        block = trace_write_realloc(s->out, e->thread, old_block, e->size);
    else
        block = trace_write_alloc(s->out, e->thread,
                                  e->kind == RECORD_REALLOC_END ? TRACE_MALLOC : e->kind,
                                  e->size, e->align_log2);
    return insert(s, e->address, block);
}

static int seal_realloc_end(struct sealer *s, struct seal_thread *t, const struct record_event *e)
{
    uint32_t old = t->moving_block;
    uint64_t old_address = t->moving;
    t->moving = 0;
    t->moving_block = NO_BLOCK;
    if (e->address)
        return seal_alloc(s, e, old);
    if (old == NO_BLOCK)
        return 0;
    if (e->size != 0)
        return insert(s, old_address, old);
    trace_write_free(s->out, e->thread, old);
    return 0;
}

static int seal_event(struct sealer *s, const struct record_event *e)
{
    struct seal_thread *t = &s->thread[e->thread];
    uint32_t block;
    switch (e->kind) {
    case TRACE_MALLOC:
    case TRACE_CALLOC:
    case TRACE_ALIGNED:
        return seal_alloc(s, e, NO_BLOCK);
    case TRACE_FREE:
        block = take(s, e->address);
        if (block == NO_BLOCK)
            s->report->unknown++;
        else
            trace_write_free(s->out, e->thread, block);
        return 0;
    case RECORD_REALLOC_BEGIN:
        t->moving = e->address;
        t->moving_block = take(s, e->address);
        s->report->unknown += t->moving_block == NO_BLOCK;
        return 0;
    case RECORD_REALLOC_END:
        return seal_realloc_end(s, t, e);
    default:
        return 0;
    }
}

/* Destructors of a thread may run after ours: its end is where its last event is. */
static int find_ends(struct sealer *s)
{
    s->thread = calloc((size_t)s->threads + 1, sizeof *s->thread);
    if (!s->thread)
        return -1;
    for (uint32_t i = 0; i < s->threads; i++)
        s->thread[i].moving_block = NO_BLOCK;
    for (uint64_t i = 0; i < s->events; i++) {
        const struct record_event *e = &s->event[i];
        if (!e->kind || e->thread >= s->threads)
            continue;
        s->thread[e->thread].last = i;
        s->thread[e->thread].ended |= e->kind == RECORD_THREAD_END;
    }
    return 0;
}

static int seal_events(struct sealer *s)
{
    if (find_ends(s) || grow(s))
        return -1;
    for (uint64_t i = 0; i < s->events; i++) {
        const struct record_event *e = &s->event[i];
        if (!e->kind || e->thread >= s->threads)
            continue;
        if (seal_event(s, e))
            return -1;
        if (s->thread[e->thread].ended && s->thread[e->thread].last == i)
            trace_write_end(s->out, e->thread);
    }
    return 0;
}

/* The log's size is that of its room; only what the program filled takes space on the disk. */
static int seal_mapped(const void *map, size_t bytes, const char *trace,
                       struct seal_report *report, char *err, unsigned errlen)
{
    const struct record_header *log = map;
    struct sealer s = { .report = report };
    if (bytes < RECORD_HEADER_BYTES || memcmp(log->magic, RECORD_MAGIC, sizeof log->magic) != 0
        || log->capacity > (bytes - RECORD_HEADER_BYTES) / sizeof(struct record_event)) {
        snprintf(err, errlen, "the program could not record");
        return -1;
    }
    s.event = (const struct record_event *)((const char *)map + RECORD_HEADER_BYTES);
    s.events = log->places < log->capacity ? log->places : log->capacity;
    s.threads = log->threads < RECORD_THREADS_MAX ? log->threads : RECORD_THREADS_MAX;
    report->lost = log->places - s.events;
    s.out = trace_writer_open(trace);
    if (!s.out) {
        snprintf(err, errlen, "%s: %s", trace, strerror(errno));
        return -1;
    }
    int result = seal_events(&s);
    report->calls = trace_writer_calls(s.out);
    report->threads = trace_writer_threads(s.out);
    free(s.slot);
    free(s.thread);
    if (result || report->calls == 0)
        trace_writer_abandon(s.out);
    else
        result = trace_writer_close(s.out);
    if (result)
        snprintf(err, errlen, "%s: %s", trace, strerror(errno));
    else if (report->calls == 0)
        snprintf(err, errlen, "the program allocated nothing");
    return result || report->calls == 0 ? -1 : 0;
}

int record_seal(const char *log, const char *trace, struct seal_report *report,
                char *err, unsigned errlen)
{
    struct stat st;
    memset(report, 0, sizeof *report);
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0) {
        snprintf(err, errlen, "nothing was recorded (is the program static, or privileged?)");
        if (fd >= 0)
            close(fd);
        return -1;
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (map == MAP_FAILED) {
        snprintf(err, errlen, "cannot read the log: %s", strerror(errno));
        return -1;
    }
    int result = seal_mapped(map, (size_t)st.st_size, trace, report, err, errlen);
    munmap(map, (size_t)st.st_size);
    return result;
}
