/* SPDX-License-Identifier: BSD-2-Clause */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "memtest_options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "(not released)"
#endif

const char memtest_version[] = PACKAGE_VERSION;

static const char help_text[] =
    "usage: owl-memtest [option ...]\n"
    "\n"
    "Compare memory allocators: the same calls, each run in a process of its own.\n"
    "\n"
    "  --allocators A,...   owl, zippy, system, jemalloc, mimalloc, tcmalloc, tbbmalloc,\n"
    "                       NAME=LIBRARY (any library that LD_PRELOAD can put before malloc),\n"
    "                       all (every one found installed); default owl,zippy,system\n"
    "  --workload W,...     uniform, small, realloc, producer, churn, tcl, trace:FILE;\n"
    "                       default uniform,tcl\n"
    "  --threads N          worker threads (default 8)\n"
    "  --seconds S          length of a run (default 1)\n"
    "  --ops N              instead of --seconds: operations of each thread\n"
    "  --live N             blocks that each thread holds (default 1000)\n"
    "  --cap BYTES          largest size in uniform (default 16000; 0: no cap, so 16383)\n"
    "  --rounds N           runs of each allocator and workload (default 3)\n"
    "  --seed N             where the random numbers start (default 1)\n"
    "  --verify             fill every block with a pattern and check it\n"
    "  --idle S             wait so long after the threads ended, then read memory again\n"
    "  --timeout S          a run that takes longer has failed (default 600)\n"
    "  --json FILE          write every run, the medians, the options and the machine as JSON\n"
    "                       (-: to standard output, and the table to standard error)\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 all ran, 1 a run failed or could not be done, 2 wrong usage.\n";

enum option_id {
    OPT_ALLOCATORS = 256, OPT_WORKLOAD, OPT_THREADS, OPT_OPS, OPT_SECONDS, OPT_LIVE, OPT_CAP,
    OPT_SEED, OPT_ROUNDS, OPT_VERIFY, OPT_IDLE, OPT_TIMEOUT, OPT_JSON, OPT_HELP, OPT_VERSION
};

static const struct option long_options[] = {
    { "allocators", required_argument, NULL, OPT_ALLOCATORS },
    { "workload", required_argument, NULL, OPT_WORKLOAD },
    { "threads", required_argument, NULL, OPT_THREADS },
    { "ops", required_argument, NULL, OPT_OPS },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "live", required_argument, NULL, OPT_LIVE },
    { "cap", required_argument, NULL, OPT_CAP },
    { "seed", required_argument, NULL, OPT_SEED },
    { "rounds", required_argument, NULL, OPT_ROUNDS },
    { "verify", no_argument, NULL, OPT_VERIFY },
    { "idle", required_argument, NULL, OPT_IDLE },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "json", required_argument, NULL, OPT_JSON },
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 }
};

/* The options that take a whole number, their bounds, and where the number goes. */
struct option_number {
    enum option_id id;
    const char *name;
    uint64_t least;
    uint64_t most;
    size_t field;
};

static const struct option_number numbers[] = {
    { OPT_THREADS, "threads", 1, 1024, offsetof(struct memtest_options, threads) },
    { OPT_OPS, "ops", 1, UINT64_C(1) << 48, offsetof(struct memtest_options, ops) },
    { OPT_LIVE, "live", 1, UINT64_C(1) << 24, offsetof(struct memtest_options, live) },
    { OPT_CAP, "cap", 0, 0x3FFF, offsetof(struct memtest_options, cap) },
    { OPT_SEED, "seed", 0, UINT64_MAX, offsetof(struct memtest_options, seed) },
    { OPT_ROUNDS, "rounds", 1, 10000, offsetof(struct memtest_options, rounds) },
};

static bool parse_number(int id, const char *text, struct memtest_options *o)
{
    const struct option_number *n = numbers;
    char *end;
    uint64_t value;

    while (n->id != (enum option_id)id)
        n++;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value < n->least
        || value > n->most) {
        fprintf(stderr, "owl-memtest: --%s: '%s' is not a whole number from %" PRIu64 " to %" PRIu64
                "\n", n->name, text, n->least, n->most);
        return false;
    }
    memcpy((char *)o + n->field, &value, sizeof(value));
    return true;
}

static bool parse_seconds(const char *name, const char *text, double least, double *value)
{
    char *end;

    errno = 0;
    *value = strtod(text, &end);
    if (errno == 0 && end != text && *end == '\0' && isfinite(*value) && *value >= least
        && *value <= 1e6)
        return true;
    fprintf(stderr, "owl-memtest: --%s: '%s' is not a number of seconds from %g to 1000000\n", name,
            text, least);
    return false;
}

/* Cuts `list` at its commas, for good. */
static bool parse_workloads(char *list, struct memtest_options *o)
{
    char *next = list;
    char *name;

    while ((name = strsep(&next, ",")) != NULL) {
        if (*name == '\0') {
            fprintf(stderr, "owl-memtest: --workload: an empty name\n");
            return false;
        }
        if (o->workload_count == OPTIONS_WORKLOADS_MAX) {
            fprintf(stderr, "owl-memtest: --workload: more than %d\n", OPTIONS_WORKLOADS_MAX);
            return false;
        }
        o->workloads[o->workload_count++] = name;
    }
    return true;
}

static bool parse_one(int id, struct memtest_options *o)
{
    switch (id) {
    case OPT_ALLOCATORS:
        o->allocators = optarg;
        return true;
    case OPT_WORKLOAD:
        return parse_workloads(optarg, o);
    case OPT_SECONDS:
        return parse_seconds("seconds", optarg, 0.001, &o->seconds);
    case OPT_IDLE:
        return parse_seconds("idle", optarg, 0.0, &o->idle);
    case OPT_TIMEOUT:
        return parse_seconds("timeout", optarg, 0.001, &o->timeout);
    case OPT_VERIFY:
        o->verify = true;
        return true;
    case OPT_JSON:
        o->json = optarg;
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
    fprintf(stderr, "owl-memtest: standard output: %s\n", strerror(errno));
    return OPTIONS_BAD;
}

static bool options_agree(int argc, char **argv, struct memtest_options *o)
{
    if (optind < argc) {
        fprintf(stderr, "owl-memtest: '%s' is not an option; see owl-memtest --help\n",
                argv[optind]);
        return false;
    }
    if (o->ops != 0 && o->seconds != 0.0) {
        fprintf(stderr, "owl-memtest: --ops and --seconds exclude each other\n");
        return false;
    }
    if (o->ops == 0 && o->seconds == 0.0)
        o->seconds = 1.0;
    return true;
}

enum options_outcome memtest_options_parse(int argc, char **argv, struct memtest_options *o)
{
    int id;

    *o = (struct memtest_options){ .threads = 8, .live = 1000, .cap = 16000, .seed = 1, .rounds = 3,
                                   .timeout = 600.0 };
    opterr = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == OPT_HELP)
            return answer(help_text);
        if (id == OPT_VERSION)
            return answer("owl-memtest " PACKAGE_VERSION "\n");
        if (id == '?' || id == ':') {
            fprintf(stderr, "owl-memtest: '%s' %s; see owl-memtest --help\n", argv[optind - 1],
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

void memtest_options_argv(const struct memtest_options *o, const char *workload,
                          struct options_argv *out)
{
    out->count = 0;
    argv_add(out, "--threads=%" PRIu64, o->threads);
    if (o->ops != 0)
        argv_add(out, "--ops=%" PRIu64, o->ops);
    else
        argv_add(out, "--seconds=%.9g", o->seconds);
    argv_add(out, "--live=%" PRIu64, o->live);
    argv_add(out, "--cap=%" PRIu64, o->cap);
    argv_add(out, "--seed=%" PRIu64, o->seed);
    argv_add(out, "--idle=%.9g", o->idle);
    if (o->verify)
        argv_add(out, "--verify");
    argv_add(out, "--workload");
    out->arg[out->count] = (char *)(uintptr_t)workload;    /* may be longer than a text */
    out->arg[++out->count] = NULL;
}
