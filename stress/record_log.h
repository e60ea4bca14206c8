/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * record_log: the raw log of a recorded process, shared between the library that is preloaded into
 * the program (record_log.c, record_malloc.c, record_tcl.c), which appends to it, and owl-record,
 * which turns it into a trace once the program has ended (record_seal.c).
 *
 * The log is a sparse file mapped whole: a page with the header, then an array of events. To append
 * is to take the next place with an atomic add and to fill it. So there is no lock, nothing to
 * flush, and a program that is killed, or leaves by _exit, loses nothing.
 *
 * Why the order of places is a valid schedule. A call that gives up a block takes its place before
 * the real call; a call that yields a block takes its place after the real one. If a block is freed
 * by one thread and its address handed out to another, then: place taken by the free, real free,
 * real malloc, place taken by the malloc; each step happens before the next (within a thread by
 * program order, from the real free to the real malloc by the allocator's own synchronization). All
 * places come from one atomic variable, and adds to one variable are ordered as happens-before
 * orders them, even relaxed ones. A block handed from thread to thread is ordered likewise by
 * whatever the program uses to hand it over. realloc does both: RECORD_REALLOC_BEGIN before the
 * real call gives up the address, RECORD_REALLOC_END after it tells what became of it.
 */
#ifndef OWL_STRESS_RECORD_LOG_H
#define OWL_STRESS_RECORD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORD_MAGIC "owlrawlg"

/* What tells the library to record: "PID:DIRECTORY"; a PID of 0 records every process. */
#define RECORD_ENV "OWL_RECORD"

/* The log of process PID is DIRECTORY/PID. */

enum {
    RECORD_HEADER_BYTES = 4096,
    RECORD_THREADS_MAX = 1 << 24
};

/* Kinds of event beyond enum trace_call. A place that was taken and never filled has kind 0. */
enum record_kind {
    RECORD_REALLOC_BEGIN = 16,  /* address: the block given up */
    RECORD_REALLOC_END,         /* address: the new block or NULL, size */
    RECORD_THREAD_END
};

struct record_event {
    uint64_t address, size;
    uint32_t thread;
    uint8_t kind;               /* written last */
    uint8_t align_log2;
};

struct record_header {
    char magic[8];
    uint64_t capacity;          /* events that there is room for */
    uint64_t places;            /* places taken; may exceed the capacity: the rest is lost */
    uint32_t threads;
    uint32_t pid;
};

/* ---- inside the recorded program ---- */

struct record_self {
    uint32_t depth;             /* calls that this thread is inside of; only the outermost counts */
    uint32_t thread;            /* its number plus 1; 0: has none yet */
    bool resolving;             /* inside the look-up of the real functions */
};

/* initial-exec: reaching it must never allocate. */
extern _Thread_local struct record_self record_self __attribute__((tls_model("initial-exec")));

static inline bool record_enter(void)
{
    return record_self.depth++ == 0;
}

static inline void record_leave(void)
{
    record_self.depth--;
}

/* Append an event, between record_enter() and record_leave(). Does nothing when not recording. */
void record_append(unsigned kind, const void *address, uint64_t size, unsigned align_log2);

/* Make a call of realloc, logged if this is the outermost one; between the same two. */
void *record_realloc(void *(*real)(void *, size_t), void *old, size_t size, bool outermost);

/* The symbol's next definition after this library, or the end of the process. */
void *record_next(const char *symbol);

/* Write a message to the standard error without allocating. */
void record_say(const char *message);

#endif
