/* SPDX-License-Identifier: BSD-2-Clause */
/* The marks of free blocks. */
#include "block.h"
#include "child.h"

static struct owl_block blocks[8];

static void set_up(void)
{
    owl_page_map.secret = UINT64_C(0x1234567890abcdef);
}

static void marked_blocks_are_seen(void **state)
{
    (void)state;
    set_up();
    for (int i = 0; i < 8; i++) {
        assert_false(owl_block_is_marked(&blocks[i]));
        owl_block_mark(&blocks[i]);
        assert_true(owl_block_is_marked(&blocks[i]));
    }
    for (int i = 0; i < 8; i++) {
        owl_block_wipe(&blocks[i]);
        assert_false(owl_block_is_marked(&blocks[i]));
    }
}

static void any_changed_bit_is_seen(void **state)
{
    (void)state;
    set_up();
    owl_block_mark(&blocks[0]);
    for (size_t bit = 0; bit < 8 * sizeof blocks[0]; bit++) {
        blocks[0].mark ^= (uintptr_t)1 << bit;
        assert_false(owl_block_is_marked(&blocks[0]));
        blocks[0].mark ^= (uintptr_t)1 << bit;
        assert_true(owl_block_is_marked(&blocks[0]));
    }
}

/* What callers' bytes may look like, and marks in the wrong place. */
static void other_bytes_are_no_mark(void **state)
{
    (void)state;
    set_up();
    memset(&blocks[0], 0, sizeof blocks[0]);
    assert_false(owl_block_is_marked(&blocks[0]));
    memset(&blocks[0], 0xff, sizeof blocks[0]);
    assert_false(owl_block_is_marked(&blocks[0]));
    owl_block_mark(&blocks[0]);
    blocks[1] = blocks[0];
    assert_false(owl_block_is_marked(&blocks[1]));
    assert_true(owl_block_is_marked(&blocks[0]));
    owl_page_map.secret++;
    assert_false(owl_block_is_marked(&blocks[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(marked_blocks_are_seen),
        cmocka_unit_test(any_changed_bit_is_seen),
        cmocka_unit_test(other_bytes_are_no_mark),
    };
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
