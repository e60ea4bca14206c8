/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only atomics of owlalloc. Built on Concurrency Kit's ck_pr; under ThreadSanitizer, which
 * cannot see into CK's inline assembly, on C11's <stdatomic.h>.
 *
 * A word is an owl_word (pointer-sized) or an owl_u32. Orders are in the names:
 *   relaxed   the access is whole and nothing more
 *   acquire   what follows stays after it; pairs with a release of the same word
 *   release   what precedes stays before it
 * cas, swap and add are acquire and release both, and on CK full barriers too, by a locked
 * instruction or by the fences on both sides: what follows one is not read before it. memfd.c
 * (`late` and the lock) and scavenger.c (what is due, and `least`) need that. They are what is
 * counted (count.h).
 *
 * once and hand are for words that others change or read at moments at which they have made this
 * thread pass a memory barrier (os.h): all that they need here is that the compiler makes the
 * access once, where it is written, for once before everything that follows and after everything
 * that precedes. They are acquire and release where a tool watches, which cannot know of that
 * barrier.
 *
 * peek and poke are for words that one thread writes and others read only for a hint, or that are
 * written before anybody can care: any value that the word ever had will do. They are plain
 * accesses, which the compiler may fold into instructions with others, and relaxed ones where a
 * tool watches.
 */
#ifndef OWL_CORE_ATOMIC_H
#define OWL_CORE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#include "count.h"

#if defined(__SANITIZE_THREAD__)
#define OWL_ATOMIC_C11 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OWL_ATOMIC_C11 1
#endif
#endif

#ifdef OWL_ATOMIC_C11

#include <stdatomic.h>

typedef _Atomic(uintptr_t) owl_word;
typedef _Atomic(uint32_t) owl_u32;

#define OWL_ATOMIC_DEFINE(name, cell, plain)                                                      \
    static inline plain owl_##name##_load_relaxed(const cell *w)                                  \
    {                                                                                             \
        return atomic_load_explicit(w, memory_order_relaxed);                                     \
    }                                                                                             \
    static inline plain owl_##name##_load_acquire(const cell *w)                                  \
    {                                                                                             \
        return atomic_load_explicit(w, memory_order_acquire);                                     \
    }                                                                                             \
    static inline void owl_##name##_store_relaxed(cell *w, plain v)                               \
    {                                                                                             \
        atomic_store_explicit(w, v, memory_order_relaxed);                                        \
    }                                                                                             \
    static inline void owl_##name##_store_release(cell *w, plain v)                               \
    {                                                                                             \
        atomic_store_explicit(w, v, memory_order_release);                                        \
    }                                                                                             \
    static inline plain owl_##name##_peek(const cell *w)                                          \
    {                                                                                             \
        return atomic_load_explicit(w, memory_order_relaxed);                                     \
    }                                                                                             \
    static inline void owl_##name##_poke(cell *w, plain v)                                        \
    {                                                                                             \
        atomic_store_explicit(w, v, memory_order_relaxed);                                        \
    }                                                                                             \
    static inline bool owl_##name##_cas(cell *w, plain from, plain to)                            \
    {                                                                                             \
        owl_count(OWL_COUNT_CAS);                                                                 \
        return atomic_compare_exchange_strong_explicit(w, &from, to, memory_order_acq_rel,        \
                                                       memory_order_acquire);                     \
    }                                                                                             \
    static inline plain owl_##name##_swap(cell *w, plain to)                                      \
    {                                                                                             \
        owl_count(OWL_COUNT_SWAPS);                                                               \
        return atomic_exchange_explicit(w, to, memory_order_acq_rel);                             \
    }

OWL_ATOMIC_DEFINE(word, owl_word, uintptr_t)
OWL_ATOMIC_DEFINE(u32, owl_u32, uint32_t)

static inline uintptr_t owl_word_once(const owl_word *w)
{
    return atomic_load_explicit(w, memory_order_acquire);
}

static inline void owl_word_hand(owl_word *w, uintptr_t v)
{
    atomic_store_explicit(w, v, memory_order_release);
}

static inline uint32_t owl_u32_add(owl_u32 *w, uint32_t n)
{
    owl_count(OWL_COUNT_ADDS);
    return atomic_fetch_add_explicit(w, n, memory_order_acq_rel);
}

static inline void owl_barrier_compiler(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void owl_cpu_relax(void)
{
}

#else

#include <ck_pr.h>

typedef uint64_t owl_word;
typedef uint32_t owl_u32;

_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "owlalloc wants 64-bit pointers");

#define OWL_ATOMIC_DEFINE(name, cell, plain, bits)                                                \
    static inline plain owl_##name##_load_relaxed(const cell *w)                                  \
    {                                                                                             \
        return ck_pr_load_##bits(w);                                                              \
    }                                                                                             \
    static inline plain owl_##name##_load_acquire(const cell *w)                                  \
    {                                                                                             \
        plain v = ck_pr_load_##bits(w);                                                           \
        ck_pr_fence_acquire();                                                                    \
        return v;                                                                                 \
    }                                                                                             \
    static inline void owl_##name##_store_relaxed(cell *w, plain v)                               \
    {                                                                                             \
        ck_pr_store_##bits(w, v);                                                                 \
    }                                                                                             \
    static inline void owl_##name##_store_release(cell *w, plain v)                               \
    {                                                                                             \
        ck_pr_fence_release();                                                                    \
        ck_pr_store_##bits(w, v);                                                                 \
    }                                                                                             \
    static inline plain owl_##name##_peek(const cell *w)                                          \
    {                                                                                             \
        return *w;                                                                                \
    }                                                                                             \
    static inline void owl_##name##_poke(cell *w, plain v)                                        \
    {                                                                                             \
        *w = v;                                                                                   \
    }                                                                                             \
    static inline bool owl_##name##_cas(cell *w, plain from, plain to)                            \
    {                                                                                             \
        owl_count(OWL_COUNT_CAS);                                                                 \
        ck_pr_fence_release();                                                                    \
        bool done = ck_pr_cas_##bits(w, from, to);                                                \
        ck_pr_fence_acquire();                                                                    \
        return done;                                                                              \
    }                                                                                             \
    static inline plain owl_##name##_swap(cell *w, plain to)                                      \
    {                                                                                             \
        owl_count(OWL_COUNT_SWAPS);                                                               \
        ck_pr_fence_release();                                                                    \
        plain v = ck_pr_fas_##bits(w, to);                                                        \
        ck_pr_fence_acquire();                                                                    \
        return v;                                                                                 \
    }

OWL_ATOMIC_DEFINE(word, owl_word, uintptr_t, 64)
OWL_ATOMIC_DEFINE(u32, owl_u32, uint32_t, 32)

static inline uintptr_t owl_word_once(const owl_word *w)
{
    ck_pr_barrier();
    return *(const volatile owl_word *)w;
}

static inline void owl_word_hand(owl_word *w, uintptr_t v)
{
    *w = v;
}

static inline uint32_t owl_u32_add(owl_u32 *w, uint32_t n)
{
    owl_count(OWL_COUNT_ADDS);
    ck_pr_fence_release();
    uint32_t before = ck_pr_faa_32(w, n);
    ck_pr_fence_acquire();
    return before;
}

static inline void owl_barrier_compiler(void)
{
    ck_pr_barrier();
}

static inline void owl_cpu_relax(void)
{
    ck_pr_stall();
}

#endif
#endif
