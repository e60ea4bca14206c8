/* SPDX-License-Identifier: BSD-2-Clause */
#include "line.h"

#include <string.h>

#include "os.h"

static void add(struct owl_line *l, const char *text, size_t n)
{
    if (n > sizeof l->text - l->length)
        n = sizeof l->text - l->length;
    memcpy(l->text + l->length, text, n);
    l->length += n;
}

void owl_line_text(struct owl_line *l, const char *text)
{
    add(l, text, strlen(text));
}

void owl_line_quoted(struct owl_line *l, const char *text, size_t most)
{
    for (size_t i = 0; text[i] != '\0' && i < most; i++)
        add(l, text[i] >= ' ' && text[i] <= '~' ? &text[i] : "?", 1);
}

void owl_line_number(struct owl_line *l, uintptr_t value, unsigned base)
{
    char digits[24];
    char *d = digits + sizeof digits;
    *--d = '\0';
    do
        *--d = "0123456789abcdef"[value % base];
    while ((value /= base) != 0);
    owl_line_text(l, d);
}

/* The last byte of a full line gives way to its end. */
void owl_line_write(struct owl_line *l)
{
    add(l, "\n", 1);
    l->text[l->length - 1] = '\n';
    owl_os.message(l->text, l->length);
}
