/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alloc_trim: ask the allocator of this process to give back what memory it can, by the call that
 * its own makers offer for that, or malloc_trim() where there is none. Returns that call's name.
 */
#ifndef OWL_STRESS_ALLOC_TRIM_H
#define OWL_STRESS_ALLOC_TRIM_H

const char *alloc_trim(void);

#endif
