/* SPDX-License-Identifier: BSD-2-Clause */
#include "check.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "os.h"

/* A line of text, cut at its end, put together without the heap. */
struct line {
    char text[256];
    size_t length;
};

static void add_text(struct line *l, const char *text)
{
    size_t n = strlen(text);
    if (n > sizeof l->text - l->length)
        n = sizeof l->text - l->length;
    memcpy(l->text + l->length, text, n);
    l->length += n;
}

static void add_number(struct line *l, uintptr_t value, unsigned base)
{
    char digits[24];
    char *d = digits + sizeof digits;
    *--d = '\0';
    do
        *--d = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    add_text(l, d);
}

_Noreturn static void say_and_abort(struct line *l)
{
    add_text(l, "\n");
    l->text[l->length - 1] = '\n';
    owl_os.message(l->text, l->length);
    abort();
}

void owl_report(enum owl_fault fault, const void *p, size_t bytes)
{
    static const char *const what[] = {
        [OWL_FAULT_FOREIGN] = "not memory of this allocator",
        [OWL_FAULT_INVALID] = "not an allocated block (freed already, or never allocated)",
        [OWL_FAULT_INTERIOR] = "points into a block, not at its start",
        [OWL_FAULT_DOUBLE] = "double free",
        [OWL_FAULT_SIZE] = "freed with a size larger than the block",
    };
    struct line l = {.length = 0};
    add_text(&l, "owlalloc: pointer 0x");
    add_number(&l, (uintptr_t)p, 16);
    add_text(&l, ": ");
    add_text(&l, what[fault]);
    if (bytes != 0) {
        add_text(&l, " (block of ");
        add_number(&l, bytes, 10);
        add_text(&l, " bytes)");
    }
    say_and_abort(&l);
}

#ifdef OWL_DEBUG
void owl_assert_failed(const char *what, const char *file, int line)
{
    struct line l = {.length = 0};
    add_text(&l, "owlalloc: invariant broken: ");
    add_text(&l, what);
    add_text(&l, ", ");
    add_text(&l, file);
    add_text(&l, ":");
    add_number(&l, (uintptr_t)line, 10);
    say_and_abort(&l);
}
#endif
