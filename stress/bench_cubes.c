/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two-level logic, as in espresso: the complement of a boolean function. A function is a list of
 * cubes, products of variables, each a block of its own. Shannon's expansion takes the lists apart
 * and puts them together again, so that cubes live for a short time, and many are copied.
 */
#include "bench_work.h"

enum { VARIABLES = 24, CUBES = 40, LITERALS = 4 };

/* A product: the variables in `plain`, and those in `negated` negated. Both empty: always true. */
struct cube {
    struct cube *next;
    uint32_t plain;
    uint32_t negated;
};

static struct cube *cube_new(struct cube *next, uint32_t plain, uint32_t negated)
{
    struct cube *c = bench_malloc(sizeof(*c));

    c->next = next;
    c->plain = plain;
    c->negated = negated;
    return c;
}

static void cubes_end(struct cube *c)
{
    while (c != NULL) {
        struct cube *next = c->next;

        free(c);
        c = next;
    }
}

/* The function where a variable is 1 (plain) or 0: cubes that contradict are left out. */
static struct cube *cofactor(const struct cube *c, uint32_t variable, bool plain)
{
    struct cube *result = NULL;

    for (; c != NULL; c = c->next)
        if (!((plain ? c->negated : c->plain) & variable))
            result = cube_new(result, c->plain & ~variable, c->negated & ~variable);
    return result;
}

/* The variable that most cubes have. */
static uint32_t most_frequent(const struct cube *c)
{
    unsigned count[VARIABLES] = { 0 };
    unsigned best = 0;

    for (; c != NULL; c = c->next)
        for (uint32_t used = c->plain | c->negated; used != 0; used &= used - 1)
            count[__builtin_ctz(used)]++;
    for (unsigned i = 1; i < VARIABLES; i++)
        if (count[i] > count[best])
            best = i;
    return UINT32_C(1) << best;
}

/* By De Morgan: one cube for each variable. */
static struct cube *complement_one(const struct cube *c)
{
    struct cube *result = NULL;

    for (uint32_t left = c->plain; left != 0; left &= left - 1)
        result = cube_new(result, 0, left & -left);
    for (uint32_t left = c->negated; left != 0; left &= left - 1)
        result = cube_new(result, left & -left, 0);
    return result;
}

/* Move the cubes of `from` in front of `to`, multiplied by a variable. */
static struct cube *gather(struct cube *to, struct cube *from, uint32_t plain, uint32_t negated)
{
    while (from != NULL) {
        struct cube *next = from->next;

        from->plain |= plain;
        from->negated |= negated;
        from->next = to;
        to = from;
        from = next;
    }
    return to;
}

static struct cube *complement(const struct cube *c)
{
    struct cube *result = NULL;
    uint32_t variable;

    if (c == NULL)
        return cube_new(NULL, 0, 0);
    for (const struct cube *one = c; one != NULL; one = one->next)
        if ((one->plain | one->negated) == 0)
            return NULL;
    if (c->next == NULL)
        return complement_one(c);
    variable = most_frequent(c);
    for (int plain = 0; plain < 2; plain++) {
        struct cube *part = cofactor(c, variable, plain);

        result = gather(result, complement(part), plain ? variable : 0, plain ? 0 : variable);
        cubes_end(part);
    }
    return result;
}

static struct cube *random_function(uint64_t *random)
{
    struct cube *result = NULL;

    for (unsigned i = 0; i < CUBES; i++) {
        uint32_t used[2] = { 0, 0 };

        for (unsigned j = 0; j < LITERALS; j++) {
            uint32_t variable = UINT32_C(1) << bench_below(random, VARIABLES);

            if (!((used[0] | used[1]) & variable))
                used[bench_below(random, 2)] |= variable;
        }
        result = cube_new(result, used[0], used[1]);
    }
    return result;
}

/* No cube of the one is true where a cube of the other is. */
static void check_apart(const struct cube *function, const struct cube *complemented)
{
    for (; function != NULL; function = function->next)
        for (const struct cube *c = complemented; c != NULL; c = c->next)
            if (!(function->plain & c->negated) && !(function->negated & c->plain))
                bench_fail("a complement is wrong");
}

uint64_t bench_cubes(struct bench *b)
{
    uint64_t random = bench_seed(b, 0);
    uint64_t sum = 0;

    for (uint64_t left = bench_count(b, 60); left > 0; left--) {
        struct cube *function = random_function(&random);
        struct cube *result = complement(function);

        for (const struct cube *c = result; c != NULL; c = c->next)
            sum += 1 + work_mix(((uint64_t)c->plain << 32) + c->negated);
        if (left == 1)
            check_apart(function, result);
        cubes_end(function);
        cubes_end(result);
    }
    return sum;
}
