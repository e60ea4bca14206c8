/* SPDX-License-Identifier: BSD-2-Clause */
/* array_bench_options: what the user of owl-array-bench asked for. */
#ifndef OWL_STRESS_ARRAY_BENCH_OPTIONS_H
#define OWL_STRESS_ARRAY_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "options_parse.h"

struct array_bench_options {
    uint64_t bytes;         /* of all elements; a multiple of 8 */
    uint64_t rounds;
    double timeout;         /* seconds that one run may take */
    const char *contenders; /* names with commas between them; NULL: all that are here */
    const char *csv;        /* NULL: none; "-": standard output */
    bool demo;
    bool bytes_given;
};

enum options_outcome array_bench_options(int argc, char **argv, struct array_bench_options *o);

#endif
