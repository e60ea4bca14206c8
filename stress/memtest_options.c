/* SPDX-License-Identifier: BSD-2-Clause */
#include "memtest_options.h"

#include <stdio.h>
#include <string.h>

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

/* Cuts `list` at its commas, for good. */
static bool parse_workloads(char *list, void *values)
{
    struct memtest_options *o = values;
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

#define AT(member) offsetof(struct memtest_options, member)
#define TEXT(member) { .name = #member, .kind = OPTION_TEXT, .field = AT(member) }
#define NUMBER(member, from, to) \
    { .name = #member, .kind = OPTION_NUMBER, .field = AT(member), .least = (from), .most = (to) }
#define SECONDS(member, from) \
    { .name = #member, .kind = OPTION_SECONDS, .field = AT(member), .low = (from), .high = 1e6 }

static const struct option_entry entries[] = {
    TEXT(allocators),
    { .name = "workload", .kind = OPTION_OTHER, .take = parse_workloads },
    NUMBER(threads, 1, 1024),
    NUMBER(ops, 1, UINT64_C(1) << 48),
    SECONDS(seconds, 0.001),
    NUMBER(live, 1, UINT64_C(1) << 24),
    NUMBER(cap, 0, 0x3FFF),
    NUMBER(seed, 0, UINT64_MAX),
    NUMBER(rounds, 1, 10000),
    { .name = "verify", .kind = OPTION_FLAG, .field = AT(verify) },
    SECONDS(idle, 0.0),
    SECONDS(timeout, 0.001),
    TEXT(json),
    { .name = NULL }
};

static const struct options_program program = { "owl-memtest", help_text, entries };

enum options_outcome memtest_options_parse(int argc, char **argv, struct memtest_options *o)
{
    enum options_outcome outcome;

    *o = (struct memtest_options){ .threads = 8, .live = 1000, .cap = 16000, .seed = 1, .rounds = 3,
                                   .timeout = 600.0 };
    outcome = options_parse(&program, argc, argv, o);
    if (outcome != OPTIONS_RUN)
        return outcome;
    if (o->ops != 0 && o->seconds != 0.0) {
        fprintf(stderr, "owl-memtest: --ops and --seconds exclude each other\n");
        return OPTIONS_BAD;
    }
    if (o->ops == 0 && o->seconds == 0.0)
        o->seconds = 1.0;
    return OPTIONS_RUN;
}

void memtest_options_argv(const struct memtest_options *o, const char *workload,
                          struct options_argv *out)
{
    out->count = 0;
    options_argv_numbers(out, &program, o);
    if (o->ops == 0)
        options_argv_add(out, "--seconds=%.9g", o->seconds);
    options_argv_add(out, "--idle=%.9g", o->idle);
    if (o->verify)
        options_argv_add(out, "--verify");
    options_argv_add(out, "--workload");
    out->arg[out->count] = (char *)(uintptr_t)workload;    /* may be longer than a text */
    out->arg[++out->count] = NULL;
}
