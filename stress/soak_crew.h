/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_crew: threads that wait for work, do it, and wait again, so that an allocator meets threads
 * which live on though they are idle.
 *
 * One thread, the master, hands out jobs; while no job is under way no member calls the allocator
 * under test. A job may ask that its thread end: a new thread then takes the member's place and
 * goes on with the job, after it has seen the other's end. Nothing here allocates but what
 * pthread_create itself does.
 */
#ifndef OWL_STRESS_SOAK_CREW_H
#define OWL_STRESS_SOAK_CREW_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { CREW_MAX = 64 };

/* True: done. False: call me again, in a new thread. */
typedef bool soak_job(void *arg, unsigned member);

struct soak_crew;

struct soak_member {
    struct soak_crew *crew;
    unsigned index;
    uint64_t seen;              /* the last round that it knows of */
    pthread_t before;           /* whose place the thread took, to be joined by it */
    bool replaced;              /* there is a `before` */
};

/* `lock` guards round, set, left. The master writes job and arg between rounds. */
struct soak_crew {
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    uint64_t round;             /* of jobs handed out */
    uint64_t set;               /* the members that this one is for: bit 1 << index */
    unsigned left;              /* of these, how many are at it */
    soak_job *job;
    void *arg;
    struct soak_member member[CREW_MAX];
};

/* Starts `count` threads, at most CREW_MAX. `crew` must stay. Ends the process if it cannot. */
void soak_crew_start(struct soak_crew *crew, unsigned count);

/* Has the members of the set do the job; returns when all have. */
void soak_crew_run(struct soak_crew *crew, uint64_t set, soak_job *job, void *arg);

/* The first `count` members. */
static inline uint64_t soak_crew_first(unsigned count)
{
    return count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX;
}

#endif
