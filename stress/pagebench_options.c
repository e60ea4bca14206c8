/* SPDX-License-Identifier: BSD-2-Clause */
#include "pagebench_options.h"

#include <stdio.h>

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define LEAST_BYTES (4 * KIB)

const char *const pagebench_tests[] = { "ring", "double", "grow", NULL };
const char *const pagebench_generators[] = { "even", "published", NULL };
const char *const pagebench_touches[] = { "no", "yes", NULL };

static const char help_text[] =
    "usage: owl-pages-bench [option ...]\n"
    "\n"
    "Compare allocators of whole pages: each run in a process of its own.\n"
    "\n"
    "  --allocators A,...   owl-pages, owl, mmap, mmap-populate, copy, null, system, jemalloc,\n"
    "                       mimalloc, tcmalloc, tbbmalloc, NAME=LIBRARY; default: owl-pages,\n"
    "                       owl, mmap, mmap-populate, copy, null, system and installed peers\n"
    "  --test T,...         ring, double, grow; default all\n"
    "  --touch no,yes       ring: write one byte a page of each new block, or not; default both\n"
    "  --generator G,...    ring: how sizes are drawn, even or published; default even\n"
    "  --loops N            ring: blocks replaced, timed (default 25000)\n"
    "  --slots N            ring: blocks live (default 512)\n"
    "  --least, --most B    ring: sizes (default 4K and 8M)\n"
    "  --to B               double: the last size (default 1G)\n"
    "  --live B             double: so many bytes of blocks at once, but two blocks\n"
    "                       at least (default 256M)\n"
    "  --blocks N           double and grow: blocks at most (default 64)\n"
    "  --passes N           grow: how often each block grows (default 16)\n"
    "  --rounds N           runs of each allocator and test (default 3)\n"
    "  --seed N             where the random numbers start (default 1)\n"
    "  --timeout S          a run that takes longer has failed (default 600)\n"
    "  --csv FILE           write every run\n"
    "  --plot FILE.svg      draw the medians; needs gnuplot\n"
    "  --help, --version\n"
    "\n"
    "Sizes (B) may end in K, M or G. Exit status: 0 all ran, 1 a run failed or could not be\n"
    "done, 2 wrong usage.\n";

#define AT(member) offsetof(struct pagebench_options, member)
#define TEXT(member) { .name = #member, .kind = OPTION_TEXT, .field = AT(member) }
#define NUMBER(member, from, to) \
    { .name = #member, .kind = OPTION_NUMBER, .field = AT(member), .least = (from), .most = (to) }
#define BYTES(member, from, to) \
    { .name = #member, .kind = OPTION_BYTES, .field = AT(member), .least = (from), .most = (to) }

static const struct option_entry entries[] = {
    TEXT(allocators),
    { .name = "test", .kind = OPTION_SET, .field = AT(tests), .names = pagebench_tests },
    { .name = "touch", .kind = OPTION_SET, .field = AT(touches), .names = pagebench_touches },
    { .name = "generator", .kind = OPTION_SET, .field = AT(generators),
      .names = pagebench_generators },
    NUMBER(loops, 1, 1000000000),
    NUMBER(slots, 1, 1 << 20),
    BYTES(least, LEAST_BYTES, 1 * GIB),
    BYTES(most, LEAST_BYTES, 1 * GIB),
    BYTES(to, 2 * LEAST_BYTES, 64 * GIB),
    BYTES(live, LEAST_BYTES, 256 * GIB),
    NUMBER(blocks, 2, 4096),
    NUMBER(passes, 1, 100000),
    NUMBER(rounds, 1, 1000),
    NUMBER(seed, 0, UINT64_MAX),
    { .name = "timeout", .kind = OPTION_SECONDS, .field = AT(timeout), .low = 0.001, .high = 1e6 },
    TEXT(csv),
    TEXT(plot),
    TEXT(calls),
    { .name = NULL }
};

static const struct options_program program = { "owl-pages-bench", help_text, entries };

enum options_outcome pagebench_options_parse(int argc, char **argv, struct pagebench_options *o)
{
    enum options_outcome outcome;

    *o = (struct pagebench_options){
        .tests = (1u << TESTS) - 1, .generators = 1u << GENERATOR_EVEN, .touches = 3,
        .loops = 25000, .slots = 512, .least = 4 * KIB, .most = 8 * MIB, .to = GIB,
        .live = 256 * MIB, .blocks = 64, .passes = 16, .rounds = 3, .seed = 1, .timeout = 600.0
    };
    outcome = options_parse(&program, argc, argv, o);
    if (outcome != OPTIONS_RUN || o->least <= o->most)
        return outcome;
    fprintf(stderr, "owl-pages-bench: --least is more than --most\n");
    return OPTIONS_BAD;
}

void pagebench_options_argv(const struct pagebench_options *o, enum pagebench_test test,
                            enum pagebench_generator generator, bool touch, const char *calls,
                            struct options_argv *out)
{
    out->count = 0;
    options_argv_numbers(out, &program, o);
    options_argv_add(out, "--test=%s", pagebench_tests[test]);
    options_argv_add(out, "--generator=%s", pagebench_generators[generator]);
    options_argv_add(out, "--touch=%s", pagebench_touches[touch]);
    options_argv_add(out, "--calls=%s", calls);
}
