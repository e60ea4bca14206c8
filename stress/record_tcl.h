/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record_tcl: sees the blocks of a Tcl interpreter, which the malloc family does not.
 *
 * Tcl built with threads allocates through zippy, its own allocator, that carves blocks from memory
 * it mallocs. The core calls it by TclpAlloc, TclpFree and TclpRealloc, which the shared library
 * exports; record_tcl.c stands in front of these. What zippy itself mallocs meanwhile is nested and
 * therefore not logged.
 *
 * Left out in a stock libtcl: Tcl_Objs (and the other 48-byte things that use their pool). Zippy
 * takes them from chunks of 800, through functions that are not exported. A chunk is no block of
 * the program's, so its malloc is left out as well. record_tcl_objects.c is for those who want
 * them.
 */
#ifndef OWL_STRESS_RECORD_TCL_H
#define OWL_STRESS_RECORD_TCL_H

#include <stdbool.h>
#include <stddef.h>

enum { RECORD_TCL_CHUNK = 800 * 48 };

bool record_tcl_called_from(const void *return_address);

/* Whether a malloc is one of zippy's chunks of Tcl_Objs. Call it inside record_enter(). */
static inline bool record_tcl_is_chunk(size_t size, const void *return_address)
{
    return size == RECORD_TCL_CHUNK && record_tcl_called_from(return_address);
}

#endif
