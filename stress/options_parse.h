/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options_parse: the command lines of the comparing programs.
 *
 * A program has a table of its options, which says what values they take and where in a struct of
 * its own these go. Numbers are uint64_t, reals double, texts const char *, flags bool, and sets
 * unsigned. Errors are one line on standard error.
 */
#ifndef OWL_STRESS_OPTIONS_PARSE_H
#define OWL_STRESS_OPTIONS_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_NUMBER,  /* a whole number from least to most */
    OPTION_BYTES,   /* as that, and K, M or G may follow */
    OPTION_REAL,    /* a number from low to high; the field gets `unit` (0: one) times that */
    OPTION_SECONDS, /* as that, and errors speak of seconds */
    OPTION_SET,     /* names with commas between them: bit 1 << index of each */
    OPTION_OTHER    /* `take` reads the text, which it may change, or prints an error */
};

struct option_entry {
    const char *name;
    enum option_kind kind;
    size_t field;             /* where in the program's struct */
    uint64_t least, most;     /* of a set: `most` is what the name "all" stands for; 0: no name */
    double low, high, unit;
    const char *const *names; /* of a set, ended by NULL */
    bool (*take)(char *text, void *values);
};

struct options_program {
    const char *name;
    const char *help;
    const struct option_entry *entries; /* ended by one without a name */
};

enum { OPTIONS_ENTRIES_MAX = 40, OPTIONS_ARGS_MAX = 24, OPTIONS_ARG_MAX = 40 };

/* OPTIONS_DONE: --help or --version was answered. OPTIONS_BAD: the error has been printed. */
enum options_outcome { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD };

extern const char options_version[];

/* Reads the command line into *values, which holds the defaults. */
enum options_outcome options_parse(const struct options_program *program, int argc, char **argv,
                                   void *values);

/* Argument strings, in `text`, that make the parser return what one run needs. */
struct options_argv {
    char text[OPTIONS_ARGS_MAX][OPTIONS_ARG_MAX];
    char *arg[OPTIONS_ARGS_MAX + 2];    /* ends with NULL */
    unsigned count;
};

void options_argv_add(struct options_argv *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Adds all whole numbers and sizes that are not below the least they can be. */
void options_argv_numbers(struct options_argv *out, const struct options_program *program,
                          const void *values);

#endif
