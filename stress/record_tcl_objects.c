/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record_tcl_objects: takes zippy's place inside a libtcl8.6.so that is made for recording only,
 * from the objects of libtcl8.6.a without tclThreadAlloc.o. Every block of the interpreter, and
 * every Tcl_Obj, is a malloc of its own here, so that owl-record sees them all.
 *
 * Tcl's inlined macros take Tcl_Objs from the free list of the thread's AllocCache, if that has
 * any, and call TclThreadAllocObj or TclThreadFreeObj otherwise. An AllocCache that is always empty
 * makes them call every time; they never write to it then, so that all threads share one.
 */
#include <stdlib.h>
#include <tcl.h>

/* As in tclInt.h, which is not part of Tcl's public headers. */
struct alloc_cache {
    void *next, *owner, *first_obj;
    int objects;
};

char *TclpAlloc(unsigned size);
void TclpFree(char *p);
char *TclpRealloc(char *old, unsigned size);
void *TclpGetAllocCache(void);
void TclpSetAllocCache(void *cache);
Tcl_Obj *TclThreadAllocObj(void);
void TclThreadFreeObj(Tcl_Obj *object);
void TclFreeAllocCache(void *cache);
void TclFinalizeThreadAlloc(void);
void TclFinalizeThreadAllocThread(void);

/* Tcl asks for no block of no bytes and gives a valid one if it is asked. */
static size_t at_least_one(unsigned size)
{
    return size ? size : 1;
}

/* A thread allocates before it makes an interpreter, which keeps the pointer to the cache. */
char *TclpAlloc(unsigned size)
{
    static struct alloc_cache always_empty;
    static _Thread_local int known;
    if (!known) {
        known = 1;
        TclpGetAllocCache();            /* makes the key on its first call */
        TclpSetAllocCache(&always_empty);
    }
    return malloc(at_least_one(size));
}

void TclpFree(char *p)
{
    free(p);
}

char *TclpRealloc(char *old, unsigned size)
{
    return realloc(old, at_least_one(size));
}

Tcl_Obj *TclThreadAllocObj(void)
{
    Tcl_Obj *object = malloc(sizeof *object);
    if (!object)
        Tcl_Panic("no memory for a Tcl_Obj");
    return object;
}

void TclThreadFreeObj(Tcl_Obj *object)
{
    free(object);
}

/* There are no caches to free, and nothing to tell of. */
void TclFreeAllocCache(void *cache)
{
    (void)cache;
}

void TclFinalizeThreadAlloc(void)
{
}

void TclFinalizeThreadAllocThread(void)
{
}

void Tcl_GetMemoryInfo(Tcl_DString *info)
{
    (void)info;
}
