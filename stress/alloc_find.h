/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alloc_find: from the names that a user gives to the allocators to run.
 *
 * Runs in the parent process, which measures nothing. Whether an allocator can be used is found by
 * starting a process with it, just as a run does.
 */
#ifndef OWL_STRESS_ALLOC_FIND_H
#define OWL_STRESS_ALLOC_FIND_H

#include <stdbool.h>

#include "alloc_table.h"

enum { ALLOC_CHOICES_MAX = 24, ALLOC_NAME_MAX = 24, ALLOC_LIBRARY_MAX = 4096 };

struct alloc_choice {
    char name[ALLOC_NAME_MAX];
    enum alloc_kind kind;
    char library[ALLOC_LIBRARY_MAX];    /* to preload, or libtcl; empty for the system's malloc */
    char file[ALLOC_FILE_MAX];          /* where its code really comes from */
    char missing[ALLOC_ERROR_MAX];      /* why it cannot be used; empty when it can */
    bool optional;                      /* nobody asked for it by name: missing is no failure */
};

struct alloc_choices {
    unsigned count;
    struct alloc_choice choice[ALLOC_CHOICES_MAX];
};

/* `list` NULL: the default. Returns false for a list that cannot be meant; the error is printed. */
bool alloc_find(const char *list, struct alloc_choices *out);

/* Appends one: its name, or NAME=LIBRARY. False for one that cannot be meant; the error is printed.
 * `optional`: not being installed is no failure. */
bool alloc_find_one(const char *item, bool optional, struct alloc_choices *out);

/* Appends those of the libraries known by name that are installed. */
bool alloc_find_peers(struct alloc_choices *out);

#endif
