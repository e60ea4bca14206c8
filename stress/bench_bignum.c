/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that lives on tiny blocks for short times, as cfrac does: a number of eleven digits is
 * factored by Fermat's method, by additions and subtractions alone. Each number is a linked list
 * of digits, each a block of its own, the lowest first, none at the top 0; zero is the empty list.
 */
#include "bench_work.h"

enum { BASE = 10 };

struct digit {
    struct digit *next;
    int32_t value;
};

static struct digit *digit_new(int32_t value)
{
    struct digit *d = bench_malloc(sizeof(*d));

    d->next = NULL;
    d->value = value;
    return d;
}

static void number_end(struct digit *d)
{
    while (d != NULL) {
        struct digit *next = d->next;

        free(d);
        d = next;
    }
}

static struct digit *number_small(uint64_t value)
{
    struct digit *first = NULL;

    for (struct digit **end = &first; value > 0; value /= BASE, end = &(*end)->next)
        *end = digit_new((int32_t)(value % BASE));
    return first;
}

/* Which is larger: below, equal to or above 0, as a - b. */
static int number_compare(const struct digit *a, const struct digit *b)
{
    int result = 0;

    for (; a != NULL && b != NULL; a = a->next, b = b->next)
        if (a->value != b->value)
            result = a->value < b->value ? -1 : 1;
    if (a == NULL && b == NULL)
        return result;
    return a == NULL ? -1 : 1;
}

/* A new number, a + sign * b, which is not below 0. */
static struct digit *number_add(const struct digit *a, const struct digit *b, int32_t sign)
{
    struct digit *first = NULL;
    struct digit **end = &first;
    struct digit **top = &first;        /* behind the last digit that is not 0 */
    int32_t carry = 0;

    while (a != NULL || b != NULL || carry != 0) {
        int32_t value = carry + (a != NULL ? a->value : 0) + sign * (b != NULL ? b->value : 0);

        carry = value >= BASE ? 1 : value < 0 ? -1 : 0;
        value -= carry * BASE;
        *end = digit_new(value);
        end = &(*end)->next;
        if (value != 0)
            top = end;
        a = a != NULL ? a->next : NULL;
        b = b != NULL ? b->next : NULL;
    }
    number_end(*top);
    *top = NULL;
    return first;
}

/* *a becomes *a + sign * b. */
static void number_change(struct digit **a, const struct digit *b, int32_t sign)
{
    struct digit *sum = number_add(*a, b, sign);

    number_end(*a);
    *a = sum;
}

static uint64_t number_value(const struct digit *d)
{
    uint64_t value = 0;

    for (uint64_t weight = 1; d != NULL; d = d->next, weight *= BASE)
        value += weight * (uint64_t)d->value;
    return value;
}

/*
 * The state of the search: a * a - b * b - n, positive or `negative`, and by how much it changes
 * when a or b becomes larger by one: 2 * a + 1 and 2 * b + 1.
 */
struct search {
    struct digit *rest;
    struct digit *step_a;
    struct digit *step_b;
    struct digit *two;
    uint64_t steps;
    bool negative;
};

static void search_add(struct search *s, const struct digit *step, bool negative)
{
    if (s->negative == negative) {
        number_change(&s->rest, step, 1);
    } else if (number_compare(s->rest, step) >= 0) {
        number_change(&s->rest, step, -1);
    } else {
        struct digit *rest = number_add(step, s->rest, -1);

        number_end(s->rest);
        s->rest = rest;
        s->negative = negative;
    }
}

static void search_step(struct search *s)
{
    if (s->negative) {
        search_add(s, s->step_a, false);
        number_change(&s->step_a, s->two, 1);
    } else {
        search_add(s, s->step_b, true);
        number_change(&s->step_b, s->two, 1);
    }
    if (s->rest == NULL)
        s->negative = false;
    s->steps++;
}

/*
 * The search starts at the smallest a whose square is not below n, with b = 0, and ends where
 * a * a - b * b is n. Then a - b divides n.
 */
static uint64_t factor(uint64_t n)
{
    struct search s = { .two = number_small(2), .step_b = number_small(1) };
    uint64_t a = 1;
    struct digit *twice;

    while (a * a < n)
        a += 1 + (n - a * a) / (4 * n / a + 1);
    s.rest = number_small(a * a - n);
    s.step_a = number_small(2 * a + 1);
    while (s.rest != NULL)
        search_step(&s);
    twice = number_add(s.step_a, s.step_b, -1);
    if (n % (number_value(twice) / 2) != 0)
        bench_fail("a wrong factor was found");
    number_end(twice);
    number_end(s.two);
    number_end(s.step_a);
    number_end(s.step_b);
    return s.steps;
}

/* Products of two odd numbers, so far apart that the search has to do most of 445,000 steps. */
uint64_t bench_bignum(struct bench *b)
{
    uint64_t random = bench_seed(b, 0);
    uint64_t sum = 0;

    for (unsigned i = 0; i < 20; i++) {
        uint64_t small = 2 * bench_count(b, 20e3 + bench_below(&random, 100)) + 1;
        uint64_t large = 2 * bench_count(b, 300e3 + bench_below(&random, 1000)) + 1;

        sum += factor(small * large);
    }
    return sum;
}
