/* SPDX-License-Identifier: BSD-2-Clause */
/* Owners of slabs that no cache stands behind, for tests of slabs. */
#ifndef OWL_TESTS_SLAB_OWNERS_H
#define OWL_TESTS_SLAB_OWNERS_H

#include "child.h"
#include "faults.h"
#include "pool.h"
#include "slab.h"

enum { MOST = OWL_SLAB_MAX_BLOCKS };

static struct owl_owner one, two;

static inline void set_up(void)
{
    owl_os_init();
    faults_install();
    owl_page_map.secret = 0x5ec12e7;
}

static inline bool all_valid(void)
{
    return owl_slab_is_valid(&one) && owl_slab_is_valid(&two) && owl_slab_is_valid(&owl_orphans) &&
           owl_pool_is_valid();
}

static inline unsigned take(struct owl_owner *o, unsigned class, unsigned want,
                            struct owl_block **blocks)
{
    unsigned n = owl_slab_take(o, class, want, true, blocks);
    for (unsigned i = 0; i < n; i++)
        check(owl_block_is_marked(blocks[i]));
    return n;
}

/* Gives the blocks and leaves the array as it is. */
static inline void give(struct owl_block *const *blocks, unsigned n)
{
    struct owl_block *spoilt[2 * MOST];
    memcpy(spoilt, blocks, n * sizeof *blocks);
    owl_slab_give(spoilt, n);
}

#endif
