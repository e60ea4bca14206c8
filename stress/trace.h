/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace: the allocation calls of a real run, as a file and as arrays ready for replay.
 *
 * A trace is a list of calls in one global order. That order is a valid schedule: a block is
 * allocated before it is given up, and it is given up once. owl-record makes traces; memtest
 * replays what trace_load() reads from them.
 *
 * Who may call: the loader is used inside a process whose malloc is being measured. It takes all
 * its memory from mmap in two pieces, one of which stays mapped until trace_unload(), and it calls
 * no function that allocates. Nothing here takes a lock: one thread loads, and afterwards any
 * number of threads read.
 *
 * What replay may rely on
 *
 *   1. Each thread's ops, done in order, with a wait at every op that carries TRACE_FROM_OTHER
 *      until the block it gives up has been allocated by its other thread, never deadlock, however
 *      the threads run, as long as every thread is started at some time: an op only ever waits for
 *      ops that stand before it in the global order, so the earliest op not yet done can go on.
 *   2. Block numbers are indexes into a table of `blocks` entries, that starts out empty (NULL).
 *      A block that one thread allocates and another gives up (TRACE_TO_OTHER at its allocation,
 *      TRACE_FROM_OTHER where it is given up) has a number of its own, used for nothing else in the
 *      whole trace: its entry goes from empty to full to empty, once. Any other number belongs to
 *      one thread alone, which may use it for many blocks, one after the other.
 *      So only entries of ops with one of these flags need atomic access (release and acquire).
 *   3. TRACE_REALLOC gives up `old_block` and allocates `block`. The two may be the same number:
 *      read and empty the old entry first, then fill the new one. Each of the two may be shared
 *      with other threads: TRACE_FROM_OTHER speaks of old_block, TRACE_TO_OTHER of block.
 *   4. Blocks that the program never freed are still in the table at the end. Whoever replays frees
 *      each entry that is not empty.
 *
 * The file is described in trace_format.h, writing one in trace_write.h.
 */
#ifndef OWL_STRESS_TRACE_H
#define OWL_STRESS_TRACE_H

#include <stddef.h>
#include <stdint.h>

enum trace_call {
    TRACE_MALLOC = 1,
    TRACE_CALLOC,
    TRACE_REALLOC,
    TRACE_FREE,
    TRACE_ALIGNED
};

enum trace_flag {
    TRACE_TO_OTHER = 1,         /* `block` will be given up by another thread */
    TRACE_FROM_OTHER = 2        /* the block given up here was allocated by another thread: wait */
};

/*
 * The fields that a call uses; the others are 0:
 *
 *   malloc, calloc   block, size                 free      block: the block given up
 *   aligned          block, size, align_log2     realloc   block, size, old_block (given up)
 */
struct trace_op {
    uint64_t size;              /* as asked for; may be 0 */
    uint32_t block;
    uint32_t old_block;
    uint32_t seq;               /* place in the global order, 0 .. ops-1, no gaps */
    uint8_t call;               /* enum trace_call */
    uint8_t align_log2;
    uint8_t flags;              /* enum trace_flag */
};

struct trace_thread {
    struct trace_op *ops;
    size_t count;               /* at least 1 */
    uint32_t birth;             /* seq of its first op */
    uint32_t end;               /* ops of all threads done when it ended; trace.ops: never */
    /*
     * When to start the thread, for a replay that has threads born when they were born: once thread
     * `starter` (a lower number, always) has done `starter_ops` of its ops. That keeps promise 1.
     * Thread 0 starts at once; its fields are 0. Starting all threads at once is right too.
     */
    uint32_t starter;
    uint32_t starter_ops;
};

struct trace {
    unsigned threads;
    struct trace_thread *thread;        /* in the order of their birth */
    uint32_t blocks;                    /* length of the table a replay needs */
    size_t ops;                         /* of all threads */
    uint64_t allocations;               /* malloc, calloc, aligned and realloc */
    uint64_t peak_bytes;                /* most bytes live at one time, in the global order */
    uint64_t peak_blocks;               /* most blocks live at one time */
    uint32_t left;                      /* blocks never freed */
    void *memory;                       /* private: what trace_unload() unmaps */
    size_t memory_bytes;
};

/*
 * Read a trace. Returns 0; or -1 with a message of one line in `err` and *t all zero. A file that
 * is damaged in any way is refused as a whole.
 */
int trace_load(const char *file, struct trace *t, char *err, size_t errlen);
void trace_unload(struct trace *t);

#endif
