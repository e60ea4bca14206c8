/* SPDX-License-Identifier: BSD-2-Clause */
#include "soak_crew.h"

#include "soak_work.h"

static void *member_main(void *arg);

static void member_start(struct soak_member *m)
{
    pthread_t thread; /* nobody joins the last one: the process ends first */

    if (pthread_create(&thread, NULL, member_main, m) != 0)
        soak_fail("cannot start a thread");
}

/* Waits for a round that is for this member. */
static void member_wait(struct soak_member *m)
{
    struct soak_crew *crew = m->crew;

    pthread_mutex_lock(&crew->lock);
    for (;;) {
        if (m->seen != crew->round) {
            m->seen = crew->round;
            if (crew->set >> m->index & 1)
                break;
        }
        pthread_cond_wait(&crew->work, &crew->lock);
    }
    pthread_mutex_unlock(&crew->lock);
}

static void member_done(struct soak_member *m)
{
    struct soak_crew *crew = m->crew;

    soak_publish();
    pthread_mutex_lock(&crew->lock);
    if (--crew->left == 0)
        pthread_cond_signal(&crew->done);
    pthread_mutex_unlock(&crew->lock);
}

/* The successor first joins the thread before it, so that what an allocator does at a thread's end
 * is over before the next calls. */
static void member_replace(struct soak_member *m)
{
    soak_publish();
    m->before = pthread_self();
    m->replaced = true;
    member_start(m);
}

static void *member_main(void *arg)
{
    struct soak_member *m = arg;
    bool at_it = m->replaced;

    if (m->replaced)
        pthread_join(m->before, NULL);
    for (;;) {
        if (!at_it)
            member_wait(m);
        if (!m->crew->job(m->crew->arg, m->index))
            break;
        member_done(m);
        at_it = false;
    }
    /* The last calls to the allocator come before the new thread can run. */
    if (alloc_calls.thread_end != NULL)
        alloc_calls.thread_end();
    member_replace(m);
    return NULL;
}

void soak_crew_start(struct soak_crew *crew, unsigned count)
{
    *crew = (struct soak_crew){ .round = 0 };
    if (count > CREW_MAX || pthread_mutex_init(&crew->lock, NULL) != 0
        || pthread_cond_init(&crew->work, NULL) != 0 || pthread_cond_init(&crew->done, NULL) != 0)
        soak_fail("cannot set threads up");
    for (unsigned i = 0; i < count; i++) {
        crew->member[i].crew = crew;
        crew->member[i].index = i;
        member_start(&crew->member[i]);
    }
}

void soak_crew_run(struct soak_crew *crew, uint64_t set, soak_job *job, void *arg)
{
    pthread_mutex_lock(&crew->lock);
    crew->job = job;
    crew->arg = arg;
    crew->set = set;
    crew->left = (unsigned)__builtin_popcountll(set);
    crew->round++;
    pthread_cond_broadcast(&crew->work);
    while (crew->left != 0)
        pthread_cond_wait(&crew->done, &crew->lock);
    pthread_mutex_unlock(&crew->lock);
}
