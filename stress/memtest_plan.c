/* SPDX-License-Identifier: BSD-2-Clause */
#include "memtest_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memtest_spawn.h"
#include "work.h"

/* Where the recorded trace is, seen from the directory of this program. */
static const char *const trace_places[] = {
    "../share/owl/tcl-server.trace", "tcl-server.trace", "../tcl-server.trace"
};

static bool plan_default_trace(struct plan_workload *w)
{
    const char *self = memtest_spawn_self();
    const char *slash = strrchr(self, '/');
    int directory = slash != NULL ? (int)(slash - self) : 0;

    for (size_t i = 0; i < sizeof(trace_places) / sizeof(trace_places[0]); i++) {
        char path[PLAN_SPEC_MAX];

        snprintf(path, sizeof(path), "%.*s/%s", directory, self, trace_places[i]);
        if (access(path, R_OK) == 0) {
            snprintf(w->spec, sizeof(w->spec), "trace:%.*s", PLAN_SPEC_MAX - 8, path);
            return true;
        }
    }
    fprintf(stderr, "owl-memtest: the recorded trace is not installed: there is no %.*s/%s\n",
            directory, self, trace_places[0]);
    return false;
}

static bool plan_trace_file(const char *file, struct plan_workload *w)
{
    char *path = realpath(file, NULL);

    if (path == NULL || access(path, R_OK) != 0) {
        fprintf(stderr, "owl-memtest: --workload: trace '%s': %s\n", file, strerror(errno));
        free(path);
        return false;
    }
    snprintf(w->spec, sizeof(w->spec), "trace:%s", path);
    free(path);
    return true;
}

static bool plan_one(const char *name, struct memtest_plan *plan)
{
    struct plan_workload *w = &plan->workload[plan->count];
    const char *argument;

    memset(w, 0, sizeof(*w));
    w->label = name;
    if (strcmp(name, "tcl") == 0 || strcmp(name, "trace") == 0) {
        if (!plan_default_trace(w))
            return false;
    } else if (work_find(name, &argument) == NULL) {
        fprintf(stderr, "owl-memtest: --workload: '%s' is none; see owl-memtest --help\n", name);
        return false;
    } else if (argument != NULL) {
        if (!plan_trace_file(argument, w))
            return false;
    } else {
        snprintf(w->spec, sizeof(w->spec), "%s", name);
    }
    plan->count++;
    return true;
}

bool memtest_plan(const struct memtest_options *o, struct memtest_plan *plan)
{
    plan->count = 0;
    if (o->workload_count == 0) {
        plan_one("uniform", plan);
        /* Nobody named the trace: the rest can run without it, though that is not the whole. */
        if (!plan_one("tcl", plan)) {
            plan->workload[plan->count].missing = true;
            plan->count++;
        }
        return true;
    }
    for (unsigned i = 0; i < o->workload_count; i++)
        if (!plan_one(o->workloads[i], plan))
            return false;
    return true;
}
