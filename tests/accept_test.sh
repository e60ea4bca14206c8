#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The acceptance programs, against the installed library, each in the ways that a
# program can come by it: linked with libowl.so, linked with libowl.a, and with
# libowl.so preloaded. Their own TAP lines are shown when one fails.
#
# OWL_ROOT names the installation; CC and CXX the compilers.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library

use_compiler
cxx=${CXX:-c++}

use_limit 120

# compile COMPILER OUTPUT ARGUMENT...
compile() {
    compiler=$1
    output=$2
    shift 2
    # shellcheck disable=SC2086
    $compiler -O1 -g -w -fno-builtin -I"$root/include" "$@" -o "$tap_dir/$output" -pthread -ldl
}

linked() {
    compile "$1" "$2-linked" "$3" -L"$root/lib" -lowl -Wl,-rpath,"$root/lib" &&
        $limit "$tap_dir/$2-linked"
}

archived() {
    # The programs look their functions up by name.
    compile "$1" "$2-archived" "$3" "$root/lib/libowl.a" -rdynamic && $limit "$tap_dir/$2-archived"
}

preloaded() {
    compile "$1" "$2-plain" "$3" && LD_PRELOAD="$lib" $limit "$tap_dir/$2-plain"
}

all_ways() {
    try "$2, linked with libowl.so" linked "$1" "$2" "$3"
    if [ -e "$root/lib/libowl.a" ]; then
        try "$2, linked with libowl.a" archived "$1" "$2" "$3"
    else
        skip "$2, linked with libowl.a" "there is no libowl.a"
    fi
    try "$2, preloaded" preloaded "$1" "$2" "$3"
}

fork_handlers() {
    compile "$cc" libhandlers.so -shared -fPIC -DLIBRARY "$here/accept_fork.c" &&
        compile "$cc" forks "$here/accept_fork.c" -L"$tap_dir" -lhandlers \
            -Wl,-rpath,"$tap_dir" &&
        LD_PRELOAD="$lib" $limit "$tap_dir/forks"
}

# Memory is refused in steps that the program would never need.
data_limit() {
    ulimit -d 40000 && LD_PRELOAD="$lib" $limit ls /
}

all_ways "$cc" malloc "$here/accept_malloc.c"
if command -v "${cxx%% *}" >/dev/null 2>&1; then
    all_ways "$cxx -std=c++17" operators "$here/accept_cxx.cc"
else
    skip 'operators of C++' "there is no compiler $cxx"
fi
try 'fork handlers of others may allocate' fork_handlers
try 'a small RLIMIT_DATA is enough' data_limit
tap_done
