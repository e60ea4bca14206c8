/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>

enum { INDENT = 2 };

/*
 * Bytes from 0x80 on are written as they are if the string is UTF-8; whoever names a file otherwise
 * gets '?' instead, because JSON has no other encoding.
 */
static size_t utf8_length(const unsigned char *s)
{
    size_t length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;

    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)
        || (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return length;
}

static void write_quoted(FILE *out, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    fputc('"', out);
    while (*s != '\0') {
        size_t length = *s < 0x80 ? 1 : utf8_length(s);

        if (*s == '"' || *s == '\\')
            fprintf(out, "\\%c", *s);
        else if (*s < 0x20)
            fprintf(out, "\\u%04x", *s);
        else if (length == 0)
            fputc('?', out);
        else
            fwrite(s, 1, length, out);
        s += length == 0 ? 1 : length;
    }
    fputc('"', out);
}

static void new_line(struct json *j)
{
    fprintf(j->out, "\n%*s", (int)(j->depth * INDENT), "");
}

static void begin_value(struct json *j, const char *key)
{
    if (j->depth > 0) {
        if (!j->empty)
            fputc(',', j->out);
        new_line(j);
    }
    j->empty = false;
    if (key != NULL) {
        write_quoted(j->out, key);
        fputs(": ", j->out);
    }
}

void json_begin(struct json *j, const char *key, char bracket)
{
    begin_value(j, key);
    fputc(bracket, j->out);
    j->depth++;
    j->empty = true;
}

void json_end(struct json *j, char bracket)
{
    j->depth--;
    if (!j->empty)
        new_line(j);
    fputc(bracket, j->out);
    j->empty = false;
    if (j->depth == 0)
        fputc('\n', j->out);
}

void json_string(struct json *j, const char *key, const char *value)
{
    begin_value(j, key);
    write_quoted(j->out, value);
}

void json_number(struct json *j, const char *key, double value)
{
    begin_value(j, key);
    if (isfinite(value))
        fprintf(j->out, "%.9g", value);
    else
        fputs("null", j->out);
}

void json_integer(struct json *j, const char *key, uint64_t value)
{
    begin_value(j, key);
    fprintf(j->out, "%" PRIu64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
    begin_value(j, key);
    fputs(value ? "true" : "false", j->out);
}
