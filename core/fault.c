/* SPDX-License-Identifier: BSD-2-Clause */
#include "fault.h"

#include "range.h"
#include "tools.h"

static unsigned long (*thread_of)(const void *owner) OWL_START;

void owl_fault_begin(unsigned long (*function)(const void *owner))
{
    thread_of = function;
}

/* What lies behind the last block is none. An owner word without its seal is no address. */
static void describe_small(struct owl_corruption *c, const struct owl_span *s)
{
    uintptr_t p = (uintptr_t)c->pointer;
    uintptr_t owner = owl_word_load_relaxed(&s->owner);
    uintptr_t start = s->start + (p - s->start) / s->bytes * s->bytes;
    c->bytes = s->bytes;
    c->size_class = s->class;
    if (start <= s->last)
        c->block = (const void *)start;
    if (owner == 0 || owl_word_load_relaxed(&s->seal) != owl_span_seal_of(s, owner))
        return;
    c->owner = (const void *)owner;
    if (thread_of != NULL)
        c->thread = thread_of(c->owner);
}

void owl_fault(enum owl_fault fault, const void *p, size_t bytes)
{
    struct owl_corruption c = {.pointer = p, .size_class = -1};
    const struct owl_span *s = owl_span_of(p);
    if (s != NULL && s->kind == OWL_KIND_SLAB) {
        describe_small(&c, s);
    } else if (s != NULL && s->kind == OWL_KIND_LARGE) {
        c.block = (const void *)s->start;
        c.bytes = s->bytes;
    }
    if (bytes != 0)
        c.bytes = bytes;
    unsigned inside = owl_tools_pause();
    if (fault == OWL_FAULT_DOUBLE || fault == OWL_FAULT_INTERIOR || fault == OWL_FAULT_FOREIGN ||
        fault == OWL_FAULT_INVALID)
        owl_tools_fault(p);
    owl_report(fault, &c);
    owl_tools_resume(inside);
}
