/* SPDX-License-Identifier: BSD-2-Clause */
/* Random operations on arrays, and on a plain copy of what should be in them. */
#include <owl/array.h>

#include "array.h"
#include "child.h"
#include "faults.h"

#define MIB ((size_t)1 << 20)

OWL_ARRAY_OF(uint32_t, words);

static struct owl_array_body *body(struct owl_array *a)
{
    return (struct owl_array_body *)a;
}

/* The page size has to be known before faults are installed. */
static void set_up(void)
{
    owl_free(owl_malloc(1));
    faults_install();
}

enum { MODEL_MOST = 60000 };

struct model {
    uint32_t data[MODEL_MOST];
    size_t count;
};

static struct model model, frozen;

static void model_insert(size_t at, const uint32_t *elements, size_t count)
{
    memmove(model.data + at + count, model.data + at, (model.count - at) * sizeof *model.data);
    memcpy(model.data + at, elements, count * sizeof *model.data);
    model.count += count;
}

static void model_erase(size_t at, size_t count)
{
    memmove(model.data + at, model.data + at + count,
            (model.count - at - count) * sizeof *model.data);
    model.count -= count;
}

static bool is_model(struct owl_array *a, const struct model *m)
{
    return words_count(a) == m->count &&
           (m->count == 0 || memcmp(words_data(a), m->data, m->count * sizeof *m->data) == 0);
}

static struct owl_array *random_add(struct owl_array *a, uint64_t *random)
{
    uint32_t some[3000];
    size_t count = 1 + next_random(random) % (next_random(random) % 20 == 0 ? 2999 : 20);
    size_t at = next_random(random) % (model.count + 1);
    const uint32_t *from = some;
    for (size_t i = 0; i < count; i++)
        some[i] = (uint32_t)next_random(random);
    if (next_random(random) % 8 == 0 && model.count > count) {
        size_t inside = next_random(random) % (model.count - count);
        memcpy(some, model.data + inside, count * sizeof *some);
        from = words_data(a) + inside;
    } else if (next_random(random) % 8 == 0) {
        memset(some, 0, sizeof some);
        from = NULL;
    }
    switch (next_random(random) % 4) {
    case 0:
        model_insert(model.count, some, count);
        return owl_array_append(a, from, count);
    case 1:
        model_insert(0, some, count);
        return owl_array_prepend(a, from, count);
    case 2:
        model_insert(at, some, 1);
        return owl_array_insert(a, at, from, 1);
    default:
        model_insert(at, some, count);
        return owl_array_insert(a, at, from, count);
    }
}

static struct owl_array *random_single(struct owl_array *a, uint64_t *random)
{
    uint32_t element = (uint32_t)next_random(random);
    bool front = next_random(random) % 2;
    model_insert(front ? 0 : model.count, &element, 1);
    return front ? words_prepend(a, element) : words_append(a, element);
}

static struct owl_array *random_erase(struct owl_array *a, uint64_t *random)
{
    size_t at = next_random(random) % (model.count + 1);
    size_t most = next_random(random) % 4 == 0 ? model.count - at : (model.count - at) / 8;
    size_t count = next_random(random) % (most + 1);
    if (next_random(random) % 3 == 0)
        at = 0;
    model_erase(at, count);
    return owl_array_erase(a, at, count);
}

static struct owl_array *random_step(struct owl_array *a, uint64_t *random)
{
    switch (next_random(random) % 16) {
    case 0:
        model_erase(model.count / 2, model.count - model.count / 2);
        return owl_array_truncate(a, model.count);
    case 1:
        return owl_array_shrink(a);
    case 2:
        return owl_array_reserve(a, next_random(random) % 5000, next_random(random) % 5000);
    case 3:
        if (next_random(random) % 50 == 0 && faults.reserve_most > 16 * MIB)
            return owl_array_reserve(a, MIB, MIB);
        return owl_array_own(a);
    case 4:
    case 5:
        return random_erase(a, random);
    case 6:
    case 7:
    case 8:
        return random_add(a, random);
    default:
        return random_single(a, random);
    }
}

static void random_steps(size_t reserve, uint64_t seed)
{
    uint64_t random = seed;
    struct owl_array *a = words_new(reserve), *other = NULL;
    check(a != NULL);
    model.count = 0;
    for (int i = 0; i < RANDOM_ROUNDS(20000); i++) {
        if (model.count > MODEL_MOST - 6000) {
            model_erase(100, model.count - 100);
            check((a = owl_array_truncate(a, 100)) != NULL);
        }
        check((a = random_step(a, &random)) != NULL);
        check(owl_array_is_valid(body(a)) && is_model(a, &model));
        if (other != NULL && next_random(&random) % 8 == 0) {
            check(is_model(other, &frozen));
            owl_array_release(other);
            other = NULL;
        } else if (other == NULL && next_random(&random) % 16 == 0) {
            check((other = owl_array_ref(a)) == a && owl_array_refs(a) == 2);
            frozen = model;
        }
    }
    owl_array_release(other);
    check(owl_array_refs(a) == 1);
    owl_array_release(a);
}

static void random_steps_in_blocks(void)
{
    set_up();
    for (uint64_t seed = 1; seed <= 3; seed++)
        random_steps(0, seed);
}

static void random_steps_in_a_small_reserve(void)
{
    set_up();
    random_steps(1000, 7);
}

static void random_steps_in_a_reserve(void)
{
    set_up();
    for (uint64_t seed = 1; seed <= 3; seed++)
        random_steps(MIB, seed);
}

/* The system gives so little that elements have to move all the time. */
static void random_steps_in_little_space(void)
{
    set_up();
    faults.reserve_most = 3 * MIB;
    random_steps((size_t)1 << 30, 3);
    fault_always(FAULT_PURGE);
    random_steps((size_t)1 << 30, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(random_steps_in_blocks),
        child_test(random_steps_in_a_small_reserve),
        child_test(random_steps_in_a_reserve),
        child_test(random_steps_in_little_space),
    };
    return cmocka_run_group_tests_name("array_random", tests, NULL, NULL);
}
