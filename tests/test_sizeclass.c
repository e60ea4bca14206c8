/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables of size classes, entry by entry. */
#include "alloc.h"
#include "child.h"
#include "sizeclass.h"

static size_t span_bytes(const struct owl_class *c)
{
    return OWL_GRANULE << c->order;
}

static void classes_ascend_in_quanta(void **state)
{
    (void)state;
    assert_int_equal(owl_classes[0].size, OWL_QUANTUM);
    assert_int_equal(owl_classes[OWL_CLASSES - 1].size, OWL_SMALL_MAX);
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        assert_int_equal(owl_classes[class].size % OWL_QUANTUM, 0);
        assert_true(class == 0 || owl_classes[class - 1].size < owl_classes[class].size);
    }
}

static void every_size_has_the_smallest_class_that_fits(void **state)
{
    (void)state;
    for (size_t size = 0; size <= OWL_SMALL_MAX; size++) {
        unsigned class = owl_class_of(size);
        assert_true(class < OWL_CLASSES);
        assert_true(owl_classes[class].size >= size);
        assert_true(class == 0 || owl_classes[class - 1].size < size);
        if (size > 128 && (owl_classes[class].size - size) * 8 > size)
            fail_msg("%zu bytes get %u", size, owl_classes[class].size);
    }
}

static void slabs_hold_enough_and_waste_little(void **state)
{
    (void)state;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_class *c = &owl_classes[class];
        assert_int_equal(c->blocks, span_bytes(c) / c->size);
        assert_in_range(c->blocks, OWL_SLAB_MIN_BLOCKS, OWL_SLAB_MAX_BLOCKS);
        assert_true(c->order == 0 || span_bytes(c) / 2 / c->size < OWL_SLAB_MIN_BLOCKS);
        assert_true((span_bytes(c) - (size_t)c->blocks * c->size) * 16 < span_bytes(c));
    }
}

static void magazines_are_in_bounds(void **state)
{
    (void)state;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_class *c = &owl_classes[class];
        assert_in_range(c->magazine, 2 * c->first, OWL_MAGAZINE_BLOCKS);
        assert_true((size_t)c->magazine * c->size <= OWL_MAGAZINE_BYTES);
        assert_in_range(c->fill, 1, c->magazine);
        assert_in_range(c->first, 1, c->fill);
    }
}

/* Every byte of a slab: the quotient is the block's number, and the remainder test is exact. */
static void reciprocals_divide_exactly(void **state)
{
    (void)state;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_class *c = &owl_classes[class];
        for (size_t at = 0; at < span_bytes(c); at++) {
            unsigned __int128 product = (unsigned __int128)at * c->reciprocal;
            if ((uint64_t)(product >> 64) != at / c->size)
                fail_msg("class %u: wrong quotient of %zu", class, at);
            if (((uint64_t)product < c->reciprocal) != (at % c->size == 0))
                fail_msg("class %u: wrong remainder of %zu", class, at);
        }
    }
}

/* What free() believes to be the start of a block, for all bytes of a slab, its tail included. */
static void only_starts_are_starts(void **state)
{
    const uintptr_t start = (uintptr_t)0x7f1234560000;
    (void)state;
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_class *c = &owl_classes[class];
        struct owl_span s = {.reciprocal = c->reciprocal,
                             .last = start + (uintptr_t)(c->blocks - 1) * c->size};
        for (size_t at = 0; at < span_bytes(c); at++) {
            bool is_start = at % c->size == 0 && at / c->size < c->blocks;
            if (owl_is_block_start(&s, (void *)(start + at)) != is_start)
                fail_msg("class %u: byte %zu", class, at);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_ascend_in_quanta),
        cmocka_unit_test(every_size_has_the_smallest_class_that_fits),
        cmocka_unit_test(slabs_hold_enough_and_waste_little),
        cmocka_unit_test(magazines_are_in_bounds),
        cmocka_unit_test(reciprocals_divide_exactly),
        cmocka_unit_test(only_starts_are_starts),
    };
    return cmocka_run_group_tests_name("sizeclass", tests, NULL, NULL);
}
