/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Blocks in files, several of each kind, for tests of what they hold after a fork, or after what
 * their files need is gone.
 */
#ifndef OWL_TESTS_MEMFD_HEAP_H
#define OWL_TESTS_MEMFD_HEAP_H

#include <owl/large.h>
#include <owl/option.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "child.h"
#include "faults.h"
#include "filled.h"
#include "memfd.h"
#include "option.h"
#include "stats.h"

static inline void set_up(void)
{
    owl_free(owl_malloc(1));
    faults_install();
    check(owl_option_set("backing", OWL_BACKING_MEMFD) == 0);
}

static inline bool lies_in_a_file(const void *p)
{
    return owl_memfd_is_live(owl_span_of(p));
}

/* Whether the mapping at p has a flag, of two letters, of those that the system lists for it. */
static inline bool has_flag(const void *p, const char *flag)
{
    char line[512];
    unsigned long start, end;
    bool here = false, found = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    check(f != NULL);
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
            here = start <= (uintptr_t)p && (uintptr_t)p < end;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    fclose(f);
    return found;
}

/* What the parent does after the fork the child must not see, and the other way round. */
static struct {
    char *plain, *grown, *first, *second, *stepped;
} heap;

static inline void make_heap(void)
{
    heap.plain = filled(3 * MIB, 1);
    heap.grown = filled(2 * MIB, 2);
    char *wall = filled(MIB, 9);
    heap.grown = owl_realloc(heap.grown, 20 * MIB);
    memset(heap.grown + 2 * MIB, 2, 18 * MIB);
    heap.first = filled(5 * MIB, 3);
    heap.second = owl_dup(heap.first);
    memset(heap.second, 4, MIB);
    heap.stepped = owl_grow_front(filled(MIB, 5), 16);
    memset(heap.stepped, 5, 16);
    owl_free(wall);
}

static inline bool heap_holds(void)
{
    return holds(heap.plain, 3 * MIB, 1) && holds(heap.grown, 20 * MIB, 2) &&
           holds(heap.first, 5 * MIB, 3) && holds(heap.second, MIB, 4) &&
           holds(heap.second + MIB, 4 * MIB, 3) && holds(heap.stepped, MIB + 16, 5);
}

static inline void scribble(int with)
{
    memset(heap.plain, with, 3 * MIB);
    memset(heap.grown, with, 20 * MIB);
    memset(heap.first, with, 5 * MIB);
    memset(heap.second, with, 5 * MIB);
    memset(heap.stepped, with, MIB + 16);
}

static inline void use_and_free_heap(void)
{
    int last = heap.second[5 * MIB - 1];
    heap.plain = owl_realloc(heap.plain, 9 * MIB);
    heap.first = owl_grow_front(heap.first, MIB);
    char *d = owl_dup(heap.second);
    check(memcmp(d, heap.second, 5 * MIB) == 0);
    owl_free(d);
    owl_free(heap.plain);
    owl_free(heap.grown);
    owl_free(heap.first);
    char *fresh = owl_calloc(1, 12 * MIB);
    check(holds(fresh, 12 * MIB, 0));
    memset(fresh, 8, 12 * MIB);
    check(holds(heap.second, MIB, heap.second[0]) && holds(heap.second + MIB, 4 * MIB, last));
    owl_free(heap.second);
    owl_free(heap.stepped);
    owl_free(fresh);
    owl_trim(0);
    check(owl_stats_heap_is_valid());
}

static inline void close_all(void)
{
    struct rlimit r;
    check(getrlimit(RLIMIT_NOFILE, &r) == 0);
    for (int i = 3; i < (int)(r.rlim_cur < 70000 ? r.rlim_cur : 70000); i++)
        close(i);
}

static inline void limit(int which, rlim_t to)
{
    struct rlimit r;
    check(getrlimit(which, &r) == 0);
    r.rlim_cur = to;
    check(setrlimit(which, &r) == 0);
}

#endif
