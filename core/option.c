/* SPDX-License-Identifier: BSD-2-Clause */
#include "option.h"

#include <errno.h>
#include <owl/option.h>
#include <string.h>

#include "line.h"

struct option {
    const char *name, *variable;
    long long preset, least, most;
    bool fixed;
};

#define ROW(NAME, name, preset, least, most, fixed)                                               \
    {name, "OWL_" #NAME, preset, least, most, fixed},
static const struct option options[OWL_OPTION_COUNT] = {OWL_OPTIONS(ROW)};

#define VALUE(NAME, name, preset, least, most, fixed) [OWL_OPTION_##NAME] = preset,
owl_word owl_option_values[OWL_OPTION_COUNT] = {OWL_OPTIONS(VALUE)};

owl_word owl_option_listener;

#define IN_RANGE(NAME, name, preset, least, most, fixed)                                          \
    static_assert((least) >= 0 && (long long)(preset) >= (long long)(least) &&                    \
                      (long long)(preset) <= (long long)(most), "default of option " name);
OWL_OPTIONS(IN_RANGE)

/* The bits by which a suffix shifts; -1: it is none. */
static int shift_of(const char *suffix)
{
    static const char letters[] = "kKmMgG";
    if (suffix[0] == '\0')
        return 0;
    const char *letter = strchr(letters, suffix[0]);
    return letter != NULL && suffix[1] == '\0' ? ((int)(letter - letters) / 2 + 1) * 10 : -1;
}

/* A number with its suffix. False: it is none, or too large. Not strtoll: a constructor this early
 * keeps off locales. */
static bool parse(const char *text, long long *value)
{
    long long number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, *at - '0', &number))
            return false;
    int shift = shift_of(at);
    return at != text && shift >= 0 &&
           !__builtin_mul_overflow(number, (long long)1 << shift, value);
}

/* The words of an option whose values are words, in the order of their values; NULL: has
 * numbers. */
static const char *const *words_of(const struct option *o)
{
    static const char *const backing[] = {OWL_BACKING_WORDS, NULL};
    static const char *const scavenger[] = {OWL_SCAVENGER_WORDS, NULL};
    if (o == &options[OWL_OPTION_BACKING])
        return backing;
    return o == &options[OWL_OPTION_SCAVENGER] ? scavenger : NULL;
}

static bool accepts(const struct option *o, long long value)
{
    return value >= o->least && value <= o->most;
}

static bool find_word(const char *const *words, const char *text, long long *value)
{
    for (*value = 0; words[*value] != NULL; ++*value)
        if (strcmp(words[*value], text) == 0)
            return true;
    return false;
}

/* What the environment says is an option's value. False: it cannot be. */
static bool understand(const struct option *o, const char *text, long long *value)
{
    const char *const *words = words_of(o);
    if (words != NULL)
        return find_word(words, text, value);
    if (o == &options[OWL_OPTION_GUARD] && text[0] == '1' && text[1] == '/')
        text += 2;
    return parse(text, value) && accepts(o, *value);
}

static void list_words(struct owl_line *l, const char *const *words, long long preset)
{
    owl_line_text(l, ": not one of ");
    for (size_t i = 0; words[i] != NULL; i++) {
        owl_line_text(l, i > 0 ? ", " : "");
        owl_line_text(l, words[i]);
    }
    owl_line_text(l, "; the default is used, ");
    owl_line_text(l, words[preset]);
}

static void list_numbers(struct owl_line *l, const struct option *o)
{
    owl_line_text(l, ": not a number from ");
    owl_line_number(l, (uintptr_t)o->least, 10);
    owl_line_text(l, " to ");
    owl_line_number(l, (uintptr_t)o->most, 10);
    owl_line_text(l, " (K, M, G may follow); the default is used, ");
    owl_line_number(l, (uintptr_t)o->preset, 10);
}

static void report(const struct option *o, const char *text)
{
    struct owl_line l = {.length = 0};
    owl_line_text(&l, "owlalloc: ");
    owl_line_text(&l, o->variable);
    owl_line_text(&l, "=");
    owl_line_quoted(&l, text, 40);
    if (words_of(o) != NULL)
        list_words(&l, words_of(o), o->preset);
    else
        list_numbers(&l, o);
    owl_line_write(&l);
}

/* What the environment says of a variable; NULL: nothing. The first entry counts, as in getenv. */
static const char *look_up(char *const *environment, const char *variable)
{
    size_t length = strlen(variable);
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, variable, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* Most programs have none, and start sooner if the options' names need not be read in. */
static bool has_any(char *const *environment)
{
    for (; *environment != NULL; environment++) {
        const char *e = *environment;
        if (e[0] == 'O' && e[1] == 'W' && e[2] == 'L' && e[3] == '_')
            return true;
    }
    return false;
}

void owl_option_read(char *const *environment)
{
    if (!has_any(environment))
        return;
    for (unsigned i = 0; i < OWL_OPTION_COUNT; i++) {
        const struct option *o = &options[i];
        const char *text = look_up(environment, o->variable);
        long long value;
        if (text == NULL)
            continue;
        if (understand(o, text, &value))
            owl_option_force(i, value);
        else
            report(o, text);
    }
}

/* The number of an option; OWL_OPTION_COUNT, and errno: there is none of the name. */
static unsigned find(const char *name)
{
    unsigned i = 0;
    while (i < OWL_OPTION_COUNT && strcmp(options[i].name, name) != 0)
        i++;
    if (i == OWL_OPTION_COUNT)
        errno = ENOENT;
    return i;
}

int owl_option_get(const char *name, long long *value)
{
    unsigned i = find(name);
    if (i == OWL_OPTION_COUNT)
        return -1;
    *value = owl_option(i);
    return 0;
}

int owl_option_set(const char *name, long long value)
{
    unsigned i = find(name);
    if (i == OWL_OPTION_COUNT)
        return -1;
    if (options[i].fixed || !accepts(&options[i], value)) {
        errno = options[i].fixed ? EPERM : EINVAL;
        return -1;
    }
    owl_word_store_relaxed(&owl_option_values[i], (uintptr_t)value);
    void (*listener)(void) = (void (*)(void))owl_word_load_acquire(&owl_option_listener);
    if (listener != NULL)
        listener();
    return 0;
}

const char *owl_option_name(unsigned index)
{
    return index < OWL_OPTION_COUNT ? options[index].name : NULL;
}
