/* SPDX-License-Identifier: BSD-2-Clause */
#include "soak_sessions.h"

#include <string.h>

struct soak_session {
    struct soak_session *next;
    uint64_t key;
    unsigned values;
    struct soak_block value[SESSION_VALUES];
};

static struct soak_session **chains(const struct soak_sessions *table)
{
    return (struct soak_session **)(void *)table->buckets.p;
}

/* Moves those of each chain that now belong `old` buckets higher. */
static void split(const struct soak_sessions *table, size_t old)
{
    struct soak_session **chain = chains(table);

    memset(chain + old, 0, old * sizeof(chain[0]));
    for (size_t i = 0; i < old; i++)
        for (struct soak_session **at = &chain[i]; *at != NULL;) {
            struct soak_session *s = *at;

            if ((s->key & old) == 0) {
                at = &s->next;
                continue;
            }
            *at = s->next;
            s->next = chain[i + old];
            chain[i + old] = s;
        }
}

static void merge(const struct soak_sessions *table, size_t half)
{
    struct soak_session **chain = chains(table);

    for (size_t i = 0; i < half; i++) {
        struct soak_session **at = &chain[i];

        while (*at != NULL)
            at = &(*at)->next;
        *at = chain[i + half];
    }
}

static void resize(struct soak_sessions *table)
{
    size_t bytes = sizeof(struct soak_session *);

    if (table->size == 0) {
        table->size = SESSION_BUCKETS_LEAST;
        table->buckets = soak_new(table->size * bytes);
        memset(table->buckets.p, 0, table->buckets.size);
    } else if (table->count >= table->size) {
        table->size *= 2;
        soak_grow(&table->buckets, table->size * bytes);
        split(table, table->size / 2);
    } else if (table->count < table->size / 4 && table->size > SESSION_BUCKETS_LEAST) {
        table->size /= 2;
        merge(table, table->size);
        soak_grow(&table->buckets, table->size * bytes);
    }
}

/* The block that a session lies in is counted like all others, and its size known from its type. */
static struct soak_block block_of(struct soak_session *s)
{
    return (struct soak_block){ .p = (unsigned char *)s, .size = sizeof(*s) };
}

void soak_sessions_add(struct soak_sessions *table, uint64_t *random, size_t least, size_t most)
{
    struct soak_session *s = (struct soak_session *)(void *)soak_new(sizeof(*s)).p;
    struct soak_session **chain;

    resize(table);
    s->key = work_random(random);
    s->values = 1 + work_below(work_random(random), SESSION_VALUES);
    for (unsigned i = 0; i < s->values; i++)
        s->value[i] = soak_new(soak_size(work_random(random), least, most));
    chain = &chains(table)[s->key & (table->size - 1)];
    s->next = *chain;
    *chain = s;
    table->count++;
}

/* The first of the first chain that has one, from a random chain on. */
static struct soak_session **any(const struct soak_sessions *table, uint64_t *random)
{
    struct soak_session **chain = chains(table);
    size_t at = work_random(random) & (table->size - 1);

    while (chain[at] == NULL)
        at = (at + 1) & (table->size - 1);
    return &chain[at];
}

void soak_sessions_expire(struct soak_sessions *table, uint64_t *random)
{
    struct soak_session **at = any(table, random);
    struct soak_session *s = *at;
    struct soak_block block = block_of(s);

    *at = s->next;
    soak_end_all(s->value, s->values);
    soak_end(&block);
    table->count--;
    resize(table);
}

void soak_sessions_change(struct soak_sessions *table, uint64_t *random, size_t least, size_t most)
{
    struct soak_session *s = *any(table, random);
    struct soak_block *value = &s->value[work_below(work_random(random), s->values)];

    soak_grow(value, soak_size(work_random(random), least, most));
}
