/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pagebench_options: what the user of owl-pages-bench asked for.
 *
 * The parent reads it from its command line; pagebench_options_argv() turns the part that a run
 * needs back into arguments, which the child process reads with the same parser.
 */
#ifndef OWL_STRESS_PAGEBENCH_OPTIONS_H
#define OWL_STRESS_PAGEBENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "options_parse.h"

enum pagebench_test { TEST_RING, TEST_DOUBLE, TEST_GROW, TESTS };
enum pagebench_generator { GENERATOR_EVEN, GENERATOR_PUBLISHED, GENERATORS };

/* Names, ended by NULL. */
extern const char *const pagebench_tests[TESTS + 1];
extern const char *const pagebench_generators[GENERATORS + 1];
extern const char *const pagebench_touches[3]; /* 0: no, 1: yes */

struct pagebench_options {
    const char *allocators;     /* as written; NULL: the default list */
    const char *csv, *plot;     /* files; NULL: none */
    const char *calls;          /* in the child: which calls of the library are measured */
    unsigned tests, generators, touches; /* sets: bit 1 << number */
    uint64_t loops, slots, least, most;  /* ring */
    uint64_t to, live, blocks;           /* double; blocks of grow too */
    uint64_t passes;                     /* grow */
    uint64_t rounds, seed;
    double timeout;
};

enum options_outcome pagebench_options_parse(int argc, char **argv, struct pagebench_options *o);

/* The arguments of a run of one test. */
void pagebench_options_argv(const struct pagebench_options *o, enum pagebench_test test,
                            enum pagebench_generator generator, bool touch, const char *calls,
                            struct options_argv *out);

#endif
