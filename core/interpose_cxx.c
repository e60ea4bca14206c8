/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The C++ operators new and delete, under the names that the Itanium C++ ABI gives them, so that
 * the library needs no C++ run time. Sized and aligned deletes need neither size nor alignment,
 * because a block is found by its address.
 *
 * When memory is short, the throwing forms leave the rest to the operator of the program's own C++
 * library, which calls the new-handlers and throws std::bad_alloc as the standard says.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <stdlib.h>

#include "alloc.h"
#include "os.h"

#define EXPORT __attribute__((visibility("default")))

typedef struct nothrow nothrow_t;

/* The C++ library may be in the global scope, behind this library, or loaded by a plug-in alone. */
static void *standard_operator(const char *name)
{
    static const char *const libraries[] = {"libstdc++.so.6", "libc++.so.1"};
    void *f = dlsym(RTLD_NEXT, name);
    for (size_t i = 0; f == NULL && i < sizeof libraries / sizeof *libraries; i++) {
        void *library = dlopen(libraries[i], RTLD_LAZY | RTLD_NOLOAD);
        if (library != NULL)
            f = dlsym(library, name);
    }
    if (f == NULL) {
        static const char text[] = "owlalloc: operator new: out of memory\n";
        owl_os.message(text, sizeof text - 1);
        abort();
    }
    return f;
}

typedef void *(*new_function)(size_t);
typedef void *(*new_aligned_function)(size_t, size_t);

#define DEFINE_NEW(name, name_nothrow, name_aligned, name_aligned_nothrow)                        \
    EXPORT void *name(size_t size);                                                               \
    EXPORT void *name_nothrow(size_t size, const nothrow_t *tag);                                 \
    EXPORT void *name_aligned(size_t size, size_t alignment);                                     \
    EXPORT void *name_aligned_nothrow(size_t size, size_t alignment, const nothrow_t *tag);       \
                                                                                                  \
    void *name(size_t size)                                                                       \
    {                                                                                             \
        void *p = owl_malloc_fast(size);                                                          \
        if (__builtin_expect(p != NULL, 1))                                                       \
            return p;                                                                             \
        return ((new_function)standard_operator(#name))(size);                                    \
    }                                                                                             \
    void *name_nothrow(size_t size, const nothrow_t *tag)                                         \
    {                                                                                             \
        (void)tag;                                                                                \
        return owl_malloc_fast(size);                                                             \
    }                                                                                             \
    void *name_aligned(size_t size, size_t alignment)                                             \
    {                                                                                             \
        void *p = owl_aligned_alloc(alignment, size);                                             \
        if (__builtin_expect(p != NULL, 1))                                                       \
            return p;                                                                             \
        return ((new_aligned_function)standard_operator(#name_aligned))(size, alignment);         \
    }                                                                                             \
    void *name_aligned_nothrow(size_t size, size_t alignment, const nothrow_t *tag)               \
    {                                                                                             \
        (void)tag;                                                                                \
        return owl_aligned_alloc(alignment, size);                                                \
    }

DEFINE_NEW(_Znwm, _ZnwmRKSt9nothrow_t, _ZnwmSt11align_val_t, _ZnwmSt11align_val_tRKSt9nothrow_t)
DEFINE_NEW(_Znam, _ZnamRKSt9nothrow_t, _ZnamSt11align_val_t, _ZnamSt11align_val_tRKSt9nothrow_t)

#define DEFINE_DELETE(name, parameters)                                                           \
    EXPORT void name parameters;                                                                  \
    void name parameters                                                                          \
    {                                                                                             \
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
