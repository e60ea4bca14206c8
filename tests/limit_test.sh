#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A program at its limit: it sees ENOMEM, frees and goes on; and what it has of
# memory stays within the limit, while one that frees as much as it takes never
# sees it.
#
# OWL_ROOT names the installation that is tested.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
cc=${CC:-cc}

cat >"$tap_dir/prog.c" <<'C'
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 100000 };

static size_t fill(void **blocks, size_t size)
{
    size_t n = 0;
    errno = 0;
    while (n < MOST && (blocks[n] = malloc(size)) != NULL)
        memset(blocks[n++], 1, size);
    return n < MOST && errno == ENOMEM ? n : 0;
}

/* As many blocks of each size come and go as the limit allows, again and again. */
static int exceed(void)
{
    static void *blocks[MOST];
    static const size_t sizes[] = {500, 3000, 40000, 1 << 20, 5 << 20};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = fill(blocks, sizes[i]);
            if (n * sizes[i] < 19u << 20 || n * sizes[i] > 32u << 20)
                return printf("%zu blocks of %zu bytes\n", n, sizes[i]), 1;
            while (n > 0)
                free(blocks[--n]);
        }
    return 0;
}

/* Blocks of all sizes in turn, 2 MiB at a time, all freed before the next size: each leaves its
 * magazine full. Between them, one large block. */
static void *churn(void *refused)
{
    static __thread void *blocks[8192];
    for (int round = 0; round < 12; round++)
        for (size_t size = 256; size <= 32768; size += size / 8) {
            size_t n = ((size_t)2 << 20) / size;
            for (size_t i = 0; i < n; i++) {
                blocks[i] = malloc(size);
                if (blocks[i] == NULL)
                    *(int *)refused = 1;
                else
                    memset(blocks[i], 1, size);
            }
            for (size_t i = 0; i < n; i++)
                free(blocks[(i * 127) % n]), blocks[(i * 127) % n] = NULL;
            for (size_t i = 0; i < n; i++)
                free(blocks[i]);
            void *large = malloc(3 << 20);
            if (large == NULL)
                *(int *)refused = 1;
            else
                memset(large, 1, 3 << 20);
            free(large);
        }
    return NULL;
}

/* KiB */
static long peak(void)
{
    char line[200];
    long value = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "VmHWM: %ld", &value) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return value;
}

int main(int argc, char **argv)
{
    pthread_t thread[16];
    int refused[16] = {0}, count = argc > 1 ? atoi(argv[1]) : 0, any = 0;
    if (count == 0) {
        any = exceed();
    } else {
        for (int i = 0; i < count; i++)
            if (pthread_create(&thread[i], NULL, churn, &refused[i]) != 0)
                return 2;
        for (int i = 0; i < count; i++) {
            pthread_join(thread[i], NULL);
            any |= refused[i];
        }
    }
    printf("peak %ld\n", peak());
    return any;
}
C
$cc -O1 -fno-builtin -Wall -Wextra -Werror -pthread -o "$tap_dir/prog" "$tap_dir/prog.c" || {
    fail 'a program for the limit is built'
    tap_done
}

# within KIB COMMAND...: it passes, and has had no more memory than this.
within() {
    most=$1
    shift
    "$@" >"$tap_dir/out" || {
        echo "status $?"
        cat "$tap_dir/out"
        return 1
    }
    cat "$tap_dir/out"
    [ "$(sed -n 's/^peak //p' "$tap_dir/out")" -le "$most" ]
}

# beyond KIB COMMAND...: it passes, and has had more.
beyond() {
    least=$1
    shift
    "$@" >"$tap_dir/out"
    cat "$tap_dir/out"
    [ "$(sed -n 's/^peak //p' "$tap_dir/out")" -gt "$least" ]
}

# Beside the limit there is the program itself, its stacks and libraries, and the
# tables of owlalloc: 6 MiB are plenty here.
margin=$((6 * 1024))
try 'ENOMEM at the limit, and on after frees' within $((32 * 1024 + margin)) \
    env OWL_LIMIT=32M LD_PRELOAD="$lib" "$tap_dir/prog"
try 'one thread that frees what it takes never fails' within $((10 * 1024 + margin)) \
    env OWL_LIMIT=10M LD_PRELOAD="$lib" "$tap_dir/prog" 1
try 'without a limit it has more' beyond $((12 * 1024 + margin)) \
    env LD_PRELOAD="$lib" "$tap_dir/prog" 1
try 'four threads do not either' within $((64 * 1024 + margin)) \
    env OWL_LIMIT=64M LD_PRELOAD="$lib" "$tap_dir/prog" 4

tap_done
