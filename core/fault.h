/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reports of what is wrong with a pointer: what its descriptor tells of the block is added.
 */
#ifndef OWL_CORE_FAULT_H
#define OWL_CORE_FAULT_H

#include <stddef.h>

#include "check.h"

/* As owl_report. bytes: the size of the block; 0: what the descriptor says. No lock may be held. */
void owl_fault(enum owl_fault fault, const void *p, size_t bytes);

/* Who has a thread cache, as pthread_self() says; 0: no thread. Of an address that is an owner's.
 * Until there is such a function, no thread is known. */
void owl_fault_begin(unsigned long (*thread_of)(const void *owner));

#endif
