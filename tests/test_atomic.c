/* SPDX-License-Identifier: BSD-2-Clause */
/* Words and u32s alone, and under contention. */
#include <pthread.h>

#include "atomic.h"
#include "child.h"

enum { THREADS = 5, STEPS = 20000 };

static owl_word word;
static owl_u32 small;

static void run_threads(void *(*body)(void *))
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, body, (void *)(i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void words_hold_all_their_bits(void **state)
{
    (void)state;
    owl_word_store_relaxed(&word, UINT64_C(0xfedcba9876543210));
    assert_true(owl_word_load_relaxed(&word) == UINT64_C(0xfedcba9876543210));
    owl_word_store_release(&word, UINT64_C(0x8000000000000001));
    assert_true(owl_word_load_acquire(&word) == UINT64_C(0x8000000000000001));
    owl_u32_store_relaxed(&small, 0xfedcba98u);
    assert_true(owl_u32_load_relaxed(&small) == 0xfedcba98u);
    owl_u32_store_release(&small, 0x80000001u);
    assert_true(owl_u32_load_acquire(&small) == 0x80000001u);
    owl_cpu_relax();
}

static void cas_changes_only_what_is_expected(void **state)
{
    (void)state;
    owl_word_store_relaxed(&word, 5);
    assert_false(owl_word_cas(&word, 4, 6));
    assert_true(owl_word_load_relaxed(&word) == 5);
    assert_true(owl_word_cas(&word, 5, UINT64_MAX));
    assert_true(owl_word_load_relaxed(&word) == UINT64_MAX);
    /* the upper half counts too */
    owl_word_store_relaxed(&word, UINT64_C(0x100000005));
    assert_false(owl_word_cas(&word, 5, 6));
    owl_u32_store_relaxed(&small, 5);
    assert_false(owl_u32_cas(&small, 4, 6));
    assert_true(owl_u32_cas(&small, 5, 7));
    assert_true(owl_u32_load_relaxed(&small) == 7);
}

static void swap_gives_the_old_value(void **state)
{
    (void)state;
    owl_word_store_relaxed(&word, UINT64_C(0xfedcba9876543210));
    assert_true(owl_word_swap(&word, 3) == UINT64_C(0xfedcba9876543210));
    assert_true(owl_word_swap(&word, 4) == 3);
    owl_u32_store_relaxed(&small, 9);
    assert_true(owl_u32_swap(&small, 1) == 9);
    assert_true(owl_u32_load_relaxed(&small) == 1);
}

static void *add_by_cas(void *unused)
{
    (void)unused;
    for (int i = 0; i < STEPS; i++) {
        uintptr_t old;
        do
            old = owl_word_load_relaxed(&word);
        while (!owl_word_cas(&word, old, old + ((uintptr_t)1 << 32) + 1));
        uint32_t s;
        do
            s = owl_u32_load_relaxed(&small);
        while (!owl_u32_cas(&small, s, s + 1));
    }
    return NULL;
}

static void cas_loses_nothing(void)
{
    owl_word_store_relaxed(&word, 0);
    owl_u32_store_relaxed(&small, 0);
    run_threads(add_by_cas);
    check(owl_word_load_relaxed(&word) == (((uintptr_t)1 << 32) + 1) * THREADS * STEPS);
    check(owl_u32_load_relaxed(&small) == THREADS * STEPS);
}

static uintptr_t sums[THREADS + 1];

/* Every value swapped in comes out once, or is there at the end. */
static void *swap_values(void *number)
{
    uintptr_t n = (uintptr_t)number;
    for (uintptr_t i = 0; i < STEPS; i++)
        sums[n] += owl_word_swap(&word, n * STEPS + i) - (n * STEPS + i);
    return NULL;
}

static void swap_loses_nothing(void)
{
    owl_word_store_relaxed(&word, 0);
    run_threads(swap_values);
    uintptr_t sum = owl_word_load_relaxed(&word);
    for (int i = 0; i <= THREADS; i++)
        sum += sums[i];
    check(sum == 0);
}

/* A plain variable, guarded by nothing but the order of the words. */
static struct {
    uint64_t value[8];
} message;

static void *receive(void *unused)
{
    (void)unused;
    for (uintptr_t turn = 1; turn <= STEPS; turn++) {
        while (owl_word_load_acquire(&word) != turn)
            sched_yield();
        for (int i = 0; i < 8; i++)
            check(message.value[i] == turn * 8 + (uintptr_t)i);
        owl_u32_store_release(&small, (uint32_t)turn);
    }
    return NULL;
}

static void release_and_acquire_publish(void)
{
    pthread_t receiver;
    owl_word_store_relaxed(&word, 0);
    owl_u32_store_relaxed(&small, 0);
    check(pthread_create(&receiver, NULL, receive, NULL) == 0);
    for (uintptr_t turn = 1; turn <= STEPS; turn++) {
        for (int i = 0; i < 8; i++)
            message.value[i] = turn * 8 + (uintptr_t)i;
        owl_word_store_release(&word, turn);
        while (owl_u32_load_acquire(&small) != turn)
            sched_yield();
    }
    pthread_join(receiver, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_hold_all_their_bits),
        cmocka_unit_test(cas_changes_only_what_is_expected),
        cmocka_unit_test(swap_gives_the_old_value),
        child_test(cas_loses_nothing),
        child_test(swap_loses_nothing),
        child_test(release_and_acquire_publish),
    };
    return cmocka_run_group_tests_name("atomic", tests, NULL, NULL);
}
