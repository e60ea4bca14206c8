/* SPDX-License-Identifier: BSD-2-Clause */
#include "tools.h"

#include <stdint.h>

#include "option.h"
#include "os.h"

#ifdef OWL_VALGRIND
#include <valgrind/memcheck.h>
#else
/* Built without Valgrind's headers: it is not there. */
#define VALGRIND_MAKE_MEM_NOACCESS(start, bytes) ((void)(start), (void)(bytes), 0)
#define VALGRIND_MAKE_MEM_UNDEFINED(start, bytes) ((void)(start), (void)(bytes), 0)
#define VALGRIND_MAKE_MEM_DEFINED(start, bytes) ((void)(start), (void)(bytes), 0)
#define VALGRIND_MALLOCLIKE_BLOCK(start, bytes, zone, zero)                                       \
    ((void)(start), (void)(bytes), (void)(zero))
#define VALGRIND_FREELIKE_BLOCK(start, zone) ((void)(start))
#define RUNNING_ON_VALGRIND 0
#define VALGRIND_DISABLE_ERROR_REPORTING ((void)0)
#define VALGRIND_ENABLE_ERROR_REPORTING ((void)0)
#endif

/* The functions of AddressSanitizer and its leak checker (sanitizer/asan_interface.h,
 * lsan_interface.h). NULL: they are not in the process. */
void __asan_poison_memory_region(const volatile void *start, size_t bytes) __attribute__((weak));
void __asan_unpoison_memory_region(const volatile void *start, size_t bytes) __attribute__((weak));
void __lsan_register_root_region(const void *start, size_t bytes) __attribute__((weak));
void __lsan_unregister_root_region(const void *start, size_t bytes) __attribute__((weak));

struct owl_tools owl_tools OWL_START;

struct note {
    size_t bytes;
    uintptr_t seal;
};

enum { ZONE = 16 };

_Static_assert(sizeof(struct note) + 2 * ZONE == OWL_TOOLS_ROOM, "the room at the end of a block");

static uintptr_t secret;

/* How often this thread is inside. */
static __thread unsigned depth __attribute__((tls_model("initial-exec")));

/* Only memcheck answers this request, not Valgrind's other tools. */
static bool is_memcheck(void)
{
    static char byte;
    return VALGRIND_MAKE_MEM_DEFINED(&byte, sizeof byte) != 0;
}

static bool is_asan(void)
{
    return __asan_poison_memory_region != NULL && __asan_unpoison_memory_region != NULL;
}

void owl_tools_begin(void)
{
    bool wanted = owl_option(OWL_OPTION_TOOLS) != 0;
    owl_tools.memcheck = wanted && is_memcheck();
    owl_tools.asan = wanted && is_asan();
    owl_tools.valgrind = RUNNING_ON_VALGRIND != 0;
    owl_tools.on = owl_tools.memcheck || owl_tools.asan;
    if (owl_tools.on && secret == 0)
        secret = owl_os.secret() | 1;
}

void owl_tools_go_in(void)
{
    depth++;
    VALGRIND_DISABLE_ERROR_REPORTING;
}

void owl_tools_go_out(void)
{
    VALGRIND_ENABLE_ERROR_REPORTING;
    depth--;
}

unsigned owl_tools_pause(void)
{
    unsigned inside = depth;
    while (depth > 0)
        owl_tools_go_out();
    return inside;
}

void owl_tools_resume(unsigned inside)
{
    while (depth < inside)
        owl_tools_go_in();
}

/* --- notes --- */

static struct note *note_of(const void *p, size_t whole)
{
    return (struct note *)((uintptr_t)p + whole - ZONE) - 1;
}

static uintptr_t seal_of(const struct note *n, size_t bytes)
{
    return secret ^ (uintptr_t)n ^ bytes;
}

OWL_TOOLS_BLIND static bool has_note(const void *p, size_t whole)
{
    const struct note *n = note_of(p, whole);
    return owl_tools.on && n->seal == seal_of(n, n->bytes) && n->bytes <= whole - OWL_TOOLS_ROOM;
}

OWL_TOOLS_BLIND static void write_note(void *p, size_t whole, size_t bytes)
{
    struct note *n = note_of(p, whole);
    n->bytes = bytes;
    n->seal = seal_of(n, bytes);
}

OWL_TOOLS_BLIND size_t owl_tools_bytes(const void *p, size_t whole)
{
    return has_note(p, whole) ? note_of(p, whole)->bytes : whole;
}

/* --- blocks --- */

/* The rest is poisoned from a multiple of 8 on; of the last 8 bytes that are in use in part
 * AddressSanitizer itself knows how many are. */
void owl_tools_hand_out(void *p, size_t whole, size_t bytes, bool zero)
{
    write_note(p, whole, bytes);
    if (owl_tools.memcheck)
        VALGRIND_MALLOCLIKE_BLOCK(p, bytes, ZONE, zero);
    if (owl_tools.asan) {
        __asan_unpoison_memory_region(p, bytes);
        __asan_poison_memory_region((char *)p + bytes, whole - bytes);
    }
}

/* The note stays: of what was exported, it is another process's as well. */
bool owl_tools_take_in(void *p, size_t whole)
{
    if (!has_note(p, whole))
        return false;
    if (owl_tools.memcheck)
        VALGRIND_FREELIKE_BLOCK(p, ZONE);
    owl_tools_release(p, whole);
    return true;
}

void owl_tools_hand_out_ring(void *p, size_t bytes)
{
    if (owl_tools.memcheck)
        VALGRIND_MALLOCLIKE_BLOCK(p, bytes, 0, true);
}

void owl_tools_take_in_ring(void *p)
{
    if (owl_tools.memcheck)
        VALGRIND_FREELIKE_BLOCK(p, 0);
}

void owl_tools_hold(void *p, size_t whole)
{
    if (owl_tools.asan)
        __asan_poison_memory_region(p, whole);
}

void owl_tools_release(void *p, size_t whole)
{
    if (owl_tools.asan)
        __asan_unpoison_memory_region(p, whole);
}

/* Memcheck reports each free of what it does not know as a block. */
void owl_tools_fault(const void *p)
{
    if (owl_tools.memcheck)
        VALGRIND_FREELIKE_BLOCK(p, 0);
}

/* --- memory --- */

void owl_tools_hide(const void *start, size_t bytes)
{
    if (owl_tools.memcheck)
        (void)VALGRIND_MAKE_MEM_NOACCESS(start, bytes);
}

void owl_tools_filled(void *start, size_t bytes)
{
    if (owl_tools.memcheck)
        (void)VALGRIND_MAKE_MEM_DEFINED(start, bytes);
}

void owl_tools_close(void *start, size_t bytes)
{
    owl_tools_hide(start, bytes);
    if (bytes > 0)
        owl_tools_hold(start, bytes);
}

void owl_tools_open(void *start, size_t bytes)
{
    if (owl_tools.memcheck)
        (void)VALGRIND_MAKE_MEM_UNDEFINED(start, bytes);
    if (bytes > 0)
        owl_tools_release(start, bytes);
}

void owl_tools_begin_root(const void *start, size_t bytes)
{
    if (__lsan_register_root_region != NULL)
        __lsan_register_root_region(start, bytes);
}

void owl_tools_end_root(const void *start, size_t bytes)
{
    if (__lsan_unregister_root_region != NULL)
        __lsan_unregister_root_region(start, bytes);
}
