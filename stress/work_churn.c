/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work_churn: threads that are born and end all the time.
 *
 * Each worker starts a short-lived thread, waits for its end, and starts the next. In its life such
 * a thread
 *
 *   1. frees what a neighbour's threads left in its worker's inbox,
 *   2. makes 2,000 random replacements in a table of 400 slots, with the sizes of `small`,
 *   3. leaves every fourth block in the inbox of the next worker, as long as there is room,
 *   4. frees the others and ends.
 *
 * An operation is one replacement: a malloc and, sooner or later, its free. The time of starting
 * and ending threads is part of the figures.
 */
#include <pthread.h>

#include "work.h"

enum { CHURN_SLOTS = 400, CHURN_STEPS = 2000, CHURN_LEAVE_EVERY = 4, INBOX_SLOTS = 400 };

/* `lock` guards both fields. */
struct inbox {
    pthread_mutex_t lock;
    uint32_t count;
    struct work_block block[INBOX_SLOTS];
} __attribute__((aligned(128)));

/* A worker's own, lent to the thread that lives. */
struct churn {
    bool over;
    struct work_block slot[CHURN_SLOTS];
    struct work_block taken[INBOX_SLOTS];
};

static size_t churn_bytes(const struct work *w)
{
    (void)w;
    return sizeof(struct churn);
}

static bool churn_prepare(struct work *w, const char *argument, char *error, size_t error_size)
{
    struct inbox *inbox = work_map(w->options->threads * sizeof(inbox[0]));

    (void)argument, (void)error, (void)error_size;
    for (uint64_t i = 0; i < w->options->threads; i++)
        pthread_mutex_init(&inbox[i].lock, NULL);
    w->shared = inbox;
    return true;
}

static void inbox_empty(struct work_thread *t, struct inbox *in)
{
    struct churn *c = t->table;
    uint32_t count;

    pthread_mutex_lock(&in->lock);
    count = in->count;
    for (uint32_t i = 0; i < count; i++)
        c->taken[i] = in->block[i];
    in->count = 0;
    pthread_mutex_unlock(&in->lock);
    work_blocks_end(t, c->taken, count);
}

static void inbox_fill(struct work_thread *t, struct inbox *in)
{
    struct churn *c = t->table;

    pthread_mutex_lock(&in->lock);
    for (uint32_t i = 0; i < CHURN_SLOTS && in->count < INBOX_SLOTS; i += CHURN_LEAVE_EVERY) {
        if (c->slot[i].p == NULL)
            continue;
        in->block[in->count++] = c->slot[i];
        c->slot[i].p = NULL;
    }
    pthread_mutex_unlock(&in->lock);
}

static void *life(void *argument)
{
    struct work_thread *t = argument;
    struct churn *c = t->table;
    struct inbox *inbox = t->work->shared;
    bool more = true;

    inbox_empty(t, &inbox[t->index]);
    for (int step = 0; step < CHURN_STEPS && more; step++) {
        uint64_t random = work_random(&t->random);
        struct work_block *b = &c->slot[work_below(random, CHURN_SLOTS)];

        work_block_end(t, b);
        work_block_new(t, b, work_small_size(random));
        more = work_next(t);
    }
    c->over = !more;
    inbox_fill(t, &inbox[(t->index + 1) % t->work->options->threads]);
    work_blocks_end(t, c->slot, CHURN_SLOTS);
    if (alloc_calls.thread_end != NULL)
        alloc_calls.thread_end();
    return NULL;
}

static void churn_run(struct work_thread *t)
{
    struct churn *c = t->table;
    pthread_t id;

    while (!c->over) {
        if (pthread_create(&id, NULL, life, t) != 0)
            work_fail("cannot start a thread");
        pthread_join(id, NULL);
        t->threads_started++;
    }
}

static void churn_drain(struct work_thread *t)
{
    struct inbox *inbox = t->work->shared;

    inbox_empty(t, &inbox[t->index]);
}

const struct work_kind work_churn = {
    .name = "churn", .prepare = churn_prepare, .table_bytes = churn_bytes, .run = churn_run,
    .drain = churn_drain
};
