/* SPDX-License-Identifier: BSD-2-Clause */
#include "pressure_read.h"

#include <string.h>

#include "option.h"
#include "os.h"
#include "pool.h"

/* --- text ---------------------------------------------------------------------- */

/* Copies text up to a space or its end; empty: it was too long. */
static void copy_word(char to[OWL_PRESSURE_PATH], const char *from)
{
    size_t n = strcspn(from, " ");
    if (n >= OWL_PRESSURE_PATH)
        n = 0;
    memcpy(to, from, n);
    to[n] = '\0';
}

/* The number that text begins with; false: it begins with none, or with one past 2^62, which stands
 * for "no limit". */
static bool number_of(const char *text, uint64_t *number)
{
    const char *at = text;
    *number = 0;
    for (; *at >= '0' && *at <= '9' && *number < (uint64_t)1 << 58; at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    return at != text && !(*at >= '0' && *at <= '9');
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* --- finding the groups ---------------------------------------------------------- */

/* Paths of the groups, each within its hierarchy; empty: there is none. */
struct paths {
    char v1[OWL_PRESSURE_PATH], v2[OWL_PRESSURE_PATH];
};

/* Whether a list, which ends at a character of `ends`, has the word "memory". */
static bool has_memory(const char *list, const char *ends)
{
    size_t all = strcspn(list, ends);
    for (size_t at = 0; at < all;) {
        size_t n = strcspn(list + at, ",");
        if (n > all - at)
            n = all - at;
        if (n == 6 && memcmp(list + at, "memory", 6) == 0)
            return true;
        at += n + 1;
    }
    return false;
}

/* A line "hierarchy:controllers:path"; of version 2, "0::path". */
static bool cgroup_line(char *text, void *context)
{
    struct paths *p = context;
    char *controllers = strchr(text, ':');
    char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL)
        return true;
    if (strncmp(text, "0::", 3) == 0)
        copy_word(p->v2, path + 1);
    else if (has_memory(controllers + 1, ":"))
        copy_word(p->v1, path + 1);
    return true;
}

/* Where the group of a path is, in a hierarchy that is mounted from `root` on. What lies outside of
 * that cannot be seen: the mount point stands for it. */
static void place(struct owl_pressure_group *g, const char *path, const char *root,
                  const char *mount)
{
    size_t skip = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool inside = strncmp(path, root, skip) == 0 && (path[skip] == '/' || path[skip] == '\0') &&
                  strncmp(path, "/..", 3) != 0;
    const char *rest = inside && strcmp(path + skip, "/") != 0 ? path + skip : "";
    size_t length = strlen(mount), more = strlen(rest);
    if (path[0] == '\0' || length + more >= sizeof g->path)
        return;
    memcpy(g->path, mount, length);
    memcpy(g->path + length, rest, more + 1);
    g->top = length;
}

struct search {
    struct owl_pressure_places *places;
    struct paths paths;
};

/* "id parent device root mount options [more...] - type source super-options" */
static bool mount_line(char *text, void *context)
{
    struct search *s = context;
    char root[OWL_PRESSURE_PATH], mount[OWL_PRESSURE_PATH];
    char *field = text, *type = strstr(text, " - ");
    for (int i = 0; i < 3 && field != NULL; i++) {
        field = strchr(field, ' ');
        field = field != NULL ? field + 1 : NULL;
    }
    if (type == NULL || field == NULL || strncmp(type, " - cgroup", 9) != 0)
        return true;
    copy_word(root, field);
    field = strchr(field, ' ');
    copy_word(mount, field != NULL ? field + 1 : "");
    const char *source = strchr(type + 3, ' ');
    const char *super = source != NULL ? strchr(source + 1, ' ') : NULL;
    if (strncmp(type, " - cgroup2 ", 11) == 0)
        place(&s->places->v2, s->paths.v2, root, mount);
    else if (super != NULL && has_memory(super + 1, " "))
        place(&s->places->v1, s->paths.v1, root, mount);
    return true;
}

void owl_pressure_find(struct owl_pressure_places *places)
{
    struct search s = {.places = places};
    places->v1.path[0] = places->v2.path[0] = '\0';
    places->v1.top = places->v2.top = 0;
    if (owl_os.lines("/proc/self/cgroup", cgroup_line, &s.paths) == 0)
        owl_os.lines("/proc/self/mountinfo", mount_line, &s);
}

bool owl_pressure_up(struct owl_pressure_group *group)
{
    size_t length = strlen(group->path);
    if (length <= group->top)
        return false;
    do
        length--;
    while (length > group->top && group->path[length] != '/');
    group->path[length] = '\0';
    return true;
}

bool owl_pressure_file(const struct owl_pressure_group *group, const char *name,
                       char path[OWL_PRESSURE_PATH])
{
    size_t length = strlen(group->path), more = strlen(name);
    if (length == 0 || length + more + 2 > OWL_PRESSURE_PATH)
        return false;
    memcpy(path, group->path, length);
    path[length] = '/';
    memcpy(path + length + 1, name, more + 1);
    return true;
}

/* --- reading -------------------------------------------------------------------- */

/* "some avg10=1.23 avg60=..." */
static bool stall_line(char *text, void *context)
{
    static const char begin[] = "some avg10=";
    uint64_t whole, part = 0;
    if (strncmp(text, begin, sizeof begin - 1) != 0 ||
        !number_of(text + sizeof begin - 1, &whole))
        return true;
    const char *point = strchr(text, '.');
    if (point != NULL && number_of(point + 1, &part))
        part %= 100; /* two digits */
    *(double *)context = (double)whole + (double)part / 100.0;
    return false;
}

static double stalls(const char *path)
{
    double percent = 0.0;
    if (owl_os.lines(path, stall_line, &percent) != 0)
        return 0.0;
    return percent < OWL_PRESSURE_STALLS ? percent / OWL_PRESSURE_STALLS : 1.0;
}

/* The first line of a file, as a number. */
struct first {
    bool is_number;
    uint64_t number;
};

static bool first_line(char *text, void *context)
{
    struct first *f = context;
    f->is_number = number_of(text, &f->number);
    return false;
}

/* A number that a file of the group holds. False: there is no file, or no number in it. */
static bool read_number(const struct owl_pressure_group *g, const char *name, uint64_t *number)
{
    char path[OWL_PRESSURE_PATH];
    struct first f = {.is_number = false};
    if (!owl_pressure_file(g, name, path) || owl_os.lines(path, first_line, &f) != 0)
        return false;
    *number = f.number;
    return f.is_number;
}

/* The sum of numbers in lines "name number". */
struct sum {
    const char *const *names;
    uint64_t sum;
};

static bool sum_line(char *text, void *context)
{
    struct sum *s = context;
    size_t length = strcspn(text, " ");
    uint64_t number;
    for (const char *const *name = s->names; *name != NULL; name++)
        if (strlen(*name) == length && memcmp(text, *name, length) == 0 && text[length] == ' ' &&
            number_of(text + length + 1, &number))
            s->sum += number;
    return true;
}

/* False: the file cannot be read. */
static bool read_sum(const struct owl_pressure_group *g, const char *file,
                     const char *const *names, uint64_t *sum)
{
    char path[OWL_PRESSURE_PATH];
    struct sum s = {.names = names};
    bool read = owl_pressure_file(g, file, path) && owl_os.lines(path, sum_line, &s) == 0;
    *sum = s.sum;
    return read;
}

static double nearness(uint64_t used, uint64_t limit)
{
    double share = limit > 0 ? (double)used / (double)limit : 1.0;
    double near = (share - OWL_PRESSURE_NEAR) / (1.0 - OWL_PRESSURE_NEAR);
    return near < 0.0 ? 0.0 : near > 1.0 ? 1.0 : near;
}

/* What differs between the versions. */
struct names {
    const char *current;
    const char *limits[3];
    const char *droppable[2]; /* in memory.stat */
};

static const struct names of_v1 = {"memory.usage_in_bytes",
                                   {"memory.limit_in_bytes", NULL, NULL},
                                   {"total_inactive_file", NULL}};
static const struct names of_v2 = {"memory.current",
                                   {"memory.high", "memory.max", NULL},
                                   {"inactive_file", NULL}};

static void look_at_group(const struct owl_pressure_group *g, const struct names *n,
                          struct owl_pressure_look *look)
{
    uint64_t current, limit, least = UINT64_MAX;
    for (const char *const *name = n->limits; *name != NULL; name++)
        if (read_number(g, *name, &limit) && limit < least)
            least = limit;
    if (least == UINT64_MAX)
        return;
    look->limited = true;
    if (!read_number(g, n->current, &current) || nearness(current, least) == 0.0)
        return;
    uint64_t droppable;
    read_sum(g, "memory.stat", n->droppable, &droppable);
    current -= droppable < current ? droppable : current;
    look->severity = larger(look->severity, nearness(current, least));
}

/* How often the group's own limits were hit. */
static uint64_t events_of(const struct owl_pressure_group *g)
{
    static const char *const hits[] = {"high", "max", "oom", NULL};
    uint64_t events;
    if (!read_sum(g, OWL_PRESSURE_EVENTS, hits, &events))
        read_sum(g, OWL_PRESSURE_EVENTS_OLD, hits, &events);
    return events;
}

static void look_at_groups(struct owl_pressure_group g, const struct names *n,
                           struct owl_pressure_look *look)
{
    if (g.path[0] == '\0')
        return;
    do {
        look_at_group(&g, n, look);
        if (n == &of_v2)
            look->events += events_of(&g);
    } while (owl_pressure_up(&g));
}

void owl_pressure_look(const struct owl_pressure_places *places, struct owl_pressure_look *look)
{
    char path[OWL_PRESSURE_PATH];
    uint64_t own = (uint64_t)owl_option(OWL_OPTION_LIMIT);
    *look = (struct owl_pressure_look){.severity = stalls("/proc/pressure/memory")};
    if (owl_pressure_file(&places->v2, "memory.pressure", path))
        look->severity = larger(look->severity, stalls(path));
    look_at_groups(places->v2, &of_v2, look);
    look_at_groups(places->v1, &of_v1, look);
    if (own != 0) {
        look->limited = true;
        look->severity = larger(look->severity, nearness(owl_pool_count().in_use, own));
    }
    if (look->severity < OWL_PRESSURE_LEAST)
        look->severity = 0.0;
}
