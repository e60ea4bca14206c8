/* SPDX-License-Identifier: BSD-2-Clause */
#include "check.h"

#include <stdint.h>
#include <stdlib.h>

#include "line.h"

_Noreturn static void say_and_abort(struct owl_line *l)
{
    owl_line_write(l);
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
        [OWL_FAULT_REMAP] = "the system does not let its pages be moved back",
    };
    struct owl_line l = {.length = 0};
    owl_line_text(&l, "owlalloc: pointer 0x");
    owl_line_number(&l, (uintptr_t)p, 16);
    owl_line_text(&l, ": ");
    owl_line_text(&l, what[fault]);
    if (bytes != 0) {
        owl_line_text(&l, " (block of ");
        owl_line_number(&l, bytes, 10);
        owl_line_text(&l, " bytes)");
    }
    say_and_abort(&l);
}

#ifdef OWL_DEBUG
void owl_assert_failed(const char *what, const char *file, int line)
{
    struct owl_line l = {.length = 0};
    owl_line_text(&l, "owlalloc: invariant broken: ");
    owl_line_text(&l, what);
    owl_line_text(&l, ", ");
    owl_line_text(&l, file);
    owl_line_text(&l, ":");
    owl_line_number(&l, (uintptr_t)line, 10);
    say_and_abort(&l);
}
#endif
