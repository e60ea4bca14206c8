/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work_trace: the allocation calls of a recorded program, made again.
 *
 * The recorded threads come to life here: thread 0 is the worker, and each other one is started
 * when the thread that started it in the recording has come to that point. Every thread makes its
 * own calls in their recorded order, and waits only where it gives up a block that another thread
 * has not allocated yet. trace.h says why that cannot deadlock.
 *
 * A pass ends when all its threads have ended and what the program never freed has been freed.
 * Passes are whole; they go on until --seconds have passed or --ops are done for each recorded
 * thread. Where --threads is a multiple of the recorded threads, so many copies of the trace are
 * replayed side by side, each with a table of its own. An operation is one call.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "trace.h"
#include "work.h"

enum { PUBLISH_OPS = 128, NO_THREAD = 0 };

/*
 * `p` is empty (NULL), or holds the block. Entries that two threads use are filled with release and
 * read with acquire, so that the other fields and the block's bytes are seen with it.
 */
struct entry {
    void *_Atomic p;
    uint64_t size;
    uint64_t id;
};

struct replay;

/* A recorded thread in a replay. Nobody starts thread 0, so that number ends the lists. */
struct replay_thread {
    struct replay *replay;
    unsigned index;
    unsigned first_child;
    unsigned next_sibling;      /* in the order of starter_ops */
    pthread_t id;               /* set by the thread that starts it, read after that one's join */
    struct work_thread *counts; /* what it did; thread 0 counts in the worker */
};

/* One copy of the trace. */
struct replay {
    const struct trace *trace;
    struct entry *table;
    struct replay_thread *thread;
    uint64_t id_base;
    uint64_t ops_limit;         /* of the whole copy */
};

struct replays {
    struct trace trace;
    unsigned copies;
    struct replay replay[];
};

/* Stands in the table for a block of no bytes whose address is NULL. */
static char null_block;

static void link_children(struct replay *r)
{
    for (unsigned i = 1; i < r->trace->threads; i++) {
        const struct trace_thread *born = &r->trace->thread[i];
        unsigned *link = &r->thread[born->starter].first_child;

        while (*link != NO_THREAD && r->trace->thread[*link].starter_ops <= born->starter_ops)
            link = &r->thread[*link].next_sibling;
        r->thread[i].next_sibling = *link;
        *link = i;
    }
}

static void replay_init(struct replay *r, const struct trace *trace, struct work *w, unsigned copy)
{
    struct work_thread *counts = work_map(trace->threads * sizeof(counts[0]));

    r->trace = trace;
    r->table = work_map(trace->blocks * sizeof(r->table[0]));
    r->thread = work_map(trace->threads * sizeof(r->thread[0]));
    r->id_base = (uint64_t)copy << 32;
    r->ops_limit = w->options->ops * trace->threads;
    for (unsigned i = 0; i < trace->threads; i++) {
        work_thread_init(&counts[i], w, copy * trace->threads + i, 1, 0);
        r->thread[i].replay = r;
        r->thread[i].index = i;
        r->thread[i].counts = &counts[i];
    }
    link_children(r);
}

static bool sizes_fit(const struct trace *trace, char *error, size_t error_size)
{
    for (unsigned i = 0; i < trace->threads; i++)
        for (size_t j = 0; j < trace->thread[i].count; j++)
            if (trace->thread[i].ops[j].size > alloc_calls.size_max) {
                snprintf(error, error_size, "the trace has a block of %llu bytes; the allocator's "
                         "limit is %zu", (unsigned long long)trace->thread[i].ops[j].size,
                         alloc_calls.size_max);
                return false;
            }
    return true;
}

static bool trace_prepare(struct work *w, const char *file, char *error, size_t error_size)
{
    struct trace trace;
    struct replays *all;
    unsigned copies;

    if (trace_load(file, &trace, error, error_size) != 0
        || !sizes_fit(&trace, error, error_size))
        return false;
    copies = (unsigned)w->options->threads / trace.threads;
    copies = copies == 0 ? 1 : copies;
    all = work_map(sizeof(*all) + copies * sizeof(all->replay[0]));
    all->trace = trace;
    all->copies = copies;
    for (unsigned i = 0; i < copies; i++)
        replay_init(&all->replay[i], &all->trace, w, i);
    w->shared = all;
    w->threads_at_once = copies * trace.threads;
    return true;
}

static unsigned trace_threads(const struct work *w)
{
    const struct replays *all = w->shared;

    return all->copies;
}

static void entry_fill(struct replay *r, struct work_thread *t, const struct trace_op *op,
                       void *p, uint64_t size)
{
    struct entry *e = &r->table[op->block];

    if (p == NULL) {
        if (size != 0)
            work_fail("an allocation of %llu bytes returned NULL", (unsigned long long)size);
        p = &null_block;
    } else if (t->verify) {
        size_t alignment = op->call == TRACE_ALIGNED && alloc_calls.aligns
                           ? (size_t)1 << op->align_log2 : 0;

        work_verify_fill(p, size, r->id_base + op->seq, alignment);
    } else {
        work_touch(p, size);
    }
    t->live += (int64_t)size;
    e->size = size;
    e->id = r->id_base + op->seq;
    atomic_store_explicit(&e->p, p,
                          op->flags & TRACE_TO_OTHER ? memory_order_release : memory_order_relaxed);
}

/* Empty the entry, waiting until it is full if another thread fills it. Its other fields stay. */
static void *entry_take(struct replay *r, struct work_thread *t, const struct trace_op *op,
                        uint32_t block)
{
    struct entry *e = &r->table[block];
    unsigned spins = 0;
    void *p;

    if (op->flags & TRACE_FROM_OTHER)
        while ((p = atomic_load_explicit(&e->p, memory_order_acquire)) == NULL)
            work_wait(&spins);
    else
        p = atomic_load_explicit(&e->p, memory_order_relaxed);
    atomic_store_explicit(&e->p, NULL, memory_order_relaxed);
    t->live -= (int64_t)e->size;
    if (p == &null_block)
        return NULL;
    if (t->verify)
        work_verify_check(p, e->size, e->id);
    return p;
}

/*
 * A realloc to no bytes at all means different things to different allocators, so it is made a
 * realloc to one byte, which means the same to all.
 */
static void replay_realloc(struct replay *r, struct work_thread *t, const struct trace_op *op)
{
    void *old = entry_take(r, t, op, op->old_block);
    uint64_t old_size = r->table[op->old_block].size;
    uint64_t old_id = r->table[op->old_block].id;
    uint64_t size = op->size != 0 ? op->size : 1;
    void *p = work_call_realloc(t, old, size);

    if (t->verify && old != NULL)
        work_verify_prefix(p, size < old_size ? size : old_size, old_id);
    entry_fill(r, t, op, p, size);
}

static void replay_op(struct replay *r, struct work_thread *t, const struct trace_op *op)
{
    void *p;

    switch (op->call) {
    case TRACE_MALLOC:
        entry_fill(r, t, op, work_call_malloc(t, op->size), op->size);
        break;
    case TRACE_CALLOC:
        p = work_call_calloc(t, op->size);
        if (t->verify)
            work_verify_zero(p, op->size);
        entry_fill(r, t, op, p, op->size);
        break;
    case TRACE_ALIGNED:
        entry_fill(r, t, op, work_call_aligned(t, (size_t)1 << op->align_log2, op->size), op->size);
        break;
    case TRACE_REALLOC:
        replay_realloc(r, t, op);
        break;
    default:
        work_call_free(t, entry_take(r, t, op, op->block));
        break;
    }
}

static void *born_main(void *argument);

/* All of one recorded thread's life but its end. */
static void replay_life(struct replay_thread *self, struct work_thread *t)
{
    struct replay *r = self->replay;
    const struct trace_thread *recorded = &r->trace->thread[self->index];
    unsigned child = self->first_child;

    for (size_t done = 0; done <= recorded->count; done++) {
        while (child != NO_THREAD && r->trace->thread[child].starter_ops <= done) {
            struct replay_thread *born = &r->thread[child];

            if (pthread_create(&born->id, NULL, born_main, born) != 0)
                work_fail("cannot start recorded thread %u", child);
            child = born->next_sibling;
        }
        if (done % PUBLISH_OPS == 0 || done == recorded->count)
            work_publish(t);
        if (done < recorded->count)
            replay_op(r, t, &recorded->ops[done]);
    }
    t->ops += recorded->count;
}

static void *born_main(void *argument)
{
    struct replay_thread *self = argument;

    replay_life(self, self->counts);
    if (alloc_calls.thread_end != NULL)
        alloc_calls.thread_end();
    return NULL;
}

/* What the program never freed. All other threads of the copy have ended. */
static void free_the_rest(struct replay *r, struct work_thread *t)
{
    const struct trace_op alone = { .call = TRACE_FREE };

    for (uint32_t i = 0; i < r->trace->blocks; i++) {
        if (atomic_load_explicit(&r->table[i].p, memory_order_relaxed) == NULL)
            continue;
        work_call_free(t, entry_take(r, t, &alone, i));
        t->ops++;
    }
    work_publish(t);
}

static uint64_t replay_ops(const struct replay *r, const struct work_thread *worker)
{
    uint64_t ops = worker->ops;

    for (unsigned i = 1; i < r->trace->threads; i++)
        ops += r->thread[i].counts->ops;
    return ops;
}

static void trace_run(struct work_thread *t)
{
    struct replays *all = t->work->shared;
    struct replay *r = &all->replay[t->index];
    bool more;

    do {
        replay_life(&r->thread[0], t);
        for (unsigned i = 1; i < r->trace->threads; i++) {
            /* A starter has a lower number than those it starts, so it is joined before them. */
            pthread_join(r->thread[i].id, NULL);
            t->threads_started++;
        }
        free_the_rest(r, t);
        if (t->work->deadline_ns != 0)
            more = figures_now_ns() < t->work->deadline_ns;
        else
            more = replay_ops(r, t) < r->ops_limit;
    } while (more);
}

/* Nothing is left to free; the other threads' counts become the worker's. */
static void trace_drain(struct work_thread *t)
{
    struct replays *all = t->work->shared;
    struct replay *r = &all->replay[t->index];

    t->ops = replay_ops(r, t);
    for (unsigned i = 1; i < r->trace->threads; i++)
        figures_latency_merge(&t->latency, &r->thread[i].counts->latency);
}

const struct work_kind work_trace = {
    .name = "trace", .prepare = trace_prepare, .threads = trace_threads, .run = trace_run,
    .drain = trace_drain
};
