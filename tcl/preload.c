/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For LD_PRELOAD before a stock libtcl: the core's calls of its own allocator go through the dynamic
 * linker, and so come here. They and malloc share one heap, so that a block may be freed by either.
 * Tcl_Objs cannot be had in this way, for the functions are hidden in libtcl: they stay in zippy's
 * chunks, which are blocks of this heap.
 */
#include "tcl_alloc.h"

#include <owl/owl.h>

tcl_block *TclpAlloc(tcl_size size)
{
    return owl_malloc(size);
}

void TclpFree(tcl_block *p)
{
    owl_free(p);
}

/* Tcl's realloc to no bytes leaves a block. */
tcl_block *TclpRealloc(tcl_block *p, tcl_size size)
{
    return owl_realloc(p, size != 0 ? size : 1);
}
