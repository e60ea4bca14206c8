/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks that other threads have freed for a cache. */
#include "cache_inside.h"

#include <string.h>

bool owl_inbox_post(struct owl_inbox *in, struct owl_block *const *blocks, unsigned n,
                    uint32_t bytes)
{
    owl_lock(&in->lock);
    uint32_t count = owl_u32_peek(&in->count);
    bool fits = in->open && count + n <= OWL_INBOX_BLOCKS && in->bytes + bytes <= OWL_INBOX_BYTES;
    if (fits) {
        memcpy(in->blocks + count, blocks, n * sizeof *blocks);
        owl_u32_store_relaxed(&in->count, count + n);
        in->bytes += bytes;
    }
    owl_unlock(&in->lock);
    return fits;
}

unsigned owl_inbox_take(struct owl_inbox *in, struct owl_block **blocks)
{
    if (owl_inbox_is_empty(in))
        return 0;
    owl_lock(&in->lock);
    unsigned count = owl_u32_peek(&in->count);
    unsigned n = count < OWL_INBOX_TAKEN ? count : OWL_INBOX_TAKEN;
    memcpy(blocks, in->blocks + count - n, n * sizeof *blocks);
    owl_u32_store_relaxed(&in->count, count - n);
    if (n > 0) /* as if all were equal */
        in->bytes = (uint32_t)((uint64_t)in->bytes * (count - n) / count);
    owl_unlock(&in->lock);
    return n;
}

void owl_inbox_open(struct owl_inbox *in, bool open)
{
    owl_lock(&in->lock);
    in->open = open;
    owl_unlock(&in->lock);
}

void owl_inbox_flush(struct owl_inbox *in)
{
    struct owl_block *blocks[OWL_INBOX_TAKEN];
    for (unsigned n; (n = owl_inbox_take(in, blocks)) > 0;)
        owl_slab_give(blocks, n);
}

void owl_inbox_count(struct owl_inbox *in, struct owl_cache_counts *counts)
{
    owl_lock(&in->lock);
    unsigned n = owl_u32_peek(&in->count);
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++)
        bytes += owl_span_of(in->blocks[i])->bytes;
    owl_unlock(&in->lock);
    counts->blocks += n;
    counts->bytes += bytes;
    counts->remote_blocks += n;
    counts->remote_bytes += bytes;
}
