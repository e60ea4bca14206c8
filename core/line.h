/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line of text for people, put together without the heap and written to file descriptor 2. What
 * is too long is cut at its end. Nothing here allocates or takes a lock.
 */
#ifndef OWL_CORE_LINE_H
#define OWL_CORE_LINE_H

#include <stddef.h>
#include <stdint.h>

/* All zero: empty. */
struct owl_line {
    char text[256];
    size_t length;
};

/* Adds text as it is. */
void owl_line_text(struct owl_line *l, const char *text);

/* Adds text that anybody may have written: at most so many bytes, with '?' for what
 * is not printable. */
void owl_line_quoted(struct owl_line *l, const char *text, size_t most);

/* Adds a number to base 10 or 16. */
void owl_line_number(struct owl_line *l, uintptr_t value, unsigned base);

/* Ends the line and writes it. */
void owl_line_write(struct owl_line *l);

#endif
