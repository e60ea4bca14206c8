/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In place of Tcl's tclThreadAlloc.o ("zippy"): all of its symbols, on owlalloc.
 *
 * Blocks are owl's. Tcl_Objs are blocks of their own as well, but a thread keeps up to 1,200 free
 * ones in a list of Tcl's own form, since inlined macros of the core take them from there; going
 * through malloc for each made a recursive procedure half as slow again. The list ends with its
 * thread: Tcl calls TclFreeAllocCache when it finalizes a thread, and for threads that nobody
 * finalizes a thread key's destructor does it. Calls go on after either, so both may happen several
 * times; a drained cache is an empty one, and is announced again at the thread's next call.
 */
#include "tcl_alloc.h"

#include <pthread.h>
#include <stdbool.h>

#include <owl/owl.h>

/* How many objects are allocated when the list is empty, and how many are kept when it is full. */
enum { REFILL = 32, KEEP = TCL_OBJECTS_HIGH / 2 };

struct thread_cache {
    struct tcl_alloc_cache tcl;
    bool known; /* to Tcl and to the key below, so that it is drained when the thread ends */
};

static __thread struct thread_cache thread_cache __attribute__((tls_model("initial-exec")));

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;

static void drain(void *cache)
{
    struct thread_cache *c = cache;
    Tcl_Obj *object = c->tcl.first;
    c->tcl.first = NULL;
    c->tcl.objects = 0;
    c->known = false;
    while (object != NULL) {
        Tcl_Obj *next = object->internalRep.twoPtrValue.ptr1;
        owl_free(object);
        object = next;
    }
}

static void make_key(void)
{
    key_made = pthread_key_create(&key, drain) == 0;
}

/* Before the thread makes an interpreter, which looks for the cache: its first allocation. */
static __attribute__((noinline)) void make_known(void)
{
    struct thread_cache *c = &thread_cache;
    pthread_once(&key_once, make_key);
    c->known = true;
    TclpGetAllocCache(); /* makes Tcl's key on its first call */
    TclpSetAllocCache(c);
    if (key_made)
        pthread_setspecific(key, c);
}

static inline void keep_known(void)
{
    if (__builtin_expect(!thread_cache.known, 0))
        make_known();
}

tcl_block *TclpAlloc(tcl_size size)
{
    keep_known();
    return owl_malloc(size);
}

void TclpFree(tcl_block *p)
{
    owl_free(p);
}

/* Tcl's realloc to no bytes leaves a block. */
tcl_block *TclpRealloc(tcl_block *p, tcl_size size)
{
    keep_known();
    return owl_realloc(p, size != 0 ? size : 1);
}

static inline void push(struct thread_cache *c, Tcl_Obj *object)
{
    object->internalRep.twoPtrValue.ptr1 = c->tcl.first;
    c->tcl.first = object;
    c->tcl.objects++;
}

static inline Tcl_Obj *pop(struct thread_cache *c)
{
    Tcl_Obj *object = c->tcl.first;
    c->tcl.first = object->internalRep.twoPtrValue.ptr1;
    c->tcl.objects--;
    return object;
}

static __attribute__((noinline)) void refill(struct thread_cache *c)
{
    keep_known();
    for (int i = 0; i < REFILL; i++) {
        Tcl_Obj *object = owl_malloc(sizeof *object);
        if (object == NULL)
            break;
        push(c, object);
    }
    if (c->tcl.first == NULL)
        Tcl_Panic("unable to allocate %u bytes for an object", (unsigned)sizeof(Tcl_Obj));
}

Tcl_Obj *TclThreadAllocObj(void)
{
    struct thread_cache *c = &thread_cache;
    if (__builtin_expect(c->tcl.first == NULL, 0))
        refill(c);
    return pop(c);
}

void TclThreadFreeObj(Tcl_Obj *object)
{
    struct thread_cache *c = &thread_cache;
    keep_known();
    push(c, object);
    if (__builtin_expect(c->tcl.objects > TCL_OBJECTS_HIGH, 0))
        while (c->tcl.objects > KEEP)
            owl_free(pop(c));
}

/* The thread's cache, handed in by Tcl when it finalizes the thread. */
void TclFreeAllocCache(void *cache)
{
    drain(cache);
}

void TclFinalizeThreadAllocThread(void)
{
    void *cache = TclpGetAllocCache();
    if (cache != NULL)
        TclpFreeAllocCache(cache);
}

/* The end of Tcl in this process, which other threads may outlive: Tcl's key stays, lest they find
 * no cache. */
void TclFinalizeThreadAlloc(void)
{
    TclFinalizeThreadAllocThread();
}

#if TCL_MAJOR_VERSION >= 9
void TclInitThreadAlloc(void)
{
}
#endif
