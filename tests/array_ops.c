/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core operations of arrays, for a run under a tool or a limit: an array with a reserve that
 * nobody could give grows past whatever it got. The argument is how many elements; exits with 0 if
 * all is well, and prints what capacity the reserve got. With a second argument the program does
 * one thing that is an error: it reads behind the last element.
 */
#include <owl/array.h>
#include <stdio.h>
#include <stdlib.h>

OWL_ARRAY_OF(double, doubles);

#define require(holds)                                                                            \
    do                                                                                            \
        if (!(holds)) {                                                                           \
            fprintf(stderr, "line %d does not hold: %s\n", __LINE__, #holds);                     \
            exit(1);                                                                              \
        }                                                                                         \
    while (0)

static void counts(struct owl_array *a, double from, size_t count)
{
    require(doubles_count(a) == count);
    for (size_t i = 0; i < count; i++)
        require(*doubles_at(a, i) == from + (double)i);
}

static struct owl_array *grown(size_t reserve, size_t count)
{
    struct owl_array *a = doubles_new(reserve);
    require(a != NULL);
    size_t capacity = owl_array_capacity(a);
    for (size_t i = 0; i < count; i++) {
        double *was = doubles_data(a);
        require((a = doubles_append(a, (double)i)) != NULL);
        require(i >= capacity || i == 0 || doubles_data(a) == was);
    }
    counts(a, 0, count);
    for (size_t i = 1; i <= count; i++)
        require((a = doubles_prepend(a, -(double)i)) != NULL);
    counts(a, -(double)count, 2 * count);
    return a;
}

static void all(size_t reserve, size_t count)
{
    struct owl_array *a = grown(reserve, count);
    struct owl_array *old = owl_array_ref(a);
    require((a = owl_array_erase(a, 0, count)) != NULL && a != old);
    counts(a, 0, count);
    counts(old, -(double)count, 2 * count);
    owl_array_release(old);
    require((a = owl_array_insert(a, count / 2, NULL, count / 4)) != NULL);
    require((a = owl_array_erase(a, count / 2, count / 4)) != NULL);
    counts(a, 0, count);
    require((a = owl_array_truncate(a, count / 2)) != NULL);
    require((a = owl_array_shrink(a)) != NULL);
    require((a = owl_array_append(a, doubles_data(a), count / 4)) != NULL);
    require((a = owl_array_truncate(a, count / 2)) != NULL);
    counts(a, 0, count / 2);
    owl_array_release(a);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    struct owl_array *a = doubles_new((size_t)1 << 40);
    require(a != NULL);
    printf("%zu\n", owl_array_capacity(a));
    owl_array_release(a);
    all((size_t)1 << 40, count);
    all(0, count);
    if (argc > 2) {
        a = doubles_append(doubles_new(0), 1.0);
        printf("%g\n", doubles_data(a)[100000000]);
    }
    return 0;
}
