/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: numbers that a user may choose, by the environment when the program starts or later. The
 * public functions, and what each option means, are in include/owl/option.h.
 *
 * To add one, add a line to the list. A value is one relaxed word, which is read where it is used;
 * so a change is seen by all threads, some time.
 */
#ifndef OWL_CORE_OPTION_H
#define OWL_CORE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "tune.h"

/*     NAME         name           default               least  most                       fixed */
#define OWL_OPTIONS(OPTION)                                                                        \
    OPTION(DIRTY,       "dirty",       OWL_DIRTY_MIN,        0,     PTRDIFF_MAX,           false)  \
    OPTION(DIRTY_SHARE, "dirty_share", OWL_DIRTY_SHARE,      0,     OWL_DIRTY_SHARE_MAX,   false)  \
    OPTION(MAGAZINE,    "magazine",    OWL_MAGAZINE_BYTES,   0,     OWL_MAGAZINE_BYTES,    true)  \
    OPTION(BACKING,     "backing",     OWL_BACKING_AUTO,     0,     OWL_BACKING_MEMFD,     false)  \
    OPTION(DECAY_MS,    "decay_ms",    OWL_DECAY_MS,         0,     OWL_DECAY_MS_MAX,      false)  \
    OPTION(SCAVENGER,   "scavenger",   OWL_SCAVENGER_AUTO,   0,     OWL_SCAVENGER_INLINE,  true)  \
    OPTION(LIMIT,       "limit",       0,                    0,     PTRDIFF_MAX,           false)  \
    OPTION(HUGE,        "huge",        0,                    0,     1,                     true)   \
    OPTION(JUNK,        "junk",        0,                    0,     1,                     true)   \
    OPTION(ZERO_ON_FREE, "zero_on_free", 0,                  0,     1,                     true)   \
    OPTION(QUARANTINE,  "quarantine",  0,                    0,     PTRDIFF_MAX,           true)   \
    OPTION(GUARD,       "guard",       0,                    0,     OWL_GUARD_RATE_MAX,    true)   \
    OPTION(SECURE,      "secure",      0,                    0,     1,                     true)   \
    OPTION(TOOLS,       "tools",       1,                    0,     1,                     true)

/* Values of the option `backing`; in the environment these words stand for them. */
enum { OWL_BACKING_AUTO, OWL_BACKING_PRIVATE, OWL_BACKING_MEMFD };
#define OWL_BACKING_WORDS "auto", "private", "memfd"

/* The same for the option `scavenger`. */
enum { OWL_SCAVENGER_AUTO, OWL_SCAVENGER_THREAD, OWL_SCAVENGER_INLINE };
#define OWL_SCAVENGER_WORDS "auto", "thread", "inline"

/* Values are from `least` to `most`; a fixed one is not changed any more once the program runs. */
#define OWL_OPTION_NUMBER(NAME, name, preset, least, most, fixed) OWL_OPTION_##NAME,
enum owl_option { OWL_OPTIONS(OWL_OPTION_NUMBER) OWL_OPTION_COUNT };
#undef OWL_OPTION_NUMBER

extern OWL_LOCAL owl_word owl_option_values[OWL_OPTION_COUNT];

/* A function without arguments or result, by its address, that is called after an option was set
 * at run time; 0: none. */
extern OWL_LOCAL owl_word owl_option_listener;

static inline long long owl_option(enum owl_option option)
{
    return (long long)owl_word_load_relaxed(&owl_option_values[option]);
}

/* Gives an option a value that is in range, though it be fixed. For the library's constructor. */
static inline void owl_option_force(enum owl_option option, long long value)
{
    owl_word_store_relaxed(&owl_option_values[option], (uintptr_t)value);
}

/* What fills free blocks with the option `junk`; with `zero_on_free` too that is zero. */
static inline int owl_junk_free(void)
{
    return owl_option(OWL_OPTION_ZERO_ON_FREE) != 0 ? 0 : OWL_JUNK_FREE;
}

/* Takes the values from an environment, a list of "NAME=value" that ends in NULL. What is wrong
 * there is reported, and the default used. For the library's constructor: later the environment of
 * some programs is memory that was freed. */
void owl_option_read(char *const *environment);

#endif
