/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does one thing wrong with a block, of a number of bytes, through malloc and free alone:
 *
 *   check_program FAULT BYTES [handler]
 *
 * With a handler, which prints a line of what it is told, it goes on and ends with status 0.
 */
#include <owl/check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile char *block;
static char *volatile spoiled;

static void print(const struct owl_corruption *c)
{
    printf("%s, block %s, %zu bytes, class %s, owner %s, callers %s\n", c->what,
           c->block == NULL    ? "unknown"
           : c->block == block ? "right"
                               : "other",
           c->bytes, c->size_class >= 0 ? "known" : "none",
           c->owner != NULL && c->thread != 0 ? "known" : "none",
           c->allocated != NULL && c->allocated->count > 0 ? "known" : "none");
}

static void do_wrong(const char *fault, size_t bytes)
{
    char *p = malloc(bytes), *keep = malloc(bytes);
    block = p;
    if (strcmp(fault, "none") == 0)
        memset(p, 1, bytes);
    else if (strcmp(fault, "double") == 0)
        free(p), free(spoiled = p);
    else if (strcmp(fault, "late") == 0)
        free(p), free(malloc(bytes * 3)), free(keep), keep = NULL, free(spoiled = p);
    else if (strcmp(fault, "interior") == 0)
        free(spoiled = p + 16);
    else if (strcmp(fault, "misaligned") == 0)
        free(spoiled = p + 1);
    else if (strcmp(fault, "foreign") == 0)
        free(spoiled = (char *)&spoiled);
    else if (strcmp(fault, "realloc") == 0)
        spoiled = realloc(p + 16, bytes * 2);
    else if (strcmp(fault, "size") == 0)
        owl_free_sized(p, bytes * 2);
    else if (strcmp(fault, "read") == 0)
        free(p), spoiled = p + p[bytes / 2];
    else if (strcmp(fault, "write") == 0)
        free(p), block[bytes / 2] = 1;
    else if (strcmp(fault, "overflow") == 0)
        memset((char *)block, 1, bytes + 300);
    else
        exit(2);
    for (int i = 0; i < 300; i++) /* the block comes again */
        spoiled = malloc(bytes);
    free(keep);
    if (strcmp(fault, "overflow") == 0)
        free(p);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    if (argc > 3)
        owl_on_corruption(print);
    do_wrong(argv[1], (size_t)atol(argv[2]));
    return 0;
}
