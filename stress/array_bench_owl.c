/* SPDX-License-Identifier: BSD-2-Clause */
/* Arrays of libowl, which the process has opened before. */
#include <owl/array.h>
#include <stdio.h>

#include "array_bench.h"

OWL_ARRAY_OF(double, doubles);

static struct array_bench_result grow(size_t reserve, size_t count, bool front)
{
    struct array_bench_time began = array_bench_now();
    struct owl_array *a = doubles_new(reserve);
    if (a == NULL)
        return array_bench_failed("no array");
    if (front) {
        for (size_t i = 0; i < count; i++)
            if ((a = doubles_prepend(a, array_bench_number(i))) == NULL)
                return array_bench_failed("no memory");
    } else {
        for (size_t i = 0; i < count; i++)
            if ((a = doubles_append(a, array_bench_number(i))) == NULL)
                return array_bench_failed("no memory");
    }
    struct array_bench_time took = array_bench_since(began);
    return array_bench_done(took, doubles_data(a), count, front);
}

static struct array_bench_result with_reserve(size_t count, bool front)
{
    return grow((size_t)1 << 40, count, front);
}

static struct array_bench_result without_reserve(size_t count, bool front)
{
    return grow(0, count, front);
}

/* For people: the elements are where they were, whatever their number. */
static struct array_bench_result demo(size_t count, bool front)
{
    (void)front;
    struct array_bench_time began = array_bench_now();
    struct owl_array *a = doubles_new((size_t)1 << 40);
    if (a == NULL)
        return array_bench_failed("no array");
    const double *first = doubles_data(a);
    printf("reserved: %zu doubles at each end; first element at %p\n", owl_array_capacity(a),
           (const void *)first);
    for (size_t i = 0, next = 1024; i < count; i++) {
        if ((a = doubles_append(a, array_bench_number(i))) == NULL)
            return array_bench_failed("no memory");
        if (i + 1 != next && i + 1 != count)
            continue;
        printf("%12zu doubles, %8.1f MiB, %7.3f s, first element at %p\n", i + 1,
               (double)(i + 1) / (1 << 17), (double)array_bench_since(began).elapsed / 1e9,
               (const void *)doubles_data(a));
        if (doubles_data(a) != first && count <= owl_array_capacity(a))
            return array_bench_failed("the elements moved");
        next *= 4;
    }
    fflush(stdout);
    return array_bench_done(array_bench_since(began), doubles_data(a), count, false);
}

OWL_API extern const struct array_bench_way array_bench_ways[];
const struct array_bench_way array_bench_ways[] = {
    { "owl", with_reserve }, { "owl-block", without_reserve }, { "demo", demo }, { NULL, NULL }
};
