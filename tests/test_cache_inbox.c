/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks that other threads free: what is left for their owner's thread, and what becomes of it. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache_inside.h"

#include "alloc.h"
#include "child.h"
#include "pool.h"
#include "stats.h"

enum { SIZE = 64, MANY = OWL_REMOTE_BLOCKS };

static void *blocks[2 * OWL_INBOX_BLOCKS];
static size_t number;

static struct owl_cache *mine(void)
{
    return owl_cache_get();
}

static unsigned left_for(const struct owl_cache *c)
{
    return owl_u32_peek(&c->inbox.count);
}

static size_t out_of(struct owl_cache *c)
{
    struct owl_slab_counts counts = {.slabs = 0};
    owl_slab_count(&c->owner, &counts);
    return counts.blocks_out;
}

static void take_all(size_t n)
{
    number = n;
    for (size_t i = 0; i < n; i++) {
        blocks[i] = owl_malloc(SIZE);
        check(blocks[i] != NULL);
    }
}

static void *free_all(void *unused)
{
    for (size_t i = 0; i < number; i++)
        owl_free(blocks[i]);
    return unused;
}

/* So many blocks of this thread were left for it by another, which freed one more, so that its
 * buffer had no room; and its magazine has grown, but is empty. */
static void have_left(size_t n)
{
    take_all(OWL_INBOX_BLOCKS);
    free_all(NULL);
    take_all(n + 1);
    owl_cache_flush(mine());
    on_other_thread(free_all, NULL);
    number = n;
    check(left_for(mine()) == n && out_of(mine()) == n);
}

static bool is_one(const void *p)
{
    for (size_t i = 0; i < number; i++)
        if (blocks[i] == p)
            return true;
    return false;
}

/* Before the slabs are asked, and without a visit to them; the newest first. */
static void they_are_handed_out_again(void)
{
    have_left(MANY);
    for (size_t i = 0; i < MANY; i++) {
        void *p = owl_malloc(SIZE);
        check(i > 0 || p == blocks[MANY - 1]);
        check(is_one(p) && out_of(mine()) == MANY);
    }
    check(left_for(mine()) == 0);
    check(owl_stats_heap_is_valid());
}

/* Another class gets none of them, but they are taken in. */
static void another_class_takes_them_in(void)
{
    have_left(MANY);
    void *p = owl_malloc(1000);
    check(left_for(mine()) == 0 && out_of(mine()) >= MANY + 1);
    owl_free(p);
    owl_cache_flush(mine());
    check(out_of(mine()) == 0 && owl_pool_count().used == 0);
}

/* So many at a time, whatever there is. */
static void a_full_inbox_is_taken_in_parts(void)
{
    have_left(OWL_INBOX_BLOCKS);
    check(owl_malloc(SIZE) != NULL);
    check(left_for(mine()) == OWL_INBOX_BLOCKS - OWL_INBOX_TAKEN);
    for (size_t i = 1; i < OWL_INBOX_BLOCKS; i++)
        check(is_one(owl_malloc(SIZE)));
    check(left_for(mine()) == 0 && owl_stats_heap_is_valid());
}

static void what_finds_no_room_goes_home(void)
{
    take_all(OWL_INBOX_BLOCKS + MANY);
    owl_cache_flush(mine());
    on_other_thread(free_all, NULL);
    check(left_for(mine()) == OWL_INBOX_BLOCKS && out_of(mine()) == OWL_INBOX_BLOCKS);
    check(owl_stats_heap_is_valid());
}

static void they_are_counted(void)
{
    struct owl_cache_counts counts = {.blocks = 0};
    have_left(MANY);
    owl_cache_count(mine(), &counts);
    check(counts.blocks == MANY && counts.bytes == MANY * SIZE);
    check(counts.remote_blocks == MANY && counts.remote_bytes == MANY * SIZE);
}

static void flushes_bring_them_home(void)
{
    have_left(MANY);
    owl_cache_flush(mine());
    check(left_for(mine()) == 0 && out_of(mine()) == 0 && owl_pool_count().used == 0);
    have_left(MANY);
    owl_trim(0);
    check(left_for(mine()) == 0 && out_of(mine()) == 0);
}

static void *leave_a_cache(void *cache)
{
    take_all(MANY);
    *(struct owl_cache **)cache = mine();
    return NULL;
}

/* The blocks of a thread that has ended are the orphans', and go home; so do those that somebody
 * has gathered for it before. */
static void nothing_is_left_for_an_ended_thread(void)
{
    struct owl_cache *c = NULL;
    check(mine() != NULL); /* so that the other's cache is another one */
    on_other_thread(leave_a_cache, &c);
    check(!owl_inbox_post(&c->inbox, (struct owl_block **)blocks, 1, SIZE));
    free_all(NULL);
    check(left_for(c) == 0);
    owl_cache_flush(mine());
    owl_cache_reclaim_all(false);
    check(owl_pool_count().used == 0);
}

/* A block may be left by one that still takes the cache for its owner. */
static void what_is_anothers_goes_home(void)
{
    struct owl_cache *c = NULL;
    check(mine() != NULL);
    on_other_thread(leave_a_cache, &c);
    for (size_t i = 0; i < MANY; i++)
        owl_block_mark(blocks[i]);
    check(owl_inbox_post(&mine()->inbox, (struct owl_block **)blocks, MANY, MANY * SIZE));
    owl_free(owl_malloc(SIZE));
    check(left_for(mine()) == 0);
    owl_cache_flush(mine());
    owl_cache_reclaim_all(false);
    check(owl_pool_count().used == 0 && owl_stats_heap_is_valid());
}

static void *fork_here(void *parent)
{
    struct owl_cache *c = parent;
    pid_t child = fork();
    if (child == 0) {
        bool closed = !owl_inbox_post(&c->inbox, (struct owl_block **)blocks, 1, SIZE);
        owl_trim(0);
        _exit(closed && left_for(c) == 0 && out_of(c) == 0 && owl_stats_heap_is_valid() ? 0 : 1);
    }
    int status;
    check(waitpid(child, &status, 0) == child);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return NULL;
}

/* There, other threads have ended. */
static void a_forks_child_closes_the_others(void)
{
    have_left(MANY);
    on_other_thread(fork_here, mine());
    check(left_for(mine()) == MANY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(they_are_handed_out_again),
        child_test(another_class_takes_them_in),
        child_test(a_full_inbox_is_taken_in_parts),
        child_test(what_finds_no_room_goes_home),
        child_test(they_are_counted),
        child_test(flushes_bring_them_home),
        child_test(nothing_is_left_for_an_ended_thread),
        child_test(what_is_anothers_goes_home),
        child_test(a_forks_child_closes_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
