/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work: what the workloads have in common; it runs in the measured process.
 *
 * A workload is a struct work_kind. work_run() gives it a number of worker threads and takes them
 * through these steps, with a barrier (*) between two of them:
 *
 *   prepare (main thread) . tables touched, memory read . * . run . * . drain . thread ends .
 *   memory read . pause . memory read . trim . memory read
 *
 * Only `run` is timed. No thread drains before all have run, so that all blocks are live together.
 * Whatever memtest itself needs comes from work_map(), never from the allocator under test, and is
 * resident before the first reading.
 *
 * A worker's fields belong to that worker until it has ended. Live bytes are counted in the worker
 * and added to a shared total at every check, some hundred operations apart; the largest total seen
 * is the run's peak of live bytes.
 */
#ifndef OWL_STRESS_WORK_H
#define OWL_STRESS_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc_table.h"
#include "figures_latency.h"
#include "memtest_options.h"
#include "memtest_record.h"
#include "work_random.h"
#include "work_verify.h"

enum {
    WORK_CHECK_OPS = 1024,      /* operations between two looks at the clock */
    WORK_SAMPLE_CALLS = 256     /* one call in so many is timed, on average */
};

/* A live block, as tables and queues keep it. */
struct work_block {
    unsigned char *p;           /* NULL: no block */
    uint32_t size;
    uint32_t id;                /* its identity, for --verify */
};

struct work;

struct work_thread {
    struct work *work;
    void *table;                /* the workload's own, table_bytes long, zeroed */
    uint64_t random;
    uint64_t ops;
    uint64_t ops_check;         /* `ops` at the next check */
    uint64_t ops_limit;
    int64_t live;               /* bytes allocated here less bytes freed here */
    int64_t live_published;
    uint32_t sample_in;         /* calls until one is timed */
    uint32_t next_id;
    uint32_t id_step;
    bool verify;
    unsigned index;
    uint64_t threads_started;
    uint64_t start_ns;
    uint64_t end_ns;
    struct figures_latency latency;
} __attribute__((aligned(128)));

struct work_kind {
    const char *name;
    /* Called first; may fill work->shared. false: the reason is in `error`. NULL: nothing to do. */
    bool (*prepare)(struct work *w, const char *argument, char *error, size_t error_size);
    unsigned (*threads)(const struct work *w);          /* NULL: as many as --threads says */
    size_t (*table_bytes)(const struct work *w);        /* NULL: none */
    void (*run)(struct work_thread *t);
    void (*drain)(struct work_thread *t);               /* NULL: `run` leaves nothing */
};

extern const struct work_kind work_uniform, work_small, work_realloc, work_producer, work_churn,
                              work_trace;

/* The workload of that name, and what follows its colon; NULL: there is none. */
const struct work_kind *work_find(const char *name, const char **argument);

struct work {
    const struct memtest_options *options;
    const struct work_kind *kind;
    void *shared;               /* the workload's own */
    unsigned threads_at_once;   /* set by work_run() unless `prepare` has set it */
    struct figures_clock clock;
    uint64_t deadline_ns;       /* 0: --ops limits the run */
    _Atomic int64_t live __attribute__((aligned(128)));
    _Atomic int64_t live_peak;
};

/* Zeroed memory that is resident already; ends the process if there is none. */
void *work_map(size_t bytes);

/* Do everything and fill in the record. false: the reason is in record->error. */
bool work_run(const struct memtest_options *o, unsigned round, struct memtest_record *record);

/* End the process with this reason; any thread, the first one counts. */
void work_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* How work_fail() hands the reason over: writes the record to that descriptor. */
void work_fail_to(int fd);

/* Make `t` ready to run as thread `index` of `count`; its random numbers depend on `index` only. */
void work_thread_init(struct work_thread *t, struct work *w, unsigned index, unsigned count,
                      unsigned round);

/* Add what the thread counted since the last time to the shared total of live bytes. */
void work_publish(struct work_thread *t);

/* What to do while another thread has to go on: spin for a moment, then yield the processor. */
void work_wait(unsigned *spins);

/* The slow part of work_next(). */
bool work_check(struct work_thread *t);

/* Count an operation. false: the run is over. */
static inline bool work_next(struct work_thread *t)
{
    if (__builtin_expect(++t->ops == t->ops_check, 0))
        return work_check(t);
    return true;
}

/* The calls, one in WORK_SAMPLE_CALLS timed. */
void *work_timed_malloc(struct work_thread *t, size_t size);
void *work_timed_calloc(struct work_thread *t, size_t size);
void *work_timed_aligned(struct work_thread *t, size_t alignment, size_t size);
void *work_timed_realloc(struct work_thread *t, void *block, size_t size);
void work_timed_free(struct work_thread *t, void *block);

static inline bool work_sampled(struct work_thread *t)
{
    return __builtin_expect(--t->sample_in == 0, 0);
}

static inline void *work_call_malloc(struct work_thread *t, size_t size)
{
    return work_sampled(t) ? work_timed_malloc(t, size) : alloc_calls.malloc(size);
}

static inline void *work_call_calloc(struct work_thread *t, size_t size)
{
    return work_sampled(t) ? work_timed_calloc(t, size) : alloc_calls.calloc(1, size);
}

static inline void *work_call_aligned(struct work_thread *t, size_t alignment, size_t size)
{
    return work_sampled(t) ? work_timed_aligned(t, alignment, size)
                           : alloc_calls.aligned(alignment, size);
}

static inline void *work_call_realloc(struct work_thread *t, void *block, size_t size)
{
    return work_sampled(t) ? work_timed_realloc(t, block, size) : alloc_calls.realloc(block, size);
}

static inline void work_call_free(struct work_thread *t, void *block)
{
    if (work_sampled(t))
        work_timed_free(t, block);
    else
        alloc_calls.free(block);
}

/* Use a fresh block as little as possible, but so that it is seen how far it reaches: its first and
 * its last byte. */
static inline void work_touch(unsigned char *p, size_t size)
{
    if (size != 0) {
        p[0] = 1;
        p[size - 1] = 1;
    }
}

static inline void work_block_new(struct work_thread *t, struct work_block *b, size_t size)
{
    b->p = work_call_malloc(t, size);
    b->size = (uint32_t)size;
    b->id = t->next_id;
    t->next_id += t->id_step;
    t->live += (int64_t)size;
    if (__builtin_expect(b->p == NULL && size != 0, 0))
        work_fail("malloc of %zu bytes returned NULL", size);
    if (t->verify)
        work_verify_fill(b->p, size, b->id, 0);
    else
        work_touch(b->p, size);
}

/* `b` may be empty. */
static inline void work_block_end(struct work_thread *t, struct work_block *b)
{
    if (b->p == NULL)
        return;
    if (t->verify)
        work_verify_check(b->p, b->size, b->id);
    t->live -= b->size;
    work_call_free(t, b->p);
    b->p = NULL;
}

/* End all blocks of a table. */
void work_blocks_end(struct work_thread *t, struct work_block *b, size_t count);

/* The sizes of `small`, see work_slots.c; also used where the workload is not about sizes. */
size_t work_small_size(uint64_t random);

#endif
