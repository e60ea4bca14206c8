/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every number of owlalloc that could have been another, in one place, with the ranges in which
 * the code works checked at compile time. Bytes unless the name says otherwise.
 */
#ifndef OWL_CORE_TUNE_H
#define OWL_CORE_TUNE_H

#include <assert.h>
#include <stdint.h>

#define OWL_CACHE_LINE 64

/* On the declaration of data: it is this library's own, so the fast paths reach it without the
 * global offset table. */
#define OWL_LOCAL __attribute__((visibility("hidden")))

/* On the definition of data that the start of a program writes: it lies with what the loader
 * writes, so that fewer pages are faulted in, which is most of what a short program pays. */
#define OWL_START __attribute__((section(".data")))

/* The granule: unit of the page map and of the pool. A multiple of every page size in use (4 to
 * 64 KiB), so that a granule can be purged alone. */
#define OWL_GRANULE_SHIFT 16
#define OWL_GRANULE ((uintptr_t)1 << OWL_GRANULE_SHIFT)

/* Small blocks. Sizes are multiples of the quantum; from 256 bytes up there are eight classes to
 * a doubling, so that at most 12.5 % of a request is added by rounding. */
#define OWL_QUANTUM_SHIFT 4
#define OWL_QUANTUM ((size_t)1 << OWL_QUANTUM_SHIFT)
#define OWL_SMALL_MAX_SHIFT 15
#define OWL_SMALL_MAX ((size_t)1 << OWL_SMALL_MAX_SHIFT)
#define OWL_CLASSES 72

/* A slab holds at least this many blocks, which decides how many granules it takes. */
#define OWL_SLAB_MIN_BLOCKS 16
#define OWL_SLAB_MAX_BLOCKS 4096

/* The pages of a slab are populated when it is made if its owner has made so many of the class: at
 * most so much of them is resident that nobody uses. At most 254. */
#define OWL_GROWN 16

/* The thread cache. A class keeps a magazine of at most so many bytes (the option `magazine` may
 * ask for fewer), in an array of at least and at most so many slots, one of which holds no block.
 * It begins with a small one; of a full one the older half goes home, or so many blocks if that is
 * less. An empty one is filled with fewer: a block that no caller has asked for yet would only make
 * memory resident, whereas one that was freed is resident already. */
#define OWL_MAGAZINE_BYTES ((size_t)512 << 10)
#define OWL_MAGAZINE_MIN_SHIFT 3
#define OWL_MAGAZINE_SHIFT 11
#define OWL_MAGAZINE_BLOCKS ((1 << OWL_MAGAZINE_SHIFT) - 1)
#define OWL_MAGAZINE_PART 128
#define OWL_FILL_BYTES ((size_t)8 << 10)
#define OWL_FILL_BLOCKS 64
#define OWL_FIRST_BYTES ((size_t)2 << 10)
#define OWL_FIRST_BLOCKS 15

/* So many caches of ended threads are kept as they are for the next threads, if their magazines
 * hold at most so many bytes each, and their slabs so many of free blocks that may be resident. */
#define OWL_PARKED 16
#define OWL_PARKED_BYTES ((size_t)256 << 10)
#define OWL_PARKED_IDLE ((size_t)2 << 20)

/* Medium blocks, up to so many bytes, that a thread keeps for itself: so many bytes of them. */
#define OWL_STOCK_MAX ((size_t)1 << 20)
#define OWL_STOCK_LENGTHS (OWL_STOCK_MAX >> OWL_GRANULE_SHIFT)
#define OWL_STOCK_BYTES ((size_t)2 << 20)

/* Blocks that wait to be handed to the threads that own them: so many owners at once, and for
 * each at most so many blocks and bytes. */
#define OWL_REMOTE_OWNERS_SHIFT 3
#define OWL_REMOTE_OWNERS (1 << OWL_REMOTE_OWNERS_SHIFT)
#define OWL_REMOTE_BLOCKS 64
#define OWL_REMOTE_BYTES ((size_t)64 << 10)

/* Blocks that wait for their owner's thread to take them: at most so many, and so many bytes; more
 * are brought home for it. It takes so many at a time. */
#define OWL_INBOX_BLOCKS 1024
#define OWL_INBOX_BYTES ((size_t)256 << 10)
#define OWL_INBOX_TAKEN 128

/* Address space. The first range is tried at 2^40 bytes and halved down to 2^24; under
 * RLIMIT_AS a range takes at most this fraction of the limit, unless one request needs more. */
#define OWL_RANGE_MAX_SHIFT 40
#define OWL_RANGE_MIN_SHIFT 24
#define OWL_RANGE_LIMIT_SHARE 4

/* As if RLIMIT_AS were so many bytes, under Valgrind. */
#define OWL_VALGRIND_ADDRESSES ((size_t)1 << 34)
#define OWL_RANGES 64

/* A range is placed at random between this address and twice it, below those that the system gives
 * to others, if it can be had there. */
#define OWL_APART ((uintptr_t)1 << 43)

/* The granules of a range begin at a multiple of this, so that huge pages can be had. */
#define OWL_RANGE_ALIGNMENT ((size_t)2 << 20)

/* Memory of a range is made accessible in steps of this size, and of this part of what is. */
#define OWL_COMMIT_STEP ((size_t)64 << 20)
#define OWL_COMMIT_SHARE 4

/* The pool takes fresh memory in runs of at least this many granules, so that neighbours join. */
#define OWL_GROW_GRANULES 16

/* Among free runs of much the same length the pool looks for the best at so many. */
#define OWL_RUN_LOOK 8

/* A request above this gets a mapping of its own. */
#define OWL_SPAN_MAX ((size_t)1 << 30)

/* Blocks of at least so many bytes lie in a file in memory, unless the option `backing` says
 * otherwise: the smallest for which what that gives (duplicates and exports without a copy)
 * outweighs page faults that take longer, by a fifth, and are huge ones never. */
#define OWL_MEMFD_MIN ((size_t)32 << 20)

/* A block that grows by at least this part of itself will grow on, as vectors do. Where it goes it
 * has room for so many doublings, and this many granules (2^n) at least. */
#define OWL_ROOM_SHARE 2
#define OWL_ROOM_DOUBLINGS 2
#define OWL_ROOM_ORDER 7

/* Rooms are addresses alone. The pool gets more of them while it has less than so many bytes of
 * clean memory, or so many times what is in use. What comes later leaves so many granules to what
 * it comes behind. */
#define OWL_ROOM_TOTAL ((size_t)512 << 20)
#define OWL_ROOM_TIMES 2
#define OWL_ROOM_BETWEEN 16

/* From so many bytes on, moving pages takes less time than copying them, even to pages that are
 * resident. To others, copying always takes longer. */
#define OWL_MOVE_MIN ((size_t)256 << 10)

/* Below so many bytes, pages of which at most one in so many is not resident are copied, if there
 * is dirty memory for them: what moves takes its pages along, and those that its old place has next
 * have to be faulted in, which takes longer than copying. */
#define OWL_COPY_MOST ((size_t)4 << 20)
#define OWL_COPY_MISSING 4

/* Blocks of at least so many bytes begin at a multiple of what a page table maps
 * (OWL_RANGE_ALIGNMENT). For smaller ones that would waste more free memory than moves by
 * entries of page tables are worth. */
#define OWL_ALIGN_MIN ((size_t)16 << 20)

/* Moves of pages are made while the process has fewer mappings than the system's limit (the
 * usual one where it does not tell) less one part in so many; past that, the mappings are
 * counted again once in so many moves. */
#define OWL_MAPPINGS_LIMIT 65530
#define OWL_MAPPINGS_SHARE 4
#define OWL_MAPPINGS_LOOK 4096

/* Pages that are put in another order are moved from so many bytes in a row on. Below, copying them
 * and giving the old ones back takes less time: at 4 KiB 4 us and not 13, at 32 KiB 18 us. */
#define OWL_PAGES_MOVE_MIN ((size_t)32 << 10)

/* Pieces of memory that a batch hands to the system at once; they are gathered on the stack. */
#define OWL_PAGES_PIECES 256

/* Free spans may keep their pages up to the larger of these: a fixed number of bytes, and the
 * bytes in use divided by the share. Defaults of the options `dirty` and `dirty_share`. */
#define OWL_DIRTY_MIN ((size_t)6 << 20)
#define OWL_DIRTY_SHARE 8
#define OWL_DIRTY_SHARE_MAX (1 << 20)

/* Guarded blocks: so many places for them, each with room for one of at most so many bytes (of
 * OWL_SMALL_MAX at least, so that any small one fits); the option `guard` is one in at most so
 * many. With the option `secure` alone one in so many is guarded, roughly. */
#define OWL_GUARD_SLOTS 512
#define OWL_GUARD_BYTES OWL_SMALL_MAX
#define OWL_GUARD_RATE_MAX (1 << 30)
#define OWL_GUARD_SECURE 20000

/* What fills memory with the option `junk`: blocks when they are handed out, and when they are
 * freed; and what lies beside a guarded block on its pages. */
#define OWL_JUNK_OUT 0xa5
#define OWL_JUNK_FREE 0x5a
#define OWL_JUNK_BESIDE 0xc7

/* The quarantine holds at most so many blocks. */
#define OWL_QUARANTINE_BLOCKS (1 << 16)

/* Bytes that it holds where a tool watches, if the option `quarantine` says nothing. */
#define OWL_QUARANTINE_WATCHED ((size_t)16 << 20)

/* A call that finds no memory has all free memory given back and tries again: at most so often. */
#define OWL_TRIES 8

/* Memory pressure. Threads that wait for memory for so many percent of the time are the worst; a
 * limit is near from this part of it on; what is less than the least is nothing; and by so much has
 * the severity to rise to be told again. */
#define OWL_PRESSURE_STALLS 40.0
#define OWL_PRESSURE_NEAR 0.75
#define OWL_PRESSURE_LEAST 0.03125
#define OWL_PRESSURE_STEP 0.0625

/* The kernel tells of stalls that come to 150 ms in a second or 300 ms in two, which is all that it
 * does for programs without privileges, and is a severity of so much at least. */
#define OWL_PRESSURE_TRIGGER "some 150000 1000000"
#define OWL_PRESSURE_TRIGGER_2S "some 300000 2000000"
#define OWL_PRESSURE_TRIGGERED (15.0 / OWL_PRESSURE_STALLS)

/* In milliseconds, between two looks by time, and from one call of the handlers to the next. */
#define OWL_PRESSURE_PAUSE 1000

/* Past that bound, so much of it is purged besides what is too much: the bound divided by this. */
#define OWL_DIRTY_SLACK 8

/* Milliseconds until the system is asked again for what it has refused to take. */
#define OWL_REFUSED_MS 100

/* For that bound so many granules are purged in a second, and so many at once after a pause:
 * purging and using again takes some 25 us a granule, so this is 5 % of a processor. What is more
 * than may be is purged in part, if half of what may be at once may. Else there may be more dirty:
 * so many times the option `dirty`, or as much as is in use, or, if at least so many bytes were in
 * use at once lately, as much as makes, with what is in use, that and a share of that. */
#define OWL_PURGE_RATE 2000
#define OWL_PURGE_MOST 200
#define OWL_DIRTY_STORM 4
#define OWL_STORM_SHARE 2
#define OWL_LATELY_LEAST ((size_t)96 << 20)

/* What was purged and is taken again within so many milliseconds was purged in vain; each granule
 * of it counts so many times more, but nothing for longer than that. */
#define OWL_VAIN_MS 1000
#define OWL_VAIN 4

/* When threads end, so many granules a second, and at once so many times what was ever in use at
 * once, for threads that end together leave at most that. Where threads come and go all the time,
 * the next ones want it. */
#define OWL_SETTLE_RATE 500
#define OWL_SETTLE_PEAKS 4

/* Lately is in the last one to two spans of so many milliseconds. */
#define OWL_LATELY_MS 1000

/* Past that, small runs are purged, of which so many come to what is too much. */
#define OWL_STORM_RUNS 64

/* Default of the option `decay_ms`: how long free memory may stay resident without any use. */
#define OWL_DECAY_MS 1000
#define OWL_DECAY_MS_MAX 86400000

/* The scavenger purges at most so many granules of the pool at once. */
#define OWL_DECAY_STEP 256

/* What describes clean runs of at least so many granules goes back too: their descriptors are a
 * page and more, their free bits several. */
#define OWL_METADATA_GRANULES 64

/* It reads how short memory is, and finds out where that is to be read, at most so often. */
#define OWL_PRESSURE_READ_MS 250
#define OWL_PRESSURE_FIND_MS 60000

/* The scavenger is started when so many MiB of free memory may be resident: in a program that
 * has threads, in one that has none, and if the option `scavenger` says so at any rate. Though
 * memory is due it ends after so many looks at which there was less than half of the first. */
#define OWL_DUE_THREADS 8
#define OWL_DUE_ALONE 16
#define OWL_DUE_ALWAYS 1
#define OWL_DUE_SHIFT 14 /* an owner's part of it is counted in units of so many bits */
#define OWL_DUE_STEP 4   /* and told to the others when it is so many more, or fewer */
#define OWL_SCAVENGER_CALM 16

/* Arrays. A reserve of at least so many bytes has addresses of its own: at most so many, and
 * under RLIMIT_AS at most this share of the limit. They are made accessible in steps of at least
 * so many. */
#define OWL_ARRAY_SPACE_MIN ((size_t)1 << 20)
#define OWL_ARRAY_SPACE_MAX ((size_t)1 << 46)
#define OWL_ARRAY_LIMIT_SHARE 8
#define OWL_ARRAY_COMMIT_STEP ((size_t)1 << 20)

/* An array that grows is opened by a share of its elements at once, within these bounds; from so
 * many bytes on its pages are populated. */
#define OWL_ARRAY_OPEN_SHARE 16
#define OWL_ARRAY_OPEN_MIN ((size_t)64 << 10)
#define OWL_ARRAY_OPEN_MAX ((size_t)512 << 10)
#define OWL_ARRAY_POPULATE_MIN ((size_t)1 << 20)

/* What a block of an array grows by, at least; what may be free at the front beside as much as
 * there are elements; and from how many bytes on a block is shared when it is copied. */
#define OWL_ARRAY_BLOCK_MORE ((size_t)64)
#define OWL_ARRAY_KEEP ((size_t)1 << 20)
#define OWL_ARRAY_DUP_MIN ((size_t)64 << 10)

/* How often a lock is tried before its waiter sleeps. */
#define OWL_LOCK_SPINS 100

/* So many milliseconds a fork in a handler over a slow path waits for locks and purges, all
 * together, and so many until it looks again. */
#define OWL_LOCK_FORK_MS 50
#define OWL_LOCK_LOOK_MS 1

/* So many watches on pages at once, and so many threads that call their handlers: so deep handlers
 * may touch watched pages. */
#define OWL_WATCHES 256
#define OWL_WATCH_THREADS 16

/* A page file brings in, sets aside and writes back at most so many pages at a time. Of its
 * budget one part in so many is set aside: a page that is touched there stays, the others leave
 * in the order in which they came. */
#define OWL_PAGEFILE_BATCH 64
#define OWL_PAGEFILE_ASIDE_SHARE 4

/* A budget has at least so many pages: an instruction can touch several, which have to be there at
 * once. */
#define OWL_PAGEFILE_LEAST 16

/* How often a page that is to be written is tried to be protected, if that is refused. */
#define OWL_PAGEFILE_TRIES 1000

static_assert(OWL_GRANULE_SHIFT >= 16 && OWL_GRANULE_SHIFT <= 21, "granule: 64 KiB to 2 MiB");
static_assert(OWL_SMALL_MAX_SHIFT > 8 && OWL_SMALL_MAX_SHIFT <= OWL_GRANULE_SHIFT,
              "a class is at least 257 bytes and at most a granule at the top");
static_assert(OWL_CLASSES == 16 + (OWL_SMALL_MAX_SHIFT - 8) * 8, "classes follow from their top");
static_assert(OWL_CLASSES <= 255, "a class fits a byte");
static_assert(OWL_SLAB_MAX_BLOCKS >= OWL_GRANULE >> OWL_QUANTUM_SHIFT,
              "a granule of the smallest blocks has its bits");
static_assert(OWL_SLAB_MAX_BLOCKS % 64 == 0, "free bits come in words");
static_assert(OWL_MAGAZINE_SHIFT >= OWL_MAGAZINE_MIN_SHIFT && OWL_MAGAZINE_SHIFT <= 12,
              "magazines");
static_assert((sizeof(void *) << OWL_MAGAZINE_MIN_SHIFT) % OWL_CACHE_LINE == 0,
              "slots are whole cache lines: caches are carved from the same memory");
static_assert(OWL_FILL_BLOCKS <= OWL_MAGAZINE_BLOCKS &&
                  OWL_FILL_BYTES <= OWL_MAGAZINE_BYTES,
              "what fills a magazine fits it");
static_assert(2 * OWL_FIRST_BLOCKS <= OWL_MAGAZINE_BLOCKS && OWL_FIRST_BYTES <= OWL_FILL_BYTES,
              "starts");
static_assert(OWL_STOCK_BYTES % OWL_MAGAZINE_BYTES == 0, "stocks");
static_assert(OWL_REMOTE_OWNERS_SHIFT >= 1 && OWL_REMOTE_OWNERS_SHIFT <= 8, "remote buffers");
static_assert(OWL_REMOTE_BYTES <= UINT32_MAX - OWL_SMALL_MAX, "their bytes are counted in 32 bits");
static_assert(OWL_RANGE_MAX_SHIFT <= 46 && OWL_RANGE_MIN_SHIFT > OWL_GRANULE_SHIFT, "ranges");
static_assert(OWL_COMMIT_STEP % OWL_GRANULE == 0, "steps of whole granules");
static_assert(OWL_ROOM_DOUBLINGS >= 1, "half of a run with room is long enough");
static_assert(OWL_COPY_MOST >= OWL_MOVE_MIN && OWL_COPY_MOST <= OWL_MEMFD_MIN &&
                  OWL_COPY_MISSING >= 1,
              "what is copied");
static_assert(OWL_PURGE_MOST >= 2 && OWL_DIRTY_STORM >= 1, "bounds of what is dirty");
static_assert(OWL_WATCH_THREADS >= 1 && OWL_PAGEFILE_LEAST >= 16, "accesses come to an end");
static_assert(OWL_ARRAY_SPACE_MAX <= (size_t)1 << 46, "half of the addresses of a process");
static_assert(OWL_ARRAY_OPEN_MIN % OWL_GRANULE == 0 && OWL_ARRAY_OPEN_MAX >= OWL_ARRAY_OPEN_MIN &&
                  OWL_ARRAY_OPEN_MAX % OWL_GRANULE == 0 && OWL_ARRAY_COMMIT_STEP % OWL_GRANULE == 0,
              "steps of whole pages, whatever these are");

#endif
