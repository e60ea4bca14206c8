/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* program_invocation_short_name */
#include "alloc_find.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memtest_child.h"
#include "memtest_spawn.h"

enum { SONAMES_MOST = 5, PROBE_SECONDS = 30 };

/* The short names: libraries to try, the first that works is taken, and where to get them. */
struct known {
    const char *name;
    enum alloc_kind kind;
    const char *sonames[SONAMES_MOST];
    const char *package;
};

static const struct known known_list[] = {
    { "zippy", ALLOC_ZIPPY, { "libtcl8.6.so", "libtcl8.6.so.0" }, "libtcl8.6" },
    { "jemalloc", ALLOC_PRELOAD, { "libjemalloc.so.2", "libjemalloc.so.1" }, "libjemalloc2" },
    { "mimalloc", ALLOC_PRELOAD, { "libmimalloc.so.3", "libmimalloc.so.2", "libmimalloc.so" },
      "libmimalloc2.0" },
    { "tcmalloc", ALLOC_PRELOAD, { "libtcmalloc_minimal.so.4", "libtcmalloc.so.4",
      "libtcmalloc.so" }, "libtcmalloc-minimal4" },
    { "tbbmalloc", ALLOC_PRELOAD, { "libtbbmalloc_proxy.so.2", "libtbbmalloc_proxy.so" },
      "libtbbmalloc2" },
};

enum { KNOWN_COUNT = sizeof(known_list) / sizeof(known_list[0]) };

/* Where libowl.so is, seen from the directory of this program: installed, and in a build tree. */
static const char *const owl_places[] = {
    "../lib/libowl.so", "../lib64/libowl.so", ".libs/libowl.so", "../.libs/libowl.so",
    "../core/.libs/libowl.so", "../../.libs/libowl.so", "../../core/.libs/libowl.so"
};

/* Try choice->library; the reason is in choice->missing if it does not work. */
static bool probe(struct alloc_choice *choice)
{
    struct memtest_record record;
    const struct spawn_request request = {
        .kind = choice->kind, .library = choice->library, .round = MEMTEST_CHILD_PROBE,
        .timeout = PROBE_SECONDS
    };
    bool good = memtest_spawn(&request, &record);

    memcpy(choice->file, record.file, sizeof(choice->file));
    memcpy(choice->missing, record.error, sizeof(choice->missing));
    return good;
}

/* False, for its callers to return. */
static bool complain(const char *subject, const char *fault)
{
    fprintf(stderr, "%s: --allocators: %s%s%s\n", program_invocation_short_name, subject,
            *subject != '\0' ? ": " : "", fault);
    return false;
}

static void find_owl(struct alloc_choice *choice)
{
    const char *self = memtest_spawn_self();
    const char *slash = strrchr(self, '/');
    int directory = slash != NULL ? (int)(slash - self) : 0;

    choice->kind = ALLOC_PRELOAD;
    for (size_t i = 0; i < sizeof(owl_places) / sizeof(owl_places[0]); i++) {
        char path[ALLOC_LIBRARY_MAX + 64];

        snprintf(path, sizeof(path), "%.*s/%s", directory, self, owl_places[i]);
        if (access(path, R_OK) == 0 && realpath(path, choice->library) != NULL) {
            probe(choice);
            return;
        }
    }
    snprintf(choice->missing, sizeof(choice->missing),
             "libowl.so is not in ../lib seen from %.200s; name it with owl=LIBRARY", self);
}

static bool find_known(const char *name, struct alloc_choice *choice)
{
    const struct known *k = known_list;

    while (k < known_list + KNOWN_COUNT && strcmp(k->name, name) != 0)
        k++;
    if (k == known_list + KNOWN_COUNT)
        return false;
    choice->kind = k->kind;
    for (unsigned i = 0; k->sonames[i] != NULL; i++) {
        snprintf(choice->library, sizeof(choice->library), "%s", k->sonames[i]);
        if (probe(choice))
            return true;
    }
    if (k->kind == ALLOC_PRELOAD)
        snprintf(choice->missing, sizeof(choice->missing), "%s cannot be preloaded: install the "
                 "package %s (so on Debian and Ubuntu) or use %s=LIBRARY", k->sonames[0],
                 k->package, name);
    return true;
}

/* NAME=LIBRARY: a path, or a name that the dynamic linker can find. */
static bool find_given(const char *library, struct alloc_choice *choice)
{
    bool is_path = strchr(library, '/') != NULL || access(library, R_OK) == 0;

    choice->kind = strcmp(choice->name, "zippy") == 0 ? ALLOC_ZIPPY : ALLOC_PRELOAD;
    if (is_path && realpath(library, choice->library) == NULL)
        return complain(library, strerror(errno));
    if (!is_path)
        snprintf(choice->library, sizeof(choice->library), "%s", library);
    if (choice->kind == ALLOC_PRELOAD && strpbrk(choice->library, " :") != NULL)
        return complain(choice->library, "LD_PRELOAD takes no blanks and colons");
    return probe(choice) || complain(library, choice->missing);
}

bool alloc_find_one(const char *item, bool optional, struct alloc_choices *out)
{
    struct alloc_choice *choice = &out->choice[out->count];
    char fault[ALLOC_ERROR_MAX];
    size_t length = strcspn(item, "=");

    if (length == 0 || length >= ALLOC_NAME_MAX || out->count == ALLOC_CHOICES_MAX) {
        snprintf(fault, sizeof(fault), "'%.200s' %s", item,
                 out->count == ALLOC_CHOICES_MAX ? "is one too many" : "has no usable name");
        return complain("", fault);
    }
    memset(choice, 0, sizeof(*choice));
    memcpy(choice->name, item, length);
    choice->optional = optional;
    if (item[length] == '=') {
        if (!find_given(item + length + 1, choice))
            return false;
    } else if (strcmp(item, "system") == 0) {
        choice->kind = ALLOC_SYSTEM;
        probe(choice);
    } else if (strcmp(item, "owl") == 0) {
        find_owl(choice);
    } else if (!find_known(item, choice)) {
        snprintf(fault, sizeof(fault), "'%s' is not known; use %s=LIBRARY", item, item);
        return complain("", fault);
    }
    out->count++;
    return true;
}

bool alloc_find_peers(struct alloc_choices *out)
{
    for (unsigned i = 0; i < KNOWN_COUNT; i++) {
        if (known_list[i].kind != ALLOC_PRELOAD)
            continue;
        if (!alloc_find_one(known_list[i].name, true, out))
            return false;
        if (out->choice[out->count - 1].missing[0] != '\0')
            out->count--;
    }
    return true;
}

/* Everything that is here. */
static bool find_all(struct alloc_choices *out)
{
    return alloc_find_one("owl", false, out) && alloc_find_one("zippy", true, out)
        && alloc_find_one("system", false, out) && alloc_find_peers(out);
}

bool alloc_find(const char *list, struct alloc_choices *out)
{
    char *copy;
    char *next;
    char *item;
    bool good = true;

    out->count = 0;
    if (list == NULL)
        return alloc_find_one("owl", false, out) && alloc_find_one("zippy", true, out)
            && alloc_find_one("system", false, out);
    next = copy = strdup(list);
    while (good && (item = strsep(&next, ",")) != NULL)
        good = strcmp(item, "all") == 0 ? find_all(out) : alloc_find_one(item, false, out);
    free(copy);
    return good;
}
