/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE /* RTLD_DEFAULT, dladdr */
#include "package_find.h"

#include <dlfcn.h>
#include <string.h>
#include <tcl.h>

/* RTLD_NOLOAD: a handle of what is there, counted, so it is closed again. */
static void *find_beside_tcl(const char *name)
{
    Dl_info tcl;
    void *function = NULL;
    if (dladdr(*(void *const *)&tclStubsPtr->tcl_CreateInterp, &tcl) == 0)
        return NULL;
    void *library = dlopen(tcl.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    if (library != NULL) {
        function = dlsym(library, name);
        dlclose(library);
    }
    return function;
}

void *package_find_function(const char *name)
{
    void *function = dlsym(RTLD_DEFAULT, name);
    return function != NULL ? function : find_beside_tcl(name);
}

/* POSIX has it that the address of a function fits an object pointer, C does not. */
static bool set(void *pointer, const char *name)
{
    void *function = package_find_function(name);
    memcpy(pointer, &function, sizeof function);
    return function != NULL;
}

bool package_find(struct package_allocator *a)
{
    return set(&a->version, "owl_version") && set(&a->trim, "owl_trim") &&
           set(&a->stats, "owl_stats") && set(&a->stats_threads, "owl_stats_threads") &&
           set(&a->stats_classes, "owl_stats_classes") && set(&a->option_get, "owl_option_get") &&
           set(&a->option_set, "owl_option_set") && set(&a->option_name, "owl_option_name");
}

static bool find_object(const struct package_allocator *a, Dl_info *object)
{
    return dladdr(*(void *const *)&a->stats, object) != 0;
}

const char *package_find_file(const struct package_allocator *a)
{
    Dl_info object;
    return find_object(a, &object) ? object.dli_fname : NULL;
}

bool package_find_has_malloc(const struct package_allocator *a)
{
    Dl_info allocator, other;
    void *function = dlsym(RTLD_DEFAULT, "malloc");
    return function != NULL && dladdr(function, &other) != 0 && find_object(a, &allocator) &&
           allocator.dli_fbase == other.dli_fbase;
}
