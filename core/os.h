/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every system call of owlalloc, behind one table of functions, so that a test can make any of
 * them fail. Nothing else in core/ talks to the kernel.
 *
 * All addresses and lengths are multiples of owl_os.page. Where a call can fail it says so by its
 * result and in errno; callers that must keep errno save it themselves.
 */
#ifndef OWL_CORE_OS_H
#define OWL_CORE_OS_H

#include <stddef.h>
#include <stdint.h>

#include "atomic.h"

struct owl_os {
    size_t page; /* bytes; set by owl_os_init */

    /* Address space without memory: touching it faults. NULL: none to be had. */
    void *(*reserve)(size_t bytes);
    /* Make part of a reservation readable and writable; it reads as zero. 0, or -1. */
    int (*commit)(void *start, size_t bytes);
    /* Give the pages back; the addresses stay usable and read as zero. 0, or -1: unchanged. */
    int (*purge)(void *start, size_t bytes);
    /* Readable, writable, zeroed memory of its own. NULL: none to be had. */
    void *(*map)(size_t bytes);
    /* Move or resize what map gave. NULL: unchanged. */
    void *(*remap)(void *start, size_t bytes, size_t new_bytes);
    /* End a reservation or mapping, whole or in part. 0, or -1: unchanged. */
    int (*unmap)(void *start, size_t bytes);

    /* Sleep while *word == value; may wake early. */
    void (*wait)(owl_u32 *word, uint32_t value);
    /* Wake one sleeper of word. */
    void (*wake)(owl_u32 *word);

    /* Bytes of address space this process may have in all; SIZE_MAX: no limit. */
    size_t (*address_limit)(void);
    /* Bytes of memory that this process has now. 0: the system does not tell. */
    size_t (*resident)(void);
    /* A number that an attacker does not know. */
    uint64_t (*secret)(void);
    /* Text for people, to file descriptor 2. */
    void (*message)(const char *text, size_t bytes);
};

extern struct owl_os owl_os;

/* Reads what the machine is like. Called once, before anything else of the table. */
void owl_os_init(void);

static inline size_t owl_round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) & ~(unit - 1);
}

#endif
