/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reports of corruption: one line on file descriptor 2, then abort(). Nothing here allocates or
 * takes a lock, so a report may be made from anywhere.
 */
#ifndef OWL_CORE_CHECK_H
#define OWL_CORE_CHECK_H

#include <stddef.h>

/* What can be wrong with a pointer that a caller hands in, or with a block that is found. */
enum owl_fault {
    OWL_FAULT_FOREIGN,   /* no memory of this allocator */
    OWL_FAULT_INVALID,   /* memory of this allocator where no block is allocated */
    OWL_FAULT_INTERIOR,  /* inside a block, not at its start */
    OWL_FAULT_DOUBLE,    /* a block that is free already */
    OWL_FAULT_SIZE,      /* a block that is smaller than the caller says */
    OWL_FAULT_REMAP,     /* none of the caller: the system refuses to take a move of pages back */
};

/* bytes: the size of the block concerned, 0 where there is none. */
_Noreturn void owl_report(enum owl_fault fault, const void *p, size_t bytes);

#ifdef OWL_DEBUG
/* In debug builds: abort with the name of the invariant that does not hold. */
#define owl_assert(holds) ((holds) ? (void)0 : owl_assert_failed(#holds, __FILE__, __LINE__))
_Noreturn void owl_assert_failed(const char *what, const char *file, int line);
#else
#define owl_assert(holds) ((void)sizeof(holds))
#endif

#endif
