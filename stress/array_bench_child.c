/* SPDX-License-Identifier: BSD-2-Clause */
#include "array_bench_child.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "array_bench.h"
#include "figures_memory.h"
#include "memtest_child.h"
#include "memtest_record.h"

static struct memtest_record record;

/* Installed the objects are in owl/array-bench beside libowl.so; in a build tree that is in
 * .libs. */
static const char *const object_places[] = { "owl/array-bench", "../array-bench" };

static bool object_path(const char *libowl, const char *name, char *path, size_t size)
{
    const char *slash = strrchr(libowl, '/');
    int directory = slash != NULL ? (int)(slash - libowl) : 0;

    for (size_t i = 0; slash != NULL && i < sizeof(object_places) / sizeof(object_places[0]); i++) {
        snprintf(path, size, "%.*s/%s/%s.so", directory, libowl, object_places[i], name);
        if (access(path, R_OK) == 0)
            return true;
    }
    return false;
}

bool array_bench_has_object(const char *libowl, const char *name)
{
    char path[ALLOC_FILE_MAX + 4096];

    return object_path(libowl, name, path, sizeof(path));
}

static array_bench_run way_of(const struct array_bench_way *ways, const char *name)
{
    while (ways->name != NULL && strcmp(ways->name, name) != 0)
        ways++;
    return ways->run;
}

/* Opens libowl for all to see, then the object that calls it. Its malloc does not take the place
 * of the one that is there. */
static array_bench_run way_in_object(const char *libowl, const char *object, const char *name)
{
    char path[ALLOC_FILE_MAX + 4096];
    void *handle = NULL;
    const struct array_bench_way *ways = NULL;

    if (!object_path(libowl, object, path, sizeof(path)))
        return NULL;
    if (dlopen(libowl, RTLD_NOW | RTLD_GLOBAL) != NULL)
        handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle != NULL)
        ways = dlsym(handle, "array_bench_ways");
    if (ways == NULL)
        snprintf(record.error, sizeof(record.error), "%.300s", dlerror());
    return ways != NULL ? way_of(ways, name) : NULL;
}

static array_bench_run find_way(const char *libowl, const char *name)
{
    array_bench_run run = way_of(array_bench_own_ways, name);

    if (run == NULL)
        run = way_in_object(libowl, "owl", name);
    if (run == NULL && record.error[0] == '\0')
        run = way_in_object(libowl, "cxx", name);
    if (run == NULL && record.error[0] == '\0')
        snprintf(record.error, sizeof(record.error), "there is no way '%.40s'", name);
    return run;
}

static bool measure(char **argv)
{
    array_bench_run run = find_way(argv[0], argv[1]);
    size_t count = strtoull(argv[2], NULL, 10);
    struct array_bench_result result;

    if (run == NULL)
        return false;
    result = run(count, atoi(argv[3]) != 0);
    record.ops = count;
    record.elapsed_ns = result.took.elapsed;
    record.cpu_ns = result.took.processor;
    record.rss_peak = figures_memory_peak();
    if (result.error != NULL)
        snprintf(record.error, sizeof(record.error), "%s", result.error);
    return result.error == NULL;
}

int array_bench_child(int argc, char **argv)
{
    struct alloc_opened opened;
    int fd;
    bool good;

    if (argc != MEMTEST_CHILD_ARGS && argc != MEMTEST_CHILD_ARGS + 3) {
        fprintf(stderr, "owl-array-bench: " MEMTEST_CHILD_FLAG " is for its own use only\n");
        return 2;
    }
    fd = atoi(argv[2]);
    good = alloc_table_open((enum alloc_kind)atoi(argv[4]), argv[5], &opened);
    memcpy(record.file, opened.file, sizeof(record.file));
    memcpy(record.error, opened.error, sizeof(record.error));
    if (good && argc > MEMTEST_CHILD_ARGS)
        good = measure(argv + 5);
    if (write(fd, &record, sizeof(record)) != (ssize_t)sizeof(record))
        return 1;
    _exit(good ? 0 : 1);
}
