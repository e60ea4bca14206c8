/* SPDX-License-Identifier: BSD-2-Clause */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "options_parse.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "(not released)"
#endif

const char options_version[] = PACKAGE_VERSION;

/* What getopt_long returns: these, or so much more than the number of an entry. */
enum { ID_HELP = 256, ID_VERSION, ID_ENTRIES };

static uint64_t unit_of(const char *end)
{
    if (*end == '\0' || end[1] != '\0')
        return 1;
    return *end == 'K' ? UINT64_C(1) << 10 : *end == 'M' ? UINT64_C(1) << 20
         : *end == 'G' ? UINT64_C(1) << 30 : 1;
}

static bool parse_number(const char *program, const struct option_entry *e, const char *text,
                         uint64_t *field)
{
    char *end;
    uint64_t value;
    uint64_t unit;
    bool good;

    errno = 0;
    value = strtoull(text, &end, 10);
    unit = e->kind == OPTION_BYTES ? unit_of(end) : 1;
    good = errno == 0 && *text >= '0' && *text <= '9' && end[unit != 1] == '\0'
        && !__builtin_mul_overflow(value, unit, &value);
    if (good && value >= e->least && value <= e->most) {
        *field = value;
        return true;
    }
    fprintf(stderr, "%s: --%s: '%s' is not a %s from %" PRIu64 " to %" PRIu64 "\n", program,
            e->name, text, e->kind == OPTION_BYTES ? "size" : "whole number", e->least, e->most);
    return false;
}

static bool parse_real(const char *program, const struct option_entry *e, const char *text,
                       double *field)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    if (errno == 0 && end != text && *end == '\0' && isfinite(value) && value >= e->low
        && value <= e->high) {
        *field = e->unit != 0.0 ? value * e->unit : value;
        return true;
    }
    fprintf(stderr, "%s: --%s: '%s' is not a number%s from %g to %.10g\n", program, e->name, text,
            e->kind == OPTION_SECONDS ? " of seconds" : "", e->low, e->high);
    return false;
}

/* Cuts the list at its commas for good. */
static bool parse_set(const char *program, const struct option_entry *e, char *list,
                      unsigned *set)
{
    char *next = list;
    char *name;

    *set = 0;
    while ((name = strsep(&next, ",")) != NULL) {
        unsigned i = 0;

        if (e->most != 0 && strcmp(name, "all") == 0) {
            *set |= (unsigned)e->most;
            continue;
        }
        while (e->names[i] != NULL && strcmp(e->names[i], name) != 0)
            i++;
        if (e->names[i] == NULL) {
            fprintf(stderr, "%s: --%s: '%s' is none; see %s --help\n", program, e->name, name,
                    program);
            return false;
        }
        *set |= 1u << i;
    }
    return true;
}

static bool parse_one(const char *program, const struct option_entry *e, char *text, void *values)
{
    void *field = (char *)values + e->field;

    switch (e->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case OPTION_TEXT:
        *(const char **)field = text;
        return true;
    case OPTION_NUMBER:
    case OPTION_BYTES:
        return parse_number(program, e, text, field);
    case OPTION_REAL:
    case OPTION_SECONDS:
        return parse_real(program, e, text, field);
    case OPTION_SET:
        return parse_set(program, e, text, field);
    default:
        return e->take(text, values);
    }
}

static enum options_outcome answer(const char *program, const char *text, const char *more)
{
    printf("%s%s", text, more);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return OPTIONS_DONE;
    fprintf(stderr, "%s: standard output: %s\n", program, strerror(errno));
    return OPTIONS_BAD;
}

static void make_long(const struct options_program *p, struct option *o)
{
    unsigned i = 0;

    for (; p->entries[i].name != NULL; i++) {
        bool value = p->entries[i].kind != OPTION_FLAG;

        assert(i + 3 <= OPTIONS_ENTRIES_MAX);
        o[i] = (struct option){ p->entries[i].name, value, NULL, ID_ENTRIES + (int)i };
    }
    o[i++] = (struct option){ "help", no_argument, NULL, ID_HELP };
    o[i++] = (struct option){ "version", no_argument, NULL, ID_VERSION };
    o[i] = (struct option){ NULL, 0, NULL, 0 };
}

enum options_outcome options_parse(const struct options_program *p, int argc, char **argv,
                                   void *values)
{
    struct option long_options[OPTIONS_ENTRIES_MAX];
    char version[64];
    int id;

    make_long(p, long_options);
    opterr = 0;
    optind = 1;
    while ((id = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
        if (id == ID_HELP)
            return answer(p->name, p->help, "");
        if (id == ID_VERSION) {
            snprintf(version, sizeof(version), " %s\n", options_version);
            return answer(p->name, p->name, version);
        }
        if (id == '?' || id == ':') {
            fprintf(stderr, "%s: '%s' %s; see %s --help\n", p->name, argv[optind - 1],
                    id == ':' ? "needs a value" : "is not an option or is not used like this",
                    p->name);
            return OPTIONS_BAD;
        }
        if (!parse_one(p->name, &p->entries[id - ID_ENTRIES], optarg, values))
            return OPTIONS_BAD;
    }
    if (optind == argc)
        return OPTIONS_RUN;
    fprintf(stderr, "%s: '%s' is not an option; see %s --help\n", p->name, argv[optind], p->name);
    return OPTIONS_BAD;
}

void options_argv_add(struct options_argv *out, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(out->text[out->count], OPTIONS_ARG_MAX, format, values);
    va_end(values);
    out->arg[out->count] = out->text[out->count];
    out->arg[++out->count] = NULL;
}

void options_argv_numbers(struct options_argv *out, const struct options_program *p,
                          const void *values)
{
    for (const struct option_entry *e = p->entries; e->name != NULL; e++) {
        const uint64_t *value = (const void *)((const char *)values + e->field);

        if ((e->kind == OPTION_NUMBER || e->kind == OPTION_BYTES) && *value >= e->least)
            options_argv_add(out, "--%s=%" PRIu64, e->name, *value);
    }
}
