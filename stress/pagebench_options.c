/* SPDX-License-Identifier: BSD-2-Clause */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "pagebench_options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "(not released)"
#endif

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

enum option_id {
    OPT_ALLOCATORS = 256, OPT_TEST, OPT_TOUCH, OPT_GENERATOR, OPT_LOOPS, OPT_SLOTS, OPT_LEAST,
    OPT_MOST, OPT_TO, OPT_LIVE, OPT_BLOCKS, OPT_PASSES, OPT_ROUNDS, OPT_SEED, OPT_TIMEOUT, OPT_CSV,
    OPT_PLOT, OPT_CALLS, OPT_HELP, OPT_VERSION
};

static const struct option long_options[] = {
    { "allocators", required_argument, NULL, OPT_ALLOCATORS },
    { "test", required_argument, NULL, OPT_TEST },
    { "touch", required_argument, NULL, OPT_TOUCH },
    { "generator", required_argument, NULL, OPT_GENERATOR },
    { "loops", required_argument, NULL, OPT_LOOPS },
    { "slots", required_argument, NULL, OPT_SLOTS },
    { "least", required_argument, NULL, OPT_LEAST },
    { "most", required_argument, NULL, OPT_MOST },
    { "to", required_argument, NULL, OPT_TO },
    { "live", required_argument, NULL, OPT_LIVE },
    { "blocks", required_argument, NULL, OPT_BLOCKS },
    { "passes", required_argument, NULL, OPT_PASSES },
    { "rounds", required_argument, NULL, OPT_ROUNDS },
    { "seed", required_argument, NULL, OPT_SEED },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "csv", required_argument, NULL, OPT_CSV },
    { "plot", required_argument, NULL, OPT_PLOT },
    { "calls", required_argument, NULL, OPT_CALLS },
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 }
};

/* The options that take a whole number, their bounds, whether they are bytes, where they go. */
static const struct option_number {
    enum option_id id;
    const char *name;
    uint64_t least, most;
    bool bytes;
    size_t field;
} numbers[] = {
    { OPT_LOOPS, "loops", 1, 1000000000, false, offsetof(struct pagebench_options, loops) },
    { OPT_SLOTS, "slots", 1, 1 << 20, false, offsetof(struct pagebench_options, slots) },
    { OPT_LEAST, "least", LEAST_BYTES, 1 * GIB, true, offsetof(struct pagebench_options, least) },
    { OPT_MOST, "most", LEAST_BYTES, 1 * GIB, true, offsetof(struct pagebench_options, most) },
    { OPT_TO, "to", 2 * LEAST_BYTES, 64 * GIB, true, offsetof(struct pagebench_options, to) },
    { OPT_LIVE, "live", LEAST_BYTES, 256 * GIB, true, offsetof(struct pagebench_options, live) },
    { OPT_BLOCKS, "blocks", 2, 4096, false, offsetof(struct pagebench_options, blocks) },
    { OPT_PASSES, "passes", 1, 100000, false, offsetof(struct pagebench_options, passes) },
    { OPT_ROUNDS, "rounds", 1, 1000, false, offsetof(struct pagebench_options, rounds) },
    { OPT_SEED, "seed", 0, UINT64_MAX, false, offsetof(struct pagebench_options, seed) },
};

static uint64_t unit_of(const char *end)
{
    if (*end == '\0' || end[1] != '\0')
        return 1;
    return *end == 'K' ? KIB : *end == 'M' ? MIB : *end == 'G' ? GIB : 1;
}

static bool parse_number(int id, const char *text, struct pagebench_options *o)
{
    const struct option_number *n = numbers;
    char *end;
    uint64_t value;
    uint64_t unit;
    bool good;

    while (n->id != (enum option_id)id)
        n++;
    errno = 0;
    value = strtoull(text, &end, 10);
    unit = n->bytes ? unit_of(end) : 1;
    good = errno == 0 && *text >= '0' && *text <= '9' && end[unit != 1] == '\0'
        && !__builtin_mul_overflow(value, unit, &value);
    if (!good || value < n->least || value > n->most) {
        fprintf(stderr, "owl-pages-bench: --%s: '%s' is not a %s from %" PRIu64 " to %" PRIu64
                "\n", n->name, text, n->bytes ? "size" : "whole number", n->least, n->most);
        return false;
    }
    memcpy((char *)o + n->field, &value, sizeof(value));
    return true;
}

/* A list of names, cut at its commas for good, to a set. */
static bool parse_set(const char *option, char *list, const char *const *names, unsigned *set)
{
    char *next = list;
    char *name;

    *set = 0;
    while ((name = strsep(&next, ",")) != NULL) {
        unsigned i = 0;

        while (names[i] != NULL && strcmp(names[i], name) != 0)
            i++;
        if (names[i] == NULL) {
            fprintf(stderr, "owl-pages-bench: --%s: '%s' is none; see owl-pages-bench --help\n",
                    option, name);
            return false;
        }
        *set |= 1u << i;
    }
    return true;
}

static bool parse_timeout(const char *text, double *value)
{
    char *end;

    errno = 0;
    *value = strtod(text, &end);
    if (errno == 0 && end != text && *end == '\0' && isfinite(*value) && *value >= 0.001
        && *value <= 1e6)
        return true;
    fprintf(stderr, "owl-pages-bench: --timeout: '%s' is not a number of seconds from 0.001 to "
            "1000000\n", text);
    return false;
}

static bool parse_one(int id, struct pagebench_options *o)
{
    switch (id) {
    case OPT_ALLOCATORS:
        o->allocators = optarg;
        return true;
    case OPT_TEST:
        return parse_set("test", optarg, pagebench_tests, &o->tests);
    case OPT_TOUCH:
        return parse_set("touch", optarg, pagebench_touches, &o->touches);
    case OPT_GENERATOR:
        return parse_set("generator", optarg, pagebench_generators, &o->generators);
    case OPT_TIMEOUT:
        return parse_timeout(optarg, &o->timeout);
    case OPT_CSV:
        o->csv = optarg;
        return true;
    case OPT_PLOT:
        o->plot = optarg;
        return true;
    case OPT_CALLS:
        o->calls = optarg;
        return true;
    default:
        return parse_number(id, optarg, o);
    }
}

static enum options_outcome answer(const char *text)
{
    fputs(text, stdout);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return OPTIONS_DONE;
    fprintf(stderr, "owl-pages-bench: standard output: %s\n", strerror(errno));
    return OPTIONS_BAD;
}

static bool options_agree(int argc, char **argv, const struct pagebench_options *o)
{
    if (optind < argc)
        fprintf(stderr, "owl-pages-bench: '%s' is not an option; see owl-pages-bench --help\n",
                argv[optind]);
    else if (o->least > o->most)
        fprintf(stderr, "owl-pages-bench: --least is more than --most\n");
    else
        return true;
    return false;
}

enum options_outcome pagebench_options_parse(int argc, char **argv, struct pagebench_options *o)
{
    int id;

    *o = (struct pagebench_options){
        .tests = (1u << TESTS) - 1, .generators = 1u << GENERATOR_EVEN, .touches = 3,
        .loops = 25000, .slots = 512, .least = 4 * KIB, .most = 8 * MIB, .to = GIB,
        .live = 256 * MIB, .blocks = 64, .passes = 16, .rounds = 3, .seed = 1, .timeout = 600.0
    };
    opterr = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == OPT_HELP)
            return answer(help_text);
        if (id == OPT_VERSION)
            return answer("owl-pages-bench " PACKAGE_VERSION "\n");
        if (id == '?' || id == ':') {
            fprintf(stderr, "owl-pages-bench: '%s' %s; see owl-pages-bench --help\n",
                    argv[optind - 1],
                    id == ':' ? "needs a value" : "is not an option or is not used like this");
            return OPTIONS_BAD;
        }
        if (!parse_one(id, o))
            return OPTIONS_BAD;
    }
    return options_agree(argc, argv, o) ? OPTIONS_RUN : OPTIONS_BAD;
}

static void argv_add(struct options_argv *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void argv_add(struct options_argv *out, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(out->text[out->count], OPTIONS_ARG_MAX, format, values);
    va_end(values);
    out->arg[out->count] = out->text[out->count];
    out->arg[++out->count] = NULL;
}

void pagebench_options_argv(const struct pagebench_options *o, enum pagebench_test test,
                            enum pagebench_generator generator, bool touch, const char *calls,
                            struct options_argv *out)
{
    out->count = 0;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        uint64_t value;

        memcpy(&value, (const char *)o + numbers[i].field, sizeof(value));
        argv_add(out, "--%s=%" PRIu64, numbers[i].name, value);
    }
    argv_add(out, "--test=%s", pagebench_tests[test]);
    argv_add(out, "--generator=%s", pagebench_generators[generator]);
    argv_add(out, "--touch=%s", pagebench_touches[touch]);
    argv_add(out, "--calls=%s", calls);
}
