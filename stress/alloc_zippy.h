/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alloc_zippy: Tcl's threaded allocator ("zippy") as an allocator under test.
 *
 * libtcl is loaded at run time, so that memtest needs no Tcl to start. The table gets the public
 * entry points of the library, the ones that extensions and servers call: Tcl_AttemptAlloc,
 * Tcl_AttemptRealloc (which return NULL when memory runs out, as malloc does) and Tcl_Free.
 */
#ifndef OWL_STRESS_ALLOC_ZIPPY_H
#define OWL_STRESS_ALLOC_ZIPPY_H

#include "alloc_table.h"

bool alloc_zippy_open(const char *library, struct alloc_table *table, struct alloc_opened *opened);

#endif
