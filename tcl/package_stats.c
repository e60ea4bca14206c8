/* SPDX-License-Identifier: BSD-2-Clause */
#include "package_stats.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void package_put(Tcl_Obj *dict, const char *key, Tcl_Obj *value)
{
    Tcl_DictObjPut(NULL, dict, Tcl_NewStringObj(key, -1), value);
}

void package_put_number(Tcl_Obj *dict, const char *key, size_t value)
{
    package_put(dict, key, Tcl_NewWideIntObj((Tcl_WideInt)value));
}

/* Bytes of memory that the process has. 0: the system does not tell. */
static size_t resident(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* The names are those of Tcl_GetMemoryInfo and of the Thread package, which say tid for thread. */
static void add_thread(const struct owl_stats_thread *row, void *threads)
{
    char name[40] = "ended";
    if (row->thread != 0)
        snprintf(name, sizeof name, "thread0x%lx", row->thread);
    Tcl_Obj *dict = Tcl_NewDictObj();
    package_put_number(dict, "slabs", row->slab_bytes);
    package_put_number(dict, "out", row->out_bytes);
    package_put_number(dict, "cached", row->cached_bytes);
    package_put(threads, name, dict);
}

Tcl_Obj *package_stats_threads(const struct package_allocator *a)
{
    Tcl_Obj *threads = Tcl_NewDictObj();
    a->stats_threads(add_thread, threads);
    return threads;
}

/* The rows of all classes, kept aside first: Tcl may run on this allocator, and the objects that
 * tell of them would be counted too. */
struct classes {
    struct owl_stats_class rows[256];
    size_t n;
};

/* Sizes without a slab have nothing to tell. */
static void keep_class(const struct owl_stats_class *row, void *context)
{
    struct classes *classes = context;
    if (row->slabs > 0 && classes->n < sizeof classes->rows / sizeof *classes->rows)
        classes->rows[classes->n++] = *row;
}

static Tcl_Obj *dict_of_classes(const struct classes *classes)
{
    Tcl_Obj *all = Tcl_NewDictObj();
    for (size_t i = 0; i < classes->n; i++) {
        const struct owl_stats_class *row = &classes->rows[i];
        char size[40];
        snprintf(size, sizeof size, "%zu", row->block_bytes);
        Tcl_Obj *dict = Tcl_NewDictObj();
        package_put_number(dict, "slabs", row->slabs);
        package_put_number(dict, "blocks", row->blocks);
        package_put_number(dict, "cached", row->cached);
        package_put(all, size, dict);
    }
    return all;
}

Tcl_Obj *package_stats(const struct package_allocator *a)
{
    if (a == NULL) {
        Tcl_Obj *little = Tcl_NewDictObj();
        package_put_number(little, "resident", resident());
        return little;
    }
    struct owl_stats s;
    struct classes classes = {.n = 0};
    a->stats(&s);
    a->stats_classes(keep_class, &classes);
    Tcl_Obj *dict = Tcl_NewDictObj();
    package_put_number(dict, "live", s.live_bytes);
    package_put_number(dict, "small", s.small_bytes);
    package_put_number(dict, "large", s.large_bytes);
    package_put_number(dict, "mapped", s.mapping_bytes);
    package_put_number(dict, "cached", s.cached_bytes);
    package_put_number(dict, "remote", s.remote_bytes);
    package_put_number(dict, "slabs", s.slab_bytes);
    package_put_number(dict, "dirty", s.dirty_bytes);
    package_put_number(dict, "clean", s.clean_bytes);
    package_put_number(dict, "resident", s.resident_bytes);
    package_put_number(dict, "peak", s.peak_bytes);
    package_put(dict, "threads", package_stats_threads(a));
    package_put(dict, "classes", dict_of_classes(&classes));
    return dict;
}
