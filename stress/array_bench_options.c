/* SPDX-License-Identifier: BSD-2-Clause */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "array_bench_options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "(not released)"
#endif

enum { EXIT_USAGE = 2 };

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

static bool bad(const char *option, const char *value, const char *wanted)
{
    fprintf(stderr, "owl-array-bench: --%s: '%s' is not %s\n", option, value, wanted);
    return false;
}

static bool parse_bytes(const char *text, struct array_bench_options *o)
{
    static const char units[] = "KMG";
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    bool good = errno == 0 && *text >= '0' && *text <= '9';
    const char *unit = *end != '\0' ? strchr(units, *end) : NULL;
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - units + 1) : 0;
    good = good && (*end == '\0' || (unit != NULL && end[1] == '\0'));
    if (!good || n > UINT64_C(1) << 42 || n << shift < 4096 || n << shift > UINT64_C(1) << 42)
        return bad("bytes", text, "a number of bytes from 4096 to 4096G");
    o->bytes = (n << shift) & ~UINT64_C(7);
    o->bytes_given = true;
    return true;
}

static bool parse_rounds(const char *text, struct array_bench_options *o)
{
    char *end;
    errno = 0;
    o->rounds = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || o->rounds < 1 ||
        o->rounds > 999)
        return bad("rounds", text, "a whole number from 1 to 999");
    return true;
}

static bool parse_timeout(const char *text, struct array_bench_options *o)
{
    char *end;
    o->timeout = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(o->timeout) || o->timeout < 0.001 ||
        o->timeout > 1e6)
        return bad("timeout", text, "a number of seconds from 0.001 to 1000000");
    return true;
}

static const struct option long_options[] = {
    { "bytes", required_argument, NULL, 'b' },      { "rounds", required_argument, NULL, 'r' },
    { "contenders", required_argument, NULL, 'c' }, { "csv", required_argument, NULL, 'v' },
    { "timeout", required_argument, NULL, 't' },    { "demo", no_argument, NULL, 'd' },
    { "help", no_argument, NULL, 'h' },             { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 }
};

static bool parse_one(int id, struct array_bench_options *o)
{
    switch (id) {
    case 'b':
        return parse_bytes(optarg, o);
    case 'r':
        return parse_rounds(optarg, o);
    case 't':
        return parse_timeout(optarg, o);
    case 'c':
        o->contenders = optarg;
        return true;
    case 'v':
        o->csv = optarg;
        return true;
    default:
        o->demo = true;
        return true;
    }
}

static int answer(const char *text, int *status)
{
    fputs(text, stdout);
    *status = fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
    return 1;
}

int array_bench_options(int argc, char **argv, struct array_bench_options *o, int *status)
{
    int id;
    *o = (struct array_bench_options){ .bytes = UINT64_C(1) << 30, .rounds = 5, .timeout = 600 };
    *status = EXIT_USAGE;
    opterr = 0;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == 'h')
            return answer(help_text, status);
        if (id == 'V')
            return answer("owl-array-bench " PACKAGE_VERSION "\n", status);
        if (id == '?' || id == ':') {
            fprintf(stderr, "owl-array-bench: '%s' %s; see owl-array-bench --help\n",
                    argv[optind - 1],
                    id == ':' ? "needs a value" : "is not an option or is not used like this");
            return 1;
        }
        if (!parse_one(id, o))
            return 1;
    }
    if (optind < argc)
        fprintf(stderr, "owl-array-bench: '%s' is not an option; see owl-array-bench --help\n",
                argv[optind]);
    return optind < argc;
}
