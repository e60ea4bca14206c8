/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The format of a trace file, for trace.c and trace_write.c.
 *
 *   header, 56 bytes, little-endian:
 *      0  "owltrace"      8  u32 version      12  u32 threads      16  u64 ops
 *     24  u64 allocations                     32  u64 length of the body
 *     40  u64 checksum of the body (FNV-1a, 64 bits)               48  u64 checksum of bytes 0-47
 *   body, a sequence of events. The first byte of an event holds its kind in bits 0-2 and a value
 *   in bits 3-7; a value of 31 or more is stored as 31 there and followed by value - 31 as a varint
 *   (seven bits a byte, lowest first, bit 7 set in all but the last, ten bytes at most).
 *      1 malloc  value: size                       4 free     value: distance
 *      2 calloc  value: size (the product)         5 aligned  value: log2 of alignment, varint size
 *      3 realloc value: distance, varint size      6 switch   value: thread that does what follows
 *                                                  7 end      value: thread that has ended
 *   Allocations (1, 2, 3, 5) are numbered from 0 in the order of the file. A distance names a block
 *   by counting back: 0 is the newest allocation. Thread 0 is current at the start. Threads are
 *   numbered in the order of their first event.
 *
 * Most events take two bytes. The file is not compressed: git and packages do that themselves.
 */
#ifndef OWL_STRESS_TRACE_FORMAT_H
#define OWL_STRESS_TRACE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_MAGIC "owltrace"
#define TRACE_CHECKSUM_START 0xcbf29ce484222325u

enum {
    TRACE_VERSION = 1,
    TRACE_HEADER_BYTES = 56,
    TRACE_KIND_BITS = 3,
    TRACE_KIND_MASK = (1 << TRACE_KIND_BITS) - 1,
    TRACE_INLINE_MAX = 31,      /* this value says that a varint follows */
    TRACE_SWITCH = 6,           /* kinds of event beyond enum trace_call */
    TRACE_END = 7
};

struct trace_header {
    uint32_t version, threads;
    uint64_t ops, allocations, body_bytes, checksum;
};

static inline uint64_t trace_checksum(uint64_t hash, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

#endif
