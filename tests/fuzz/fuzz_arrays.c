/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions for arrays. Each slot has a reference and, in memory of its own, what it should see:
 * as nobody sees a change made by another reference, that is a plain copy.
 */
#include <errno.h>
#include <owl/array.h>
#include <string.h>

#include "fuzz.h"

#define SHADOW (128 * FUZZ_KIB)

struct slot {
    struct owl_array *a; /* NULL: there is none */
    size_t element, count;
    unsigned char shadow[SHADOW];
};

static struct slot slots[FUZZ_ARRAYS];

static size_t holders(const struct owl_array *a)
{
    size_t n = 0;
    for (unsigned i = 0; i < FUZZ_ARRAYS; i++)
        n += slots[i].a == a;
    return n;
}

static void compare(const struct slot *s)
{
    const unsigned char *data = owl_array_data(s->a);
    fuzz_check(owl_array_count(s->a) == s->count);
    fuzz_check(s->count == 0 || memcmp(data, s->shadow, s->count * s->element) == 0);
    size_t alignment = s->element & (0 - s->element);
    fuzz_check((uintptr_t)data % (alignment < 16 ? alignment : 16) == 0);
    fuzz_check(owl_array_capacity(s->a) >= s->count);
    fuzz_check(owl_array_capacity_front(s->a) >= s->count);
    fuzz_check(owl_array_refs(s->a) == holders(s->a));
    fuzz_check(owl_array_at(s->a, s->count) == NULL);
}

void fuzz_compare_arrays(void)
{
    for (unsigned i = 0; i < FUZZ_ARRAYS; i++)
        if (slots[i].a != NULL)
            compare(&slots[i]);
}

static void release(struct slot *s)
{
    errno = FUZZ_ERRNO;
    owl_array_release(s->a);
    fuzz_check(errno == FUZZ_ERRNO);
    s->a = NULL;
}

void fuzz_release_arrays(void)
{
    for (unsigned i = 0; i < FUZZ_ARRAYS; i++)
        if (slots[i].a != NULL) {
            compare(&slots[i]);
            release(&slots[i]);
        }
}

/* The result of a call that changes the slot's array. False: nothing has changed. */
static bool took(struct slot *s, struct owl_array *a)
{
    if (a == NULL) {
        fuzz_check(errno == ENOMEM && fuzz.limited);
        compare(s);
        return false;
    }
    s->a = a;
    return true;
}

static void make(struct slot *s)
{
    static const size_t elements[] = {1, 2, 3, 4, 8, 12, 16, 24, 48, 100, 4096};
    if (s->a != NULL)
        release(s);
    size_t element = elements[fuzz_byte() % (sizeof elements / sizeof *elements)];
    size_t reserve = fuzz_size();
    bool absurd = reserve > ((size_t)1 << 46) / element;
    errno = FUZZ_ERRNO;
    s->a = owl_array_new(element, reserve);
    if (s->a == NULL) {
        fuzz_check(errno == ENOMEM && (fuzz.limited || absurd));
        return;
    }
    s->element = element;
    s->count = 0;
    compare(s);
}

/* Elements for a slot: new ones, zeros, or some of the array itself. */
static const void *pick(const struct slot *s, size_t *count, unsigned char *some, size_t bytes)
{
    unsigned how = fuzz_byte();
    *count = fuzz_word() % (how % 16 == 0 ? SHADOW : 64);
    size_t most = bytes / s->element, room = SHADOW / s->element - s->count;
    *count = *count < most ? *count : most;
    *count = *count < room ? *count : room;
    if (how / 16 % 4 == 0) {
        memset(some, 0, *count * s->element);
        return NULL;
    }
    if (how / 16 % 4 == 1 && s->count > 0) {
        size_t from = fuzz_word() % s->count;
        *count = *count < s->count - from ? *count : s->count - from;
        memcpy(some, s->shadow + from * s->element, *count * s->element);
        return (unsigned char *)owl_array_data(s->a) + from * s->element;
    }
    uint64_t seed = ++fuzz.seeds;
    for (size_t i = 0; i < *count * s->element; i++)
        some[i] = (unsigned char)(seed * 37 + i * 11 + (i >> 8));
    return some;
}

static void shadow_insert(struct slot *s, size_t at, const unsigned char *from, size_t count)
{
    size_t e = s->element;
    memmove(s->shadow + (at + count) * e, s->shadow + at * e, (s->count - at) * e);
    memcpy(s->shadow + at * e, from, count * e);
    s->count += count;
}

static void add(struct slot *s, unsigned where)
{
    static unsigned char some[SHADOW];
    size_t count, at = where == 0 ? s->count : where == 1 ? 0 : fuzz_word() % (s->count + 1);
    const void *from = pick(s, &count, some, sizeof some);
    size_t capacity = where == 1 ? owl_array_capacity_front(s->a) : owl_array_capacity(s->a);
    bool stays = where != 2 && s->count > 0 && holders(s->a) == 1 && s->count + count <= capacity;
    const unsigned char *end = owl_array_data(s->a);
    end += s->count * s->element;
    struct owl_array *a;
    errno = FUZZ_ERRNO;
    if (where == 0)
        a = owl_array_append(s->a, from, count);
    else if (where == 1)
        a = owl_array_prepend(s->a, from, count);
    else
        a = owl_array_insert(s->a, at, from, count);
    if (!took(s, a))
        return;
    shadow_insert(s, at, some, count);
    const unsigned char *first = owl_array_data(a);
    fuzz_check(!stays || first + (s->count - (where == 1 ? 0 : count)) * s->element == end);
    compare(s);
}

static void erase(struct slot *s)
{
    size_t at = fuzz_word() % (s->count + 1), count = fuzz_word() % (s->count - at + 1);
    errno = FUZZ_ERRNO;
    if (!took(s, owl_array_erase(s->a, at, count)))
        return;
    size_t e = s->element;
    memmove(s->shadow + at * e, s->shadow + (at + count) * e, (s->count - at - count) * e);
    s->count -= count;
}

static void truncate(struct slot *s)
{
    size_t count = fuzz_word() % (s->count + 1);
    errno = FUZZ_ERRNO;
    if (took(s, owl_array_truncate(s->a, count)))
        s->count = count;
}

static void reserve(struct slot *s)
{
    size_t front = fuzz_word() << fuzz_byte() % 8, back = fuzz_word() << fuzz_byte() % 8;
    errno = FUZZ_ERRNO;
    if (!took(s, owl_array_reserve(s->a, front, back)))
        return;
    fuzz_check(owl_array_capacity(s->a) >= s->count + back);
    fuzz_check(owl_array_capacity_front(s->a) >= s->count + front);
}

static void own(struct slot *s)
{
    errno = FUZZ_ERRNO;
    if (!took(s, owl_array_own(s->a)) || s->count == 0)
        return;
    size_t at = fuzz_word() % s->count * s->element;
    unsigned char *data = owl_array_data(s->a);
    data[at] = s->shadow[at] = (unsigned char)++fuzz.seeds;
}

static void refer(struct slot *s)
{
    struct slot *o = &slots[fuzz_byte() % FUZZ_ARRAYS];
    if (o == s)
        return;
    if (o->a != NULL)
        release(o);
    *o = *s;
    fuzz_check(owl_array_ref(s->a) == s->a);
}

/* What must be refused, with the array as it was. */
static void refuse(struct slot *s)
{
    size_t more = 1 + fuzz_word();
    errno = FUZZ_ERRNO;
    fuzz_check(owl_array_insert(s->a, s->count + more, NULL, 1) == NULL && errno == EINVAL);
    errno = FUZZ_ERRNO;
    fuzz_check(owl_array_erase(s->a, s->count, more) == NULL && errno == EINVAL);
    errno = FUZZ_ERRNO;
    fuzz_check(owl_array_truncate(s->a, s->count + more) == NULL && errno == EINVAL);
    errno = FUZZ_ERRNO;
    fuzz_check(owl_array_append(s->a, NULL, SIZE_MAX - more) == NULL && errno == ENOMEM);
    errno = FUZZ_ERRNO;
    fuzz_check(owl_array_reserve(s->a, SIZE_MAX - more, 0) == NULL && errno == ENOMEM);
}

void fuzz_array(unsigned which)
{
    struct slot *s = &slots[fuzz_byte() % FUZZ_ARRAYS];
    if (which == 0 || s->a == NULL)
        make(s);
    if (s->a == NULL || which == 0)
        return;
    compare(s);
    switch (which) {
    case 1:
        refer(s);
        break;
    case 2:
        release(s);
        return;
    case 3:
        erase(s);
        break;
    case 4:
        truncate(s);
        break;
    case 5:
        reserve(s);
        break;
    case 6:
        took(s, owl_array_shrink(s->a));
        break;
    case 7:
        own(s);
        break;
    case 8:
        refuse(s);
        break;
    default:
        add(s, which % 3);
        break;
    }
    compare(s);
}
