/* SPDX-License-Identifier: BSD-2-Clause */
#include "json_report.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "json.h"

static const char *const kind_names[] = {
    [ALLOC_SYSTEM] = "system", [ALLOC_PRELOAD] = "preload", [ALLOC_ZIPPY] = "zippy"
};

/* The rest of the first line of `file` that starts with `start`, without its end. */
static void first_line(const char *file, const char *start, char *line, size_t size)
{
    FILE *in = fopen(file, "re");
    char buffer[512];

    snprintf(line, size, "unknown");
    if (in == NULL)
        return;
    while (fgets(buffer, sizeof(buffer), in) != NULL) {
        if (strncmp(buffer, start, strlen(start)) != 0)
            continue;
        buffer[strcspn(buffer, "\n")] = '\0';
        snprintf(line, size, "%s", buffer + strlen(start) + strspn(buffer + strlen(start), "\t :"));
        break;
    }
    fclose(in);
}

static void json_machine(struct json *j)
{
    struct utsname name;
    char text[512];

    json_begin(j, "machine", '{');
    if (uname(&name) == 0) {
        json_string(j, "system", name.sysname);
        json_string(j, "release", name.release);
        json_string(j, "architecture", name.machine);
    }
    first_line("/proc/cpuinfo", "model name", text, sizeof(text));
    json_string(j, "processor", text);
    json_integer(j, "processors", (uint64_t)sysconf(_SC_NPROCESSORS_ONLN));
    json_integer(j, "memory_bytes",
                 (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    json_integer(j, "page_bytes", (uint64_t)sysconf(_SC_PAGESIZE));
    first_line("/sys/kernel/mm/transparent_hugepage/enabled", "", text, sizeof(text));
    json_string(j, "huge_pages", text);
    if (confstr(_CS_GNU_LIBC_VERSION, text, sizeof(text)) > 0)
        json_string(j, "c_library", text);
    json_end(j, '}');
}

static void json_options(struct json *j, const struct memtest_options *o)
{
    json_begin(j, "options", '{');
    json_integer(j, "threads", o->threads);
    if (o->ops != 0)
        json_integer(j, "ops", o->ops);
    else
        json_number(j, "seconds", o->seconds);
    json_integer(j, "live", o->live);
    json_integer(j, "cap", o->cap);
    json_integer(j, "seed", o->seed);
    json_integer(j, "rounds", o->rounds);
    json_number(j, "idle", o->idle);
    json_bool(j, "verify", o->verify);
    json_end(j, '}');
}

static void json_allocators(struct json *j, const struct alloc_choices *allocators)
{
    json_begin(j, "allocators", '[');
    for (unsigned i = 0; i < allocators->count; i++) {
        const struct alloc_choice *choice = &allocators->choice[i];

        json_begin(j, NULL, '{');
        json_string(j, "name", choice->name);
        json_string(j, "kind", kind_names[choice->kind]);
        json_bool(j, "available", choice->missing[0] == '\0');
        if (choice->missing[0] != '\0')
            json_string(j, "reason", choice->missing);
        else
            json_string(j, "file", choice->file);
        json_end(j, '}');
    }
    json_end(j, ']');
}

static void json_figures(struct json *j, const double figure[FIGURE_COUNT], bool idle)
{
    for (unsigned i = 0; i < FIGURE_COUNT; i++)
        if (i != FIGURE_RSS_IDLE || idle)
            json_number(j, memtest_figure_names[i], figure[i]);
}

static void json_run(struct json *j, const struct memtest_record *record, unsigned round, bool idle)
{
    double figure[FIGURE_COUNT];

    json_begin(j, NULL, '{');
    json_integer(j, "round", round);
    json_bool(j, "ok", record->error[0] == '\0');
    if (record->error[0] != '\0') {
        json_string(j, "error", record->error);
    } else {
        json_integer(j, "ops", record->ops);
        json_integer(j, "elapsed_ns", record->elapsed_ns);
        json_integer(j, "cpu_ns", record->cpu_ns);
        json_integer(j, "threads", record->threads);
        json_integer(j, "threads_at_once", record->threads_at_once);
        json_integer(j, "timed_calls", record->samples);
        json_number(j, "timer_ns", record->timer_ns);
        json_string(j, "trim_call", record->trim_call);
        memtest_figures(record, figure);
        json_figures(j, figure, idle);
    }
    json_end(j, '}');
}

static void json_result(struct json *j, const struct memtest_results *r, unsigned workload,
                        unsigned allocator)
{
    struct memtest_summary s;
    bool idle = r->options->idle > 0.0;

    memtest_summarise(r, workload, allocator, &s);
    json_begin(j, NULL, '{');
    json_string(j, "allocator", r->allocators->choice[allocator].name);
    json_integer(j, "failed", s.failed);
    if (s.good > 0) {
        if (s.ratio > 0.0)
            json_number(j, "ratio", s.ratio);
        json_number(j, "spread", s.spread);
        json_begin(j, "median", '{');
        json_figures(j, s.figure, idle);
        json_end(j, '}');
    }
    json_begin(j, "runs", '[');
    for (unsigned i = 0; i < r->options->rounds; i++)
        json_run(j, memtest_results_at(r, workload, allocator, i), i, idle);
    json_end(j, ']');
    json_end(j, '}');
}

static void json_workloads(struct json *j, const struct memtest_results *r)
{
    json_begin(j, "workloads", '[');
    for (unsigned w = 0; w < r->plan->count; w++) {
        const struct plan_workload *workload = &r->plan->workload[w];

        json_begin(j, NULL, '{');
        json_string(j, "name", workload->label);
        json_bool(j, "available", !workload->missing);
        json_begin(j, "results", '[');
        for (unsigned a = 0; a < r->allocators->count && !workload->missing; a++)
            if (r->allocators->choice[a].missing[0] == '\0')
                json_result(j, r, w, a);
        json_end(j, ']');
        json_end(j, '}');
    }
    json_end(j, ']');
}

void json_report(FILE *out, const struct memtest_results *results)
{
    struct json j = { .out = out };
    time_t now = time(NULL);
    struct tm utc;
    char date[32] = "";

    if (gmtime_r(&now, &utc) != NULL)
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_begin(&j, NULL, '{');
    json_string(&j, "program", "owl-memtest");
    json_string(&j, "version", options_version);
    json_string(&j, "date", date);
    json_machine(&j);
    json_options(&j, results->options);
    json_string(&j, "ratios_refer_to",
                results->allocators->choice[memtest_reference(results)].name);
    json_allocators(&j, results->allocators);
    json_workloads(&j, results);
    json_integer(&j, "failures", memtest_failures(results));
    json_end(&j, '}');
}
