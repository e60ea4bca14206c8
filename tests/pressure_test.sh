#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Memory pressure on the real system: a program near its own limit is told, and one
# in a control group near that one's, where such groups can be made; the kernel's
# triggers on stalls can be set where it has them; and no thread wakes without need.
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
#include <dirent.h>
#include <owl/owl.h>
#include <owl/pressure.h>
#include <owl/stats.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int calls;
static _Atomic double most;

static void note(double severity, void *context)
{
    (void)context;
    calls++;
    if (severity > most)
        most = severity;
    free(malloc(100000));
}

/* Descriptors of files whose names begin so. */
static int open_files(const char *begin)
{
    char path[300], name[300];
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        ssize_t n = readlink(path, name, sizeof name - 1);
        name[n > 0 ? n : 0] = '\0';
        count += strncmp(name, begin, strlen(begin)) == 0;
    }
    closedir(d);
    return count;
}

/* How often the watching thread has slept and run again; -1: there is none. */
static long switches(void)
{
    char path[300], line[200], name[40] = "";
    long count = -1, value;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = fopen(path, "r");
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            sscanf(line, "Name: %39s", name);
            if (strcmp(name, "owl-pressure") == 0 &&
                sscanf(line, "voluntary_ctxt_switches: %ld", &value) == 1)
                count = value;
        }
        if (f != NULL)
            fclose(f);
    }
    closedir(d);
    return count;
}

int main(int argc, char **argv)
{
    size_t bytes = argc > 2 ? strtoul(argv[2], NULL, 10) << 20 : 0;
    if (argc < 2 || owl_on_pressure(note, NULL) != 0)
        return perror("owl_on_pressure"), 2;
    usleep(200000);
    if (strcmp(argv[1], "files") == 0) {
        printf("triggers %d\n", open_files("/proc/pressure/memory"));
    } else if (strcmp(argv[1], "quiet") == 0) {
        long before = switches();
        sleep(4);
        printf("switches %ld calls %d\n", switches() - before, calls);
        return switches() >= 0 && switches() == before ? 0 : 1;
    } else {
        char *volatile p = malloc(bytes);
        if (p == NULL)
            return 3;
        memset(p, 1, bytes);
        for (int i = 0; i < 50 && calls == 0; i++)
            usleep(100000);
        printf("calls %d most %.2f\n", calls, most);
    }
    int had = calls;
    if (owl_off_pressure(note, NULL) != 0 || switches() != -1 ||
        open_files("/proc/pressure/memory") != 0)
        return 4;
    return strcmp(argv[1], "near") == 0 ? had == 0 || most < 0.3 : 0;
}
C
$cc -Wall -Wextra -Werror -pthread -I"$root/include" -o "$tap_dir/prog" "$tap_dir/prog.c" \
    -L"$root/lib" -lowl -Wl,-rpath,"$root/lib" || {
    fail 'a program for pressure is built'
    tap_done
}
prog=$tap_dir/prog

try 'near its own limit a program is told' env OWL_LIMIT=64M "$prog" near 60

# far: it is not.
far() {
    OWL_LIMIT=1G "$prog" far 60 >"$tap_dir/out"
    cat "$tap_dir/out"
    grep -q '^calls 0' "$tap_dir/out" || stalled
}

# stalled: other programs have made pressure by themselves.
stalled() {
    ! grep -q '^some avg10=0.00' /proc/pressure/memory 2>/dev/null
}
try 'far from it, it is not' far

# Where a group has a limit the thread has to look each second.
limited() {
    find /sys/fs/cgroup -maxdepth 8 \( -name memory.max -o -name memory.high \) \
        -exec grep -lv max {} + 2>/dev/null | grep -q . ||
        find /sys/fs/cgroup/memory -maxdepth 8 -name memory.limit_in_bytes \
            -exec grep -Lx '9223372036854771712' {} + 2>/dev/null | grep -q .
}
if stalled || limited; then
    skip 'without pressure no thread wakes' 'there is pressure, or a group with a limit'
else
    try 'without pressure no thread wakes' "$prog" quiet
fi

triggers() {
    "$prog" files >"$tap_dir/out"
    cat "$tap_dir/out"
    [ "$(sed -n 's/^triggers //p' "$tap_dir/out")" = 1 ]
}
if [ -w /proc/pressure/memory ]; then
    try "the kernel's trigger is set, and taken back" triggers
else
    skip "the kernel's trigger is set, and taken back" 'no stalls are counted here'
fi

# A group of our own, of version 1 or 2.
group=''
for top in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    if [ -z "$group" ] && [ -w "$top/cgroup.procs" ] &&
        mkdir "$top/owl-test.$$" 2>/dev/null; then
        group=$top/owl-test.$$
        if [ -e "$group/memory.limit_in_bytes" ]; then
            limit=memory.limit_in_bytes
        elif [ -e "$group/memory.max" ]; then
            limit=memory.max
        else
            rmdir "$group"
            group=''
        fi
    fi
done
trap '[ -z "$group" ] || rmdir "$group"; rm -rf "$tap_dir"' EXIT
in_group() {
    sh -c 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"' sh "$group" "$@"
}
if [ -n "$group" ] && echo 100000000 >"$group/$limit" 2>/dev/null; then
    try "near its group's limit it is told" in_group "$prog" near 86
else
    skip "near its group's limit it is told" 'no group with a limit can be made'
fi

tap_done
