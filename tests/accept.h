/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the acceptance programs share: TAP, and that it is the library's malloc which they test.
 * _GNU_SOURCE is defined before.
 */
#ifndef OWL_TESTS_ACCEPT_H
#define OWL_TESTS_ACCEPT_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int number, failures;

static void report(const char *name, bool ok)
{
    failures += !ok;
    printf("%sok %d - %s\n", ok ? "" : "not ", ++number, name);
    fflush(stdout);
}

#define run(function) report(#function, function())

#define require(holds)                                                                            \
    do                                                                                            \
        if (!(holds)) {                                                                           \
            printf("# line %d does not hold: %s\n", __LINE__, #holds);                            \
            return false;                                                                         \
        }                                                                                         \
    while (0)

/* The plan; the exit status. */
static int finish(void)
{
    printf("1..%d\n", number);
    return failures > 0;
}

/* Keep the compiler from using what it knows of malloc. */
static inline void *opaque(void *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

static inline size_t opaque_size(size_t n)
{
    __asm__ volatile("" : "+r"(n));
    return n;
}

/* A function that the headers at hand may not declare. */
static inline void *function(const char *name)
{
    return dlsym(RTLD_DEFAULT, name);
}

static bool library_is_in_use(void)
{
    const char *(*version)(void) = (const char *(*)(void))(uintptr_t)function("owl_version");
    Dl_info of_malloc, of_version;
    require(version != NULL && version()[0] != '\0');
    require(dladdr(function("malloc"), &of_malloc) != 0);
    require(dladdr(function("owl_version"), &of_version) != 0);
    require(strcmp(of_malloc.dli_fname, of_version.dli_fname) == 0);
    return true;
}

#endif
