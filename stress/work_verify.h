/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * work_verify: the patterns of --verify.
 *
 * Every block is filled with bytes derived from its identity, over its whole usable size where the
 * allocator tells it. Two blocks that overlap spoil each other's pattern, so one of them is found
 * out when it is checked: before it is freed and after it was reallocated. Any failure ends the
 * process through work_fail().
 */
#ifndef OWL_STRESS_WORK_VERIFY_H
#define OWL_STRESS_WORK_VERIFY_H

#include <stddef.h>
#include <stdint.h>

/*
 * Check a fresh block of `size` bytes: its alignment (the strictest that an object of that size may
 * need, 16 at most, and no less than `alignment`) and its usable size. Then fill it.
 */
void work_verify_fill(void *block, size_t size, uint64_t id, size_t alignment);

/* Check what work_verify_fill() wrote, all of it. */
void work_verify_check(const void *block, size_t size, uint64_t id);

/* After a realloc: the first `kept` bytes must still be those of `id`. */
void work_verify_prefix(const void *block, size_t kept, uint64_t id);

/* A block from calloc. */
void work_verify_zero(const void *block, size_t size);

#endif
