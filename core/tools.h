/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What programs that watch memory are told: Valgrind's memcheck, when the process runs under it,
 * and AddressSanitizer, when its run-time library is in the process. Then every call comes to the
 * slow doors (owl_cache_harden), and each block is longer than what was asked for:
 *
 *    | asked for: the caller's     | 16 bytes or more | note, 16 bytes | 16 bytes |
 *    <----------------------------- the whole block ---------------------------->
 *
 * What is not the caller's may not be touched: it is the red zone of this block and of the next.
 * The note lies in its middle, for most errors miss by little. It has the size that was asked for,
 * which is the usable size; and a seal, for there are blocks without a note: those from before the
 * beginning, and rings, which have no room for one. When a block is freed it waits in the
 * quarantine, and may not be touched at all.
 *
 *                         memcheck                        AddressSanitizer
 *    a block handed out   a block like one of malloc      the rest is poisoned
 *    freed                freed, not accessible           poisoned
 *    leaves quarantine    the same                        not poisoned
 *    book-keeping, free   not accessible, for all but     nothing
 *    memory               the allocator
 *
 * Memcheck looks for leaks by searching what is accessible for pointers. So the page map, and all
 * arrays of free blocks, must not be accessible: else no leak would be one. The allocator uses them
 * all the same, and inside of it (owl_tools_enter) memcheck is told to report nothing. The fast
 * paths are outside: under memcheck they are not told of any range (range.c), and so touch nothing.
 *
 * The fields of owl_tools are written once, before there are threads.
 */
#ifndef OWL_CORE_TOOLS_H
#define OWL_CORE_TOOLS_H

#include <stdbool.h>
#include <stddef.h>

#include "tune.h"

/* For functions that read what is poisoned, where the library itself is compiled for
 * AddressSanitizer. */
#if defined(__SANITIZE_ADDRESS__)
#define OWL_TOOLS_BLIND __attribute__((no_sanitize_address))
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWL_TOOLS_BLIND __attribute__((no_sanitize_address))
#endif
#endif
#ifndef OWL_TOOLS_BLIND
#define OWL_TOOLS_BLIND
#endif

struct owl_tools {
    bool on; /* one of them is there */
    bool memcheck, asan;
    bool valgrind; /* one of its tools, whatever the option says */
};
extern OWL_LOCAL struct owl_tools owl_tools;

/* Bytes at the end of a block for the note and what is around it. */
#define OWL_TOOLS_ROOM ((size_t)48)

/* Finds out who is there, if the option `tools` wants it. At the start of the program. */
void owl_tools_begin(void);

/* From here to the end of the block of statements this thread is inside of the allocator. */
#define OWL_TOOLS_INSIDE                                                                          \
    __attribute__((cleanup(owl_tools_end), unused)) bool owl_tools_inside = owl_tools_enter()

void owl_tools_go_in(void);
void owl_tools_go_out(void);

/* Goes out, however deep inside this thread is, for code that is the program's; and back. */
unsigned owl_tools_pause(void);
void owl_tools_resume(unsigned inside);

static inline bool owl_tools_enter(void)
{
    bool inside = __builtin_expect(owl_tools.memcheck, 0);
    if (inside)
        owl_tools_go_in();
    return inside;
}

static inline void owl_tools_end(const bool *inside)
{
    if (__builtin_expect(*inside, 0))
        owl_tools_go_out();
}

/* --- blocks: `whole` is the bytes of all that the drawing shows --- */

/* A block is about to be handed out, of which `bytes` were asked for: at least OWL_TOOLS_ROOM less
 * than the whole. `zero`: all of these are. Inside. */
void owl_tools_hand_out(void *p, size_t whole, size_t bytes, bool zero);

/* The same for a ring, all of which is the caller's; and the end of one. */
void owl_tools_hand_out_ring(void *p, size_t bytes);
void owl_tools_take_in_ring(void *p);

/* What was asked for; the whole, if there is no note. Inside. */
size_t owl_tools_bytes(const void *p, size_t whole);

/* A block is about to be freed: the caller may not touch it any more, the allocator may. False:
 * there is no note, and nothing was told. Inside. */
bool owl_tools_take_in(void *p, size_t whole);

/* Nobody may touch a block that waits in the quarantine; the allocator may, when it leaves. */
void owl_tools_hold(void *p, size_t whole);
void owl_tools_release(void *p, size_t whole);

/* A pointer that is no block was handed in. Outside. */
void owl_tools_fault(const void *p);

/* --- memory --- */

/* This is the allocator's own, or free. */
void owl_tools_hide(const void *start, size_t bytes);

/* This is the caller's and was given new contents, which the tools could not see. */
void owl_tools_filled(void *start, size_t bytes);

/* A part of a caller's block is not in use, or is again, with any contents. */
void owl_tools_close(void *start, size_t bytes);
void owl_tools_open(void *start, size_t bytes);

/* This memory is outside of what AddressSanitizer knows of, and may have pointers to blocks that it
 * does: those are no leaks. Whether the option is on or not; the same bytes are begun and ended. */
void owl_tools_begin_root(const void *start, size_t bytes);
void owl_tools_end_root(const void *start, size_t bytes);

#endif
