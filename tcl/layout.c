/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compiled where Tcl's internal headers are installed: holds tcl_alloc.h against them, its functions
 * by declaring them twice, its cache by comparing. Makes no code.
 */
#include "tclInt.h"

#include "tcl_alloc.h"

#if defined(PURIFY) || defined(TCL_MEM_DEBUG) || !(defined(TCL_THREADS) && defined(USE_THREAD_ALLOC))
#error "this Tcl does not use its thread allocator: there is nothing to replace"
#endif

#define SAME(ours, theirs, what)                                                                  \
    _Static_assert(offsetof(struct tcl_alloc_cache, ours) == offsetof(AllocCache, theirs), what)

SAME(next, nextPtr, "AllocCache.nextPtr");
SAME(owner, owner, "AllocCache.owner");
SAME(first, firstObjPtr, "AllocCache.firstObjPtr");
SAME(objects, numObjects, "AllocCache.numObjects");
_Static_assert(sizeof(struct tcl_alloc_cache) == sizeof(AllocCache), "size of AllocCache");
_Static_assert(sizeof(((AllocCache *)0)->numObjects) == sizeof(tcl_count), "type of numObjects");
_Static_assert(TCL_OBJECTS_HIGH == ALLOC_NOBJHIGH, "ALLOC_NOBJHIGH");
