/* SPDX-License-Identifier: BSD-2-Clause */
#include "work.h"

#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "alloc_trim.h"

enum { WAIT_SPINS = 64 };

static const struct work_kind *const kinds[] = {
    &work_uniform, &work_small, &work_realloc, &work_producer, &work_churn, &work_trace
};

static int fail_fd = -1;
static atomic_flag fail_begun = ATOMIC_FLAG_INIT;

const struct work_kind *work_find(const char *name, const char **argument)
{
    size_t length = strcspn(name, ":");

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        bool wants_argument = kinds[i] == &work_trace;

        if (strlen(kinds[i]->name) == length && strncmp(kinds[i]->name, name, length) == 0
            && wants_argument == (name[length] == ':')) {
            *argument = wants_argument ? name + length + 1 : NULL;
            return kinds[i];
        }
    }
    return NULL;
}

void work_fail_to(int fd)
{
    fail_fd = fd;
}

/* Nothing here allocates: the heap may be broken. */
void work_fail(const char *format, ...)
{
    static struct memtest_record record;
    va_list values;

    while (atomic_flag_test_and_set(&fail_begun))
        pause();
    va_start(values, format);
    vsnprintf(record.error, sizeof(record.error), format, values);
    va_end(values);
    if (write(fail_fd, &record, sizeof(record)) != (ssize_t)sizeof(record))
        _exit(3);
    _exit(1);
}

void *work_map(size_t bytes)
{
    void *p = mmap(NULL, bytes == 0 ? 1 : bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED)
        work_fail("no memory for tables of %zu bytes", bytes);
    return p;
}

static uint32_t next_sample(const struct work_thread *t)
{
    /* Not at a fixed distance: that might always meet the same call of a repeating pattern. */
    uint64_t random = work_mix(t->latency.samples * 1024 + t->index + 1);

    return 1 + WORK_SAMPLE_CALLS / 2 + work_below(random, WORK_SAMPLE_CALLS);
}

void work_thread_init(struct work_thread *t, struct work *w, unsigned index, unsigned count,
                      unsigned round)
{
    const struct memtest_options *o = w->options;

    t->work = w;
    t->index = index;
    t->verify = o->verify;
    t->random = work_mix(work_mix(o->seed + 1) + ((uint64_t)round << 32) + index);
    t->ops_limit = o->ops != 0 ? o->ops : UINT64_MAX;
    t->ops_check = t->ops_limit < WORK_CHECK_OPS ? t->ops_limit : WORK_CHECK_OPS;
    t->next_id = index;
    t->id_step = 1;
    while (t->id_step < count)      /* a power of two: identities stay apart when they wrap */
        t->id_step *= 2;
    t->sample_in = next_sample(t);
}

void work_publish(struct work_thread *t)
{
    int64_t delta = t->live - t->live_published;
    struct work *w = t->work;
    int64_t live = atomic_fetch_add_explicit(&w->live, delta, memory_order_relaxed) + delta;
    int64_t peak = atomic_load_explicit(&w->live_peak, memory_order_relaxed);

    t->live_published = t->live;
    while (live > peak
           && !atomic_compare_exchange_weak_explicit(&w->live_peak, &peak, live,
                                                     memory_order_relaxed, memory_order_relaxed)) {
    }
}

void work_wait(unsigned *spins)
{
    if (++*spins >= WAIT_SPINS)
        sched_yield();
#ifdef __x86_64__
    else
        __builtin_ia32_pause();
#endif
}

bool work_check(struct work_thread *t)
{
    uint64_t left = t->ops_limit - t->ops;

    work_publish(t);
    t->ops_check = t->ops + (left < WORK_CHECK_OPS ? left : WORK_CHECK_OPS);
    if (left == 0)
        return false;
    return t->work->deadline_ns == 0 || figures_now_ns() < t->work->deadline_ns;
}

static void sample_end(struct work_thread *t, uint64_t start)
{
    uint64_t ticks = figures_ticks() - start;
    uint64_t overhead = t->work->clock.overhead;

    figures_latency_add(&t->latency, ticks > overhead ? ticks - overhead : 0);
    t->sample_in = next_sample(t);
}

void *work_timed_malloc(struct work_thread *t, size_t size)
{
    uint64_t start = figures_ticks();
    void *p = alloc_calls.malloc(size);

    sample_end(t, start);
    return p;
}

void *work_timed_calloc(struct work_thread *t, size_t size)
{
    uint64_t start = figures_ticks();
    void *p = alloc_calls.calloc(1, size);

    sample_end(t, start);
    return p;
}

void *work_timed_aligned(struct work_thread *t, size_t alignment, size_t size)
{
    uint64_t start = figures_ticks();
    void *p = alloc_calls.aligned(alignment, size);

    sample_end(t, start);
    return p;
}

void *work_timed_realloc(struct work_thread *t, void *block, size_t size)
{
    uint64_t start = figures_ticks();
    void *p = alloc_calls.realloc(block, size);

    sample_end(t, start);
    return p;
}

void work_timed_free(struct work_thread *t, void *block)
{
    uint64_t start = figures_ticks();

    alloc_calls.free(block);
    sample_end(t, start);
}

void work_blocks_end(struct work_thread *t, struct work_block *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        work_block_end(t, &b[i]);
}

/* The two barriers of a run, which the main thread passes together with the workers. */
static pthread_barrier_t barrier_start;
static pthread_barrier_t barrier_held;

static void *worker_main(void *argument)
{
    struct work_thread *t = argument;
    const struct work_kind *kind = t->work->kind;

    pthread_barrier_wait(&barrier_start);
    t->start_ns = figures_now_ns();
    kind->run(t);
    t->end_ns = figures_now_ns();
    work_publish(t);
    pthread_barrier_wait(&barrier_held);
    if (kind->drain != NULL)
        kind->drain(t);
    if (alloc_calls.thread_end != NULL)
        alloc_calls.thread_end();
    return NULL;
}

struct usage {
    uint64_t cpu_ns;
    uint64_t faults;
};

static struct usage usage_now(void)
{
    struct timespec cpu;
    struct rusage r;
    struct usage u;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    getrusage(RUSAGE_SELF, &r);
    u.cpu_ns = (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec;
    u.faults = (uint64_t)r.ru_minflt + (uint64_t)r.ru_majflt;
    return u;
}

static void run_threads(struct work *w, struct work_thread *threads, unsigned count,
                        struct memtest_record *record)
{
    pthread_t *id = work_map(count * sizeof(id[0]));
    struct usage before;
    struct usage after;

    pthread_barrier_init(&barrier_start, NULL, count + 1);
    pthread_barrier_init(&barrier_held, NULL, count + 1);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&id[i], NULL, worker_main, &threads[i]) != 0)
            work_fail("cannot start thread %u", i);
    if (w->options->ops == 0)
        w->deadline_ns = figures_now_ns() + (uint64_t)(w->options->seconds * 1e9);
    before = usage_now();
    pthread_barrier_wait(&barrier_start);
    pthread_barrier_wait(&barrier_held);
    after = usage_now();
    for (unsigned i = 0; i < count; i++)
        pthread_join(id[i], NULL);
    record->cpu_ns = after.cpu_ns - before.cpu_ns;
    record->faults = after.faults - before.faults;
    munmap(id, count * sizeof(id[0]));
}

static void record_times(const struct work *w, const struct work_thread *threads, unsigned count,
                         struct memtest_record *record)
{
    static struct figures_latency all;
    uint64_t start = UINT64_MAX;
    uint64_t end = 0;

    record->threads = count;
    for (unsigned i = 0; i < count; i++) {
        const struct work_thread *t = &threads[i];

        start = t->start_ns < start ? t->start_ns : start;
        end = t->end_ns > end ? t->end_ns : end;
        record->ops += t->ops;
        record->threads += t->threads_started;
        figures_latency_merge(&all, &t->latency);
    }
    record->elapsed_ns = end > start ? end - start : 1;
    record->samples = all.samples;
    record->p50_ns = figures_latency_percentile(&all, 0.5, &w->clock);
    record->p99_ns = figures_latency_percentile(&all, 0.99, &w->clock);
    record->p999_ns = figures_latency_percentile(&all, 0.999, &w->clock);
    record->timer_ns = (double)w->clock.overhead * w->clock.ns_per_tick;
}

static void record_memory_after(const struct work *w, struct memtest_record *record)
{
    double idle = w->options->idle;

    record->rss_peak = figures_memory_peak();
    record->ended = figures_memory_now();
    if (idle > 0.0) {
        struct timespec pause_for = { .tv_sec = (time_t)idle,
                                      .tv_nsec = (long)((idle - (double)(time_t)idle) * 1e9) };

        while (nanosleep(&pause_for, &pause_for) != 0) {
        }
        record->idle = figures_memory_now();
    }
    snprintf(record->trim_call, sizeof(record->trim_call), "%s", alloc_trim());
    record->trimmed = figures_memory_now();
    if (record->rss_peak < record->ended.rss)   /* the kernel's peak counter lags a little */
        record->rss_peak = record->ended.rss;
    record->live_peak = (uint64_t)atomic_load(&w->live_peak);
}

bool work_run(const struct memtest_options *o, unsigned round, struct memtest_record *record)
{
    struct work *w = work_map(sizeof(*w));
    struct work_thread *threads;
    const char *argument;
    unsigned count;

    w->options = o;
    w->kind = work_find(o->workloads[0], &argument);
    w->clock = figures_clock_calibrate();
    if (w->kind->prepare != NULL
        && !w->kind->prepare(w, argument, record->error, sizeof(record->error)))
        return false;
    count = w->kind->threads != NULL ? w->kind->threads(w) : (unsigned)o->threads;
    record->threads_at_once = w->threads_at_once != 0 ? w->threads_at_once : count;
    threads = work_map(count * sizeof(threads[0]));
    for (unsigned i = 0; i < count; i++) {
        work_thread_init(&threads[i], w, i, count, round);
        if (w->kind->table_bytes != NULL)
            threads[i].table = work_map(w->kind->table_bytes(w));
    }
    record->start = figures_memory_now();
    run_threads(w, threads, count, record);
    record_times(w, threads, count, record);
    record_memory_after(w, record);
    return true;
}
