/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The C++ operators new and delete, under the names that the Itanium C++ ABI gives them, so that
 * the library needs no C++ run time. Sized and aligned deletes need neither size nor alignment,
 * because a block is found by its address.
 *
 * When memory is short, the rest is left to the same operator of the program's own C++ library,
 * which calls the new-handlers and throws std::bad_alloc as the standard says. A program that has
 * that library linked in statically has no such operator beside ours, so it ends with a message.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <stdlib.h>

#include "alloc.h"
#include "os.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct nothrow nothrow_t;

/* A C++ program linked with the archive may name no malloc of its own; this brings in the file that
 * defines it, so that libc's does not stand beside ours. */
void *malloc(size_t size);
__attribute__((used)) static void *(*const whole_family)(size_t) = malloc;

/* The operator of the C++ library, which may be in the global scope, behind this library, or loaded
 * by a plug-in alone. NULL: there is none. */
static void *standard_operator(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    void *f = dlsym(RTLD_NEXT, name);
    for (size_t i = 0; f == NULL && i < sizeof libraries / sizeof *libraries; i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library == NULL)
            continue;
        f = dlsym(library, name);
        dlclose(library);
    }
    return f;
}

_Noreturn static void *out_of_memory(void)
{
    static const char text[] = "owlalloc: operator new: out of memory\n";
    owl_os.message(text, sizeof text - 1);
    abort();
}

/* One form of new. `take` is the expression that allocates, `rest` what is done if it gives NULL
 * and there is no standard operator. */
#define DEFINE_NEW(name, parameters, arguments, take, rest)                                       \
    EXPORT void *name parameters;                                                                 \
    void *name parameters                                                                         \
    {                                                                                             \
        owl_count(OWL_COUNT_CALLS);                                                               \
        void *p = take;                                                                           \
        if (__builtin_expect(p != NULL, 1))                                                       \
            return p;                                                                             \
        void *(*standard) parameters = (void *(*)parameters)standard_operator(#name);             \
        return standard != NULL ? standard arguments : rest;                                      \
    }

/* new and new[]: plain, not throwing, aligned, both. */
#define DEFINE_NEWS(name)                                                                         \
    DEFINE_NEW(name, (size_t size), (size), owl_malloc_fast(size), out_of_memory())               \
    DEFINE_NEW(name##RKSt9nothrow_t, (size_t size, const nothrow_t *tag), (size, tag),            \
               owl_malloc_fast(size), NULL)                                                       \
    DEFINE_NEW(name##St11align_val_t, (size_t size, size_t alignment), (size, alignment),         \
               owl_aligned_alloc(alignment, size), out_of_memory())                               \
    DEFINE_NEW(name##St11align_val_tRKSt9nothrow_t,                                               \
               (size_t size, size_t alignment, const nothrow_t *tag), (size, alignment, tag),     \
               owl_aligned_alloc(alignment, size), NULL)

DEFINE_NEWS(_Znwm)
DEFINE_NEWS(_Znam)

#define DEFINE_DELETE(name, parameters)                                                           \
    EXPORT void name parameters;                                                                  \
    void name parameters                                                                          \
    {                                                                                             \
        owl_count(OWL_COUNT_CALLS);                                                               \
        owl_free_fast(p);                                                                         \
    }

/* delete and delete[]: plain, sized, aligned, both, and those for a constructor that throws. */
#define UNUSED __attribute__((unused))
#define DEFINE_DELETES(name)                                                                      \
    DEFINE_DELETE(name, (void *p))                                                                \
    DEFINE_DELETE(name##m, (void *p, size_t size UNUSED))                                         \
    DEFINE_DELETE(name##St11align_val_t, (void *p, size_t alignment UNUSED))                      \
    DEFINE_DELETE(name##mSt11align_val_t, (void *p, size_t size UNUSED, size_t alignment UNUSED)) \
    DEFINE_DELETE(name##RKSt9nothrow_t, (void *p, const nothrow_t *tag UNUSED))                   \
    DEFINE_DELETE(name##St11align_val_tRKSt9nothrow_t,                                            \
                  (void *p, size_t alignment UNUSED, const nothrow_t *tag UNUSED))

DEFINE_DELETES(_ZdlPv)
DEFINE_DELETES(_ZdaPv)
