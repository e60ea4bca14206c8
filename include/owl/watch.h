/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches on pages: a function of yours is called when a page is accessed, or written to, for the
 * first time. So a program can make a page's contents only when they are looked at, or learn which
 * pages have changed since it last asked.
 *
 * The pages have to be part of one private anonymous mapping that can be read and written to, as
 * mmap(2) gives it (a block of owlalloc may lie in a file in memory, and will not do); sizes are in
 * bytes, and whole pages. Pages keep their contents when a watch begins or ends. Protection
 * (mprotect) and place (mremap) of watched pages are the watch's business until it ends; a watch
 * has to end before its pages are unmapped. Pages whose contents are dropped (MADV_DONTNEED) after
 * their first access read as zero, and are not told of again.
 *
 * There are two mechanisms:
 *   userfaultfd   A thread named "owl-watch", without signals, calls the handlers, which may do
 *                 what they like; more such threads are started when a handler is at work and no
 *                 other is left. The first watch starts them and the last owl_unwatch ends them.
 *                 Works without privilege from Linux 5.11 on, unless a policy forbids it. Its
 *                 descriptors must not be closed by anybody else: pages whose first access is to
 *                 come would silently read as zero.
 *   protection    The handlers are called in the thread that does the access, from a handler of
 *                 SIGSEGV with all but synchronous signals blocked, so they may only do what is
 *                 safe where the access can be: allocate, for instance, only if the allocator
 *                 cannot have been interrupted. No thread may block SIGSEGV, and one that has an
 *                 alternate stack for signals needs room there for the handlers. Faults that are
 *                 not the watch's go to the handler of SIGSEGV that was there before, or end the
 *                 process as ever. A program that sets a handler of its own later has to call the
 *                 one it found. Each page that is visited apart from others takes up two mappings,
 *                 of which a process has 65,530 (vm.max_map_count); when there are no more, SIGSEGV
 *                 ends the program.
 * The first is preferred, because handlers are free there and no mappings are used up, though its
 * events cost more (two switches of threads).
 *
 * Both have in common:
 *   - Only accesses by the program itself are told of. A system call that is handed an address in a
 *     page whose first access (or write, if it writes) is to come fails with EFAULT: touch such
 *     pages first.
 *   - Threads that access a page while its handler is at work wait until it returns. Handlers of
 *     different pages may be at work at the same time.
 *   - A handler may touch other watched pages, whose handlers are called then, 15 deep at most. A
 *     circle of such pages waits for ever. Of this header a handler may call owl_watch_again only;
 *     and it must not fork.
 *   - In the child of a fork nothing is watched; all pages have the contents they had, or that a
 *     handler at work had begun to prepare.
 *   - Where no memory can be had for a page that is accessed, the access is tried again and again.
 *
 * Functions are thread-safe, for different ranges and for the same. None may be called from a
 * signal handler. Idea: the notification of accesses to watched pages that N. Douglas asks kernels
 * for (User Mode Memory Page Allocation, 2011).
 */
#ifndef OWL_WATCH_H
#define OWL_WATCH_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a watch tells of, and, if it has to be the one or the other, by which mechanism. */
enum owl_watch_mode {
    OWL_WATCH_ACCESS = 1, /* the first access to each page, be it a read or a write */
    OWL_WATCH_WRITE = 2,  /* the first write to each page; with OWL_WATCH_ACCESS, if the page was
                           * read first */
    OWL_WATCH_USERFAULTFD = 4,
    OWL_WATCH_PROTECTION = 8
};

/* An access to a page that is about to happen. */
struct owl_watch_event {
    void *page;     /* the page's address */
    size_t bytes;   /* and size */
    int write;      /* whether it is a write. (With protection, elsewhere than on x86-64: a first
                     * access is said to be none, and a write may be told of that is a read, if
                     * threads read the page at the same time) */
    void *contents; /* a first access: where the page's contents are until the handler returns, to
                     * be read and changed; nobody else sees the page meanwhile. Else NULL: they are
                     * at `page`, to be read, and nobody can write there */
};

/* Called once for each first access and each first write. */
typedef void owl_watch_handler(const struct owl_watch_event *event, void *context);

/* Watches `bytes` bytes from `start` on; `mode` is a sum of enum owl_watch_mode. 0; or -1 and
 * EINVAL: no whole pages, or no such mode; EBUSY: some are watched already; ENOMEM: no memory, or
 * 256 watches; ENOTSUP: the mechanism asked for, or either, is refused. */
OWL_API int owl_watch(void *start, size_t bytes, int mode, owl_watch_handler *handler,
                      void *context);

/* Of pages in a watched range, tells of the next first access, or write, again: `mode` is one or
 * both of the watch's. Pages whose handler is at work, or whose access is being tried again, are
 * left out. 0; or -1, with some of them done, and EINVAL: not in one watch, no whole pages, or
 * another mode; ENOMEM: no memory, or no more mappings. */
OWL_API int owl_watch_again(void *start, size_t bytes, int mode);

/* Ends the watch that begins at `start`, once its handlers at work have returned. 0; or -1, and it
 * goes on, and EINVAL: there is none; ENOMEM: no memory for contents that were set aside. */
OWL_API int owl_unwatch(void *start);

/* OWL_WATCH_USERFAULTFD or OWL_WATCH_PROTECTION: how an address is watched. 0: it is not. */
OWL_API int owl_watch_mechanism(const void *address);

#ifdef __cplusplus
}
#endif

#endif
