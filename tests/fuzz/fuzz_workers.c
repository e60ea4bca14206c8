/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that do an instruction when they are told to, while the others wait. */
#include <pthread.h>
#include <semaphore.h>

#include "fuzz.h"

static struct worker {
    pthread_t thread;
    sem_t go, done;
    bool there, ends;
} workers[FUZZ_WORKERS + 1];

static void wait_for(sem_t *s)
{
    while (sem_wait(s) != 0)
        continue;
}

static void *work(void *argument)
{
    struct worker *w = argument;
    for (;;) {
        wait_for(&w->go);
        if (w->ends)
            return NULL;
        fuzz_step();
        sem_post(&w->done);
    }
}

static void begin(struct worker *w)
{
    w->ends = false;
    fuzz_check(sem_init(&w->go, 0, 0) == 0 && sem_init(&w->done, 0, 0) == 0);
    fuzz_check(pthread_create(&w->thread, NULL, work, w) == 0);
    w->there = true;
}

void fuzz_worker_step(unsigned number)
{
    struct worker *w = &workers[number];
    if (!w->there)
        begin(w);
    sem_post(&w->go);
    wait_for(&w->done);
}

void fuzz_worker_end(unsigned number)
{
    struct worker *w = &workers[number];
    if (!w->there)
        return;
    w->ends = true;
    sem_post(&w->go);
    fuzz_check(pthread_join(w->thread, NULL) == 0);
    fuzz_check(sem_destroy(&w->go) == 0 && sem_destroy(&w->done) == 0);
    w->there = false;
}
