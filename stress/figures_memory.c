/* SPDX-License-Identifier: BSD-2-Clause */
#include "figures_memory.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The value in bytes of the line "name:   123 kB" of a file under /proc; 0 if there is none. */
static uint64_t memory_field(const char *text, const char *name)
{
    size_t length = strlen(name);

    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        if (*line == '\n')
            line++;
        if (strncmp(line, name, length) == 0 && line[length] == ':')
            return strtoull(line + length + 1, NULL, 10) * 1024;
    }
    return 0;
}

static void memory_read(const char *file, char *text, size_t size)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t got;

    if (fd >= 0) {
        while ((got = read(fd, text + used, size - 1 - used)) > 0)
            used += (size_t)got;
        close(fd);
    }
    text[used] = '\0';
}

struct figures_memory figures_memory_now(void)
{
    char text[4096];
    struct figures_memory m;

    memory_read("/proc/self/smaps_rollup", text, sizeof(text));
    m.rss = memory_field(text, "Rss");
    m.pss = memory_field(text, "Pss");
    if (m.rss == 0) {
        memory_read("/proc/self/status", text, sizeof(text));
        m.rss = memory_field(text, "VmRSS");
        m.pss = m.rss;
    }
    return m;
}

uint64_t figures_memory_peak(void)
{
    char text[4096];

    memory_read("/proc/self/status", text, sizeof(text));
    return memory_field(text, "VmHWM");
}
