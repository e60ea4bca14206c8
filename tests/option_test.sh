#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Options come from the environment at the start of a program, whether the library
# is preloaded, linked or within the program, and act.
#
# OWL_ROOT names the installation that is tested.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
cc=${CC:-cc}
# The default, as the header tells it.
dirty=$(sed -n 's/^ \*   dirty  *\([0-9]*\) .*/\1/p' "$root/include/owl/option.h")
unset OWL_DIRTY OWL_DIRTY_SHARE OWL_MAGAZINE

# Prints an option's value and how much stays dirty when 2 MiB are freed. Its
# environment is spoiled first, as some programs do with theirs.
cat >"$tap_dir/prog.c" <<'C'
#include <owl/option.h>
#include <owl/stats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv)
{
    long long value;
    struct owl_stats s;
    if (argc != 2 || owl_option_get(argv[1], &value) != 0)
        return 1;
    for (char **e = environ; *e != NULL; e++)
        *e = (char *)8;
    environ = (char **)8;
    void *volatile p = malloc((size_t)2 << 20);
    memset(p, 1, (size_t)2 << 20);
    free(p);
    owl_stats(&s);
    printf("%lld %zu\n", value, s.dirty_bytes);
    return s.resident_bytes > 0 ? 0 : 2;
}
C

$cc -Wall -Wextra -Werror -pthread -I"$root/include" -o "$tap_dir/shared" "$tap_dir/prog.c" \
    -L"$root/lib" -lowl -Wl,-rpath,"$root/lib" &&
    $cc -Wall -Wextra -Werror -pthread -I"$root/include" -o "$tap_dir/static" "$tap_dir/prog.c" \
        "$root/lib/libowl.a" || {
    fail 'a program for the options is built'
    tap_done
}

# says WANTED COMMAND...: exactly this, and nothing to standard error.
says() {
    wanted=$1
    shift
    got=$("$@" 2>"$tap_dir/err") || {
        echo "status $?"
        return 1
    }
    cat "$tap_dir/err"
    echo "$got"
    [ "$got" = "$wanted" ] && [ ! -s "$tap_dir/err" ]
}

for kind in shared static; do
    try "defaults, $kind" says "$dirty 2097152" "$tap_dir/$kind" dirty
    try "OWL_DIRTY, $kind" says '1048576 917504' \
        env OWL_DIRTY=1M OWL_DIRTY_SHARE=0 "$tap_dir/$kind" dirty
    try "OWL_MAGAZINE, $kind" says '4096 2097152' env OWL_MAGAZINE=4k "$tap_dir/$kind" magazine
done

# one_line PATTERN COMMAND...: standard error is one line of that form, and the
# program runs.
one_line() {
    pattern=$1
    shift
    "$@" 2>"$tap_dir/err" >"$tap_dir/out" || echo "status $?"
    cat "$tap_dir/err"
    [ "$(wc -l <"$tap_dir/err")" -eq 1 ] && grep -q "$pattern" "$tap_dir/err" &&
        grep -q '^done$' "$tap_dir/out"
}
try 'a bad value is one line on standard error' one_line \
    "^owlalloc: OWL_DIRTY=lots: not a number from 0 to [0-9]* .*the default is used, $dirty\$" \
    env OWL_DIRTY=lots LD_PRELOAD="$lib" /bin/echo 'done'
try 'so is one that is out of range' one_line \
    '^owlalloc: OWL_MAGAZINE=1M: not a number from 0 to 524288 ' \
    env OWL_MAGAZINE=1M LD_PRELOAD="$lib" /bin/echo 'done'
try 'with a bad value the default is used' [ \
    "$(OWL_DIRTY=-5 "$tap_dir/shared" dirty 2>/dev/null)" = "$dirty 2097152" ]
try 'a good one is silent' says 'done' env OWL_DIRTY=5M LD_PRELOAD="$lib" /bin/echo 'done'

# A program that runs with other rights than its caller's does not listen to that one.
privileged() {
    cp "$tap_dir/static" "$tap_dir/setuid" && chown nobody "$tap_dir/setuid" &&
        chmod 4755 "$tap_dir/setuid" && chmod 755 "$tap_dir" &&
        says "$dirty 2097152" env OWL_DIRTY=1M "$tap_dir/setuid" dirty
}
if [ "$(id -u)" -eq 0 ] && id nobody >/dev/null 2>&1 &&
    ! findmnt -no OPTIONS --target "$tap_dir" 2>/dev/null | grep -q nosuid; then
    try 'a set-user-ID program takes no options from its caller' privileged
else
    skip 'a set-user-ID program takes no options from its caller' 'that takes root'
fi

tap_done
