/* SPDX-License-Identifier: BSD-2-Clause */
#include "array_bench_options.h"

static const char help_text[] =
    "usage: owl-array-bench [option ...]\n"
    "\n"
    "Compare ways to hold an array that grows by one double at a time, at the back and at the\n"
    "front, with writing as many into memory that was asked for beforehand.\n"
    "\n"
    "  --bytes N[K|M|G]     size of the array (default 1G)\n"
    "  --rounds N           runs of each contender; the table has the medians (default 5)\n"
    "  --contenders C,...   plain, owl, owl-block, owl::array, vector, deque, mremap,\n"
    "                       realloc:system, realloc:owl, realloc:jemalloc, ...:mimalloc,\n"
    "                       ...:tcmalloc, ...:tbbmalloc; default all that are installed\n"
    "  --csv FILE           write every run (-: to standard output, the table to standard error)\n"
    "  --timeout S          a run that takes longer has failed (default 600)\n"
    "  --demo               instead: append 2^30 doubles to one array with a reserve of 2^40, or\n"
    "                       as many as fit into three quarters of the free memory, or --bytes,\n"
    "                       and show that no element moves\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 all ran, 1 a run failed or could not be done, 2 wrong usage.\n";

#define AT(member) offsetof(struct array_bench_options, member)
#define TEXT(member) { .name = #member, .kind = OPTION_TEXT, .field = AT(member) }

static const struct option_entry entries[] = {
    { .name = "bytes", .kind = OPTION_BYTES, .field = AT(bytes), .least = 4096,
      .most = UINT64_C(1) << 42 },
    { .name = "rounds", .kind = OPTION_NUMBER, .field = AT(rounds), .least = 1, .most = 999 },
    TEXT(contenders),
    TEXT(csv),
    { .name = "timeout", .kind = OPTION_SECONDS, .field = AT(timeout), .low = 0.001, .high = 1e6 },
    { .name = "demo", .kind = OPTION_FLAG, .field = AT(demo) },
    { .name = NULL }
};

static const struct options_program program = { "owl-array-bench", help_text, entries };

enum options_outcome array_bench_options(int argc, char **argv, struct array_bench_options *o)
{
    enum options_outcome outcome;

    *o = (struct array_bench_options){ .rounds = 5, .timeout = 600 };
    outcome = options_parse(&program, argc, argv, o);
    o->bytes_given = o->bytes != 0;
    o->bytes = o->bytes_given ? o->bytes & ~UINT64_C(7) : UINT64_C(1) << 30;
    return outcome;
}
