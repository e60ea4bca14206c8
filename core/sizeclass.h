/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Size classes. Class by size is one table load; all tables are constants.
 *
 *   bytes            step   classes
 *   16 .. 256          16     0 .. 15
 *   257 .. 512         32    16 .. 23
 *   513 .. 1,024       64    24 .. 31
 *   ...                       eight to a doubling
 *   16 Ki+1 .. 32 Ki   2 Ki  64 .. 71
 */
#ifndef OWL_CORE_SIZECLASS_H
#define OWL_CORE_SIZECLASS_H

#include <stddef.h>
#include <stdint.h>

#include "tune.h"

struct owl_class {
    /* ceil(2^64 / size) = (2^64 + e) / size, with e < size. The product of this and a distance
     * q * size + r (r < size, q < 2^16) is q * 2^64 + q * e + r * reciprocal: the upper 64 bits are
     * the quotient, and the lower ones are below 2^32 if r is 0, and not below 2^48 if it is not
     * (after Lemire, Kaser, Kurz: "Faster remainder by direct computation", 2019). */
    uint64_t reciprocal;
    uint32_t size;     /* bytes of a block */
    uint16_t blocks;   /* in a slab */
    uint16_t order;    /* of the slab: 2^order granules */
    uint16_t magazine; /* most blocks in a magazine */
    uint16_t fill;     /* most blocks that an empty one is filled with */
    uint16_t first;    /* blocks that it is filled with at first; it has room for twice as many */
};

extern OWL_LOCAL const struct owl_class owl_classes[OWL_CLASSES];
extern OWL_LOCAL const uint8_t owl_class_table[(OWL_SMALL_MAX >> OWL_QUANTUM_SHIFT) + 1];

/* The class of a request of at most OWL_SMALL_MAX bytes; 0 bytes get the smallest block. */
static inline unsigned owl_class_of(size_t bytes)
{
    return owl_class_table[(bytes + OWL_QUANTUM - 1) >> OWL_QUANTUM_SHIFT];
}

#endif
