/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For Tcl's test suite: what Tcl frees is overwritten first.
 *
 * This is linked into a libtcl beside the drop-in, with --wrap for the three functions that free.
 * Code that still uses what it has freed, which goes well by luck with any allocator that leaves
 * free memory alone, then fails a test. A realloc always moves, for the same reason. Objects that
 * Tcl's inlined code puts on the thread's list by itself do not come by here.
 *
 * POISON_LOG is a file's name: each process adds a line with two numbers to it at its end, of the
 * blocks and of the objects that it has overwritten.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <tcl.h>

#include "owl/owl.h"

enum { POISON = 0xdd };

char *TclpAlloc(unsigned int size);

/* These names are the linker's: __real_x is what __wrap_x stands before. */
void __real_TclpFree(char *p);
void __real_TclThreadFreeObj(Tcl_Obj *obj);
void __wrap_TclpFree(char *p);
char *__wrap_TclpRealloc(char *p, unsigned int size);
void __wrap_TclThreadFreeObj(Tcl_Obj *obj);

static atomic_ulong blocks, objects;

void __wrap_TclpFree(char *p)
{
    if (p != NULL) {
        memset(p, POISON, owl_malloc_usable_size(p));
        atomic_fetch_add_explicit(&blocks, 1, memory_order_relaxed);
    }
    __real_TclpFree(p);
}

char *__wrap_TclpRealloc(char *p, unsigned int size)
{
    char *moved = TclpAlloc(size);

    if (p != NULL && moved != NULL) {
        size_t had = owl_malloc_usable_size(p);
        memcpy(moved, p, had < size ? had : size);
        __wrap_TclpFree(p);
    }
    return moved;
}

/* The drop-in then writes the link of its list of free objects over a part of it. */
void __wrap_TclThreadFreeObj(Tcl_Obj *obj)
{
    memset(obj, POISON, sizeof *obj);
    atomic_fetch_add_explicit(&objects, 1, memory_order_relaxed);
    __real_TclThreadFreeObj(obj);
}

__attribute__((destructor)) static void report(void)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%lu %lu\n", atomic_load(&blocks),
                          atomic_load(&objects));
    int fd = open(POISON_LOG, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    /* One write: lines of processes that end at the same time must not mix. */
    if (fd >= 0) {
        if (write(fd, line, (size_t)length) != length)
            perror(POISON_LOG);
        close(fd);
    }
}
