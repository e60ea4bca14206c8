/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests that run once by each mechanism of watches, in children. Where the system refuses one, they
 * are skipped; the system is asked here, not the code under test.
 */
#ifndef OWL_TESTS_WATCHING_H
#define OWL_TESTS_WATCHING_H

#include <errno.h>
#include <fcntl.h>
#include <owl/watch.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "child.h"
#include "os.h"

enum { USER_MODE_ONLY = 1 }; /* a flag of userfaultfd(2) */

static int by; /* the mechanism under test */
static size_t page;

static inline char *new_pages(size_t pages)
{
    char *p = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(p != MAP_FAILED);
    return opaque(p);
}

static inline int touch(const char *p)
{
    return *(const volatile char *)p;
}

static inline void poke(char *p, int value)
{
    *(volatile char *)p = (char)value;
}

static inline bool pages_can_move(void)
{
    char *from = new_pages(1), *to = new_pages(1);
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP;
    bool can = mremap(from, page, page, flags, to) == to;
    munmap(from, page);
    munmap(to, page);
    return can;
}

static inline bool userfaultfd_is_there(void)
{
    int descriptor = (int)syscall(SYS_userfaultfd, O_CLOEXEC | USER_MODE_ONLY);
    if (descriptor >= 0)
        close(descriptor);
    return descriptor >= 0;
}

static inline void watch_run(void **state)
{
    if (!pages_can_move()) {
        print_message("pages cannot be moved here (an old kernel, or Valgrind)\n");
        skip();
    }
    if (by == OWL_WATCH_USERFAULTFD && !userfaultfd_is_there()) {
        print_message("userfaultfd is refused here: %s\n", strerror(errno));
        skip();
    }
    child_run(state);
}

#define watch_test(function)                                                                      \
    {                                                                                             \
        .name = #function, .test_func = watch_run, .initial_state = (void *)(uintptr_t)(function) \
    }

static inline int run_group(const char *name, int mechanism, const struct CMUnitTest *tests,
                            size_t count)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    by = mechanism;
    return _cmocka_run_group_tests(name, tests, count, NULL, NULL);
}

/* All tests twice; the number of those that failed. */
static inline int run_by_both(const struct CMUnitTest *tests, size_t count)
{
    int failed = run_group("by userfaultfd", OWL_WATCH_USERFAULTFD, tests, count);
    return failed + run_group("by protection", OWL_WATCH_PROTECTION, tests, count);
}

#endif
