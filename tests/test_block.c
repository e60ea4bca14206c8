/* SPDX-License-Identifier: BSD-2-Clause */
/* The marks of free blocks. */
#include "block.h"
#include "death.h"

static struct owl_block blocks[8];

static void set_up(void)
{
    owl_page_map.secret = UINT64_C(0x1234567890abcdef);
}

static void linked_blocks_are_marked(void **state)
{
    (void)state;
    set_up();
    owl_block_link(&blocks[7], NULL);
    for (int i = 6; i >= 0; i--)
        owl_block_link(&blocks[i], &blocks[i + 1]);
    const struct owl_block *b = &blocks[0];
    for (int i = 0; i < 8; i++) {
        assert_ptr_equal(b, &blocks[i]);
        assert_true(owl_block_is_marked(b));
        b = owl_block_next(b);
    }
    assert_null(b);
}

static void any_changed_bit_is_seen(void **state)
{
    unsigned char *bytes = (unsigned char *)&blocks[0];
    (void)state;
    set_up();
    for (size_t bit = 0; bit < 8 * sizeof blocks[0]; bit++) {
        owl_block_link(&blocks[0], &blocks[1]);
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        assert_false(owl_block_is_marked(&blocks[0]));
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
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
    owl_block_link(&blocks[0], &blocks[2]);
    blocks[1] = blocks[0];
    assert_false(owl_block_is_marked(&blocks[1]));
    owl_block_link(&blocks[0], NULL);
    owl_page_map.secret++;
    assert_false(owl_block_is_marked(&blocks[0]));
}

static void follow_changed(void)
{
    set_up();
    owl_block_link(&blocks[3], &blocks[4]);
    blocks[3].next = &blocks[5];
    culprit(&blocks[3]);
    owl_block_next(&blocks[3]);
}

static void changed_links_are_not_followed(void **state)
{
    (void)state;
    expect_death(follow_changed, "written to after it was freed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linked_blocks_are_marked),
        cmocka_unit_test(any_changed_bit_is_seen),
        cmocka_unit_test(other_bytes_are_no_mark),
        cmocka_unit_test(changed_links_are_not_followed),
    };
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}
