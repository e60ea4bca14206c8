/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reserved address range and the page map.
 *
 * A range is one reservation, of which memory is made accessible from the bottom up:
 *
 *    reservation
 *    | page map           | free bits          | granules ...                             |
 *    | one span each,     | OWL_SLAB_MAX_BLOCKS| 64 KiB each, the first aligned to 2 MiB   |
 *    | 128 bytes          | bits each          |                                          |
 *
 * All metadata lies below the granules, out of the way of any block that overflows, and is
 * resident only where granules are in use (1 % of them). There is one range to begin with, as
 * large as the system gives; when it is used up, further ones are added, which are found by a
 * search and so cost their users a little more.
 *
 * From an address to its granule's descriptor: subtract, compare, shift, index (owl_span_of).
 *
 * Who may do what: ranges are added and extended under the pool's lock. Look-ups take no lock: a
 * range's fields are written before the release store of its `accessible` bytes, or, for further
 * ranges, of the number of ranges.
 */
#ifndef OWL_CORE_RANGE_H
#define OWL_CORE_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "os.h"
#include "tune.h"

/* What a granule is in use for. Written by whoever has taken it from the pool. */
enum owl_kind {
    OWL_KIND_NONE,  /* nothing, or inside a large block */
    OWL_KIND_SLAB,  /* every granule of a slab */
    OWL_KIND_LARGE, /* first granule of a large block */
    OWL_KIND_STOCK, /* first granule of a free medium block in a thread's stock */
    OWL_KIND_STORE, /* first granule of memory of a file that blocks show elsewhere */
};

/* The pool's view of a granule, as of pool_runs.h. Written and read under the pool's lock. */
enum owl_free {
    OWL_FREE_NOT,   /* in use, never used, or inside a free run */
    OWL_FREE_DIRTY, /* first or last granule of a free run whose pages may be resident */
    OWL_FREE_CLEAN, /* first or last granule of a free run that reads as zero */
};

/* Where the pages of a range come from. */
enum owl_backing {
    OWL_PRIVATE, /* anonymous memory */
    OWL_MEMFD,   /* a file in memory, mapped shared */
    OWL_BACKINGS
};

/*
 * The descriptor of a granule. A span is described by that of its first granule; a slab has the
 * fields of the first line in all of them, so that a free needs no second look-up.
 *
 * The first line is read by every free, from every thread, and changes only when the span changes
 * hands. The second belongs to whoever holds the lock of the structure that the span is in: the
 * pool for a free run, the owner for a slab.
 */
struct owl_span {
    owl_word owner;      /* slab: the address of the struct owl_owner; else 0 */
    uint64_t reciprocal; /* slab: owl_class.reciprocal */
    uintptr_t last;      /* slab: address of the last block */
    uintptr_t start;     /* slab, large: address of the first byte */
    size_t bytes;        /* slab: size of a block; large: usable size */
    size_t granules;     /* slab, large: length of the span */
    uint8_t kind;        /* enum owl_kind */
    uint8_t class;       /* slab */
    uint8_t range;       /* whose range this is */
    uint8_t unused[5];
    owl_word seal;       /* slab: of the owner word; see slab.h */

    struct owl_span *next, *previous; /* in a list of the pool or of an owner */
    uint32_t free_blocks;             /* slab: number of ones in its free bits */
    uint32_t first_word;              /* slab: no free bit is below this word */
    uint32_t run;                     /* first and last granule of a free run: its length */
    uint16_t list;                    /* first granule of a free run: which list it is in */
    uint8_t free;                     /* enum owl_free */
    uint8_t remapped;                 /* pages of the span are mapped in other ways than the range's
                                       * are; until they are reset, which a purge does */
    uint8_t looked;                   /* slab: when it was last looked at; see slab_purge.c */
    uint8_t shared;                   /* large: processes share it, and a fork leaves it as it is */
    uint8_t whole;                    /* large: its granules show all of the store, one by one */
    uint32_t users;                   /* store: blocks that show it */
    int64_t shift;                    /* memfd: which granule of the file is shown, less its own */
    struct owl_span *store;           /* large: whose bytes its pages show, until they are written
                                       * to; NULL: they are its own */
    uint32_t dry;                     /* slab: of its free blocks, bytes that need no purge: they
                                       * have no pages, or only such as others are on */
    uint8_t filled;                   /* slab: free blocks are filled as the option `junk` says */
    uint8_t held;                     /* large: it is free, and in quarantine */
    uint8_t frozen;                   /* large: a fork has frozen a file that its pages showed; if
                                       * one is given back, the file's would be seen again */
    union {
        uint8_t roomy;                /* large: it was given room to grow */
        uint8_t sparse;               /* slab: what is dry lies between what others are on */
    };
};

_Static_assert(sizeof(struct owl_span) == 2 * OWL_CACHE_LINE, "a descriptor is two cache lines");

struct owl_range {
    uintptr_t reservation; /* all of it: address */
    owl_word reserved;     /* and bytes; 0: what is not in use went back, or does at the moment */
    uintptr_t base;        /* of granule 0 */
    struct owl_span *map;  /* of granule 0 */
    uint64_t *bits;        /* free bits of granule 0 */
    size_t granules;       /* that fit the reservation */
    owl_u32 backing;      /* enum owl_backing; with a fork a file's range becomes private */
    bool apart;           /* no others' mappings come near */
    owl_u32 live;         /* memfd: no fork has frozen the file */
    struct owl_file file; /* memfd */
    size_t top;            /* granules below this were handed to the pool */
    owl_word committed;    /* granules below this may be touched, and their metadata */
};

/*
 * What the fast paths read, in one cache line that is hardly ever written: the first range, and the
 * secret that marks free blocks. An address belongs to the range if its distance from the base is
 * below `accessible`, which only grows. Until there is a range the base is so high that no distance
 * is; so NULL, the one pointer that may be freed by a thread that knows nothing of the range, is in
 * none, whichever fields that thread sees. Under memcheck it stays there: then the first range is
 * found as the further ones are.
 */
struct owl_page_map {
    owl_word base;
    struct owl_span *map;
    owl_word accessible; /* bytes */
    uintptr_t secret;
} __attribute__((aligned(OWL_CACHE_LINE)));

extern OWL_LOCAL struct owl_page_map owl_page_map;
extern OWL_LOCAL struct owl_range owl_ranges[OWL_RANGES];
extern OWL_LOCAL owl_u32 owl_range_count;

/* Changes under the pool's lock, and is read without it where either answer will do. Who finds a
 * range private that was not finds, by the acquire, what the fork has noted in its blocks. */
static inline enum owl_backing owl_backing_of(unsigned range)
{
    return (enum owl_backing)owl_u32_load_acquire(&owl_ranges[range].backing);
}

/* So high that no distance from there is below anything. */
#define OWL_RANGE_NOWHERE ((uintptr_t)1 << 63)

/* The slow half of owl_span_of. */
struct owl_span *owl_span_of_further(uintptr_t p);

/* The descriptor of p's granule; NULL if p is in no accessible part of any range. */
static inline struct owl_span *owl_span_of(const void *p)
{
    uintptr_t distance = (uintptr_t)p - owl_word_peek(&owl_page_map.base);
    if (__builtin_expect(distance < owl_word_load_relaxed(&owl_page_map.accessible), 1))
        return &owl_page_map.map[distance >> OWL_GRANULE_SHIFT];
    return owl_span_of_further((uintptr_t)p);
}

/* Number of a span's first granule in its range, and its address. */
static inline size_t owl_span_index(const struct owl_span *s)
{
    return (size_t)(s - owl_ranges[s->range].map);
}

static inline uintptr_t owl_span_address(const struct owl_span *s)
{
    return owl_ranges[s->range].base + (owl_span_index(s) << OWL_GRANULE_SHIFT);
}

/* What the seal of a granule's owner word has to be. */
static inline uintptr_t owl_span_seal_of(const struct owl_span *s, uintptr_t owner)
{
    return owl_page_map.secret ^ owner ^ (uintptr_t)s;
}

/* The free bits of a slab. */
static inline uint64_t *owl_span_bits(const struct owl_span *s)
{
    return owl_ranges[s->range].bits + owl_span_index(s) * (OWL_SLAB_MAX_BLOCKS / 64);
}

/* Reserves a further range in which `granules` fit (the first one: the page map is set up too).
 * Its number, or -1: no address space. */
int owl_range_add(enum owl_backing backing, size_t granules);

/* Gives back the pages of granules [from, to) of a range, of which some are remapped, or none. They
 * are the range's own afterwards, and read as zero. 0, or -1: not all are. */
int owl_range_purge(unsigned r, size_t from, size_t to, bool remapped);

/* Gives back the pages that hold nothing but what describes granules [from, to) of a private range,
 * which are free: the free bits, and the descriptors of all but the first and last. They read as
 * zero then. */
void owl_range_purge_metadata(unsigned r, size_t from, size_t to);

/* The range will not grow any more: addresses behind those that were made accessible go back. */
void owl_range_end(unsigned r);

/* The same with all ranges, if a limit on addresses was set when they were there, and is passed: it
 * would let neither the program nor this library map anything. Under the pool's lock. */
void owl_range_obey_limit(void);

/* Whether that was done because a fork ended the use of the range's file. (A range that never had
 * one has 0 for a descriptor, one whose file is closed -1.) */
bool owl_range_has_ended(unsigned r);

/* What came of it. */
enum owl_range_renewed {
    OWL_RANGE_RENEWED,   /* its backing is OWL_MEMFD */
    OWL_RANGE_AS_IT_WAS, /* no file was to be had */
    OWL_RANGE_CLEAN,     /* as it was, but all reads as zero */
    OWL_RANGE_GONE,      /* it has no granules any more */
};

/* Gives a range that has ended a new file, for what is accessible of it. Nothing of it is in use,
 * or in a run; with the files' lock. */
enum owl_range_renewed owl_range_renew(unsigned r);

/* Memcheck is here (tools.h): the ranges that there are are hidden, too. At the start of the
 * program. */
void owl_range_hide(void);

/* Makes granules below `end` of range r accessible, and as a rule more, for the next time. 0, or
 * -1: refused. */
int owl_range_commit(unsigned r, size_t end);

/* Whether memory that is accessible and not touched counts for something: RLIMIT_AS, RLIMIT_DATA,
 * or what the system has, where it promises no more. As it was when memory was last made
 * accessible; what comes first is not asked about. */
bool owl_range_is_dear(void);

/* What is fresh private memory of a range may have huge pages, if the option `huge` says so. A
 * refusal changes nothing. */
void owl_range_advise(void *start, size_t bytes);

/* Puts fresh private memory in place of what part of a range shows. 0, or -1. */
int owl_range_reset(void *start, size_t bytes);

/* Takes the option `huge`, for memory that was made accessible before options were read. */
void owl_range_begin(void);

#endif
