/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole slabs of ended threads wait among the orphans, for a while and not too many. */
#include "option.h"
#include "slab_owners.h"

static struct owl_block *blocks_of_all[MOST];

/* Gives blocks while their owner keeps what becomes whole, and ends. */
static void give_and_leave(struct owl_block *const *blocks, unsigned n)
{
    owl_slab_keep(&one);
    give(blocks, n);
    check(all_valid());
    owl_slab_abandon(&one);
    check(one.slabs == 0 && all_valid());
}

static void whole_slabs_wait_for_the_next_thread(void)
{
    struct owl_block *a[3], *b[3];
    set_up();
    check(take(&one, 30, 3, a) == 3 && take(&one, 31, 1, b) == 1);
    const struct owl_span *s = owl_span_of(a[0]);
    uint32_t dry = s->dry;
    check(dry > 0);
    give(b, 1);
    check(one.slabs == 1); /* it does not keep them yet */
    give_and_leave(a, 3);
    check(owl_orphans.slabs == 1 && owl_slab_is_whole(s));
    size_t used = owl_pool_count().used;
    check(take(&two, 31, 1, b) == 1 && owl_pool_count().used > used);
    check(take(&two, 30, 3, b) == 3 && memcmp(a, b, sizeof a) == 0);
    check(s->dry < dry && owl_orphans.slabs == 0 && all_valid());
    give(b, 3);
    check(two.slabs == 1 && all_valid());
    check(take(&one, 30, 3, b) == 3); /* who has left keeps nothing any more */
    give(b, 3);
    check(one.slabs == 0 && all_valid());
}

/* So many bytes of whole slabs, all of them resident, are left: those that wait come to so many. */
static size_t waiting_of(size_t bytes, unsigned class)
{
    static struct owl_block *blocks[MOST];
    size_t slab = (size_t)owl_classes[class].blocks * owl_classes[class].size;
    unsigned n = 0;
    for (size_t all = 0; all < bytes; all += slab)
        n += take(&one, class, owl_classes[class].blocks, blocks + n);
    give_and_leave(blocks, n);
    size_t waiting = owl_orphans.idle;
    check(owl_orphans.slabs * slab == waiting);
    owl_slab_purge(&owl_orphans);
    check(owl_orphans.slabs == 0 && all_valid());
    owl_pool_purge(0);
    return waiting;
}

static void not_too_many_wait(void)
{
    set_up();
    owl_option_force(OWL_OPTION_DIRTY, 1 << 20);
    check(waiting_of((size_t)2 << 20, 60) >= (size_t)2 << 20);
    size_t most = waiting_of((size_t)8 << 20, 60);
    check(most > (size_t)3 << 20 && most <= (size_t)OWL_DIRTY_STORM << 20);
    owl_option_force(OWL_OPTION_DIRTY, 0);
    check(waiting_of((size_t)2 << 20, 60) == 0);
    owl_option_force(OWL_OPTION_DIRTY, 1 << 20);
    owl_option_force(OWL_OPTION_DIRTY_SHARE, 0);
    check(waiting_of((size_t)2 << 20, 60) == 0);
    owl_option_force(OWL_OPTION_DIRTY_SHARE, OWL_DIRTY_SHARE);
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    check(waiting_of((size_t)2 << 20, 60) == 0);
}

/* What is dirty in the pool counts as well. */
static void beside_dirty_memory_fewer_wait(void)
{
    enum { DIRTY = 3 << 20 >> OWL_GRANULE_SHIFT, SLABS = 4 };
    bool zero;
    set_up();
    owl_option_force(OWL_OPTION_DIRTY, 1 << 20);
    owl_option_force(OWL_OPTION_DIRTY_SHARE, 1);
    struct owl_span *used = owl_pool_take(OWL_PRIVATE, 2 * DIRTY, 0, &zero);
    struct owl_span *dirty = owl_pool_take(OWL_PRIVATE, DIRTY, 0, &zero);
    struct owl_block *blocks[SLABS * OWL_SLAB_MIN_BLOCKS];
    for (unsigned i = 0; i < SLABS; i++)
        check(take(&one, OWL_CLASSES - 1 - i, OWL_SLAB_MIN_BLOCKS,
                   blocks + i * OWL_SLAB_MIN_BLOCKS) == OWL_SLAB_MIN_BLOCKS);
    owl_pool_give(dirty, DIRTY);
    check(owl_pool_count().dirty == DIRTY);
    give_and_leave(blocks, SLABS * OWL_SLAB_MIN_BLOCKS);
    check(owl_orphans.slabs > 0 && owl_orphans.idle <= (size_t)1 << 20);
    owl_pool_give(used, 2 * DIRTY);
}

/* One block of each of many slabs: it is pages that are resident, and that count. */
static void what_waits_counts_by_the_page(void)
{
    struct owl_block *block;
    set_up();
    check(take(&one, 3, 1, &block) == 1);
    const struct owl_span *s = owl_span_of(block);
    size_t all = (size_t)owl_classes[3].blocks * s->bytes;
    give_and_leave(&block, 1);
    check(owl_orphans.slabs == 1 && owl_orphans.idle == owl_os.page);
    check(s->dry == all - owl_os.page);
    check(take(&two, 3, 1, &block) == 1 && owl_orphans.idle == 0 && all_valid());
    check(take(&one, 3, owl_classes[3].blocks, blocks_of_all) == owl_classes[3].blocks);
    give_and_leave(blocks_of_all, owl_classes[3].blocks);
    check(owl_orphans.idle == all);
}

/* As many go to the pool as it takes, as they are. */
static void as_many_end_as_is_wanted(void)
{
    struct owl_block *block;
    set_up();
    for (unsigned class = 20; class < 30; class++) {
        check(take(&one, class, 1, &block) == 1);
        give_and_leave(&block, 1);
    }
    size_t page = owl_os.page;
    check(owl_orphans.slabs == 10 && owl_orphans.idle == 10 * page);
    check(!owl_slab_end_waiting(10 * page) && owl_orphans.slabs == 10);
    check(take(&two, 20, 1, &block) == 1);
    owl_slab_abandon(&two); /* with a block out it does not wait */
    check(owl_slab_waiting == 9 && all_valid());
    check(owl_slab_end_waiting(5 * page) && owl_orphans.idle <= 5 * page && owl_orphans.slabs > 1);
    check(owl_slab_end_waiting(0) && owl_orphans.slabs == 1);
    check(!owl_slab_end_waiting(0) && owl_slab_waiting == 0 && owl_pool_count().dirty == 9);
    check(calls_of(FAULT_PURGE) == 0 && all_valid());
    give(&block, 1);
}

/* A slab that has all blocks at home is left to the orphans; its granules. */
static size_t leave_whole(unsigned class)
{
    struct owl_block *block;
    owl_slab_keep(&one);
    check(owl_slab_take(&one, class, 1, true, &block) == 1);
    size_t granules = owl_span_of(block)->granules;
    memset(block, 1, owl_classes[class].size);
    owl_block_mark(block);
    owl_slab_give(&block, 1);
    owl_slab_abandon(&one);
    check(owl_orphans.slabs == 1);
    return granules;
}

static void orphans_that_waited_in_vain_go_to_the_pool(void)
{
    set_up();
    size_t granules = leave_whole(60);
    owl_pool_decay();
    check(owl_slab_purge_idle(&owl_orphans, 1) && owl_orphans.slabs == 1);
    check(!owl_slab_purge_idle(&owl_orphans, 2) && owl_orphans.slabs == 0);
    check(owl_pool_count().used == 0 && owl_pool_count().dirty == granules);
    check(!owl_pool_decay() && owl_pool_count().dirty == 0); /* they need not wait again */
    check(owl_slab_is_valid(&owl_orphans) && owl_pool_is_valid());
}

/* One that is used in between waits anew, as does one that was looked at before it was left. */
static void orphans_that_are_wanted_stay(void)
{
    struct owl_block *block;
    set_up();
    leave_whole(20);
    check(owl_slab_purge_idle(&owl_orphans, 1));
    check(owl_slab_take(&one, 20, 1, false, &block) == 1);
    owl_slab_purge_idle(&one, 2);
    owl_slab_keep(&one);
    owl_block_mark(block);
    owl_slab_give(&block, 1);
    owl_slab_abandon(&one);
    check(owl_slab_purge_idle(&owl_orphans, 3) && owl_orphans.slabs == 1);
    check(!owl_slab_purge_idle(&owl_orphans, 4) && owl_orphans.slabs == 0);
}

/* A block on each page is out while the others' pages would go: so nothing goes, and when they come
 * home each of them stands for a page. */
static void what_was_sparse_counts_by_the_block(void)
{
    enum { CLASS = 7 };
    static struct owl_block *blocks[MOST], *some[MOST], *rest[MOST];
    set_up();
    unsigned all = owl_classes[CLASS].blocks, kept = 0, others = 0;
    unsigned on_page = (unsigned)(owl_os.page / owl_classes[CLASS].size);
    check(take(&one, CLASS, all, blocks) == all && on_page > 1);
    for (unsigned i = 0; i < all; i++)
        if (i % on_page == 0)
            some[kept++] = blocks[i];
        else
            rest[others++] = blocks[i];
    give(rest, others);
    owl_slab_purge(&one);
    owl_slab_keep(&one);
    give(some, kept);
    check(one.idle == kept * owl_classes[CLASS].size && kept > 8);
    owl_slab_abandon(&one);
    check(owl_orphans.slabs == 1 && owl_orphans.idle >= kept * owl_os.page && all_valid());
}

/* Those that no page is resident of, too, and what is filled with junk; at once on demand. */
static void orphans_go_on_demand(void)
{
    set_up();
    leave_whole(20);
    owl_span_of((void *)owl_orphans.with_free[20]->start)->filled = true;
    owl_slab_purge(&owl_orphans);
    check(owl_orphans.slabs == 0 && owl_pool_count().used == 0);
    leave_whole(71);
    struct owl_span *s = owl_orphans.with_free[71];
    owl_orphans.idle -= owl_slab_idle(s);
    s->dry = s->free_blocks * (uint32_t)s->bytes;
    check(owl_slab_is_valid(&owl_orphans));
    owl_slab_purge(&owl_orphans);
    check(owl_orphans.slabs == 0 && owl_pool_count().used == 0 && owl_pool_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(whole_slabs_wait_for_the_next_thread),
        child_test(not_too_many_wait),
        child_test(beside_dirty_memory_fewer_wait),
        child_test(what_waits_counts_by_the_page),
        child_test(as_many_end_as_is_wanted),
        child_test(orphans_that_waited_in_vain_go_to_the_pool),
        child_test(orphans_that_are_wanted_stay),
        child_test(what_was_sparse_counts_by_the_block),
        child_test(orphans_go_on_demand),
    };
    return cmocka_run_group_tests_name("slab_wait", tests, NULL, NULL);
}
