/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loading takes two passes over the body. The first believes nothing: it checks every event against
 * a small model of the program (which blocks live, who allocated them, which threads have ended)
 * and learns which blocks change hands. The second knows that the trace is sound and how long each
 * thread's list is; it gives the blocks their numbers and fills the lists.
 */
#include "trace.h"
#include "trace_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALIGN_LOG2_MAX = 40 };

static uint64_t get_le(const unsigned char *from, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | from[i];
    return value;
}

/* What is known of one allocation. `number` and `next` belong to the second pass. */
struct life {
    uint64_t size;
    uint32_t owner;             /* the thread that allocated it */
    uint32_t number;            /* its place in the replay's table */
    uint32_t next;              /* indexed by number, not by allocation: next free number */
    bool live, shared;
};

struct load_thread {
    uint32_t count;             /* ops met so far in this pass */
    uint32_t free_number;       /* head of this thread's own free numbers, plus 1; 0: none */
    uint32_t birth, end, starter, starter_ops;
    bool ended;
};

struct event {
    unsigned kind;
    uint64_t value, size;
};

struct loader {
    const unsigned char *at, *stop;
    struct trace_header head;
    struct life *life;
    struct load_thread *thread;
    uint32_t seen;              /* threads met so far */
    uint32_t current;           /* the thread that does what follows */
    uint32_t last;              /* the thread of the last op */
    uint32_t ops, allocations;  /* met so far in this pass */
    uint32_t numbers;           /* given out so far */
    uint64_t live_bytes, live_blocks, peak_bytes, peak_blocks;
    const char *fault;
};

static int fault(struct loader *l, const char *what)
{
    l->fault = what;
    return -1;
}

static int read_varint(struct loader *l, uint64_t *value)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (l->at == l->stop)
            return fault(l, "an event is cut short");
        unsigned byte = *l->at++;
        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = v;
            return 0;
        }
    }
    return fault(l, "a number is too long");
}

/* Returns 1 and an event, 0 at the end of the body, -1 with l->fault set. */
static int next_event(struct loader *l, struct event *e)
{
    if (l->at == l->stop)
        return 0;
    unsigned first = *l->at++;
    e->kind = first & TRACE_KIND_MASK;
    e->value = first >> TRACE_KIND_BITS;
    e->size = 0;
    if (e->kind == 0)
        return fault(l, "unknown kind of event");
    if (e->value == TRACE_INLINE_MAX) {
        uint64_t more;
        if (read_varint(l, &more))
            return -1;
        if (more > UINT64_MAX - TRACE_INLINE_MAX)
            return fault(l, "a number is too long");
        e->value += more;
    }
    if (e->kind == TRACE_REALLOC || e->kind == TRACE_ALIGNED)
        return read_varint(l, &e->size) ? -1 : 1;
    if (e->kind == TRACE_MALLOC || e->kind == TRACE_CALLOC)
        e->size = e->value;
    return 1;
}

static int check_switch(struct loader *l, uint64_t to)
{
    if (to > l->seen || to >= l->head.threads)
        return fault(l, "a thread is out of order");
    l->current = (uint32_t)to;
    return 0;
}

static int check_end(struct loader *l, uint64_t who)
{
    if (who >= l->seen || l->thread[who].ended)
        return fault(l, "a thread ends that does not run");
    l->thread[who].ended = true;
    l->thread[who].end = l->ops;
    return 0;
}

static int check_give_up(struct loader *l, uint64_t distance)
{
    if (distance >= l->allocations)
        return fault(l, "a block is given up before it is allocated");
    struct life *b = &l->life[l->allocations - 1 - distance];
    if (!b->live)
        return fault(l, "a block is given up twice");
    b->live = false;
    b->shared = b->owner != l->current;
    l->live_bytes -= b->size;
    l->live_blocks--;
    return 0;
}

static int check_alloc(struct loader *l, const struct event *e)
{
    if (l->allocations >= l->head.allocations)
        return fault(l, "more allocations than announced");
    if (e->size > PTRDIFF_MAX || (e->kind == TRACE_ALIGNED && e->value > ALIGN_LOG2_MAX))
        return fault(l, "a size or an alignment is impossible");
    struct life *b = &l->life[l->allocations++];
    b->size = e->size;
    b->owner = l->current;
    b->live = true;
    l->live_bytes += b->size;
    l->live_blocks++;
    if (l->live_bytes > l->peak_bytes)
        l->peak_bytes = l->live_bytes;
    if (l->live_blocks > l->peak_blocks)
        l->peak_blocks = l->live_blocks;
    return 0;
}

static int check_op(struct loader *l, const struct event *e)
{
    struct load_thread *t = &l->thread[l->current];
    if (l->ops >= l->head.ops)
        return fault(l, "more calls than announced");
    if (t->ended)
        return fault(l, "a thread goes on after its end");
    if (l->current == l->seen) {
        t->birth = l->ops;
        t->starter = l->ops ? l->last : 0;
        t->starter_ops = l->ops ? l->thread[l->last].count : 0;
        t->end = (uint32_t)l->head.ops;
        l->seen++;
    }
    if ((e->kind == TRACE_FREE || e->kind == TRACE_REALLOC) && check_give_up(l, e->value))
        return -1;
    if (e->kind != TRACE_FREE && check_alloc(l, e))
        return -1;
    l->last = l->current;
    t->count++;
    l->ops++;
    return 0;
}

static int first_pass(struct loader *l)
{
    struct event e;
    int got;
    while ((got = next_event(l, &e)) > 0) {
        int bad = e.kind == TRACE_SWITCH ? check_switch(l, e.value)
            : e.kind == TRACE_END ? check_end(l, e.value) : check_op(l, &e);
        if (bad)
            return -1;
    }
    if (got < 0)
        return -1;
    if (l->ops != l->head.ops || l->allocations != l->head.allocations
        || l->seen != l->head.threads)
        return fault(l, "less in it than announced");
    return 0;
}

/*
 * Numbers. A block that changes hands gets a number for good. The others of a thread take turns on
 * numbers of that thread, the one freed last first, so that the replay's table stays as small and
 * as warm as the program's own.
 */
static uint32_t give_number(struct loader *l, struct life *b)
{
    struct load_thread *t = &l->thread[b->owner];
    if (b->shared || !t->free_number) {
        b->number = l->numbers++;
    } else {
        b->number = t->free_number - 1;
        t->free_number = l->life[b->number].next;
    }
    return b->number;
}

static uint32_t take_number(struct loader *l, const struct life *b)
{
    struct load_thread *t = &l->thread[b->owner];
    if (!b->shared) {
        l->life[b->number].next = t->free_number;
        t->free_number = b->number + 1;
    }
    return b->number;
}

static void fill_op(struct loader *l, const struct event *e, struct trace_op *op)
{
    *op = (struct trace_op){ .call = (uint8_t)e->kind, .size = e->size, .seq = l->ops };
    if (e->kind == TRACE_FREE || e->kind == TRACE_REALLOC) {
        const struct life *b = &l->life[l->allocations - 1 - e->value];
        uint32_t number = take_number(l, b);
        if (e->kind == TRACE_FREE)
            op->block = number;
        else
            op->old_block = number;
        if (b->shared)
            op->flags |= TRACE_FROM_OTHER;
    }
    if (e->kind != TRACE_FREE) {
        struct life *b = &l->life[l->allocations++];
        op->block = give_number(l, b);
        if (b->shared)
            op->flags |= TRACE_TO_OTHER;
    }
    if (e->kind == TRACE_ALIGNED)
        op->align_log2 = (uint8_t)e->value;
    l->ops++;
}

static void second_pass(struct loader *l, struct trace *t)
{
    struct event e;
    while (next_event(l, &e) > 0) {
        if (e.kind == TRACE_SWITCH) {
            l->current = (uint32_t)e.value;
        } else if (e.kind != TRACE_END) {
            struct trace_thread *to = &t->thread[l->current];
            fill_op(l, &e, &to->ops[to->count++]);
        }
    }
}

static void *map_memory(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* Room for the result: the threads, then each thread's ops. */
static int lay_out(const struct loader *l, struct trace *t)
{
    size_t threads_bytes = l->head.threads * sizeof(struct trace_thread);
    t->memory_bytes = threads_bytes + l->head.ops * sizeof(struct trace_op);
    t->memory = map_memory(t->memory_bytes);
    if (!t->memory)
        return -1;
    t->thread = t->memory;
    struct trace_op *ops = (struct trace_op *)((char *)t->memory + threads_bytes);
    for (uint32_t i = 0; i < l->head.threads; i++) {
        const struct load_thread *from = &l->thread[i];
        t->thread[i] = (struct trace_thread){
            .ops = ops, .birth = from->birth, .end = from->end,
            .starter = from->starter, .starter_ops = from->starter_ops };
        ops += from->count;
    }
    return 0;
}

static int decode(struct loader *l, struct trace *t)
{
    const unsigned char *body = l->at;
    size_t life_bytes = l->head.allocations * sizeof(struct life);
    size_t scratch_bytes = life_bytes + l->head.threads * sizeof(struct load_thread);
    void *scratch = map_memory(scratch_bytes);
    if (!scratch)
        return fault(l, "no memory to load it");
    l->life = scratch;
    l->thread = (struct load_thread *)((char *)scratch + life_bytes);

    int result = first_pass(l);
    if (result == 0 && lay_out(l, t))
        result = fault(l, "no memory to load it");
    if (result == 0) {
        l->at = body;
        l->ops = l->allocations = l->current = 0;
        second_pass(l, t);
        t->threads = l->head.threads;
        t->ops = l->head.ops;
        t->allocations = l->head.allocations;
        t->blocks = l->numbers;
        t->peak_bytes = l->peak_bytes;
        t->peak_blocks = l->peak_blocks;
        t->left = (uint32_t)l->live_blocks;
    }
    munmap(scratch, scratch_bytes);
    return result;
}

/*
 * The counts in the header size our memory, so they are held against the length of the body first:
 * every call takes at least a byte, every allocation and every thread needs a call.
 */
static int read_header(struct loader *l, const unsigned char *file, size_t bytes)
{
    struct trace_header *h = &l->head;
    if (bytes < TRACE_HEADER_BYTES || memcmp(file, TRACE_MAGIC, sizeof TRACE_MAGIC - 1) != 0)
        return fault(l, "not a trace");
    h->version = (uint32_t)get_le(file + 8, 4);
    if (h->version != TRACE_VERSION)
        return fault(l, "a trace of another version");
    if (get_le(file + 48, 8) != trace_checksum(TRACE_CHECKSUM_START, file, 48))
        return fault(l, "the header is damaged");
    h->threads = (uint32_t)get_le(file + 12, 4);
    h->ops = get_le(file + 16, 8);
    h->allocations = get_le(file + 24, 8);
    h->body_bytes = get_le(file + 32, 8);
    h->checksum = get_le(file + 40, 8);
    if (h->body_bytes > bytes - TRACE_HEADER_BYTES)
        return fault(l, "the file is cut short");
    if (h->body_bytes < bytes - TRACE_HEADER_BYTES)
        return fault(l, "the file has more in it than the trace");
    l->at = file + TRACE_HEADER_BYTES;
    l->stop = l->at + h->body_bytes;
    if (h->checksum != trace_checksum(TRACE_CHECKSUM_START, l->at, h->body_bytes))
        return fault(l, "the file is damaged");
    if (h->ops == 0 || h->threads == 0)
        return fault(l, "a trace without calls");
    if (h->ops > h->body_bytes || h->ops >= UINT32_MAX || h->allocations > h->ops
        || h->threads > h->ops)
        return fault(l, "the header makes no sense");
    return 0;
}

int trace_load(const char *file, struct trace *t, char *err, size_t errlen)
{
    struct loader l = { 0 };
    struct stat st;
    memset(t, 0, sizeof *t);
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(err, errlen, "%s: %s", file, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    size_t bytes = S_ISREG(st.st_mode) ? (size_t)st.st_size : 0;
    void *map = bytes ? mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    close(fd);
    if (map == MAP_FAILED) {
        snprintf(err, errlen, "%s: %s", file, strerror(errno));
        return -1;
    }
    int result = read_header(&l, map, bytes);
    if (result == 0)
        result = decode(&l, t);
    if (result)
        snprintf(err, errlen, "%s: %s", file, l.fault);
    if (map)
        munmap(map, bytes);
    return result;
}

void trace_unload(struct trace *t)
{
    if (t->memory)
        munmap(t->memory, t->memory_bytes);
    memset(t, 0, sizeof *t);
}
