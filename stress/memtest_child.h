/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_child: the measured process. It opens the allocator, does one run and writes a record.
 *
 * Its arguments: --child FD ROUND KIND LIBRARY [option ...]
 *
 *   FD       where the record goes
 *   ROUND    from 0; -1 only looks whether the allocator can be opened
 *   KIND     enum alloc_kind as a number
 *   LIBRARY  libtcl for ALLOC_ZIPPY, otherwise ignored
 */
#ifndef OWL_STRESS_MEMTEST_CHILD_H
#define OWL_STRESS_MEMTEST_CHILD_H

#define MEMTEST_CHILD_FLAG "--child"

enum { MEMTEST_CHILD_ARGS = 6, MEMTEST_CHILD_PROBE = -1 };

/* Returns the exit status; argv[1] is MEMTEST_CHILD_FLAG. */
int memtest_child_main(int argc, char **argv);

#endif
