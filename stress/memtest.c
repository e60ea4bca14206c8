/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl-memtest: compare memory allocators under the same calls.
 *
 * This process measures nothing. For each run it starts itself again (memtest_spawn) with the
 * allocator in place; that process does the work (memtest_child, work) and sends back a record.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json_report.h"
#include "memtest_child.h"
#include "memtest_report.h"
#include "memtest_run.h"

enum { EXIT_USAGE = 2 };

static struct alloc_choices allocators;
static struct memtest_plan plan;

/* Opened before the runs, so that a name that cannot be written to costs no time. */
static FILE *open_json(const char *name)
{
    FILE *out = strcmp(name, "-") == 0 ? stdout : fopen(name, "we");

    if (out == NULL)
        fprintf(stderr, "owl-memtest: --json: %s: %s\n", name, strerror(errno));
    return out;
}

/* Whatever was written must have arrived. */
static bool flushed(FILE *out, const char *name)
{
    if (fflush(out) == 0 && !ferror(out))
        return true;
    fprintf(stderr, "owl-memtest: %s: %s\n", name, strerror(errno));
    return false;
}

static int run_all(struct memtest_results *results, FILE *json)
{
    const char *json_name = results->options->json;
    FILE *table = json == stdout ? stderr : stdout;
    bool written;

    for (unsigned w = 0; w < plan.count; w++) {
        memtest_run(results, w);
        memtest_report(table, results, w);
    }
    written = flushed(table, "the table");
    if (json != NULL) {
        json_report(json, results);
        written = flushed(json, json_name) && written;
    }
    return memtest_failures(results) == 0 && written ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct memtest_options options;
    struct memtest_results results = {
        .options = &options, .allocators = &allocators, .plan = &plan
    };
    FILE *json = NULL;
    int status;

    if (argc > 1 && strcmp(argv[1], MEMTEST_CHILD_FLAG) == 0)
        return memtest_child_main(argc, argv);
    switch (memtest_options_parse(argc, argv, &options)) {
    case OPTIONS_DONE:
        return EXIT_SUCCESS;
    case OPTIONS_BAD:
        return EXIT_USAGE;
    case OPTIONS_RUN:
        break;
    }
    if (!memtest_plan(&options, &plan) || !alloc_find(options.allocators, &allocators))
        return EXIT_USAGE;
    if (options.json != NULL && (json = open_json(options.json)) == NULL)
        return EXIT_USAGE;
    if (!memtest_results_init(&results)) {
        fprintf(stderr, "owl-memtest: no memory for the results\n");
        return EXIT_FAILURE;
    }
    status = run_all(&results, json);
    memtest_results_end(&results);
    return status;
}
