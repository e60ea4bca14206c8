/* SPDX-License-Identifier: BSD-2-Clause */
/* The counts in the forms that callers of glibc know. */
#include <errno.h>
#include <owl/owl.h>
#include <stdio.h>

#include "stats.h"

struct mallinfo2 owl_mallinfo2(void)
{
    struct owl_stats s;
    owl_stats_get(&s);
    size_t arena = s.slab_bytes + s.large_bytes + s.medium_cached_bytes + s.dirty_bytes +
                   s.clean_bytes;
    return (struct mallinfo2){
        .arena = arena,
        .hblks = s.mapping_blocks,
        .hblkhd = s.mapping_bytes,
        .uordblks = s.small_bytes + s.large_bytes,
        .fordblks = arena - s.small_bytes - s.large_bytes,
        .keepcost = s.dirty_bytes,
    };
}

void owl_malloc_stats(void)
{
    struct owl_stats s;
    owl_stats_get(&s);
    fprintf(stderr,
            "owlalloc %s, bytes:\n"
            "  live        %15zu  (small %zu in %zu blocks, large %zu, mapped %zu in %zu)\n"
            "  slabs       %15zu  (%zu slabs)\n"
            "  cached      %15zu  (%zu thread caches)\n"
            "  free, dirty %15zu\n"
            "  free, clean %15zu\n",
            OWL_VERSION, s.live_bytes, s.small_bytes, s.small_blocks, s.large_bytes,
            s.mapping_bytes, s.mapping_blocks, s.slab_bytes, s.slabs, s.cached_bytes, s.caches,
            s.dirty_bytes, s.clean_bytes);
}

int owl_malloc_info(int options, FILE *stream)
{
    if (options != 0) {
        errno = EINVAL;
        return -1;
    }
    struct owl_stats s;
    owl_stats_get(&s);
    fprintf(stream,
            "<malloc version=\"owlalloc %s\">\n"
            "<total type=\"small\" count=\"%zu\" size=\"%zu\"/>\n"
            "<total type=\"large\" size=\"%zu\"/>\n"
            "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
            "<total type=\"cached\" size=\"%zu\"/>\n"
            "<total type=\"dirty\" size=\"%zu\"/>\n"
            "<total type=\"clean\" size=\"%zu\"/>\n"
            "<system type=\"slabs\" count=\"%zu\" size=\"%zu\"/>\n"
            "</malloc>\n",
            OWL_VERSION, s.small_blocks, s.small_bytes, s.large_bytes, s.mapping_blocks,
            s.mapping_bytes, s.cached_bytes, s.dirty_bytes, s.clean_bytes, s.slabs, s.slab_bytes);
    return 0;
}
