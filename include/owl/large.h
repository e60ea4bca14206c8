/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations on blocks that move page-table entries instead of bytes. Each takes any block of
 * owl_malloc and its like (malloc too, where libowl replaces it), not only the large ones: where
 * pages cannot be moved (small blocks, uneven addresses, a kernel or a limit that refuses) the
 * bytes are copied, and the result is the same. Sizes are in bytes.
 *
 * A block that one of these gives is freed by owl_free and may be handed to all functions of
 * owl/owl.h. What is said there of pointers that are no blocks holds here. All functions are
 * thread-safe, but no other thread may use the blocks in question while one works on them.
 *
 * What a large block's pages are, is an option (OWL_BACKING, owl/option.h): private memory, or part
 * of a file in memory, which has what owl_dup and owl_export need. Blocks that are not in the file
 * are copied there when one of these asks for it for the first time.
 *
 * Ideas: the heap in a memfd whose arrays grow at both ends is geocar's; swapping the contents of
 * blocks by their pages is N. Douglas's (User Mode Memory Page Allocation, 2011); the doubly
 * mapped ring is old, and P. Howard's virtual ring buffer among the first.
 */
#ifndef OWL_LARGE_H
#define OWL_LARGE_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Makes room for `bytes` more at the front of block p: the block returned begins with that many
 * bytes of any value, and p's contents follow, all of its usable size. p itself is no block any
 * more. `bytes` has to be a multiple of 16, so that the new block is aligned as all blocks are;
 * if p had a larger alignment, the new block need not have it. NULL, with p unchanged, and
 * ENOMEM: no memory; EINVAL: no multiple of 16. */
OWL_API void *owl_grow_front(void *p, size_t bytes);

/* Takes `bytes` off the front of block p; the block returned begins with what followed them.
 * What was taken off is given back, but for less than 64 KiB of it. `bytes` has to be a multiple
 * of 16 and less than p's usable size. NULL, with p unchanged, and ENOMEM: no memory; EINVAL:
 * not such a number. */
OWL_API void *owl_shrink_front(void *p, size_t bytes);

/* Exchanges the first `bytes` bytes of two blocks, which must be different ones. 0; or -1, with
 * both unchanged, and EINVAL: `bytes` is more than the usable size of one of them, or they are
 * the same. */
OWL_API int owl_swap(void *p, void *q, size_t bytes);

/* A new block with the usable size and contents of p. Both may be written to, and neither sees
 * what is written to the other. Large blocks share their pages until these are written to, so
 * the work does not grow with the contents. NULL with ENOMEM: no memory; p is unchanged. */
OWL_API void *owl_dup(void *p);

/* Makes the contents of block p visible to other processes: `offset` bytes into the file of a
 * descriptor, which is the caller's to close, and closed on exec. Who maps that part of the file
 * shared sees what others write, as long as the block lives; blocks share the file, so hand it only
 * to those whom all may be shown to. The block stays what it is, and its address the same; but it
 * is not copied by fork: the child shares it. After a fork it cannot be exported again. The
 * descriptor, or -1, with p unchanged, and ENOMEM: no memory; EMFILE: no more descriptors; ENOTSUP:
 * there are no files in memory (OWL_BACKING=private, or a system that refuses), the file's
 * descriptor was closed, or the block is above 1 GiB; EINVAL: the block is a small one (32 KiB and
 * less), or does not begin at a page. Of a ring the file has the `bytes` bytes once. */
OWL_API int owl_export(void *p, size_t *offset);

/* A ring buffer: a block of `bytes` bytes, a multiple of the page size and 1 GiB at most, that is
 * mapped twice in a row, so that byte i and byte i + bytes are the same one, and whatever lies in
 * the ring can be read and written without a look at its end. owl_malloc_usable_size tells 2 *
 * bytes. After a fork parent and child share the ring. What owl_realloc and the other functions
 * here make of a ring is an ordinary block of 2 * bytes. NULL with ENOMEM: no memory, or no
 * files in memory (see owl_export); EINVAL: not such a number. */
OWL_API void *owl_ring(size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
