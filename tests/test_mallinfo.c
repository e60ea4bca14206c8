/* SPDX-License-Identifier: BSD-2-Clause */
/* The counts in the forms of glibc. */
#include <ctype.h>
#include <errno.h>

#include "alloc.h"
#include "child.h"
#include "death.h"

#define MIB ((size_t)1 << 20)

static void mallinfo2_tells_what_is_in_use(void)
{
    struct mallinfo2 m = owl_mallinfo2();
    check(m.arena == 0 && m.uordblks == 0 && m.fordblks == 0 && m.hblks == 0 && m.hblkhd == 0);
    void *small[100];
    for (int i = 0; i < 100; i++)
        small[i] = owl_malloc(1000);
    void *large = owl_malloc(2 * MIB);
    void *mapping = owl_malloc(opaque_size(OWL_SPAN_MAX + 1));
    m = owl_mallinfo2();
    check(m.uordblks == 100 * owl_good_size(1000) + 2 * MIB);
    check(m.hblks == 1 && m.hblkhd == owl_good_size(OWL_SPAN_MAX + 1));
    check(m.arena >= m.uordblks && m.arena == m.uordblks + m.fordblks && m.keepcost == 0);
    owl_free(large);
    m = owl_mallinfo2();
    check(m.uordblks == 100 * owl_good_size(1000) && m.keepcost == 2 * MIB);
    check(m.arena == m.uordblks + m.fordblks);
    for (int i = 0; i < 100; i++)
        owl_free(small[i]);
    owl_free(mapping);
    owl_malloc_trim(0);
    m = owl_mallinfo2();
    check(m.uordblks == 0 && m.hblks == 0 && m.hblkhd == 0 && m.keepcost == 0);
    size_t arena = m.arena, free_bytes = m.fordblks;
    owl_free(owl_malloc(600000)); /* which the thread keeps */
    m = owl_mallinfo2();
    check(m.uordblks == 0 && m.arena == arena && m.fordblks == free_bytes);
}

/* Enough of a parser: elements nest, attributes are quoted, nothing else is there. */
static const char *attributes(const char *at)
{
    while (isspace((unsigned char)*at)) {
        while (isspace((unsigned char)*at))
            at++;
        if (!isalpha((unsigned char)*at))
            break;
        while (isalnum((unsigned char)*at))
            at++;
        if (*at++ != '=' || *at++ != '"')
            return NULL;
        at += strcspn(at, "\"<&");
        if (*at++ != '"')
            return NULL;
    }
    return at;
}

static const char *element(const char *at)
{
    char name[32];
    size_t length;
    if (*at++ != '<')
        return NULL;
    length = strspn(at, "abcdefghijklmnopqrstuvwxyz");
    if (length == 0 || length >= sizeof name)
        return NULL;
    memcpy(name, at, length);
    name[length] = '\0';
    at = attributes(at + length);
    if (at == NULL)
        return NULL;
    if (at[0] == '/' && at[1] == '>')
        return at + 2;
    if (*at++ != '>')
        return NULL;
    for (;;) {
        at += strspn(at, " \n");
        if (at[0] == '<' && at[1] == '/')
            break;
        at = element(at);
        if (at == NULL)
            return NULL;
    }
    if (strncmp(at + 2, name, length) != 0 || at[2 + length] != '>')
        return NULL;
    return at + length + 3;
}

static void malloc_info_writes_xml(void)
{
    static char text[10000];
    FILE *stream = fmemopen(text, sizeof text, "w");
    void *p = owl_malloc(1000);
    void *q = owl_malloc(10 * MIB);
    check(stream != NULL && p != NULL && q != NULL);
    errno = 9;
    check(owl_malloc_info(0, stream) == 0 && errno == 9);
    fclose(stream);
    const char *end = element(text);
    check(end != NULL && strcmp(end, "\n") == 0);
    check(strncmp(text, "<malloc version=", 16) == 0);
    char expected[100];
    snprintf(expected, sizeof expected, "type=\"small\" count=\"1\" size=\"%zu\"",
             owl_malloc_usable_size(p));
    check(strstr(text, expected) != NULL);
    check(strstr(text, "type=\"large\" size=\"10485760\"") != NULL);
}

static void malloc_info_has_no_options(void)
{
    static char text[100] = "untouched";
    FILE *stream = fmemopen(text, sizeof text, "r+");
    check(stream != NULL);
    errno = 0;
    check(owl_malloc_info(1, stream) == -1 && errno == EINVAL);
    errno = 0;
    check(owl_malloc_info(-1, NULL) == -1 && errno == EINVAL);
    fclose(stream);
    check(strcmp(text, "untouched") == 0);
}

static void print_stats(void)
{
    void *p = owl_malloc(5 * MIB);
    check(p != NULL);
    owl_malloc_stats();
}

static void malloc_stats_prints_to_standard_error(void **state)
{
    char text[4096];
    (void)state;
    assert_int_equal(death_status(print_stats, text, sizeof text), 0);
    assert_non_null(strstr(text, "owlalloc " OWL_VERSION));
    assert_non_null(strstr(text, " 5242880 "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(mallinfo2_tells_what_is_in_use),
        child_test(malloc_info_writes_xml),
        child_test(malloc_info_has_no_options),
        cmocka_unit_test(malloc_stats_prints_to_standard_error),
    };
    return cmocka_run_group_tests_name("mallinfo", tests, NULL, NULL);
}
