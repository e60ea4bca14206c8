/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Work that uses every path of the allocator that ends in a system call, and takes each refusal as
 * its documentation says: NULL (or -1) with ENOMEM, and nothing has changed. All blocks know what
 * they should hold, and are checked when they change places and before they go. Whatever succeeds,
 * and whatever frees, keeps errno.
 *
 * The work does the same calls in the same order each time, as long as nothing fails: its threads
 * take turns.
 */
#ifndef OWL_TESTS_FAILURES_WORK_H
#define OWL_TESTS_FAILURES_WORK_H

#include <errno.h>
#include <owl/array.h>
#include <owl/large.h>
#include <owl/option.h>
#include <pthread.h>

#include "alloc.h"
#include "child.h"
#include "faults.h"
#include "option.h"
#include "pool.h"
#include "scavenger.h"
#include "stats.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

enum { SOME_ERRNO = 4711 };

static atomic_ulong refusals;

/* To be called with errno SOME_ERRNO set before; whether it was done. */
static inline bool done(bool success)
{
    check(errno == (success ? SOME_ERRNO : ENOMEM));
    if (!success)
        atomic_fetch_add(&refusals, 1);
    errno = SOME_ERRNO;
    return success;
}

/* --- blocks ----------------------------------------------------------------- */

/* A block holds words at multiples of a stride from its origin, from which its start moves away as
 * it grows at the front. */
struct held {
    char *start; /* NULL: there is no block */
    size_t bytes;
    size_t stride;
    int64_t front; /* how far the start lies before the origin */
    uint64_t number;
};

static inline size_t first_word(const struct held *h)
{
    int64_t at = h->front % (int64_t)h->stride;
    return (size_t)(at < 0 ? at + (int64_t)h->stride : at);
}

static inline uint64_t *word_in(const struct held *h, size_t at)
{
    return (uint64_t *)(void *)(h->start + at);
}

static inline uint64_t word_of(const struct held *h, size_t at)
{
    return h->number * 0x9e3779b97f4a7c15u + (uint64_t)((int64_t)at - h->front);
}

static inline void stamp(const struct held *h)
{
    for (size_t at = first_word(h); at + 8 <= h->bytes; at += h->stride)
        *word_in(h, at) = word_of(h, at);
}

/* Up to `bytes` from the start. */
static inline bool is_whole(const struct held *h, size_t bytes)
{
    for (size_t at = first_word(h); at + 8 <= bytes; at += h->stride)
        if (*word_in(h, at) != word_of(h, at))
            return false;
    return true;
}

static inline void look_at(const struct held *h)
{
    check(h->start == NULL || is_whole(h, h->bytes));
}

static inline struct held take(size_t bytes, size_t alignment, bool zero)
{
    static atomic_ulong numbers;
    struct held h = {.bytes = bytes, .number = atomic_fetch_add(&numbers, 1)};
    h.stride = bytes < 4 * KIB ? 16 : (bytes / 60 & ~(size_t)15);
    h.start = opaque(zero ? owl_calloc(1, bytes) : owl_aligned_alloc(alignment, bytes));
    if (!done(h.start != NULL))
        return h;
    check((uintptr_t)h.start % alignment == 0);
    for (size_t at = first_word(&h); zero && at + 8 <= bytes; at += h.stride)
        check(*word_in(&h, at) == 0);
    stamp(&h);
    return h;
}

static inline void release(struct held *h)
{
    look_at(h);
    owl_free(h->start);
    check(errno == SOME_ERRNO);
    h->start = NULL;
}

static inline void resize(struct held *h, size_t bytes)
{
    if (h->start == NULL)
        return;
    char *p = opaque(owl_realloc(h->start, bytes));
    if (!done(p != NULL)) {
        look_at(h);
        return;
    }
    h->start = p;
    check(is_whole(h, bytes < h->bytes ? bytes : h->bytes));
    h->bytes = bytes;
    stamp(h);
}

/* At the front: by so much to the left, or to the right if it is less than 0. */
static inline void step(struct held *h, int64_t to_left)
{
    if (h->start == NULL)
        return;
    char *p = opaque(to_left > 0 ? owl_grow_front(h->start, (size_t)to_left)
                                 : owl_shrink_front(h->start, (size_t)-to_left));
    if (!done(p != NULL)) {
        look_at(h);
        return;
    }
    struct held now = *h;
    now.start = p;
    now.bytes += (size_t)to_left;
    now.front += to_left;
    h->start = p + (to_left > 0 ? to_left : 0);
    if (to_left > 0)
        look_at(h);
    else
        look_at(&now);
    *h = now;
    stamp(h);
}

static inline struct held duplicate(const struct held *h)
{
    struct held d = *h;
    if (h->start == NULL)
        return d;
    d.start = opaque(owl_dup(h->start));
    if (done(d.start != NULL))
        check(is_whole(&d, d.bytes) && is_whole(h, h->bytes));
    return d;
}

/* Other contents; what shares pages with it keeps its own. */
static inline void change(struct held *h)
{
    if (h->start == NULL)
        return;
    h->number += 1000000;
    stamp(h);
}

/* Blocks of one size exchange all that they hold. */
static inline void swap(struct held *h, struct held *other)
{
    if (h->start == NULL || other->start == NULL)
        return;
    check(h->bytes == other->bytes && h->stride == other->stride);
    check(owl_swap(h->start, other->start, h->bytes) == 0 && errno == SOME_ERRNO);
    uint64_t number = h->number;
    h->number = other->number;
    other->number = number;
    check(is_whole(h, h->bytes) && is_whole(other, other->bytes));
}

static inline void export_block(const struct held *h)
{
    size_t offset;
    if (h->start == NULL)
        return;
    bool may_be = owl_malloc_usable_size(h->start) > 32 * KIB && (uintptr_t)h->start % 4096 == 0;
    int descriptor = owl_export(h->start, &offset);
    if (descriptor >= 0)
        check(may_be && errno == SOME_ERRNO);
    else
        check(may_be ? errno == ENOTSUP || errno == ENOMEM : errno == EINVAL || errno == ENOTSUP);
    errno = SOME_ERRNO;
    look_at(h);
    if (descriptor >= 0)
        close(descriptor);
}

/* --- kinds of work ---------------------------------------------------------- */

static inline void large_blocks(void)
{
    struct held a = take(300 * KIB, 16, false), wall = take(100 * KIB, 16, true);
    resize(&a, 700 * KIB + 5);
    struct held b = take(MIB, 16, true), c = take(MIB, 16, false);
    resize(&a, 2 * MIB);
    step(&a, 200 * KIB);
    step(&a, 16);
    step(&a, -(int64_t)(900 * KIB));
    swap(&b, &c);
    struct held d = duplicate(&b), e = duplicate(&d);
    change(&d);
    look_at(&b);
    look_at(&e);
    resize(&d, 2 * MIB);
    resize(&e, 70 * KIB);
    release(&b);
    export_block(&c);
    struct held f = duplicate(&c);
    change(&c);
    look_at(&f);
    resize(&c, MIB + 400 * KIB);
    owl_trim(0);
    b = take(MIB, 2 * MIB, false);
    step(&b, 4 * KIB);
    struct held *const all[] = {&wall, &a, &b, &c, &d, &e, &f};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        release(all[i]);
}

static inline void ring(void)
{
    enum { BYTES = 192 * 1024 };
    volatile char *r = owl_ring(BYTES);
    if (r == NULL && owl_option(OWL_OPTION_BACKING) == OWL_BACKING_PRIVATE) {
        check(errno == ENOMEM);
        errno = SOME_ERRNO;
        return;
    }
    if (!done(r != NULL))
        return;
    for (size_t i = 0; i < BYTES; i += 1000) {
        r[i] = (char)i;
        check(r[i + BYTES] == (char)i);
        r[i + BYTES] = 1;
        check(r[i] == 1);
    }
    char *plain = opaque(owl_realloc((char *)(uintptr_t)r, MIB));
    if (done(plain != NULL))
        r = plain;
    check(r[1000] == 1 && r[BYTES + 1000] == 1);
    owl_free((char *)(uintptr_t)r);
    check(errno == SOME_ERRNO);
}

/* A block of this alignment is a mapping, whatever its size. */
#define MAPPED (4 * MIB)

static inline void mappings(void)
{
    struct held a = take(MIB, MAPPED, false), b = take(600 * KIB, MAPPED, false);
    resize(&a, 2 * MIB);
    step(&a, 4 * (int64_t)KIB);
    step(&a, -(int64_t)(700 * KIB));
    struct held c = duplicate(&a), d = take(600 * KIB, MAPPED, false);
    swap(&b, &d);
    resize(&b, MIB + 5);
    resize(&d, 200 * KIB);
    resize(&a, 20 * KIB);
    /* Where ranges are small these have none. */
    struct held large[] = {take(17 * MIB, 16, true), take(18 * MIB, 16, false)};
    struct held huge[] = {take(GIB + MIB, 16, true), take(GIB + 1, 64 * MIB, false)};
    struct held *const all[] = {&a, &b, &c, &d, large, large + 1, huge, huge + 1};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        release(all[i]);
}

/* --- arrays: runs of numbers ------------------------------------------------- */

struct run {
    struct owl_array *array;
    int first, count;
};

static inline void look_at_run(const struct run *r)
{
    const int *data = owl_array_data(r->array);
    check(owl_array_count(r->array) == (size_t)r->count);
    for (int i = 0; i < r->count; i += 1 + r->count / 97)
        check(data[i] == r->first + i);
}

static inline void extend_run(struct run *r, int n, bool front)
{
    static int numbers[200000];
    check(n <= (int)(sizeof numbers / sizeof *numbers));
    for (int i = 0; i < n; i++)
        numbers[i] = front ? r->first - n + i : r->first + r->count + i;
    struct owl_array *a = front ? owl_array_prepend(r->array, numbers, (size_t)n)
                                : owl_array_append(r->array, numbers, (size_t)n);
    if (done(a != NULL)) {
        r->array = a;
        r->first -= front ? n : 0;
        r->count += n;
    }
    look_at_run(r);
}

static inline void cut_run(struct run *r, int n)
{
    struct owl_array *a = n <= r->count ? owl_array_erase(r->array, 0, (size_t)n) : r->array;
    if (done(a != NULL)) {
        r->array = a;
        r->first += n <= r->count ? n : 0;
        r->count -= n <= r->count ? n : 0;
    }
    look_at_run(r);
}

static inline void arrays(size_t reserve)
{
    struct run r = {.array = owl_array_new(sizeof(int), reserve)};
    if (!done(r.array != NULL))
        return;
    extend_run(&r, 100, false);
    extend_run(&r, 20000, true);
    extend_run(&r, 200000, false);
    struct run other = {.array = owl_array_ref(r.array), .first = r.first, .count = r.count};
    extend_run(&r, 1000, false);
    cut_run(&other, 1000);
    extend_run(&other, 100000, true);
    struct owl_array *roomy = owl_array_reserve(r.array, 300000, 10);
    r.array = done(roomy != NULL) ? roomy : r.array;
    look_at_run(&r);
    cut_run(&r, 250000);
    check(owl_array_shrink(r.array) == r.array);
    extend_run(&r, 200000, true);
    look_at_run(&other);
    owl_array_release(other.array);
    owl_array_release(r.array);
    check(errno == SOME_ERRNO);
}

/* --- threads and small blocks ------------------------------------------------ */

enum { SMALLS = 120 };

struct crew {
    struct held blocks[SMALLS];
    pthread_barrier_t filled, looked;
};

static inline void *member(void *argument)
{
    struct crew *c = argument;
    errno = SOME_ERRNO;
    for (size_t i = 0; i < SMALLS; i++)
        c->blocks[i] = take(16 + i * i * 3 % 20000, i % 3 == 1 ? 64 : 16, i % 3 == 0);
    pthread_barrier_wait(&c->filled);
    pthread_barrier_wait(&c->looked);
    errno = SOME_ERRNO;
    for (size_t i = 0; i < SMALLS; i += 2)
        release(&c->blocks[i]);
    for (size_t i = 0; i < SMALLS; i += 6)
        c->blocks[i] = take(40 + i * 50, 16, true);
    return NULL;
}

/* While a thread sleeps others free what it has, and purge what it has free. */
static inline void threads(void)
{
    static struct crew c;
    pthread_t thread;
    pthread_barrier_init(&c.filled, NULL, 2);
    pthread_barrier_init(&c.looked, NULL, 2);
    check(pthread_create(&thread, NULL, member, &c) == 0);
    pthread_barrier_wait(&c.filled);
    errno = SOME_ERRNO;
    for (size_t i = 1; i < SMALLS; i += 4)
        release(&c.blocks[i]);
    owl_trim(0);
    for (size_t i = 1; i < SMALLS; i += 4)
        c.blocks[i] = take(3000 + i * 10, 16, false);
    for (size_t i = 3; i < SMALLS; i += 8)
        resize(&c.blocks[i], 2 * c.blocks[i].bytes);
    owl_scavenger_look();
    errno = SOME_ERRNO;
    pthread_barrier_wait(&c.looked);
    pthread_join(thread, NULL);
    errno = SOME_ERRNO;
    for (size_t i = 0; i < SMALLS; i++)
        release(&c.blocks[i]);
    pthread_barrier_destroy(&c.filled);
    pthread_barrier_destroy(&c.looked);
}

/* --- fork, and the whole ------------------------------------------------------ */

/* A block of a file that could neither be mapped otherwise nor be copied when a fork came: parent
 * and child share it. */
static inline bool is_shared(const struct held *h)
{
    const struct owl_span *s = owl_span_of(h->start);
    return h->start != NULL && s != NULL && s->kind == OWL_KIND_LARGE && s->shared;
}

static inline void change_own(struct held *h)
{
    if (!is_shared(h))
        change(h);
}

static inline void end_of_child(struct held *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        look_at(&blocks[i]);
    for (size_t i = 0; i < count; i++) {
        change_own(&blocks[i]);
        if (!is_shared(&blocks[i]))
            resize(&blocks[i], blocks[i].bytes + 300 * KIB);
    }
    struct held fresh = take(5000, 16, true), large = take(MIB, 16, true);
    struct held copy = duplicate(&large);
    release(&copy);
    release(&fresh);
    release(&large);
    for (size_t i = 0; i < count; i++)
        release(&blocks[i]);
    owl_trim(0);
    check(owl_stats_heap_is_valid());
    _exit(0);
}

/* Parent and child each go on with what there was, whatever the other does to it. */
static inline void forks(void)
{
    struct held blocks[] = {take(100, 16, false),     take(500 * KIB, 16, false),
                            take(MIB, 16, false),     take(300 * KIB, MAPPED, false),
                            take(MIB, 16, false),     {.start = NULL}};
    enum { COUNT = sizeof blocks / sizeof *blocks };
    blocks[5] = duplicate(&blocks[2]);
    resize(&blocks[4], 2 * MIB);
    pid_t pid = fork();
    check(pid >= 0);
    errno = SOME_ERRNO;
    if (pid == 0)
        end_of_child(blocks, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        change_own(&blocks[i]);
    check(child_wait(pid) == 0);
    for (size_t i = 0; i < COUNT; i++)
        look_at(&blocks[i]);
    for (size_t i = 0; i < COUNT; i += 2)
        step(&blocks[i], 64);
    for (size_t i = 0; i < COUNT; i++)
        release(&blocks[i]);
}

/* At a limit what is refused is refused, however much the system would give. */
static inline void limited(void)
{
    size_t room = 4 * MIB;
    check(owl_option_set("limit", (long long)(owl_pool_count().in_use + room)) == 0);
    errno = SOME_ERRNO;
    struct held small = take(50, 16, false), large = take(room / 2, 16, false);
    check(owl_malloc(opaque_size(2 * room)) == NULL && errno == ENOMEM);
    errno = SOME_ERRNO;
    release(&small);
    release(&large);
    check(owl_option_set("limit", 0) == 0);
}

static inline void work(bool with_fork)
{
    errno = SOME_ERRNO;
    threads();
    large_blocks();
    ring();
    mappings();
    arrays(0);
    arrays(1000000);
    limited();
    if (with_fork)
        forks();
    owl_scavenger_look();
    owl_scavenger_press();
    owl_scavenger_look();
    errno = SOME_ERRNO;
    owl_trim(0);
    check(errno == SOME_ERRNO);
}

/* After the work: no block is left, and nothing counts that is not there. Addresses that are lost
 * count as large blocks. */
static inline void check_all_free(bool loses_addresses)
{
    struct owl_stats s;
    check(owl_stats_heap_is_valid());
    owl_stats(&s);
    check(s.small_blocks == 0 && s.mapping_blocks == 0);
    check(s.large_bytes == 0 || loses_addresses);
    struct owl_pool_counts c = owl_pool_count();
    check(c.in_use == c.used * OWL_GRANULE);
}

#endif
