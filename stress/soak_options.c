/* SPDX-License-Identifier: BSD-2-Clause */
#include "soak_options.h"

#include <inttypes.h>
#include <stdio.h>

#include "soak_record.h"

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

#define AT(member) offsetof(struct soak_options, member)
#define TEXT(member) { .name = #member, .kind = OPTION_TEXT, .field = AT(member) }
#define NUMBER(member, from, to) \
    { .name = #member, .kind = OPTION_NUMBER, .field = AT(member), .least = (from), .most = (to) }
#define REAL(option, member, from, to, by)                                      \
    { .name = #option, .kind = OPTION_REAL, .field = AT(member), .low = (from), \
      .high = (to), .unit = (by) }

/* `day` is a pattern for the child alone. */
static const struct option_entry entries[] = {
    TEXT(allocators),
    { .name = "pattern", .kind = OPTION_SET, .field = AT(workloads), .names = soak_workload_names,
      .most = (1u << SOAK_WORKLOADS) - 1 - (1u << SOAK_DAY) },
    { .name = "together", .kind = OPTION_FLAG, .field = AT(together) },
    TEXT(csv),
    TEXT(plot),
    NUMBER(rounds, 1, SOAK_ROUNDS_MAX),
    NUMBER(seed, 0, UINT64_MAX),
    NUMBER(days, 1, 365),
    NUMBER(step, 1, 60),
    NUMBER(threads, 1, SOAK_THREADS_MAX),
    NUMBER(requests, 1, 100000000),
    NUMBER(recycle, 1, 1000000000),
    NUMBER(sessions, 1, 10000000),
    REAL(seconds, seconds, 0.1, 1e6, 1.0),
    REAL(minutes, seconds, 0.01, 1e5, 60.0),
    REAL(scale, scale, 0.0001, 1000.0, 1.0),
    REAL(idle, idle, 0.0, 1e6, 1.0),
    REAL(timeout, timeout, 0.001, 1e7, 1.0),
    { .name = NULL }
};

static const struct options_program program = { "owl-soak", help_text, entries };

static bool options_agree(const struct soak_options *o)
{
    if (60 % o->step != 0)
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
    enum options_outcome outcome;

    *o = (struct soak_options){
        .workloads = 1u << SOAK_DAY, .days = 3, .step = 10, .threads = 4, .requests = 6000,
        .recycle = 1000, .sessions = 40000, .seconds = 60.0, .scale = 1.0, .idle = 10.0, .seed = 1
    };
    outcome = options_parse(&program, argc, argv, o);
    if (outcome != OPTIONS_RUN)
        return outcome;
    if (o->timeout == 0.0)
        o->timeout = 600.0 + (o->workloads & 1u << SOAK_DAY ? o->seconds : o->idle);
    return options_agree(o) ? OPTIONS_RUN : OPTIONS_BAD;
}

void soak_options_argv(const struct soak_options *o, unsigned workload, struct options_argv *out)
{
    out->count = 0;
    options_argv_numbers(out, &program, o);
    options_argv_add(out, "--seconds=%.17g", o->seconds);
    options_argv_add(out, "--scale=%.17g", o->scale);
    options_argv_add(out, "--idle=%.17g", o->idle);
    options_argv_add(out, "--pattern=%s", soak_workload_names[workload]);
}
