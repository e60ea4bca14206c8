/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * json: write JSON to a file. The caller sees to it that members have keys and elements (key NULL)
 * do not; commas, indentation and quoting are done here.
 */
#ifndef OWL_STRESS_JSON_H
#define OWL_STRESS_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *out;
    unsigned depth;
    bool empty;         /* nothing yet in the innermost object or array */
};

void json_begin(struct json *j, const char *key, char bracket);     /* '{' or '[' */
void json_end(struct json *j, char bracket);                        /* '}' or ']' */
void json_string(struct json *j, const char *key, const char *value);
void json_number(struct json *j, const char *key, double value);    /* not finite: null */
void json_integer(struct json *j, const char *key, uint64_t value);
void json_bool(struct json *j, const char *key, bool value);

#endif
