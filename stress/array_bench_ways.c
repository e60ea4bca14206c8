/* SPDX-License-Identifier: BSD-2-Clause */
/* Ways that need nothing but the system, or the malloc that is in the process. */
#define _GNU_SOURCE 1 /* mremap */
#include <string.h>
#include <sys/mman.h>

#include "alloc_table.h"
#include "array_bench.h"

static double *map(size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return p != MAP_FAILED ? p : NULL;
}

/* The measure of all: memory for all elements was asked for beforehand. */
static struct array_bench_result plain(size_t count, bool front)
{
    double *data = map(count * sizeof *data);
    if (data == NULL)
        return array_bench_failed("mmap refused");
    struct array_bench_time began = array_bench_now();
    if (front)
        for (size_t i = 0; i < count; i++)
            data[count - 1 - i] = array_bench_number(i);
    else
        for (size_t i = 0; i < count; i++)
            data[i] = array_bench_number(i);
    __asm__ volatile("" : : "r"(data) : "memory");
    return array_bench_done(array_bench_since(began), data, count, front);
}

/* An array that is grown to twice its size when it is full, at the front or at the back. `grow`
 * returns the new one, with the elements at the same end. */
typedef double *(*grow_function)(double *data, size_t capacity, bool front);

static struct array_bench_result doubling(size_t count, bool front, grow_function grow)
{
    struct array_bench_time began = array_bench_now();
    size_t capacity = 0, used = 0;
    double *data = NULL;
    for (size_t i = 0; i < count; i++) {
        if (used == capacity) {
            if ((data = grow(data, capacity, front)) == NULL)
                return array_bench_failed("no memory");
            capacity = capacity > 0 ? 2 * capacity : 512;
        }
        data[front ? capacity - 1 - used : used] = array_bench_number(i);
        used++;
    }
    struct array_bench_time took = array_bench_since(began);
    return array_bench_done(took, front ? data + capacity - used : data, count, front);
}

/* realloc keeps elements at the back of what is free; at the front they have to be copied. */
static double *grow_malloc(double *data, size_t capacity, bool front)
{
    size_t bytes = capacity * sizeof *data, more = bytes > 0 ? 2 * bytes : 4096;
    if (!front || data == NULL)
        return alloc_calls.realloc(data, more);
    double *larger = alloc_calls.malloc(more);
    if (larger != NULL)
        memcpy((char *)larger + bytes, data, bytes);
    alloc_calls.free(data);
    return larger;
}

static double *grow_mapping(double *data, size_t capacity, bool front)
{
    size_t bytes = capacity * sizeof *data;
    if (data == NULL)
        return map(4096);
    void *p;
    if (front) {
        char *larger = (char *)map(2 * bytes);
        if (larger == NULL)
            return NULL;
        p = mremap(data, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, larger + bytes);
        return p != MAP_FAILED ? (double *)larger : NULL;
    }
    p = mremap(data, bytes, 2 * bytes, MREMAP_MAYMOVE);
    return p != MAP_FAILED ? p : NULL;
}

static struct array_bench_result by_realloc(size_t count, bool front)
{
    return doubling(count, front, grow_malloc);
}

static struct array_bench_result by_mremap(size_t count, bool front)
{
    return doubling(count, front, grow_mapping);
}

const struct array_bench_way array_bench_own_ways[] = {
    { "plain", plain }, { "mremap", by_mremap }, { "realloc", by_realloc }, { NULL, NULL }
};
