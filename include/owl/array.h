/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arrays that grow at both ends, of elements of one size, with counted references.
 *
 * An array that is made with a reserve has addresses of its own: room for so many elements on
 * either side, which takes no memory until elements come. It may be far larger than memory.
 * Elements do not move while it lasts, and nothing is copied when the array grows. One without a
 * reserve is a block of owl_malloc, which is made larger as it fills. Both are used in the same
 * way.
 *
 * References. owl_array_new gives one, owl_array_ref another, owl_array_release gives one back;
 * with the last the array goes. A function that changes an array *consumes* the reference that it
 * is given and returns one to the result:
 *
 *     a = owl_array_append(a, numbers, 3);
 *
 * If that was the only reference, the array is changed where it is, and the result is the same
 * pointer. If there are others, the result is a new array, and the others see what they saw before.
 * A function that fails returns NULL, with errno set; then the array is as it was, and the
 * reference still there.
 *
 * In common:
 *   - Counts and positions are in elements, unless the name says bytes. Position 0 is the first
 *     element.
 *   - NULL with ENOMEM: no memory, no addresses, or a size that does not fit into PTRDIFF_MAX. NULL
 *     with EINVAL: an array that is NULL, a size of 0, a position or range that is not in the
 *     array.
 *   - New elements are copied from where the argument points to, which may be in the array itself;
 *     NULL stands for zeros. Elements are moved as bytes. Their addresses are multiples of 16, or
 *     of the largest power of two that divides their size if that is less.
 *   - A reference is used by one thread at a time. Threads that have each one of their own need no
 *     lock: they may read at the same time, and a change by one is not seen by the others.
 *   - Pointers to elements are good until the next function that changes the array, unless its
 *     capacity says that they stay. Write through them only while the reference is the only one
 *     (owl_array_own).
 *
 * Ideas: arrays of growing size in moved pages, and references that are counted and consumed so
 * that the only holder's memory is used again, are geocar's; a vector in addresses that are
 * reserved and made accessible step by step is bit-bcast's mmap_vector, which was given up because
 * Valgrind refused the reservation. Here a refused one is no failure: a smaller one will do, and
 * pages are moved when it is full.
 */
#ifndef OWL_ARRAY_H
#define OWL_ARRAY_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What the inline functions need; not to be written by callers.
 *
 *      floor         first                end          limit
 *        | room        | elements ...      | room        |
 *
 * From floor to limit one may write without asking, and both are whole elements away. While there
 * are several references floor is first and limit is end, so that nobody does.
 */
struct owl_array {
    void *first;
    void *end;
    void *limit;
    void *floor;
    size_t element_bytes;
    int shared; /* there may be other references */
};

/* A new array without elements. `reserve` elements can be added at each end before any of them
 * has to move, if the system has so many addresses; if it does not (Valgrind, ulimit -v), it is
 * the half of them, or a quarter, and so on: owl_array_capacity tells. 0: no reserve. A reserve
 * of less than 1 MiB is a block with room at the back. Constant time. */
OWL_API struct owl_array *owl_array_new(size_t element_bytes, size_t reserve);

/* Another reference to the array, the same pointer. NULL gives NULL. Constant time. */
OWL_API struct owl_array *owl_array_ref(struct owl_array *a);

/* Gives a reference back; with the last one the array and its memory. NULL: nothing. Keeps
 * errno. */
OWL_API void owl_array_release(struct owl_array *a);

/* References that there are; while other threads take and give some, there were at some moment. */
OWL_API size_t owl_array_refs(const struct owl_array *a);

/* Adds `count` elements behind the last, or before the first. Time proportional to `count`, on
 * the average of many calls; within the capacity nothing moves. */
OWL_API struct owl_array *owl_array_append(struct owl_array *a, const void *elements, size_t count);
OWL_API struct owl_array *owl_array_prepend(struct owl_array *a, const void *elements,
                                            size_t count);

/* Inserts `count` elements before position `at`, which may be the end. Moves the shorter side,
 * so that either end is as cheap as owl_array_append. */
OWL_API struct owl_array *owl_array_insert(struct owl_array *a, size_t at, const void *elements,
                                           size_t count);

/* Takes out `count` elements from position `at` on. Moves the shorter side. Memory stays with
 * the array, but for what is free at the front and more than the elements and 1 MiB: so an array
 * that is a queue does not leave pages behind. */
OWL_API struct owl_array *owl_array_erase(struct owl_array *a, size_t at, size_t count);

/* Leaves the first `count` elements, at most as many as there are. Moves nothing; memory stays. */
OWL_API struct owl_array *owl_array_truncate(struct owl_array *a, size_t count);

/* Room for at least `front` more elements before the first and `back` behind the last. Room of 1
 * MiB and more makes an array with a reserve of one without. Elements may move now, not later. */
OWL_API struct owl_array *owl_array_reserve(struct owl_array *a, size_t front, size_t back);

/* Gives back the memory that no element needs: whole pages of an array with a reserve, whose
 * elements stay where they are and whose capacity stays; of one without, the block is made
 * smaller. */
OWL_API struct owl_array *owl_array_shrink(struct owl_array *a);

/* Changes nothing, but the result has no other reference: its elements may be written to. With
 * other references the elements are copied; of a large array without a reserve by owl_dup, which
 * shares pages until they are written to. */
OWL_API struct owl_array *owl_array_own(struct owl_array *a);

/* How many elements the array may have in all, by appending, or by prepending, before any of its
 * elements moves. As long as these are not exceeded, and there is one reference, addresses of
 * elements that are not taken out stay. 0 for NULL. */
OWL_API size_t owl_array_capacity(const struct owl_array *a);
OWL_API size_t owl_array_capacity_front(const struct owl_array *a);

/* The elements, one after the other; where the first would be if there are none. The array must
 * not be NULL. */
OWL_API void *owl_array_data(const struct owl_array *a);

/* How many elements there are. The array must not be NULL. */
OWL_API size_t owl_array_count(const struct owl_array *a);

/* The element at a position; NULL: there is none. The array must not be NULL. */
OWL_API void *owl_array_at(const struct owl_array *a, size_t at);

/*
 * OWL_ARRAY_OF(type, name) defines functions for arrays of one type, whose fast paths are inline: a
 * compare, a store and an addition for an element.
 *
 *     OWL_ARRAY_OF(double, doubles);
 *
 *     struct owl_array *doubles_new(size_t reserve)
 *     struct owl_array *doubles_append(struct owl_array *a, double element)
 *     struct owl_array *doubles_prepend(struct owl_array *a, double element)
 *     double *doubles_data(const struct owl_array *a)
 *     size_t doubles_count(const struct owl_array *a)
 *     double *doubles_at(const struct owl_array *a, size_t at)
 *
 * (Both branches end with the store of a pointer that is known, so that in a loop the compiler need
 * not load again what it has just stored. The loop would wait for that.)
 *
 * They do what the functions above do with elements of sizeof(type) bytes; the array must have been
 * made for that size, and not be NULL. To be used outside of functions, once a name. A type of
 * alignment above 16 cannot be used.
 */
#define OWL_ARRAY_OF(type, name)                                                                   \
    OWL_ARRAY_STATIC struct owl_array *name##_new(size_t reserve)                                  \
    {                                                                                              \
        return owl_array_new(sizeof(type), reserve);                                               \
    }                                                                                              \
    OWL_ARRAY_STATIC struct owl_array *name##_append(struct owl_array *a, type element)            \
    {                                                                                              \
        type *at = (type *)a->end;                                                                 \
        if (OWL_ARRAY_RARELY(a->end >= a->limit)) {                                                \
            type copy = element;                                                                   \
            if ((a = owl_array_append(a, &copy, 1)) == (struct owl_array *)0)                      \
                return a;                                                                          \
            at = (type *)a->end;                                                                   \
        } else {                                                                                   \
            *at++ = element;                                                                       \
        }                                                                                          \
        a->end = at;                                                                               \
        return a;                                                                                  \
    }                                                                                              \
    OWL_ARRAY_STATIC struct owl_array *name##_prepend(struct owl_array *a, type element)           \
    {                                                                                              \
        type *at = (type *)a->first;                                                               \
        if (OWL_ARRAY_RARELY(a->first <= a->floor)) {                                              \
            type copy = element;                                                                   \
            if ((a = owl_array_prepend(a, &copy, 1)) == (struct owl_array *)0)                     \
                return a;                                                                          \
            at = (type *)a->first;                                                                 \
        } else {                                                                                   \
            *--at = element;                                                                       \
        }                                                                                          \
        a->first = at;                                                                             \
        return a;                                                                                  \
    }                                                                                              \
    OWL_ARRAY_STATIC type *name##_data(const struct owl_array *a)                                  \
    {                                                                                              \
        return (type *)a->first;                                                                   \
    }                                                                                              \
    OWL_ARRAY_STATIC size_t name##_count(const struct owl_array *a)                                \
    {                                                                                              \
        return (size_t)((type *)a->end - (type *)a->first);                                        \
    }                                                                                              \
    OWL_ARRAY_STATIC type *name##_at(const struct owl_array *a, size_t at)                         \
    {                                                                                              \
        return at < name##_count(a) ? name##_data(a) + at : (type *)0;                             \
    }                                                                                              \
    OWL_ARRAY_STATIC struct owl_array *name##_new(size_t reserve)

#if defined(__GNUC__)
#define OWL_ARRAY_STATIC static __inline __attribute__((__unused__))
#define OWL_ARRAY_RARELY(holds) __builtin_expect(!!(holds), 0)
#else
#define OWL_ARRAY_STATIC static inline
#define OWL_ARRAY_RARELY(holds) (holds)
#endif

#ifdef __cplusplus
}
#endif

#endif
