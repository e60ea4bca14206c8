/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl-soak: compare the memory that allocators keep, over a server's days and after patterns of
 * use.
 *
 * This process measures nothing. For each run it starts itself again (memtest_spawn) with the
 * allocator in place; that process does the work (soak_child) and sends back a record.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memtest_child.h"
#include "memtest_spawn.h"
#include "outputs.h"
#include "soak_results.h"
#include "soak_work.h"

enum { EXIT_USAGE = 2 };

static struct soak_results results;

/* One run, in a thread of its own if contenders run together. */
struct errand {
    unsigned workload, allocator, round;
    pthread_t thread;
    bool started;
};

static bool copy_run(struct soak_run *run, const struct soak_record *record)
{
    uint64_t count = record->summary.count;

    run->summary = record->summary;
    run->sample = calloc(count + 1, sizeof(run->sample[0]));
    if (run->sample == NULL)
        return false;
    memcpy(run->sample, record->sample, count * sizeof(run->sample[0]));
    return true;
}

static void *run_one(void *arg)
{
    const struct errand *e = arg;
    const struct alloc_choice *choice = &results.allocators.choice[e->allocator];
    struct soak_run *run = soak_at(&results, e->workload, e->allocator, e->round);
    struct soak_record *record = calloc(1, sizeof(*record));
    struct options_argv argv;
    const struct spawn_request request = {
        .kind = choice->kind, .library = choice->library, .round = (int)e->round,
        .options = &argv, .timeout = results.options->timeout
    };
    const struct spawn_answer answer = {
        .record = record, .bytes = sizeof(*record),
        .error = record != NULL ? record->summary.error : NULL
    };

    soak_options_argv(results.options, e->workload, &argv);
    if (record != NULL)
        memtest_spawn_answer(&request, &answer);
    if (record == NULL || !copy_run(run, record))
        snprintf(run->summary.error, ALLOC_ERROR_MAX, "no memory for the results");
    free(record);
    return NULL;
}

/* One line on a terminal, always overwritten; nothing elsewhere. */
static void progress(const struct errand *e)
{
    if (isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r\033[K%s, round %u of %u: %s ", soak_workload_names[e->workload],
                e->round + 1, soak_rounds(results.options, e->workload),
                results.options->together ? "all together"
                                          : results.allocators.choice[e->allocator].name);
}

/* Contenders take turns, or run at once. */
static void run_round(unsigned workload, unsigned round)
{
    struct errand errands[ALLOC_CHOICES_MAX] = { { .started = false } };

    for (unsigned a = 0; a < results.allocators.count; a++) {
        struct errand *e = &errands[a];

        if (results.allocators.choice[a].missing[0] != '\0')
            continue;
        *e = (struct errand){ .workload = workload, .allocator = a, .round = round };
        progress(e);
        if (results.options->together)
            e->started = pthread_create(&e->thread, NULL, run_one, e) == 0;
        if (!e->started)
            run_one(e);
    }
    for (unsigned a = 0; a < results.allocators.count; a++)
        if (errands[a].started)
            pthread_join(errands[a].thread, NULL);
}

static void run_workload(unsigned workload)
{
    for (unsigned round = 0; round < soak_rounds(results.options, workload); round++)
        run_round(workload, round);
    if (isatty(STDERR_FILENO) == 1)
        fputs("\r\033[K", stderr);
}

static const char program[] = "owl-soak";

static bool make_room(const struct soak_options *o)
{
    for (unsigned w = 0; w < SOAK_WORKLOADS; w++)
        if (o->workloads >> w & 1) {
            results.run[w] = calloc((size_t)results.allocators.count * soak_rounds(o, w),
                                    sizeof(results.run[w][0]));
            if (results.run[w] == NULL)
                return false;
        }
    return true;
}

static bool run_all(const struct soak_options *o, FILE *csv)
{
    bool good = true;

    for (unsigned w = 0; w < SOAK_WORKLOADS; w++)
        if (results.run[w] != NULL) {
            run_workload(w);
            soak_report(stdout, &results, w);
        }
    if (fflush(stdout) != 0 || ferror(stdout))
        good = outputs_complain(program, "the table", "standard output", strerror(errno));
    if (csv != NULL) {
        soak_csv(csv, &results);
        if (fclose(csv) != 0)
            good = outputs_complain(program, "--csv", o->csv, strerror(errno));
    }
    if (o->plot != NULL && !soak_plot(o->plot, &results))
        good = outputs_complain(program, "--plot", o->plot,
                                "gnuplot failed, or no run went well");
    return soak_failures(&results) == 0 && good;
}

int main(int argc, char **argv)
{
    struct soak_options options;
    FILE *csv = NULL;

    if (argc > 1 && strcmp(argv[1], MEMTEST_CHILD_FLAG) == 0)
        return soak_child_main(argc, argv);
    switch (soak_options_parse(argc, argv, &options)) {
    case OPTIONS_DONE:
        return EXIT_SUCCESS;
    case OPTIONS_BAD:
        return EXIT_USAGE;
    case OPTIONS_RUN:
        break;
    }
    results.options = &options;
    if (!alloc_find(options.allocators != NULL ? options.allocators : "all", &results.allocators)
        || !outputs_open(program, options.csv, options.plot, &csv))
        return EXIT_USAGE;
    if (!make_room(&options)) {
        fprintf(stderr, "owl-soak: no memory for the results\n");
        return EXIT_FAILURE;
    }
    return run_all(&options, csv) ? EXIT_SUCCESS : EXIT_FAILURE;
}
