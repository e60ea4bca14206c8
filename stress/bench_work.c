/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * owl-bench-work: one workload, in this process; or, as --run, any program with an allocator
 * preloaded, and what it took (bench_run.c). stress/bench starts it and reads what it prints, lines
 * of a word and a value.
 */
#include "bench_work.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc_table.h"
#include "bench_run.h"
#include "figures_latency.h"
#include "figures_memory.h"
#include "options_parse.h"

static const struct bench_kind kinds[] = {
    { "alloc-uniform", "random slots of a working set, sizes 1 to 1,000", true,
      bench_alloc_uniform },
    { "alloc-skewed", "the same, few slots and small sizes most often", true, bench_alloc_skewed },
    { "sh6", "batches of graded sizes, freed in several orders, some kept", true, bench_sh6 },
    { "sh8", "the same, survivors are freed by other threads", true, bench_sh8 },
    { "larson", "blocks handed from ending threads to the next ones", true, bench_larson },
    { "xmalloc-pairs", "allocated in one thread, freed in another, in pairs", true,
      bench_xmalloc_pairs },
    { "xmalloc-funnel", "allocated in all threads, freed in one", true, bench_xmalloc_funnel },
    { "mstress", "threads that end, many objects that cross", true, bench_mstress },
    { "rptest", "random sizes, lists of blocks freed by other threads", true, bench_rptest },
    { "cache-scratch", "one thread's blocks next to another's: passive false sharing", true,
      bench_cache_scratch },
    { "cache-thrash", "small blocks, written to: active false sharing", true, bench_cache_thrash },
    { "thread-churn", "20,000 short-lived threads", true, bench_thread_churn },
    { "glibc-simple", "batches of blocks of one size", false, bench_glibc_simple },
    { "glibc-thread", "random slots, sizes 4 B to 32 KiB", true, bench_glibc_thread },
    { "realloc", "strings and vectors that grow", true, bench_realloc },
    { "medium", "blocks of 32 KiB to 1 MiB, hardly touched", true, bench_medium },
    { "medium-full", "the same, written from end to end", true, bench_medium_full },
    { "large", "blocks of 1 to 25 MiB, of which 20 are kept", false, bench_large },
    { "fragmentation", "90 % is freed, as much taken in other sizes", false, bench_fragmentation },
    { "bignum", "a number is factored, digits in linked lists", false, bench_bignum },
    { "cubes", "the complement of a boolean function, lists of cubes", false, bench_cubes },
    { "tree", "a tree of strings: insert, find, erase", false, bench_tree },
    { "memtest-uniform", "owl-memtest's workload uniform", true, bench_memtest_uniform },
    { "memtest-small", "owl-memtest's workload small", true, bench_memtest_small },
    { "memtest-producer", "owl-memtest's workload producer", true, bench_memtest_producer },
    { "tcl-trace", "the recorded Tcl server", false, bench_tcl_trace },
};

enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

static const char help_text[] =
    "usage: owl-bench-work --workload NAME [option ...]\n"
    "       owl-bench-work --list\n"
    "       owl-bench-work --run LIBRARY SECONDS OUTPUT PROGRAM [ARGUMENT ...]\n"
    "\n"
    "The processes of stress/bench: a workload, or a program with LIBRARY preloaded (- for none),\n"
    "ended after so many seconds, with its output in a file.\n"
    "\n"
    "  --workload NAME  one that --list names\n"
    "  --threads N      of a workload that has threads (default 8)\n"
    "  --scale F        so many times the usual number of calls (default 1)\n"
    "  --seed N         where the random numbers start (default 1)\n"
    "  --trace FILE     what tcl-trace replays\n"
    "  --list           the workloads: name, 1 if --threads counts, description\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 done, 1 something failed, 2 wrong usage.\n";

struct words {
    struct bench bench;
    const char *workload;
    bool list;
};

#define AT(member) offsetof(struct words, member)

static const struct option_entry entries[] = {
    { .name = "workload", .kind = OPTION_TEXT, .field = AT(workload) },
    { .name = "trace", .kind = OPTION_TEXT, .field = AT(bench.trace) },
    { .name = "list", .kind = OPTION_FLAG, .field = AT(list) },
    { .name = "threads", .kind = OPTION_NUMBER, .field = AT(bench.threads), .least = 1,
      .most = BENCH_THREADS_MAX },
    { .name = "seed", .kind = OPTION_NUMBER, .field = AT(bench.seed), .most = UINT64_MAX },
    { .name = "scale", .kind = OPTION_REAL, .field = AT(bench.scale), .low = 0.0001, .high = 1000.0,
      .unit = 1.0 },
    { .name = NULL }
};

static const struct options_program program = { "owl-bench-work", help_text, entries };

void bench_fail(const char *format, ...)
{
    static const char name[] = "owl-bench-work: ";
    char line[256];
    va_list values;
    size_t length = sizeof(name) - 1;

    memcpy(line, name, length);
    va_start(values, format);
    vsnprintf(line + length, sizeof(line) - length - 1, format, values);
    va_end(values);
    length = strlen(line);
    line[length++] = '\n';
    _exit(write(STDERR_FILENO, line, length) == (ssize_t)length ? 1 : 3);
}

void *bench_map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED)
        bench_fail("no memory for tables of %zu bytes", bytes);
    return p;
}

uint64_t bench_count(const struct bench *b, double count)
{
    double scaled = count * b->scale;

    return scaled < 1.0 ? 1 : (uint64_t)scaled;
}

uint64_t bench_share(const struct bench *b, double count)
{
    return bench_count(b, count / (double)b->threads);
}

uint64_t bench_seed(const struct bench *b, uint64_t index)
{
    return work_mix(work_mix(b->seed + 1) + index);
}

pthread_t bench_start(void *(*life)(void *argument), void *argument)
{
    pthread_t id;

    if (pthread_create(&id, NULL, life, argument) != 0)
        bench_fail("cannot start a thread");
    return id;
}

static void *thread_main(void *argument)
{
    struct bench_thread *t = argument;

    t->life(t);
    return NULL;
}

uint64_t bench_crew(struct bench *b, unsigned count, void (*life)(struct bench_thread *t),
                    void *shared)
{
    struct bench_thread *crew = bench_map(count * sizeof(crew[0]));
    uint64_t sum = 0;

    for (unsigned i = 0; i < count; i++) {
        crew[i].bench = b;
        crew[i].shared = shared;
        crew[i].index = i;
        crew[i].random = bench_seed(b, i);
        crew[i].life = life;
        crew[i].id = bench_start(thread_main, &crew[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(crew[i].id, NULL);
        sum += crew[i].sum;
    }
    munmap(crew, count * sizeof(crew[0]));
    return sum;
}

uint64_t bench_crew_all(struct bench *b, void (*life)(struct bench_thread *t), void *shared)
{
    return bench_crew(b, (unsigned)b->threads, life, shared);
}

void bench_kept(struct bench *b)
{
    b->kept_rss = figures_memory_now().rss;
}

static void run(struct bench *b, const struct bench_kind *kind)
{
    struct alloc_opened opened;
    uint64_t start;
    uint64_t sum;
    char text[ALLOC_FILE_MAX + 200];
    int length;

    if (!alloc_table_open(ALLOC_SYSTEM, NULL, &opened))
        bench_fail("%s", opened.error);
    start = figures_now_ns();
    sum = kind->run(b);
    if (b->wall_ns == 0)
        b->wall_ns = figures_now_ns() - start;
    if (b->kept_rss == 0)
        bench_kept(b);
    length = snprintf(text, sizeof(text), "work_ns %" PRIu64 "\nsum %" PRIu64 "\nkept_rss %" PRIu64
                      "\nlibrary %s\n", b->wall_ns, sum, b->kept_rss, opened.file);
    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        _exit(1);
    /* No clean-up: a library's handlers at exit are not part of the work. */
    _exit(0);
}

static void list(void)
{
    for (unsigned i = 0; i < KIND_COUNT; i++)
        printf("%s %d %s\n", kinds[i].name, kinds[i].threaded, kinds[i].about);
}

int main(int argc, char **argv)
{
    struct words words = { .bench = { .threads = 8, .seed = 1, .scale = 1.0 } };
    enum options_outcome outcome;

    if (argc > 1 && strcmp(argv[1], "--run") == 0)
        return bench_run_main(argc - 2, argv + 2);
    outcome = options_parse(&program, argc, argv, &words);
    if (outcome != OPTIONS_RUN)
        return outcome == OPTIONS_DONE ? 0 : 2;
    if (words.list) {
        list();
        return 0;
    }
    for (unsigned i = 0; i < KIND_COUNT && words.workload != NULL; i++)
        if (strcmp(kinds[i].name, words.workload) == 0)
            run(&words.bench, &kinds[i]);
    fprintf(stderr, "owl-bench-work: --workload: '%s' is none; try --list\n",
            words.workload != NULL ? words.workload : "");
    return 2;
}
