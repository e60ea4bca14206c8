/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl-pages-bench: compare allocators of whole pages, by the tests of the paper that proposed to
 * have one in user mode.
 *
 * This process measures nothing. For each run it starts itself again (memtest_spawn) with the
 * allocator in place; that process does the work (pagebench_child) and sends back a record.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memtest_child.h"
#include "memtest_spawn.h"
#include "outputs.h"
#include "pagebench_results.h"
#include "pagebench_work.h"

enum { EXIT_USAGE = 2, ITEM_MAX = ALLOC_LIBRARY_MAX + ALLOC_NAME_MAX };

static struct pagebench_results results;

/* A special one is found by its base, and keeps its own name. */
static bool find_one(const char *item, bool optional)
{
    size_t length = strcspn(item, "=");
    const struct pagebench_special *special = pagebench_special_of(item, length);
    struct alloc_choice *choice = &results.allocators.choice[results.allocators.count];
    char base[ITEM_MAX];

    snprintf(base, sizeof(base), "%s%s", special != NULL ? special->base : "",
             special != NULL ? item + length : item);
    if (!alloc_find_one(base, optional, &results.allocators))
        return false;
    results.special[results.allocators.count - 1] = special;
    if (special != NULL)
        snprintf(choice->name, sizeof(choice->name), "%s", special->name);
    return true;
}

static bool find_all(void)
{
    static const char *const names[] = {
        "owl-pages", "owl", "mmap", "mmap-populate", "copy", "null", "system"
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!find_one(names[i], false))
            return false;
    return alloc_find_peers(&results.allocators);
}

static bool find_allocators(const char *list)
{
    char *copy;
    char *next;
    char *item;
    bool good = true;

    if (list == NULL)
        return find_all();
    next = copy = strdup(list);
    while (good && (item = strsep(&next, ",")) != NULL)
        good = find_one(item, false);
    free(copy);
    return good;
}

static void add_series(enum pagebench_test test, enum pagebench_generator generator, bool touch)
{
    struct pagebench_series *s = &results.series[results.series_count++];

    *s = (struct pagebench_series){ .test = test, .generator = generator, .touch = touch };
    if (test == TEST_RING)
        snprintf(s->name, sizeof(s->name), "ring, sizes %s, %s", pagebench_generators[generator],
                 touch ? "touched" : "not touched");
    else
        snprintf(s->name, sizeof(s->name), "%s",
                 test == TEST_DOUBLE ? "realloc to twice the size" : "realloc by 16 pages");
}

static void plan(const struct pagebench_options *o)
{
    bool ring = o->tests >> TEST_RING & 1;

    for (unsigned g = 0; g < GENERATORS; g++)
        for (unsigned touch = 0; touch < 2; touch++)
            if (ring && (o->generators >> g & 1) && (o->touches >> touch & 1))
                add_series(TEST_RING, (enum pagebench_generator)g, touch != 0);
    if (o->tests >> TEST_DOUBLE & 1)
        add_series(TEST_DOUBLE, GENERATOR_EVEN, true);
    if (o->tests >> TEST_GROW & 1)
        add_series(TEST_GROW, GENERATOR_EVEN, true);
}

/* One line on a terminal, always overwritten; nothing elsewhere. */
static void progress(unsigned series, unsigned round, const char *name)
{
    if (isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r\033[K%s (%u of %u), round %u of %" PRIu64 ": %s ",
                results.series[series].name, series + 1, results.series_count, round + 1,
                results.options->rounds, name);
}

static void run_one(unsigned series, unsigned a, unsigned round)
{
    const struct alloc_choice *choice = &results.allocators.choice[a];
    const struct pagebench_special *special = results.special[a];
    const struct pagebench_series *s = &results.series[series];
    struct pagebench_record *record = pagebench_at(&results, series, a, round);
    struct options_argv argv;
    const struct spawn_request request = {
        .kind = choice->kind, .library = choice->library, .round = (int)round, .options = &argv,
        .timeout = results.options->timeout
    };
    const struct spawn_answer answer = {
        .record = record, .bytes = sizeof(*record), .error = record->error
    };

    pagebench_options_argv(results.options, s->test, s->generator, s->touch,
                           special != NULL ? special->name : "malloc", &argv);
    memtest_spawn_answer(&request, &answer);
}

static void run_series(unsigned series)
{
    for (unsigned round = 0; round < results.options->rounds; round++)
        for (unsigned a = 0; a < results.allocators.count; a++)
            if (pagebench_takes_part(&results, series, a)) {
                progress(series, round, results.allocators.choice[a].name);
                run_one(series, a, round);
            }
    if (isatty(STDERR_FILENO) == 1)
        fputs("\r\033[K", stderr);
}

static const char program[] = "owl-pages-bench";

static bool run_all(const struct pagebench_options *o, FILE *csv)
{
    bool good = true;

    for (unsigned s = 0; s < results.series_count; s++) {
        run_series(s);
        pagebench_report(stdout, &results, s);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        good = outputs_complain(program, "the table", "standard output", strerror(errno));
    if (csv != NULL) {
        pagebench_csv(csv, &results);
        if (fclose(csv) != 0)
            good = outputs_complain(program, "--csv", o->csv, strerror(errno));
    }
    if (o->plot != NULL && !pagebench_plot(o->plot, &results))
        good = outputs_complain(program, "--plot", o->plot, "gnuplot failed");
    return pagebench_failures(&results) == 0 && good;
}

int main(int argc, char **argv)
{
    struct pagebench_options options;
    FILE *csv = NULL;
    bool good;

    if (argc > 1 && strcmp(argv[1], MEMTEST_CHILD_FLAG) == 0)
        return pagebench_child_main(argc, argv);
    switch (pagebench_options_parse(argc, argv, &options)) {
    case OPTIONS_DONE:
        return EXIT_SUCCESS;
    case OPTIONS_BAD:
        return EXIT_USAGE;
    case OPTIONS_RUN:
        break;
    }
    results.options = &options;
    plan(&options);
    if (!find_allocators(options.allocators) ||
        !outputs_open(program, options.csv, options.plot, &csv))
        return EXIT_USAGE;
    results.records = calloc((size_t)results.series_count * results.allocators.count
                             * options.rounds, sizeof(results.records[0]));
    if (results.records == NULL) {
        fprintf(stderr, "owl-pages-bench: no memory for the results\n");
        return EXIT_FAILURE;
    }
    good = run_all(&options, csv);
    free(results.records);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
