/* SPDX-License-Identifier: BSD-2-Clause */
#include "memtest_child.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "memtest_options.h"
#include "memtest_record.h"
#include "work.h"

/* Static: the stack's pages should not come and go between the readings of memory. */
static struct memtest_record record;
static struct memtest_options options;

static bool child_run(enum alloc_kind kind, const char *library, int round)
{
    struct alloc_opened opened;
    bool good = alloc_table_open(kind, library, &opened);

    memcpy(record.file, opened.file, sizeof(record.file));
    memcpy(record.error, opened.error, sizeof(record.error));
    if (good && round != MEMTEST_CHILD_PROBE)
        good = work_run(&options, (unsigned)round, &record);
    return good;
}

int memtest_child_main(int argc, char **argv)
{
    int fd;
    bool good;

    if (argc < MEMTEST_CHILD_ARGS) {
        fprintf(stderr, "owl-memtest: " MEMTEST_CHILD_FLAG " is for its own use only\n");
        return 2;
    }
    fd = atoi(argv[2]);
    work_fail_to(fd);
    if (memtest_options_parse(argc - MEMTEST_CHILD_ARGS + 1, argv + MEMTEST_CHILD_ARGS - 1,
                              &options) != OPTIONS_RUN)
        return 2;
    good = child_run((enum alloc_kind)atoi(argv[4]), argv[5], atoi(argv[3]));
    if (write(fd, &record, sizeof(record)) != (ssize_t)sizeof(record))
        return 1;
    /* No clean-up: a library's handlers at exit are not part of the run. */
    _exit(good ? 0 : 1);
}
