/* SPDX-License-Identifier: BSD-2-Clause */
/* Slabs of owners that no cache stands behind. */
#include <pthread.h>

#include "death.h"
#include "slab_owners.h"

static unsigned take_slab(struct owl_owner *o, unsigned class, struct owl_block **blocks)
{
    return take(o, class, owl_classes[class].blocks, blocks);
}

static struct owl_slab_counts counts_of(struct owl_owner *o)
{
    struct owl_slab_counts c = {.slabs = 0};
    owl_slab_count(o, &c);
    return c;
}

static void check_descriptors(const struct owl_block *b, unsigned class)
{
    const struct owl_class *c = &owl_classes[class];
    const struct owl_span *s = owl_span_of(b);
    const struct owl_span *head = owl_span_of((void *)s->start);
    size_t granules = (size_t)1 << c->order;
    for (size_t i = 0; i < granules; i++) {
        const struct owl_span *g = head + i;
        check(g->kind == OWL_KIND_SLAB && g->class == class && g->bytes == c->size);
        check(owl_word_load_relaxed(&g->owner) == (uintptr_t)&one);
        check(g->start == owl_span_address(head) && g->granules == granules);
        check(g->last == g->start + (uintptr_t)(c->blocks - 1) * c->size);
        check(g->reciprocal == c->reciprocal && g->range == head->range);
    }
    check(head->start % OWL_GRANULE == 0);
}

/* Each block of a slab comes once, in the order of the addresses; then the slab is full. */
static void every_class_gives_all_its_blocks(void)
{
    static struct owl_block *blocks[MOST];
    set_up();
    for (unsigned class = 0; class < OWL_CLASSES; class++) {
        const struct owl_class *c = &owl_classes[class];
        check(take_slab(&one, class, blocks) == c->blocks);
        uintptr_t start = owl_span_of(blocks[0])->start;
        check_descriptors(blocks[0], class);
        for (unsigned i = 0; i < c->blocks; i++) {
            check((uintptr_t)blocks[i] == start + (uintptr_t)i * c->size);
            memset(blocks[i], 0xff, c->size);
        }
        check(one.with_free[class] == NULL && one.full != NULL && one.slabs == 1);
        check(counts_of(&one).blocks_out == c->blocks);
        check(counts_of(&one).bytes_out == (size_t)c->blocks * c->size);
        check(counts_of(&one).granules == owl_pool_count().used);
        check(all_valid());
        give(blocks, c->blocks);
        check(one.slabs == 0 && one.full == NULL && owl_pool_count().used == 0);
        check(all_valid());
    }
}

static void random_takes_and_gives(void)
{
    static struct owl_block *out[MOST * 2];
    uint64_t random = 3;
    set_up();
    for (unsigned class = 0; class < OWL_CLASSES; class += 9) {
        unsigned n = 0;
        for (int step = 0; step < 2000; step++) {
            unsigned want = (unsigned)(next_random(&random) % 100 + 1);
            if (n + want <= owl_classes[class].blocks * 2u && next_random(&random) % 5 < 3) {
                unsigned got = take(&one, class, want, out + n);
                check(got > 0 && got <= want);
                for (unsigned i = n; i < n + got; i++)
                    out[i]->mark = (uintptr_t)out[i];
                n += got;
            } else if (n > 0) {
                want = want < n ? want : n;
                for (unsigned i = 0; i < want; i++) {
                    unsigned at = (unsigned)(next_random(&random) % (n - i));
                    struct owl_block *b = out[at];
                    out[at] = out[n - 1 - i];
                    out[n - 1 - i] = b;
                    check(b->mark == (uintptr_t)b);
                }
                n -= want;
                give(out + n, want);
            }
            check(counts_of(&one).blocks_out == n);
            check(all_valid());
        }
        give(out, n);
        check(one.slabs == 0 && owl_pool_count().used == 0);
    }
}

/* What was given last is not what is taken first: blocks come by address, low ones first, and the
 * slab whose state changed last is the first served. */
static void lists_follow_fullness(void)
{
    static struct owl_block *a[MOST], *b[MOST];
    struct owl_block *got[4];
    unsigned class = 40;
    unsigned n = owl_classes[class].blocks;
    set_up();
    take_slab(&one, class, a);
    take_slab(&one, class, b);
    check(one.slabs == 2 && one.with_free[class] == NULL);
    give(&b[n - 1], 1);
    give(&a[5], 1);
    give(&a[2], 1);
    check(one.with_free[class] == owl_span_of((void *)owl_span_of(a[0])->start));
    check(all_valid());
    check(take(&one, class, 4, got) == 3);
    check(got[0] == a[2] && got[1] == a[5] && got[2] == b[n - 1]);
    check(one.with_free[class] == NULL && all_valid());
    give(a, n);
    check(one.slabs == 1);
    give(b, n);
    check(one.slabs == 0 && owl_pool_count().used == 0);
}

/* What is taken need not be passed again: the search begins at the first word that may have
 * a bit. */
static void searches_begin_at_a_free_block(void)
{
    static struct owl_block *blocks[MOST];
    set_up();
    check(take(&one, 0, 1000, blocks) == 1000);
    const struct owl_span *s = owl_span_of(blocks[0]);
    check(s->first_word == 1000 / 64);
    give(&blocks[300], 1);
    check(s->first_word == 300 / 64);
    check(take(&one, 0, 2, blocks) == 2 && blocks[0] < blocks[1]);
    check(s->first_word == 1001 / 64 && all_valid());
}

/* Blocks come home in free(), which keeps errno though the system refuses to take memory back. */
static void give_keeps_errno(void)
{
    enum { SLABS = 80, LARGEST = OWL_CLASSES - 1 };
    static struct owl_block *blocks[SLABS * 16];
    unsigned n = 0;
    set_up();
    check(owl_classes[LARGEST].blocks == 16);
    while (n < SLABS * 16)
        n += take(&one, LARGEST, 16, blocks + n);
    check(owl_pool_count().used << OWL_GRANULE_SHIFT > 2 * OWL_DIRTY_MIN);
    fault_always(FAULT_PURGE);
    errno = 4711;
    give(blocks, n);
    check(errno == 4711 && calls_of(FAULT_PURGE) > 0);
    check(one.slabs == 0 && all_valid());
}

/* The rest of a slab is enough of an answer; it is not made up from a new one. */
static void takes_do_not_fetch_for_the_rest(void)
{
    static struct owl_block *blocks[MOST];
    set_up();
    unsigned n = owl_classes[8].blocks;
    check(take(&one, 8, n - 3, blocks) == n - 3);
    check(take(&one, 8, 10, blocks + n - 3) == 3);
    check(one.slabs == 1);
    struct owl_block *more;
    check(take(&one, 8, 1, &more) == 1 && one.slabs == 2);
    give(&more, 1);
    check(one.slabs == 1);
}

static void *give_slab(void *blocks)
{
    give(blocks, owl_classes[20].blocks);
    return NULL;
}

/* The owner need not be there when the last block of its slab comes home. */
static void free_slabs_go_back_though_the_owner_sleeps(void)
{
    static struct owl_block *blocks[MOST];
    pthread_t other;
    set_up();
    take_slab(&one, 20, blocks);
    check(owl_pool_count().used > 0);
    check(pthread_create(&other, NULL, give_slab, blocks) == 0);
    pthread_join(other, NULL);
    check(owl_pool_count().used == 0 && one.slabs == 0 && all_valid());
}

static void orphans_are_adopted_first(void)
{
    static struct owl_block *a[MOST], *full[MOST];
    struct owl_block *got[2];
    set_up();
    unsigned n = owl_classes[30].blocks;
    take_slab(&one, 30, full);
    check(take(&one, 30, n / 2, a) == n / 2);
    owl_slab_abandon(&one);
    check(one.slabs == 0 && owl_orphans.slabs == 2 && all_valid());
    size_t used = owl_pool_count().used;
    check(take(&two, 30, 2, got) == 2);
    check(owl_pool_count().used == used);
    check(owl_span_of(got[0])->start == owl_span_of(a[0])->start);
    check(owl_word_load_relaxed(&owl_span_of(a[0])->owner) == (uintptr_t)&two);
    check(two.slabs == 1 && owl_orphans.slabs == 1 && all_valid());
    give(full, 1); /* the full orphan can serve again */
    give(got, 2);
    give(a, n / 2);
    check(two.slabs == 0 && all_valid());
    check(take(&two, 30, 2, got) == 1 && got[0] == full[0]);
    check(owl_orphans.slabs == 0 && two.slabs == 1 && all_valid());
    give(full, n);
    check(owl_pool_count().used == 0 && all_valid());
}

static void free_orphans_go_back(void)
{
    static struct owl_block *blocks[MOST];
    set_up();
    take_slab(&one, 71, blocks);
    owl_slab_abandon(&one);
    give(blocks, owl_classes[71].blocks);
    check(owl_orphans.slabs == 0 && owl_pool_count().used == 0 && all_valid());
    check(take(&owl_orphans, 5, 10, blocks) == 10 && owl_orphans.slabs == 1);
    give(blocks, 10);
    check(owl_orphans.slabs == 0 && owl_pool_count().used == 0 && all_valid());
}

/* Takes all blocks of so many slabs. How many of these were populated. */
static unsigned long take_slabs(unsigned class, unsigned slabs, struct owl_block **blocks)
{
    unsigned long before = calls_of(FAULT_POPULATE);
    for (unsigned i = 0; i < slabs; i++)
        check(take_slab(&one, class, blocks + i * owl_classes[class].blocks) ==
              owl_classes[class].blocks);
    check(one.slabs == slabs);
    return calls_of(FAULT_POPULATE) - before;
}

static void give_slabs(unsigned class, unsigned slabs, struct owl_block **blocks)
{
    for (unsigned i = 0; i < slabs; i++)
        give(blocks + i * owl_classes[class].blocks, owl_classes[class].blocks);
    check(one.slabs == 0 && owl_pool_count().used == 0);
}

/* Others free to the owner meanwhile. */
static int populate_and_look(void *start, size_t bytes)
{
    check(!owl_lock_is_mine(&one.lock));
    return faults.real.populate(start, bytes);
}

static void pages_are_populated_without_the_lock(void)
{
    static struct owl_block *blocks[(OWL_GROWN + 3) * OWL_GRANULE / 1024];
    set_up();
    owl_os.populate = populate_and_look;
    take_slabs(40, OWL_GROWN + 3, blocks);
    check(all_valid());
}

/* But not those that are dirty, or long; and who has ended many has grown no more. */
static void many_slabs_of_a_class_are_populated(void)
{
    enum { SHORT = 40, LONG = 71, MORE = OWL_GROWN + 3, ALWAYS = 300 };
    static struct owl_block *blocks[ALWAYS * OWL_GRANULE / 1024];
    set_up();
    check(owl_classes[SHORT].order == 0 && owl_classes[SHORT].size >= 1024);
    check(take_slabs(SHORT, OWL_GROWN, blocks) == 0);
    for (unsigned slabs = MORE; slabs <= ALWAYS; slabs += ALWAYS - MORE) {
        give_slabs(SHORT, slabs == MORE ? OWL_GROWN : MORE, blocks);
        owl_pool_purge(0);
        check(take_slabs(SHORT, slabs, blocks) == slabs - OWL_GROWN);
    }
    give_slabs(SHORT, ALWAYS, blocks);
    check(owl_pool_count().dirty >= MORE && take_slabs(SHORT, MORE, blocks) == 0);
    give_slabs(SHORT, MORE, blocks);
    owl_pool_purge(0);
    check(take_slabs(LONG, MORE, blocks) == 0);
    give_slabs(LONG, MORE, blocks);
    owl_pool_purge(0);
    fault_always(FAULT_POPULATE);
    check(take_slabs(SHORT, MORE, blocks) == MORE - OWL_GROWN);
    owl_slab_abandon(&one);
    check(take_slabs(SHORT, OWL_GROWN, blocks) == 0 && all_valid());
}

/* One list may have blocks of many owners, and of slabs that changed hands. */
static void mixed_lists_find_their_owners(void)
{
    struct owl_owner *const owners[] = {&one, &two, &owl_orphans};
    static struct owl_block *blocks[60];
    set_up();
    for (unsigned i = 0; i < 60; i++)
        check(take(owners[i % 3], i % 7, 1, &blocks[i]) == 1);
    owl_slab_abandon(&two);
    check(all_valid());
    give(blocks, 60);
    check(one.slabs == 0 && two.slabs == 0 && owl_orphans.slabs == 0 && all_valid());
    owl_slab_give(blocks, 0);
}

static void no_memory_is_said(void)
{
    static struct owl_block *blocks[MOST];
    set_up();
    fault_always(FAULT_COMMIT);
    faults.reserve_most = 0;
    check(owl_slab_take(&one, 3, 10, true, blocks) == 0);
    check(blocks[0] == NULL && one.slabs == 0 && all_valid());
    faults_clear();
    check(take(&one, 3, 10, blocks) == 10);
}

static void double_give(void)
{
    static struct owl_block *blocks[4];
    set_up();
    check(take(&one, 10, 4, blocks) == 4);
    give(&blocks[1], 1);
    culprit(blocks[1]);
    give(&blocks[1], 1);
}

static void double_give_in_one_list(void)
{
    static struct owl_block *blocks[4];
    set_up();
    check(take(&one, 10, 4, blocks) == 4);
    blocks[3] = culprit(blocks[2]);
    give(&blocks[1], 3);
}

static void give_after_the_slab_ended(void)
{
    static struct owl_block *blocks[4];
    set_up();
    check(take(&one, 10, 4, blocks) == 4);
    give(blocks, 4);
    check(one.slabs == 0);
    culprit(blocks[2]);
    give(&blocks[2], 1);
}

static void faults_are_reported(void **state)
{
    (void)state;
    expect_death(double_give, "double free");
    expect_death(double_give_in_one_list, "double free");
    expect_death(give_after_the_slab_ended, "double free");
}

/* Blocks on their way from the threads that take them to those that give. */
static struct {
    struct owl_lock lock;
    struct owl_block *blocks[1000];
    unsigned count, takers;
} market;

static void *taker(void *owner)
{
    struct owl_block *blocks[64];
    uint64_t random = (uintptr_t)owner;
    for (int step = 0; step < RANDOM_ROUNDS(8000); step++) {
        unsigned n = take(owner, (unsigned)(next_random(&random) % 3) * 30 + 5, 40, blocks);
        check(n > 0);
        for (unsigned i = 0; i < n; i++)
            memset(blocks[i], 0x77, 96);
        owl_lock(&market.lock);
        while (n > 0 && market.count < 1000)
            market.blocks[market.count++] = blocks[--n];
        owl_unlock(&market.lock);
        give(blocks, n);
        if (step % 100 == 80)
            owl_slab_keep(owner);
        if (step % 100 == 99)
            owl_slab_abandon(owner);
    }
    owl_slab_keep(owner);
    owl_slab_abandon(owner);
    owl_lock(&market.lock);
    market.takers--;
    owl_unlock(&market.lock);
    return NULL;
}

static void *giver(void *unused)
{
    (void)unused;
    for (bool more = true; more;) {
        struct owl_block *blocks[50];
        unsigned n = 0;
        owl_lock(&market.lock);
        while (n < 50 && market.count > 0)
            blocks[n++] = market.blocks[--market.count];
        more = n > 0 || market.takers > 0;
        owl_unlock(&market.lock);
        give(blocks, n);
    }
    return NULL;
}

/* What waits among the orphans goes to the pool meanwhile. */
static void *looker(void *unused)
{
    unsigned epoch = 1;
    for (bool more = true; more; epoch = epoch % OWL_EPOCHS + 1) {
        owl_slab_purge_idle(&owl_orphans, epoch);
        owl_lock(&market.lock);
        more = market.takers > 0;
        owl_unlock(&market.lock);
    }
    return unused;
}

static void owners_and_others_at_once(void)
{
    pthread_t threads[5];
    set_up();
    market.takers = 2;
    check(pthread_create(&threads[0], NULL, taker, &one) == 0);
    check(pthread_create(&threads[1], NULL, taker, &two) == 0);
    check(pthread_create(&threads[2], NULL, giver, NULL) == 0);
    check(pthread_create(&threads[3], NULL, giver, NULL) == 0);
    check(pthread_create(&threads[4], NULL, looker, NULL) == 0);
    for (int i = 0; i < 5; i++)
        pthread_join(threads[i], NULL);
    check(all_valid());
    owl_slab_purge(&owl_orphans);
    check(owl_orphans.slabs == 0 && owl_pool_count().used == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(every_class_gives_all_its_blocks),
        child_test(random_takes_and_gives),
        child_test(lists_follow_fullness),
        child_test(searches_begin_at_a_free_block),
        child_test(give_keeps_errno),
        child_test(takes_do_not_fetch_for_the_rest),
        child_test(free_slabs_go_back_though_the_owner_sleeps),
        child_test(orphans_are_adopted_first),
        child_test(free_orphans_go_back),
        child_test(many_slabs_of_a_class_are_populated),
        child_test(pages_are_populated_without_the_lock),
        child_test(mixed_lists_find_their_owners),
        child_test(no_memory_is_said),
        cmocka_unit_test(faults_are_reported),
        child_test(owners_and_others_at_once),
    };
    return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}
