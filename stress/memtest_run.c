/* SPDX-License-Identifier: BSD-2-Clause */
#include "memtest_run.h"

#include <stdio.h>
#include <unistd.h>

#include "memtest_spawn.h"

/* One line on a terminal, always overwritten; nothing elsewhere. */
static void progress(const struct memtest_results *r, unsigned workload, unsigned round,
                     const char *name)
{
    if (isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r\033[K%s (%u of %u), round %u of %u: %s ",
                r->plan->workload[workload].label, workload + 1, r->plan->count, round + 1,
                (unsigned)r->options->rounds, name);
}

static void progress_end(void)
{
    if (isatty(STDERR_FILENO) == 1)
        fputs("\r\033[K", stderr);
}

void memtest_run(struct memtest_results *results, unsigned workload)
{
    const struct alloc_choices *allocators = results->allocators;
    struct options_argv argv;

    if (results->plan->workload[workload].missing)
        return;
    memtest_options_argv(results->options, results->plan->workload[workload].spec, &argv);
    for (unsigned round = 0; round < results->options->rounds; round++)
        for (unsigned a = 0; a < allocators->count; a++) {
            const struct alloc_choice *choice = &allocators->choice[a];
            const struct spawn_request request = {
                .kind = choice->kind, .library = choice->library, .round = (int)round,
                .options = &argv, .timeout = results->options->timeout
            };

            if (choice->missing[0] != '\0')
                continue;
            progress(results, workload, round, choice->name);
            memtest_spawn(&request, memtest_results_at(results, workload, a, round));
        }
    progress_end();
}
