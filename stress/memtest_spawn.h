/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memtest_spawn: start this program again as a measured process, and wait for its record.
 */
#ifndef OWL_STRESS_MEMTEST_SPAWN_H
#define OWL_STRESS_MEMTEST_SPAWN_H

#include <stdbool.h>

#include "options_parse.h"
#include "memtest_record.h"

struct spawn_request {
    enum alloc_kind kind;
    const char *library;                /* to preload, or libtcl; NULL for ALLOC_SYSTEM */
    int round;                          /* or MEMTEST_CHILD_PROBE */
    const struct options_argv *options; /* NULL for a probe */
    double timeout;                     /* seconds */
};

/*
 * Returns true if the process did its work and ended well. Otherwise record->error says what went
 * wrong, in one line. A probe is quiet: what the dynamic linker says on standard error is dropped.
 */
bool memtest_spawn(const struct spawn_request *request, struct memtest_record *record);

/* What the process sends: so many bytes, in which there is an error text of ALLOC_ERROR_MAX. */
struct spawn_answer {
    void *record;
    size_t bytes;
    char *error;
};

/* As memtest_spawn, for a record of any kind. */
bool memtest_spawn_answer(const struct spawn_request *request, const struct spawn_answer *answer);

/* The absolute path of this program. */
const char *memtest_spawn_self(void);

#endif
