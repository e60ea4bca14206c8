/* SPDX-License-Identifier: BSD-2-Clause */
#include "sizeclass.h"

/* Sizes in quanta: classes 0..15 are 1..16 quanta; above, class 16 + 8d + s is the s-th of the
 * eight steps of the doubling that begins at 16 << d quanta. */
#define DOUBLING(c) ((c) < 16 ? 0 : ((c) - 16) / 8)
#define QUANTA(c)                                                                                 \
    ((c) < 16 ? (c) + 1u : (16u << DOUBLING(c)) + (((c) - 16) % 8 + 1) * (2u << DOUBLING(c)))
#define SIZE(c) (QUANTA(c) << OWL_QUANTUM_SHIFT)

/* Granules by powers of two until OWL_SLAB_MIN_BLOCKS fit. */
#define FITS(c, order) (((uint64_t)OWL_GRANULE << (order)) / SIZE(c) >= OWL_SLAB_MIN_BLOCKS)
#define ORDER(c)                                                                                  \
    (FITS(c, 0) ? 0 : FITS(c, 1) ? 1 : FITS(c, 2) ? 2 : FITS(c, 3) ? 3 : FITS(c, 4) ? 4 : 5)
#define BLOCKS(c) (((uint64_t)OWL_GRANULE << ORDER(c)) / SIZE(c))

#define CLAMP(n, low, high) ((n) < (low) ? (low) : (n) > (high) ? (high) : (n))
#define MAGAZINE(c) CLAMP(OWL_MAGAZINE_BYTES / SIZE(c), 1, OWL_MAGAZINE_BLOCKS)
#define FILL(c) CLAMP(OWL_FILL_BYTES / SIZE(c), 1, OWL_FILL_BLOCKS)
#define FIRST(c) CLAMP(OWL_FIRST_BYTES / SIZE(c), 1, OWL_FIRST_BLOCKS)

#define CLASS(c)                                                                                  \
    {                                                                                             \
        .reciprocal = UINT64_MAX / SIZE(c) + 1, .size = SIZE(c), .blocks = BLOCKS(c),             \
        .order = ORDER(c), .magazine = MAGAZINE(c), .fill = FILL(c), .first = FIRST(c),           \
    }
#define CLASS4(c) CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3)
#define CLASS24(c)                                                                                \
    CLASS4(c), CLASS4((c) + 4), CLASS4((c) + 8), CLASS4((c) + 12), CLASS4((c) + 16), CLASS4((c) + 20)

const struct owl_class owl_classes[OWL_CLASSES] = {CLASS24(0), CLASS24(24), CLASS24(48)};

/* The class of q quanta, the inverse of QUANTA: the doubling is the position of the highest bit
 * of q - 1, the step its next three bits. */
#define LOG2(n) (31 - __builtin_clz(n))
#define STEPPED(q)                                                                                \
    (16 + (LOG2((q)-1) - 4) * 8 + (int)(((q)-1) >> (LOG2((q)-1) - 3)) - 8)
#define STRAIGHT(q) ((q) == 0 ? 0 : (int)(q)-1)
#define OF(q) ((uint8_t)((q) <= 16 ? STRAIGHT(q) : STEPPED((q) < 17 ? 17u : (unsigned)(q))))

#define OF8(q)                                                                                    \
    OF(q), OF((q) + 1), OF((q) + 2), OF((q) + 3), OF((q) + 4), OF((q) + 5), OF((q) + 6), OF((q) + 7)
#define OF64(q)                                                                                   \
    OF8(q), OF8((q) + 8), OF8((q) + 16), OF8((q) + 24), OF8((q) + 32), OF8((q) + 40),             \
        OF8((q) + 48), OF8((q) + 56)
#define OF512(q)                                                                                  \
    OF64(q), OF64((q) + 64), OF64((q) + 128), OF64((q) + 192), OF64((q) + 256), OF64((q) + 320),  \
        OF64((q) + 384), OF64((q) + 448)

static_assert(OWL_SMALL_MAX >> OWL_QUANTUM_SHIFT == 2048, "the table below is written for this");

const uint8_t owl_class_table[(OWL_SMALL_MAX >> OWL_QUANTUM_SHIFT) + 1] = {
    OF512(0), OF512(512), OF512(1024), OF512(1536), OF(2048),
};

static_assert(SIZE(OWL_CLASSES - 1) == OWL_SMALL_MAX, "the last class is the largest small block");
static_assert(ORDER(OWL_CLASSES - 1) <= 5 && FITS(OWL_CLASSES - 1, 5), "slabs are large enough");
