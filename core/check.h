/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reports of corruption: to the program's handler (include/owl/check.h), or on file descriptor 2
 * and then abort(). Nothing here allocates or takes a lock, so a report may be made from anywhere
 * where no lock is held, which a handler might want.
 */
#ifndef OWL_CORE_CHECK_H
#define OWL_CORE_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include <owl/check.h>

/* What can be wrong with a pointer that a caller hands in, or with a block that is found. */
enum owl_fault {
    OWL_FAULT_FOREIGN,   /* no memory of this allocator */
    OWL_FAULT_INVALID,   /* memory of this allocator where no block is allocated */
    OWL_FAULT_INTERIOR,  /* inside a block, not at its start */
    OWL_FAULT_DOUBLE,    /* a block that is free already */
    OWL_FAULT_SIZE,      /* a block that is smaller than the caller says */
    OWL_FAULT_OWNER,     /* a block of a slab whose owner word somebody wrote to */
    OWL_FAULT_WRITTEN,   /* a free block that was written to */
    OWL_FAULT_BESIDE,    /* bytes beside a guarded block that were written to */
    OWL_FAULT_FREED,     /* an access to a guarded block that is free */
    OWL_FAULT_OUTSIDE,   /* an access beside a guarded block */
    OWL_FAULT_REMAP,     /* none of the caller: the system refuses to take a move of pages back */
};

/* Makes a report, of which all but `what` is filled in. Returns if the handler did, and the program
 * may go on. Keeps errno. */
void owl_report(enum owl_fault fault, struct owl_corruption *corruption);

/* From now on no handler makes the program go on. */
void owl_check_close(void);

/* For what cannot be gone on from, handler or not. */
_Noreturn void owl_report_fatal(enum owl_fault fault, const void *p, size_t bytes);

#ifdef OWL_DEBUG
/* In debug builds: abort with the name of the invariant that does not hold. */
#define owl_assert(holds) ((holds) ? (void)0 : owl_assert_failed(#holds, __FILE__, __LINE__))
_Noreturn void owl_assert_failed(const char *what, const char *file, int line);
#else
#define owl_assert(holds) ((void)sizeof(holds))
#endif

#endif
