/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks that are filled with one value. */
#ifndef OWL_TESTS_FILLED_H
#define OWL_TESTS_FILLED_H

#include <owl/owl.h>

#include "child.h"

#define MIB ((size_t)1 << 20)

static inline char *filled(size_t bytes, int with)
{
    char *p = owl_malloc(bytes);
    check(p != NULL);
    memset(p, with, bytes);
    return p;
}

static inline bool holds(const char *p, size_t bytes, int with)
{
    for (size_t i = 0; i < bytes; i += 512)
        if (p[i] != (char)with)
            return false;
    return p[bytes - 1] == (char)with;
}

#endif
