/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a tool that watches is told of arrays.
 */
#include "array.h"
#include "tools.h"

void owl_array_close_room(const struct owl_array_body *b)
{
    if (owl_tools.on) {
        owl_tools_close(b->commit_lo, (size_t)(owl_array_first(b) - b->commit_lo));
        owl_tools_close(owl_array_end(b), (size_t)(b->commit_hi - owl_array_end(b)));
    }
}

void owl_array_open_room(const struct owl_array_body *b)
{
    if (owl_tools.on) {
        owl_tools_open(b->commit_lo, (size_t)(owl_array_first(b) - b->commit_lo));
        owl_tools_open(owl_array_end(b), (size_t)(b->commit_hi - owl_array_end(b)));
    }
}

void owl_array_open_part(const struct owl_array_body *b, size_t front, size_t back)
{
    if (owl_tools.on) {
        owl_tools_open(owl_array_first(b) - front, front);
        owl_tools_open(owl_array_end(b), back);
    }
}

void owl_array_close_left(const struct owl_array_body *b, char *first, char *end)
{
    if (owl_tools.on) {
        owl_tools_close(first, (size_t)(owl_array_first(b) - first));
        owl_tools_close(owl_array_end(b), (size_t)(end - owl_array_end(b)));
    }
}
