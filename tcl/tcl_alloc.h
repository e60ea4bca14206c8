/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Tcl's core expects of its allocator. None of it is in Tcl's public headers; this is the part of
 * tclInt.h that tclThreadAlloc.c implements, for Tcl 8.6 (sizes are unsigned, blocks char *) and
 * Tcl 9 (size_t and void *). tcl/layout.c holds it against tclInt.h where that is installed.
 */
#ifndef OWL_TCL_TCL_ALLOC_H
#define OWL_TCL_TCL_ALLOC_H

#include <stddef.h>
#include <tcl.h>

#if TCL_MAJOR_VERSION >= 9
typedef size_t tcl_size;
typedef void tcl_block;
typedef size_t tcl_count;
#else
typedef unsigned tcl_size;
typedef char tcl_block;
typedef int tcl_count;
#endif

/*
 * The start of a thread's allocation cache, which macros inlined all over the core reach through
 * Interp.allocCache: with an interpreter at hand they take the first object of the list, or put one
 * there, as long as the count is neither 0 nor at its bound. All else is a call.
 */
struct tcl_alloc_cache {
    void *next;         /* for its maker's use, as is the owner */
    void *owner;
    Tcl_Obj *first;     /* free objects, linked by internalRep.twoPtrValue.ptr1 */
    tcl_count objects;  /* how many */
};

/* The macros call TclThreadFreeObj when a cache has so many (ALLOC_NOBJHIGH). */
enum { TCL_OBJECTS_HIGH = 1200 };

/* Hidden in libtcl, as the core declares them. */
#define TCL_HIDDEN __attribute__((visibility("hidden")))
#define TCL_EXPORT __attribute__((visibility("default")))

TCL_EXPORT tcl_block *TclpAlloc(tcl_size size);
TCL_EXPORT void TclpFree(tcl_block *p);
TCL_EXPORT tcl_block *TclpRealloc(tcl_block *p, tcl_size size);
TCL_EXPORT void Tcl_GetMemoryInfo(Tcl_DString *info);

TCL_HIDDEN Tcl_Obj *TclThreadAllocObj(void);
TCL_HIDDEN void TclThreadFreeObj(Tcl_Obj *object);
TCL_HIDDEN void TclFreeAllocCache(void *cache);
TCL_HIDDEN void TclFinalizeThreadAlloc(void);
TCL_HIDDEN void TclFinalizeThreadAllocThread(void);
#if TCL_MAJOR_VERSION >= 9
TCL_HIDDEN void TclInitThreadAlloc(void);
#endif

/* The core's own (tclUnixThrd.c): a thread's pointer to its cache, and the end of it, which calls
 * TclFreeAllocCache. */
TCL_HIDDEN void *TclpGetAllocCache(void);
TCL_HIDDEN void TclpSetAllocCache(void *cache);
TCL_HIDDEN void TclpFreeAllocCache(void *cache);

#endif
