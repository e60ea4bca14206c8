/* SPDX-License-Identifier: BSD-2-Clause */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "soak_options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "soak_record.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "(not released)"
#endif

const char *const soak_workload_names[] = {
    "day", "sparse", "sizes", "strings", "producer", "sleeper", "churn", "idle", NULL
};

static const char help_text[] =
    "usage: owl-soak [option ...]\n"
    "\n"
    "Compare the memory that allocators keep: a server's days in quick motion, or patterns of\n"
    "use after which much memory is free. Each run is a process of its own.\n"
    "\n"
    "  --allocators A,...  owl, zippy, system, jemalloc, mimalloc, tcmalloc, tbbmalloc,\n"
    "                      NAME=LIBRARY, all; default all: every one found installed\n"
    "  --together          contenders run side by side, not in turn\n"
    "  --rounds N          runs of each contender (default: 1 of days, 3 of a pattern)\n"
    "  --seed N            where the random numbers start (default 1)\n"
    "  --timeout S         a run that takes longer has failed (default: its length and 600)\n"
    "  --csv FILE          write all samples\n"
    "  --plot FILE.svg     draw resident and live bytes over the days; needs gnuplot\n"
    "\n"
    "Days:\n"
    "  --seconds S, --minutes M  what all days take together (default 60 seconds)\n"
    "  --days N            simulated days, each from 6:00 to 6:00 (default 3)\n"
    "  --step M            simulated minutes between samples (default 10)\n"
    "  --threads N         connection threads (default 4)\n"
    "  --requests N        requests in a busy simulated hour (default 6000)\n"
    "  --recycle N         requests after which a thread is replaced (default 1000)\n"
    "  --sessions N        sessions in the busiest hour (default 40000)\n"
    "\n"
    "Patterns:\n"
    "  --pattern P,...     instead of days: sparse, sizes, strings, producer, sleeper, churn,\n"
    "                      idle, all\n"
    "  --scale F           so many times the usual number of blocks and threads (default 1)\n"
    "  --idle S            seconds of silence at the end (default 10)\n"
    "\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 all ran, 1 a run failed or could not be done, 2 wrong usage.\n";

enum option_id {
    OPT_ALLOCATORS = 256, OPT_PATTERN, OPT_TOGETHER, OPT_ROUNDS, OPT_SEED, OPT_TIMEOUT, OPT_CSV,
    OPT_PLOT, OPT_SECONDS, OPT_MINUTES, OPT_DAYS, OPT_STEP, OPT_THREADS, OPT_REQUESTS, OPT_RECYCLE,
    OPT_SESSIONS, OPT_SCALE, OPT_IDLE, OPT_HELP, OPT_VERSION
};

static const struct option long_options[] = {
    { "allocators", required_argument, NULL, OPT_ALLOCATORS },
    { "pattern", required_argument, NULL, OPT_PATTERN },
    { "together", no_argument, NULL, OPT_TOGETHER },
    { "rounds", required_argument, NULL, OPT_ROUNDS },
    { "seed", required_argument, NULL, OPT_SEED },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "csv", required_argument, NULL, OPT_CSV },
    { "plot", required_argument, NULL, OPT_PLOT },
    { "seconds", required_argument, NULL, OPT_SECONDS },
    { "minutes", required_argument, NULL, OPT_MINUTES },
    { "days", required_argument, NULL, OPT_DAYS },
    { "step", required_argument, NULL, OPT_STEP },
    { "threads", required_argument, NULL, OPT_THREADS },
    { "requests", required_argument, NULL, OPT_REQUESTS },
    { "recycle", required_argument, NULL, OPT_RECYCLE },
    { "sessions", required_argument, NULL, OPT_SESSIONS },
    { "scale", required_argument, NULL, OPT_SCALE },
    { "idle", required_argument, NULL, OPT_IDLE },
    { "help", no_argument, NULL, OPT_HELP },
    { "version", no_argument, NULL, OPT_VERSION },
    { NULL, 0, NULL, 0 }
};

/* The options that take a whole number, their bounds, and where the number goes. */
static const struct option_number {
    enum option_id id;
    const char *name;
    uint64_t least, most;
    size_t field;
} numbers[] = {
    { OPT_ROUNDS, "rounds", 1, SOAK_ROUNDS_MAX, offsetof(struct soak_options, rounds) },
    { OPT_SEED, "seed", 0, UINT64_MAX, offsetof(struct soak_options, seed) },
    { OPT_DAYS, "days", 1, 365, offsetof(struct soak_options, days) },
    { OPT_STEP, "step", 1, 60, offsetof(struct soak_options, step) },
    { OPT_THREADS, "threads", 1, SOAK_THREADS_MAX, offsetof(struct soak_options, threads) },
    { OPT_REQUESTS, "requests", 1, 100000000, offsetof(struct soak_options, requests) },
    { OPT_RECYCLE, "recycle", 1, 1000000000, offsetof(struct soak_options, recycle) },
    { OPT_SESSIONS, "sessions", 1, 10000000, offsetof(struct soak_options, sessions) },
};

/* Those that take any number; `unit` makes it what the field holds. */
static const struct option_real {
    enum option_id id;
    const char *name;
    double least, most, unit;
    size_t field;
} reals[] = {
    { OPT_SECONDS, "seconds", 0.1, 1e6, 1.0, offsetof(struct soak_options, seconds) },
    { OPT_MINUTES, "minutes", 0.01, 1e5, 60.0, offsetof(struct soak_options, seconds) },
    { OPT_SCALE, "scale", 0.0001, 1000.0, 1.0, offsetof(struct soak_options, scale) },
    { OPT_IDLE, "idle", 0.0, 1e6, 1.0, offsetof(struct soak_options, idle) },
    { OPT_TIMEOUT, "timeout", 0.001, 1e7, 1.0, offsetof(struct soak_options, timeout) },
};

enum {
    NUMBERS = sizeof(numbers) / sizeof(numbers[0]), REALS = sizeof(reals) / sizeof(reals[0])
};

static bool parse_number(const struct option_number *n, const char *text, struct soak_options *o)
{
    char *end;
    uint64_t value;

    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value < n->least
        || value > n->most) {
        fprintf(stderr, "owl-soak: --%s: '%s' is not a whole number from %" PRIu64 " to %" PRIu64
                "\n", n->name, text, n->least, n->most);
        return false;
    }
    memcpy((char *)o + n->field, &value, sizeof(value));
    return true;
}

static bool parse_real(const struct option_real *r, const char *text, struct soak_options *o)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !isfinite(value) || value < r->least
        || value > r->most) {
        fprintf(stderr, "owl-soak: --%s: '%s' is not a number from %g to %g\n", r->name, text,
                r->least, r->most);
        return false;
    }
    value *= r->unit;
    memcpy((char *)o + r->field, &value, sizeof(value));
    return true;
}

/* A list of workloads, cut at its commas for good, to a set. `day` is one for the child alone. */
static bool parse_patterns(char *list, unsigned *set)
{
    char *next = list;
    char *name;

    *set = 0;
    while ((name = strsep(&next, ",")) != NULL) {
        unsigned i = 0;

        if (strcmp(name, "all") == 0) {
            *set |= (1u << SOAK_WORKLOADS) - 1 - (1u << SOAK_DAY);
            continue;
        }
        while (soak_workload_names[i] != NULL && strcmp(soak_workload_names[i], name) != 0)
            i++;
        if (soak_workload_names[i] == NULL) {
            fprintf(stderr, "owl-soak: --pattern: '%s' is none; see owl-soak --help\n", name);
            return false;
        }
        *set |= 1u << i;
    }
    return true;
}

static bool parse_one(int id, struct soak_options *o)
{
    for (unsigned i = 0; i < NUMBERS; i++)
        if (numbers[i].id == (enum option_id)id)
            return parse_number(&numbers[i], optarg, o);
    for (unsigned i = 0; i < REALS; i++)
        if (reals[i].id == (enum option_id)id)
            return parse_real(&reals[i], optarg, o);
    switch (id) {
    case OPT_ALLOCATORS:
        o->allocators = optarg;
        return true;
    case OPT_TOGETHER:
        o->together = true;
        return true;
    case OPT_CSV:
        o->csv = optarg;
        return true;
    case OPT_PLOT:
        o->plot = optarg;
        return true;
    default:
        return parse_patterns(optarg, &o->workloads);
    }
}

static enum options_outcome answer(const char *text)
{
    fputs(text, stdout);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return OPTIONS_DONE;
    fprintf(stderr, "owl-soak: standard output: %s\n", strerror(errno));
    return OPTIONS_BAD;
}

static bool options_agree(int argc, char **argv, const struct soak_options *o)
{
    if (optind < argc)
        fprintf(stderr, "owl-soak: '%s' is not an option; see owl-soak --help\n", argv[optind]);
    else if (60 % o->step != 0)
        fprintf(stderr, "owl-soak: --step: an hour is no multiple of %" PRIu64 " minutes\n",
                o->step);
    else if (soak_steps(o) > SOAK_SAMPLES_MAX)
        fprintf(stderr, "owl-soak: %" PRIu64 " days have more than %d steps of %" PRIu64
                " minutes\n", o->days, SOAK_SAMPLES_MAX, o->step);
    else if (o->plot != NULL && o->workloads != 1u << SOAK_DAY)
        fprintf(stderr, "owl-soak: --plot: only days are drawn\n");
    else
        return true;
    return false;
}

enum options_outcome soak_options_parse(int argc, char **argv, struct soak_options *o)
{
    int id;

    *o = (struct soak_options){
        .workloads = 1u << SOAK_DAY, .days = 3, .step = 10, .threads = 4, .requests = 6000,
        .recycle = 1000, .sessions = 40000, .seconds = 60.0, .scale = 1.0, .idle = 10.0, .seed = 1
    };
    opterr = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == OPT_HELP)
            return answer(help_text);
        if (id == OPT_VERSION)
            return answer("owl-soak " PACKAGE_VERSION "\n");
        if (id == '?' || id == ':') {
            fprintf(stderr, "owl-soak: '%s' %s; see owl-soak --help\n", argv[optind - 1],
                    id == ':' ? "needs a value" : "is not an option or is not used like this");
            return OPTIONS_BAD;
        }
        if (!parse_one(id, o))
            return OPTIONS_BAD;
    }
    if (o->timeout == 0.0)
        o->timeout = 600.0 + (o->workloads & 1u << SOAK_DAY ? o->seconds : o->idle);
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

void soak_options_argv(const struct soak_options *o, unsigned workload, struct options_argv *out)
{
    out->count = 0;
    for (unsigned i = 0; i < NUMBERS; i++) {
        uint64_t value;

        memcpy(&value, (const char *)o + numbers[i].field, sizeof(value));
        if (value >= numbers[i].least)
            argv_add(out, "--%s=%" PRIu64, numbers[i].name, value);
    }
    argv_add(out, "--seconds=%.17g", o->seconds);
    argv_add(out, "--scale=%.17g", o->scale);
    argv_add(out, "--idle=%.17g", o->idle);
    argv_add(out, "--pattern=%s", soak_workload_names[workload]);
}
