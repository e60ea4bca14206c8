/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_sessions: a hash table of sessions, as a connection thread keeps it.
 *
 *   buckets -> session -> session -> NULL   one block of pointers, doubled and halved by realloc
 *                |            `- values          a block each; a session has up to SESSION_VALUES
 *                `- values
 *
 * One thread at a time. `random` is a state of work_random().
 */
#ifndef OWL_STRESS_SOAK_SESSIONS_H
#define OWL_STRESS_SOAK_SESSIONS_H

#include "soak_work.h"

enum { SESSION_VALUES = 8, SESSION_BUCKETS_LEAST = 16 };

struct soak_session;

struct soak_sessions {
    struct soak_block buckets;
    size_t size;                /* in buckets, a power of two; 0: nothing yet */
    size_t count;
};

/* Adds one, with values of `least` to `most` bytes. */
void soak_sessions_add(struct soak_sessions *table, uint64_t *random, size_t least, size_t most);

/* Ends one, any. There must be one. */
void soak_sessions_expire(struct soak_sessions *table, uint64_t *random);

/* Gives a value of any session another size. There must be one. */
void soak_sessions_change(struct soak_sessions *table, uint64_t *random, size_t least, size_t most);

#endif
