/* SPDX-License-Identifier: BSD-2-Clause */
#include "check.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "atomic.h"
#include "line.h"
#include "os.h"

static owl_word handler; /* an owl_corruption_handler, by its address; 0: none */
static owl_word closed;  /* 1: no handler makes the program go on */

/* This thread is in the handler. */
static __thread bool reporting __attribute__((tls_model("initial-exec")));

static const char *words_of(enum owl_fault fault)
{
    static const char *const words[] = {
        [OWL_FAULT_FOREIGN] = "not memory of this allocator",
        [OWL_FAULT_INVALID] = "not an allocated block (freed already, or never allocated)",
        [OWL_FAULT_INTERIOR] = "points into a block, not at its start",
        [OWL_FAULT_DOUBLE] = "double free",
        [OWL_FAULT_SIZE] = "freed with a size larger than the block",
        [OWL_FAULT_OWNER] = "the owner word of its slab was overwritten",
        [OWL_FAULT_WRITTEN] = "written to after the block was freed",
        [OWL_FAULT_BESIDE] = "written to, beside the block",
        [OWL_FAULT_FREED] = "used after the block was freed",
        [OWL_FAULT_OUTSIDE] = "used, outside of the block",
        [OWL_FAULT_REMAP] = "the system does not let its pages be moved back",
    };
    return words[fault];
}

static void say_address(struct owl_line *l, const char *before, const void *address)
{
    owl_line_text(l, before);
    owl_line_text(l, "0x");
    owl_line_number(l, (uintptr_t)address, 16);
}

static void say_block(struct owl_line *l, const struct owl_corruption *c)
{
    owl_line_text(l, " (block of ");
    owl_line_number(l, c->bytes, 10);
    owl_line_text(l, " bytes");
    if (c->block != NULL)
        say_address(l, " at ", c->block);
    if (c->size_class >= 0) {
        owl_line_text(l, ", class ");
        owl_line_number(l, (uintptr_t)c->size_class, 10);
    }
    if (c->owner != NULL)
        say_address(l, ", owner ", c->owner);
    if (c->thread != 0)
        say_address(l, " of thread ", (const void *)(uintptr_t)c->thread);
    owl_line_text(l, ")");
}

/* A line for each caller: its place in the file of its code, as addr2line wants it. */
static void say_trace(const char *title, const struct owl_trace *t)
{
    struct owl_line l = {.length = 0};
    if (t == NULL)
        return;
    owl_line_text(&l, "owlalloc: ");
    owl_line_text(&l, title);
    say_address(&l, " by thread ", (const void *)(uintptr_t)t->thread);
    owl_line_write(&l);
    for (size_t i = 0; i < t->count; i++) {
        const char *file;
        uintptr_t offset;
        l.length = 0;
        say_address(&l, "owlalloc:     ", t->frames[i]);
        if (owl_os.where(t->frames[i], &file, &offset)) {
            owl_line_text(&l, "  ");
            owl_line_quoted(&l, file, 160);
            say_address(&l, "+", (const void *)offset);
        }
        owl_line_write(&l);
    }
}

static void say(const struct owl_corruption *c)
{
    struct owl_line l = {.length = 0};
    say_address(&l, "owlalloc: pointer ", c->pointer);
    owl_line_text(&l, ": ");
    owl_line_text(&l, c->what);
    if (c->bytes != 0)
        say_block(&l, c);
    owl_line_write(&l);
    say_trace("used", c->accessed);
    say_trace("allocated", c->allocated);
    say_trace("freed", c->freed);
}

void owl_report(enum owl_fault fault, struct owl_corruption *corruption)
{
    owl_corruption_handler *told = (owl_corruption_handler *)owl_word_load_acquire(&handler);
    corruption->what = words_of(fault);
    if (told == NULL || reporting) {
        say(corruption);
        abort();
    }
    int saved = errno;
    reporting = true;
    told(corruption);
    reporting = false;
    errno = saved;
    if (owl_word_load_relaxed(&closed) != 0)
        abort();
}

void owl_check_close(void)
{
    owl_word_store_relaxed(&closed, 1);
}

void owl_report_fatal(enum owl_fault fault, const void *p, size_t bytes)
{
    say(&(struct owl_corruption){
        .what = words_of(fault), .pointer = p, .bytes = bytes, .size_class = -1});
    abort();
}

owl_corruption_handler *owl_on_corruption(owl_corruption_handler *new_handler)
{
    return (owl_corruption_handler *)owl_word_swap(&handler, (uintptr_t)new_handler);
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
    owl_line_write(&l);
    abort();
}
#endif
