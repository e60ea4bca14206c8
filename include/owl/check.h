/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program did wrong with a block: a function that is told.
 *
 * owlalloc reports a pointer that is freed twice or was never a block, writes into free memory that
 * it comes upon, and so on; owl_check(7) has a table of what is found and what is not. Without a
 * handler a report is a line on file descriptor 2, with lines of addresses below it for a guarded
 * block, and the process ends by abort().
 */
#ifndef OWL_CHECK_H
#define OWL_CHECK_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* At most so many callers are kept of a call that allocated or freed a guarded block. */
#define OWL_TRACE_FRAMES 20

/* Who called: return addresses, from the inside out. */
struct owl_trace {
    unsigned long thread; /* pthread_self() */
    size_t count;
    const void *frames[OWL_TRACE_FRAMES];
};

/* A report. It and what it points to last until the handler returns. */
struct owl_corruption {
    const char *what;    /* the words of the report; constant */
    const void *pointer; /* what the program handed in, or the address that it used or wrote to */
    const void *block;   /* start of the block that this concerns; NULL: it is not known */
    size_t bytes;        /* its usable size; 0: it is not known */
    int size_class;      /* number of its size class (owl_stats_classes); -1: it has none */
    const void *owner;   /* of a small block: the thread cache that has its slab, by its address;
                            NULL: not known, or no such block */
    unsigned long thread; /* pthread_self() of the thread that has that cache; 0: none, or not
                             known */
    /* Of a guarded block (option `guard`), else NULL. */
    const struct owl_trace *allocated; /* who allocated it */
    const struct owl_trace *freed;     /* who freed it; NULL: nobody has */
    const struct owl_trace *accessed;  /* who used it when that was wrong; NULL: it was a call */
};

typedef void owl_corruption_handler(const struct owl_corruption *corruption);

/*
 * From now on the handler is called in the place of a report; NULL: there are reports again. The
 * handler before; NULL: there was none.
 *
 * It is called by the thread that made the call, or used the memory, and holds no locks of the
 * allocator, so it may allocate and free. But it should do no more than a handler of signals may:
 * an access to a guarded block is one, and what comes home late is seen by the allocator's own
 * thread, of which libc knows nothing. A fault within the handler is reported and ends the process.
 *
 * The handler may end the process; or leave by longjmp, after which faults of this thread are
 * reported; or return: then the call in question does nothing. Nothing is freed, and where there
 * is a result it is NULL with EINVAL, or 0. A block that was written to after it was freed is
 * handed out all the same, and a page that was used wrongly becomes accessible for good. With the
 * option `secure` the process ends by abort() when the handler returns.
 *
 * Thread-safe.
 */
OWL_API owl_corruption_handler *owl_on_corruption(owl_corruption_handler *handler);

#ifdef __cplusplus
}
#endif

#endif
