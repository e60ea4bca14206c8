/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options of owlalloc. Each has a name and a value, which is a number, and is first read from the
 * environment when the program starts: option `dirty` from OWL_DIRTY. There a value may end in K, M
 * or G, for a multiple of 2^10, 2^20 or 2^30; where values have words, it is one of these. One that
 * is neither, or out of range, is reported by a line to file descriptor 2, and the default used.
 * The environment is not read later, and not by a program that runs with other rights than its
 * caller's (set-user-ID and the like).
 *
 *   name         default    values
 *   dirty        6291456    0 and up
 *       Bytes of free memory that may stay resident, so that it can be used again without page
 *       faults. More is given back to the system, down to seven eighths of this, when memory next
 *       becomes free. The bound is this or a share of the memory in use (dirty_share), whichever
 *       is larger. While memory comes and goes so fast that giving back would take more than some
 *       5 % of a processor, more may stay: four times this, or as much as is in use. Where there
 *       may be a scavenger, that is so too for what is taken again within a second of being given
 *       back; in a program that had 96 MiB and more in use in the last second or two, as much may
 *       stay as makes one and a half times that with what is in use; and four times this, less what
 *       is free otherwise, may wait for the next threads in slabs of those that have ended, for a
 *       second or two.
 *   dirty_share  8          0 to 1048576
 *       The bytes in use divided by this are the share; 0: there is none, and `dirty` holds at any
 *       rate.
 *   magazine     524288     0 to 524288
 *       Bytes of free blocks of one size that a thread may keep for itself; but at least one block
 *       of each size. Of blocks of 32 KiB to 1 MiB it keeps four times as much, of all together. By
 *       the environment only.
 *   backing      0          0, 1, 2: the words auto, private, memfd
 *       Where the pages of large blocks come from: private memory; or a file in memory (memfd), of
 *       which owl_dup and owl_export (owl/large.h) make no copies; auto: the file for blocks of
 *       32 MiB and more, until a fork. Private: there is no file, and these copy, or refuse.
 *   decay_ms     1000       0 to 86400000
 *       Milliseconds after which the scavenger gives free memory back that nobody used: somewhat
 *       sooner, but not before half of them; and some three times as late for what lies in caches
 *       of threads, or on pages among blocks in use. 0: as soon as it can.
 *   scavenger    0          0, 1, 2: the words auto, thread, inline
 *       Who does that. auto: a thread of owlalloc's own, which is started when there is much to
 *       give back (some 8 MiB in a program that has threads, or where more than the bound stays as
 *       it was taken again at once; 16 in others) and ends when there is nothing, or has been
 *       little for a while; thread: the same, from 1 MiB on; inline: nobody: memory goes back when
 *       what is free passes the bound of `dirty` and `dirty_share`, when threads end, and by
 *       owl_trim. By the environment only; a program that runs with other rights than its caller's
 *       has inline.
 *       The thread is not one of libc's: it does not end __libc_single_threaded, takes no locks of
 *       libc, no signals and no descriptors, and has no capabilities. But the system counts it, so
 *       unshare(2) and setns(2) may refuse, and what a program sets for its other threads later by
 *       system calls (seccomp filters, user ids) does not reach it: programs that do this want
 *       inline.
 *   limit        0          0 and up; 0: there is none
 *       The most bytes that owlalloc may have of memory in the whole process. What counts: all
 *       slabs, with their free blocks, large blocks and mappings in whole, resident or not; what
 *       arrays have open of addresses of their own; and free memory that may be resident. A
 *       duplicate, a ring and an export count as if they shared nothing. What does not: the tables
 *       beside the memory (1 % of it), caches' own arrays, page files, which have budgets, and
 *       whatever the program gets elsewhere, stacks for example. What would pass the limit gives
 *       free memory back to the system first, and takes free blocks from the caches. While other
 *       threads are about to free more it tries again, and sleeps in between, for 36 ms at most in
 *       all; if that is not enough the call returns NULL with ENOMEM. A limit below what is in use
 *       takes nothing away, but nothing grows until enough is freed. After a fork it holds for
 *       parent and child each.
 *   huge         0          0, 1
 *       1: the kernel may back memory with huge pages (madvise(2), MADV_HUGEPAGE) where it has
 *       these for who asks. For large heaps that are used all over: a walk at random through
 *       500 MB took half to two thirds of the time. The price is memory, in programs of some
 *       megabytes a third to three times as much, and more time where large blocks come and go. By
 *       the environment only.
 *   junk         0          0, 1
 *       1: blocks are filled when they are handed out (with 0xa5; not by calloc) and when they are
 *       freed (with 0x5a), and a small block is reported if it was written to in between. Memory
 *       that is free within slabs stays resident. By the environment only, like all that follow;
 *       owl_check(7) tells what they find.
 *   zero_on_free 0          0, 1
 *       1: the contents of a block are wiped when it is freed, and what realloc cuts off of a large
 *       one. Not of what processes share. With `junk`, zero is what free blocks are filled with.
 *   quarantine   0          0 and up
 *       Bytes of freed blocks that wait before they can be used again, at most 65536 blocks; the
 *       oldest go first. With `junk` they are looked at when they go. Blocks larger than this, and
 *       those above 1 GiB, do not wait. For owl_stats and `limit` they are in use; a call that
 *       finds no memory ends the wait of all.
 *   guard        0          0 to 1073741824, or as 1/N; 0: none
 *       One in N allocations of at most 32 KiB gets pages of its own between pages that cannot be
 *       touched, at either end of them, and has none when it is freed: so a use beyond its ends or
 *       after its end is reported at once, with the callers of that and of the calls that allocated
 *       and freed it. Up to 512 blocks at a time. Such a block has no more usable bytes than
 *       were asked for, whatever owl_good_size says; owl_stats and `limit` do not count it.
 *   secure       0          0, 1
 *       1: blocks are taken from slabs in an order that nobody knows; if `guard` is not set, some
 *       blocks are guarded, about one in 20000 of those that come from slabs; and a handler of
 *       owl_on_corruption cannot make the program go on.
 *   tools        1          0, 1
 *       1: under Valgrind's memcheck, and in a process that has the run-time library of
 *       AddressSanitizer in it, each block is made known to these; owl_check(7) tells what they
 *       find then. Blocks have no more usable bytes than were asked for, realloc and the functions
 *       of owl/large.h move and copy, freed blocks wait (`quarantine`, 16 MiB if it is 0), `guard`
 *       does nothing, and under memcheck the scavenger is inline. Without such a tool it means
 *       nothing.
 *
 * All functions are thread-safe.
 */
#ifndef OWL_OPTION_H
#define OWL_OPTION_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The value of an option. 0; or -1, *value unchanged, with ENOENT: there is no option so named. */
OWL_API int owl_option_get(const char *name, long long *value);

/* Gives an option another value. 0; or -1, nothing changed, with ENOENT: there is no such option;
 * EPERM: its value is fixed when the program starts; EINVAL: the value is out of range. */
OWL_API int owl_option_set(const char *name, long long value);

/* The name of option number `index`, from 0 on; NULL: there are no more. The text is constant. */
OWL_API const char *owl_option_name(unsigned index) OWL_ATTR(const);

#ifdef __cplusplus
}
#endif

#endif
