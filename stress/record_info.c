/* SPDX-License-Identifier: BSD-2-Clause */
#include "record_info.h"
#include "trace.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUCKETS = 65 };          /* 0, 1, 2-3, 4-7, ...: by the number of bits */

struct info {
    uint64_t calls[TRACE_ALIGNED + 1];
    uint64_t by_size[BUCKETS];
    uint64_t lifetime[BUCKETS]; /* in calls of the whole program, between birth and death */
    uint64_t bytes;             /* asked for, all in all */
    uint64_t handed_over;       /* given up by another thread than the one that allocated */
    uint32_t threads_at_once;
};

static unsigned bucket_of(uint64_t value)
{
    return value ? 64 - (unsigned)__builtin_clzll(value) : 0;
}

static uint64_t bucket_last(unsigned bucket)
{
    return bucket ? (UINT64_MAX >> (64 - bucket)) : 0;
}

static void note_op(struct info *info, const struct trace_op *op, uint32_t *born)
{
    info->calls[op->call]++;
    info->handed_over += (op->flags & TRACE_FROM_OTHER) != 0;
    if (op->call == TRACE_FREE)
        info->lifetime[bucket_of(op->seq - born[op->block])]++;
    if (op->call == TRACE_REALLOC)
        info->lifetime[bucket_of(op->seq - born[op->old_block])]++;
    if (op->call != TRACE_FREE) {
        born[op->block] = op->seq;
        info->by_size[bucket_of(op->size)]++;
        info->bytes += op->size;
    }
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Walks births and ends, both sorted, in step. */
static int count_threads_at_once(const struct trace *t, struct info *info)
{
    uint32_t *end = malloc(t->threads * sizeof *end);
    if (!end)
        return -1;
    for (unsigned i = 0; i < t->threads; i++)
        end[i] = t->thread[i].end;
    qsort(end, t->threads, sizeof *end, compare_u32);
    for (unsigned i = 0, ended = 0; i < t->threads; i++) {
        while (end[ended] <= t->thread[i].birth)
            ended++;
        if (i + 1 - ended > info->threads_at_once)
            info->threads_at_once = i + 1 - ended;
    }
    free(end);
    return 0;
}

/* Puts the ops back into their global order and goes through them. */
static int gather(const struct trace *t, struct info *info)
{
    const struct trace_op **order = malloc(t->ops * sizeof *order);
    uint32_t *born = calloc(t->blocks, sizeof *born);
    int result = order && born ? count_threads_at_once(t, info) : -1;
    if (result == 0) {
        for (unsigned i = 0; i < t->threads; i++)
            for (size_t j = 0; j < t->thread[i].count; j++)
                order[t->thread[i].ops[j].seq] = &t->thread[i].ops[j];
        for (size_t i = 0; i < t->ops; i++)
            note_op(info, order[i], born);
    }
    free(born);
    free(order);
    return result;
}

static void print_histogram(const char *title, const uint64_t *bucket)
{
    uint64_t total = 0, sum = 0;
    for (int i = 0; i < BUCKETS; i++)
        total += bucket[i];
    printf("\n%-22s %12s %8s %8s\n", title, "count", "share", "sum");
    for (unsigned i = 0; i < BUCKETS; i++) {
        if (!bucket[i])
            continue;
        sum += bucket[i];
        printf("  up to %-14llu %12llu %7.2f%% %7.2f%%\n", (unsigned long long)bucket_last(i),
               (unsigned long long)bucket[i], 100.0 * (double)bucket[i] / (double)total,
               100.0 * (double)sum / (double)total);
    }
}

static void print_line(const char *what, uint64_t value)
{
    printf("%-22s %12llu\n", what, (unsigned long long)value);
}

static void print_threads(const struct trace *t)
{
    uint64_t ended = 0;
    for (unsigned i = 0; i < t->threads; i++)
        ended += t->thread[i].end < t->ops;
    print_line("threads ended", ended);
    for (unsigned i = 0; i < t->threads && i < 10; i++)
        printf("  thread %-13u %12zu calls, from %u to %u\n", i, t->thread[i].count,
               t->thread[i].birth, t->thread[i].end);
    if (t->threads > 10)
        printf("  and %u more\n", t->threads - 10);
}

static void print(const struct trace *t, const struct info *info)
{
    print_line("calls", t->ops);
    print_line("  malloc", info->calls[TRACE_MALLOC]);
    print_line("  calloc", info->calls[TRACE_CALLOC]);
    print_line("  realloc", info->calls[TRACE_REALLOC]);
    print_line("  aligned", info->calls[TRACE_ALIGNED]);
    print_line("  free", info->calls[TRACE_FREE]);
    print_line("bytes asked for", info->bytes);
    print_line("peak of live bytes", t->peak_bytes);
    print_line("peak of live blocks", t->peak_blocks);
    print_line("blocks never freed", t->left);
    print_line("freed by other thread", info->handed_over);
    print_line("entries for replay", t->blocks);
    print_line("threads", t->threads);
    print_line("threads at once", info->threads_at_once);
    print_threads(t);
    print_histogram("size in bytes", info->by_size);
    print_histogram("lifetime in calls", info->lifetime);
}

int record_info(const char *file)
{
    struct trace t;
    struct info info = { 0 };
    char err[256];
    if (trace_load(file, &t, err, sizeof err) != 0) {
        fprintf(stderr, "owl-record: %s\n", err);
        return -1;
    }
    int result = gather(&t, &info);
    if (result == 0)
        print(&t, &info);
    else
        fprintf(stderr, "owl-record: no memory\n");
    trace_unload(&t);
    return result;
}
