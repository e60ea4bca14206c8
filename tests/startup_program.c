/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * startup_program BLOCKS: allocates so many blocks of up to 4 KiB and touches them, then prints its
 * page faults, its resident memory in KiB, and how much of that is its own. Built with LIBRARY it
 * is a library that does nothing good when it is loaded.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef LIBRARY

static char wasted[1 << 20];

__attribute__((constructor)) static void load(void)
{
    for (int i = 0; i < 100; i++)
        close(-1);
    memset(wasted, 1, sizeof wasted);
}

#else

/* A line of /proc/self/status, in KiB. */
static long status(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at != NULL ? strtol(at + strlen(name), NULL, 10) : -1;
}

/* Without a stream: those allocate. */
int main(int count, char **arguments)
{
    static char text[8192];
    struct rusage usage;
    for (int i = 0; count > 1 && i < atoi(arguments[1]); i++) {
        char *volatile p = malloc((size_t)16 << i % 9);
        if (p != NULL)
            *p = 1;
    }
    getrusage(RUSAGE_SELF, &usage);
    int file = open("/proc/self/status", O_RDONLY);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0)
        return 1;
    char line[100];
    int length = snprintf(line, sizeof line, "%ld %ld %ld\n", usage.ru_minflt + usage.ru_majflt,
                          status(text, "\nVmRSS:"), status(text, "\nRssAnon:"));
    return write(STDOUT_FILENO, line, (size_t)length) != length;
}

#endif
