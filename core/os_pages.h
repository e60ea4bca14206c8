/* SPDX-License-Identifier: BSD-2-Clause */
/* System calls on many pieces of memory, or about many pages, for the table in os.c alone. */
#ifndef OWL_CORE_OS_PAGES_H
#define OWL_CORE_OS_PAGES_H

#include "os.h"

size_t os_purge_many(const struct owl_piece *pieces, size_t count);
size_t os_populate_many(const struct owl_piece *pieces, size_t count);
size_t os_resident_of(void *start, size_t bytes);

#endif
