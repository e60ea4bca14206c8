/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl-array-bench: compare ways to hold an array that grows.
 *
 * This process measures nothing. Every run is this program again (memtest_spawn,
 * array_bench_child); the contenders take turns, round after round, each round beginning with
 * another one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_find.h"
#include "array_bench_child.h"
#include "array_bench_options.h"
#include "figures_stats.h"
#include "memtest_child.h"
#include "memtest_spawn.h"

enum { EXIT_USAGE = 2, CONTENDERS_MOST = 16, BACK = 0, FRONT = 1, SIDES = 2 };

struct contender {
    char name[40];
    const char *way;
    enum alloc_kind kind;
    const char *library;
    bool wanted;
    unsigned good[SIDES];
    double *seconds[SIDES]; /* of the rounds that were good: elapsed */
    double *cpu[SIDES];     /* processor time */
    double *peak[SIDES];    /* MiB */
    char error[SIDES][ALLOC_ERROR_MAX];
};

static struct array_bench_options options;
static struct alloc_choices mallocs;
static struct contender contenders[CONTENDERS_MOST];
static unsigned contender_count;

static const char *const side_names[SIDES] = { "append", "prepend" };

/* --- contenders --------------------------------------------------------------- */

static void add(const char *name, const char *way, enum alloc_kind kind, const char *library)
{
    struct contender *c = &contenders[contender_count++];

    snprintf(c->name, sizeof(c->name), "%s", name);
    c->way = way;
    c->kind = kind;
    c->library = library;
    c->wanted = options.contenders == NULL;
}

static void find_contenders(void)
{
    static const char *const in_cxx[] = { "owl::array", "vector", "deque" };
    const char *libowl = mallocs.choice[0].missing[0] == '\0' ? mallocs.choice[0].library : "-";

    add("plain", "plain", ALLOC_SYSTEM, "-");
    if (array_bench_has_object(libowl, "owl")) {
        add("owl", "owl", ALLOC_SYSTEM, libowl);
        add("owl-block", "owl-block", ALLOC_SYSTEM, libowl);
    }
    for (unsigned i = 0; i < 3 && array_bench_has_object(libowl, "cxx"); i++)
        add(in_cxx[i], in_cxx[i], ALLOC_SYSTEM, libowl);
    add("mremap", "mremap", ALLOC_SYSTEM, "-");
    for (unsigned i = 0; i < mallocs.count; i++) {
        const struct alloc_choice *m = &mallocs.choice[i];
        char name[40];

        snprintf(name, sizeof(name), "realloc:%s", m->name);
        if (m->missing[0] == '\0')
            add(name, "realloc", m->kind, m->library);
    }
}

/* The measure is always run. */
static bool choose_contenders(char *list)
{
    char *next = list;
    char *name;

    while (list != NULL && (name = strsep(&next, ",")) != NULL) {
        unsigned i = 0;

        while (i < contender_count && strcmp(contenders[i].name, name) != 0)
            i++;
        if (i == contender_count) {
            fprintf(stderr, "owl-array-bench: --contenders: '%s' is not known, or not installed\n",
                    name);
            return false;
        }
        contenders[i].wanted = true;
    }
    contenders[0].wanted = true;
    return true;
}

/* --- runs ---------------------------------------------------------------------- */

static bool run(const struct contender *c, size_t count, int side, struct memtest_record *record)
{
    struct options_argv arguments = { .count = 3 };
    const struct spawn_request request = {
        .kind = c->kind, .library = c->library, .options = &arguments, .timeout = options.timeout
    };

    snprintf(arguments.text[0], OPTIONS_ARG_MAX, "%s", c->way);
    snprintf(arguments.text[1], OPTIONS_ARG_MAX, "%zu", count);
    snprintf(arguments.text[2], OPTIONS_ARG_MAX, "%d", side);
    for (unsigned i = 0; i < 3; i++)
        arguments.arg[i] = arguments.text[i];
    return memtest_spawn(&request, record);
}

static bool skips(const struct contender *c, int side)
{
    return !c->wanted || (side == FRONT && strcmp(c->way, "vector") == 0);
}

static bool run_round(unsigned round, FILE *csv)
{
    size_t count = options.bytes / sizeof(double);
    bool good = true;

    for (unsigned i = 0; i < contender_count * SIDES; i++) {
        struct contender *c = &contenders[(i / SIDES + round) % contender_count];
        int side = (int)(i + round) % SIDES;
        struct memtest_record record;

        if (skips(c, side))
            continue;
        if (!run(c, count, side, &record)) {
            memcpy(c->error[side], record.error, sizeof(record.error));
            good = false;
            continue;
        }
        c->seconds[side][c->good[side]] = (double)record.elapsed_ns / 1e9;
        c->cpu[side][c->good[side]] = (double)record.cpu_ns / 1e9;
        c->peak[side][c->good[side]++] = (double)record.rss_peak / 1048576;
        if (csv != NULL)
            fprintf(csv, "%s,%s,%u,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 "\n", c->name,
                    side_names[side], round + 1, options.bytes, record.elapsed_ns, record.cpu_ns,
                    record.rss_peak);
    }
    return good;
}

static bool allocate(void)
{
    for (unsigned i = 0; i < contender_count; i++)
        for (int side = 0; side < SIDES; side++) {
            struct contender *c = &contenders[i];
            double *figures = calloc(3 * options.rounds, sizeof(double));

            if (figures == NULL)
                return false;
            c->seconds[side] = figures;
            c->cpu[side] = figures + options.rounds;
            c->peak[side] = figures + 2 * options.rounds;
        }
    return true;
}

/* --- the table ------------------------------------------------------------------ */

static double ratio(double *values, unsigned count, double *to, unsigned to_count)
{
    double divisor = figures_median(to, to_count);

    return divisor > 0 ? figures_median(values, count) / divisor : 0.0;
}

static void print_side(FILE *out, const struct contender *c, int side)
{
    const struct contender *plain = &contenders[0];
    unsigned good = c->good[side];

    if (skips(c, side))
        fprintf(out, " %9s %6s %6s %8s", "-", "-", "-", "-");
    else if (good == 0)
        fprintf(out, " %9s %6s %6s %8s", "FAILED", "", "", "");
    else
        fprintf(out, " %9.4f %6.2f %6.2f %8.1f", figures_median(c->seconds[side], good),
                ratio(c->seconds[side], good, plain->seconds[side], plain->good[side]),
                ratio(c->cpu[side], good, plain->cpu[side], plain->good[side]),
                figures_median(c->peak[side], good));
}

static void print_table(FILE *out)
{
    static const char heading[] = "  seconds  ratio    CPU peak MiB";

    fprintf(out, "%" PRIu64 " doubles, %.1f MiB, medians of %" PRIu64 " rounds\n\n",
            options.bytes / 8, (double)options.bytes / 1048576, options.rounds);
    fprintf(out, "%-17s %-32s %-32s  prepend/append\n", "", "  append", "  prepend");
    fprintf(out, "%-16s %s %s  ratio    CPU\n", "", heading, heading);
    for (unsigned i = 0; i < contender_count; i++) {
        const struct contender *c = &contenders[i];

        if (!c->wanted)
            continue;
        fprintf(out, "%-16s", c->name);
        print_side(out, c, BACK);
        print_side(out, c, FRONT);
        if (c->good[BACK] > 0 && c->good[FRONT] > 0)
            fprintf(out, " %6.2f %6.2f",
                    ratio(c->seconds[FRONT], c->good[FRONT], c->seconds[BACK], c->good[BACK]),
                    ratio(c->cpu[FRONT], c->good[FRONT], c->cpu[BACK], c->good[BACK]));
        fputc('\n', out);
    }
    for (unsigned i = 0; i < contender_count; i++)
        for (int side = 0; side < SIDES; side++)
            if (contenders[i].error[side][0] != '\0')
                fprintf(out, "%s, %s: %s\n", contenders[i].name, side_names[side],
                        contenders[i].error[side]);
}

/* --- main ------------------------------------------------------------------------ */

/* What the system could give now, in bytes; 0: it does not tell. */
static uint64_t available(void)
{
    char line[200];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");

    while (file != NULL && kib == 0 && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "MemAvailable: %" SCNu64, &kib) != 1)
            kib = 0;
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

static int demo(void)
{
    struct memtest_record record;
    struct contender c = { .way = ARRAY_BENCH_DEMO, .kind = ALLOC_SYSTEM,
                           .library = mallocs.choice[0].library };
    uint64_t bytes = UINT64_C(8) << 30, most = available() / 4 * 3;

    if (mallocs.choice[0].missing[0] != '\0') {
        fprintf(stderr, "owl-array-bench: --demo: %s\n", mallocs.choice[0].missing);
        return EXIT_FAILURE;
    }
    if (most > 0 && bytes > most)
        bytes = most;
    if (options.bytes_given)
        bytes = options.bytes;
    if (run(&c, bytes / sizeof(double), BACK, &record)) {
        printf("%.2f s, %.2f ns an element; peak RSS %.1f MiB\n", (double)record.elapsed_ns / 1e9,
               (double)record.elapsed_ns / (double)record.ops, (double)record.rss_peak / 1048576);
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "owl-array-bench: --demo: %s\n", record.error);
    return EXIT_FAILURE;
}

/* One that doubles by copying holds three times the array for a moment. */
static bool fits(void)
{
    uint64_t has = available();

    if (has == 0 || options.bytes < has / 4)
        return true;
    fprintf(stderr, "owl-array-bench: --bytes: some contenders need four times as much as the "
            "array; %.1f MiB are available\n", (double)has / 1048576);
    return false;
}

static FILE *open_csv(void)
{
    FILE *csv = strcmp(options.csv, "-") == 0 ? stdout : fopen(options.csv, "we");

    if (csv == NULL)
        fprintf(stderr, "owl-array-bench: --csv: %s: %s\n", options.csv, strerror(errno));
    else
        fputs("contender,operation,round,bytes,nanoseconds,cpu_nanoseconds,peak_rss_bytes\n", csv);
    return csv;
}

static bool flushed(FILE *out, const char *name)
{
    if (fflush(out) == 0 && !ferror(out))
        return true;
    fprintf(stderr, "owl-array-bench: %s: %s\n", name, strerror(errno));
    return false;
}

static int compare(void)
{
    FILE *csv = options.csv != NULL ? open_csv() : NULL;
    FILE *table = csv == stdout ? stderr : stdout;
    bool good = true;

    if (options.csv != NULL && csv == NULL)
        return EXIT_USAGE;
    if (!allocate()) {
        fprintf(stderr, "owl-array-bench: no memory for the results\n");
        return EXIT_FAILURE;
    }
    for (unsigned round = 0; round < options.rounds; round++)
        good = run_round(round, csv) && good;
    print_table(table);
    good = flushed(table, "the table") && good;
    if (csv != NULL)
        good = flushed(csv, options.csv) && good;
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    enum options_outcome outcome;
    char *list;

    if (argc > 1 && strcmp(argv[1], MEMTEST_CHILD_FLAG) == 0)
        return array_bench_child(argc, argv);
    outcome = array_bench_options(argc, argv, &options);
    if (outcome != OPTIONS_RUN)
        return outcome == OPTIONS_DONE ? EXIT_SUCCESS : EXIT_USAGE;
    if (!alloc_find("owl,system,jemalloc,mimalloc,tcmalloc,tbbmalloc", &mallocs))
        return EXIT_FAILURE;
    if (options.demo)
        return demo();
    find_contenders();
    list = options.contenders != NULL ? strdup(options.contenders) : NULL;
    if (!choose_contenders(list) || !fits())
        return EXIT_USAGE;
    return compare();
}
