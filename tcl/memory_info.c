/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tcl_GetMemoryInfo, in the form that zippy gives and NaviServer's statistics page parses: a list for
 * each pool, with its name and ten lists of seven numbers, one for each of zippy's block sizes:
 *
 *   {name {blockSize numFree numRemoves numInserts totalAssigned numLocks numWaits} ...} ...
 *
 * A pool is a thread's slabs and cache here, and `shared` what ended threads have left. Free are the
 * blocks in the cache, assigned the bytes of those with callers; what zippy counts at every call is
 * not counted, and 0.
 */
#include "tcl_alloc.h"

#include <stdio.h>

#include <owl/stats.h>

/* Weak: in a preloaded library, which all programs get, and not all have a Tcl. */
#pragma weak Tcl_DStringAppendElement
#pragma weak Tcl_DStringStartSublist
#pragma weak Tcl_DStringEndSublist

enum { BUCKETS = 10, SMALLEST = 32 };

static void append_pool(Tcl_DString *info, const char *name, const struct owl_stats_thread *thread)
{
    const struct owl_stats_class *class = thread->classes;
    const struct owl_stats_class *end = class + thread->class_count;
    char text[80];
    Tcl_DStringStartSublist(info);
    Tcl_DStringAppendElement(info, name);
    for (size_t i = 0; i < BUCKETS; i++) {
        size_t size = (size_t)SMALLEST << i, cached = 0, bytes = 0;
        for (; class < end && class->block_bytes <= size; class++) {
            cached += class->cached;
            bytes += class->blocks * class->block_bytes;
        }
        snprintf(text, sizeof text, "%zu %zu 0 0 %zu 0 0", size, cached, bytes);
        Tcl_DStringAppendElement(info, text);
    }
    Tcl_DStringEndSublist(info);
}

static void append_shared(const struct owl_stats_thread *thread, void *info)
{
    if (thread->thread == 0)
        append_pool(info, "shared", thread);
}

static void append_thread(const struct owl_stats_thread *thread, void *info)
{
    char name[40];
    snprintf(name, sizeof name, "thread0x%lx", thread->thread);
    if (thread->thread != 0)
        append_pool(info, name, thread);
}

void Tcl_GetMemoryInfo(Tcl_DString *info)
{
    owl_stats_threads(append_shared, info);
    owl_stats_threads(append_thread, info);
}
