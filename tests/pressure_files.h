/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files of the kernel that tell of memory pressure, as a test wants them: files_install() puts
 * them in place of the real ones.
 */
#ifndef OWL_TESTS_PRESSURE_FILES_H
#define OWL_TESTS_PRESSURE_FILES_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "os.h"

enum { FILES_MOST = 24, FILES_TEXT = 1600 };

static struct {
    pthread_mutex_t lock;
    struct {
        const char *path;
        char text[FILES_TEXT];
    } all[FILES_MOST];
    size_t count, reads;
} files = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The contents of a file from now on; NULL: there is none. */
static inline void file_says(const char *path, const char *text)
{
    pthread_mutex_lock(&files.lock);
    size_t i = 0;
    while (i < files.count && strcmp(files.all[i].path, path) != 0)
        i++;
    if (i == files.count)
        files.count++;
    files.all[i].path = path;
    snprintf(files.all[i].text, sizeof files.all[i].text, "%s", text != NULL ? text : "");
    pthread_mutex_unlock(&files.lock);
}

/* As file_says, with a number for the %u in it. */
static inline void file_says_number(const char *path, const char *format, unsigned number)
{
    char text[FILES_TEXT];
    const char *at = strstr(format, "%u");
    snprintf(text, sizeof text, "%.*s%u%s", (int)(at - format), format, number, at + 2);
    file_says(path, text);
}

static inline int files_lines(const char *path, bool (*line)(char *text, void *context),
                              void *context)
{
    char text[FILES_TEXT] = "";
    pthread_mutex_lock(&files.lock);
    files.reads++;
    for (size_t i = 0; i < files.count; i++)
        if (strcmp(files.all[i].path, path) == 0)
            memcpy(text, files.all[i].text, sizeof text);
    pthread_mutex_unlock(&files.lock);
    if (text[0] == '\0') {
        errno = ENOENT;
        return -1;
    }
    char *next = text;
    for (char *at = next; *at != '\0'; at = next) {
        char *end = strchr(at, '\n');
        next = end != NULL ? end + 1 : at + strlen(at);
        if (end != NULL)
            *end = '\0';
        if (!line(at, context))
            break;
    }
    return 0;
}

static inline void files_install(void)
{
    owl_os.lines = files_lines;
}

#define PSI "/proc/pressure/memory"
#define SELF_CGROUP "/proc/self/cgroup"
#define SELF_MOUNTS "/proc/self/mountinfo"

/* A program in group /a/b of version 2. */
static inline void files_of_v2(void)
{
    file_says(SELF_CGROUP, "0::/a/b\n");
    file_says(SELF_MOUNTS, "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                           "30 22 0:26 / /cg rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
}

#endif
