/* SPDX-License-Identifier: BSD-2-Clause */
/* Sparse slabs lose the pages that nobody uses, and only those. */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "slab_owners.h"

static size_t resident_pages(uintptr_t start, size_t bytes)
{
    static unsigned char present[4096];
    size_t pages = bytes / owl_os.page;
    size_t found = 0;
    check(pages <= sizeof present && mincore((void *)start, bytes, present) == 0);
    for (size_t i = 0; i < pages; i++)
        found += present[i] & 1;
    return found;
}

/* The pages of a slab that blocks which are out lie on. */
static size_t pages_in_use(const struct owl_span *s, const bool *out)
{
    size_t pages = (s->granules << OWL_GRANULE_SHIFT) / owl_os.page;
    size_t used = 0;
    for (size_t page = 0; page < pages; page++) {
        size_t from = page * owl_os.page, to = from + owl_os.page;
        bool any = false;
        for (size_t i = from / s->bytes; i < owl_classes[s->class].blocks && i * s->bytes < to; i++)
            any = any || out[i];
        used += any;
    }
    return used;
}

static void fill(struct owl_block *b, size_t bytes, unsigned number)
{
    memset(b, (int)(number % 250 + 1), bytes);
}

static bool is_filled(const struct owl_block *b, size_t bytes, unsigned number)
{
    const unsigned char *p = (const void *)b;
    for (size_t i = 0; i < bytes; i++)
        if (p[i] != number % 250 + 1)
            return false;
    return true;
}

/* Frees all blocks of a slab but one in `keep`, at random, and has it purged. */
static void sparse_slab(unsigned class, unsigned keep, uint64_t *random)
{
    static struct owl_block *blocks[MOST], *freed[MOST];
    static bool out[MOST];
    const struct owl_class *c = &owl_classes[class];
    unsigned n = 0;
    check(owl_slab_take(&one, class, c->blocks, true, blocks) == c->blocks);
    for (unsigned i = 0; i < c->blocks; i++) {
        fill(blocks[i], c->size, i);
        out[i] = i == c->blocks / 2 || next_random(random) % keep == 0;
        if (!out[i]) {
            owl_block_mark(blocks[i]);
            freed[n++] = blocks[i];
        }
    }
    owl_slab_give(freed, n);
    struct owl_span *s = owl_span_of((void *)owl_span_of(blocks[0])->start);
    size_t bytes = s->granules << OWL_GRANULE_SHIFT;
    size_t before = resident_pages(s->start, bytes);
    size_t purged = owl_slab_purge(&one);
    check(resident_pages(s->start, bytes) == pages_in_use(s, out));
    check(purged >= (before - pages_in_use(s, out)) * owl_os.page);
    unsigned long calls = calls_of(FAULT_PURGE);
    check(owl_slab_purge(&one) == 0 && calls_of(FAULT_PURGE) == calls);
    check(owl_slab_is_valid(&one));
    unsigned again = owl_slab_take(&one, class, n, true, freed);
    check(again == n);
    for (unsigned i = 0; i < n; i++)
        fill(freed[i], c->size, 7);
    for (unsigned i = 0; i < c->blocks; i++)
        check(!out[i] || is_filled(blocks[i], c->size, i));
    for (unsigned i = 0; i < c->blocks; i++)
        owl_block_mark(blocks[i]);
    owl_slab_give(blocks, c->blocks);
    check(one.slabs == 0 && owl_pool_is_valid());
}

static void free_pages_go_and_used_ones_stay(void)
{
    uint64_t random = 3;
    set_up();
    for (unsigned class = 0; class < OWL_CLASSES; class++)
        for (unsigned keep = 2; keep <= 2000; keep *= 10)
            sparse_slab(class, keep, &random);
}

static void a_refusal_keeps_them(void)
{
    static struct owl_block *blocks[MOST];
    unsigned class = owl_class_of(64);
    set_up();
    unsigned n = owl_slab_take(&one, class, owl_classes[class].blocks, true, blocks);
    for (unsigned i = 0; i < n; i++)
        owl_block_mark(blocks[i]);
    owl_slab_give(blocks + 1, n - 1);
    fault_always(FAULT_PURGE);
    check(owl_slab_purge(&one) == 0 && owl_slab_is_valid(&one));
}

static atomic_bool stop;

static void *purge_all_the_time(void *unused)
{
    while (!atomic_load(&stop))
        owl_slab_purge(&one);
    return unused;
}

/* The owner takes and gives while another thread purges: what is out is never lost. */
static void beside_the_owner(void)
{
    static struct owl_block *held[2000];
    pthread_t thread;
    uint64_t random = 5;
    unsigned class = owl_class_of(500);
    size_t bytes = owl_classes[class].size;
    set_up();
    check(pthread_create(&thread, NULL, purge_all_the_time, NULL) == 0);
    for (int step = 0; step < RANDOM_ROUNDS(200000); step++) {
        unsigned i = (unsigned)(next_random(&random) % 2000);
        if (held[i] == NULL) {
            check(owl_slab_take(&one, class, 1, true, &held[i]) == 1);
            fill(held[i], bytes, i);
        } else {
            check(is_filled(held[i], bytes, i));
            owl_block_mark(held[i]);
            owl_slab_give(&held[i], 1);
            held[i] = NULL;
        }
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    check(owl_slab_is_valid(&one) && owl_pool_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(free_pages_go_and_used_ones_stay),
        child_test(a_refusal_keeps_them),
        child_test(beside_the_owner),
    };
    return cmocka_run_group_tests_name("slab_purge", tests, NULL, NULL);
}
