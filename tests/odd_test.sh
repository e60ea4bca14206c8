#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Odd times, places and processes: accept_odd.c and accept_process.c against the installed library
# in each way that a program can come by it; and libraries that come and go (accept_dl.c).
#
# OWL_ROOT names the installation; CC the compiler.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
use_compiler

use_limit 150

# compile OUTPUT ARGUMENT...
compile() {
    output=$1
    shift
    # shellcheck disable=SC2086
    $cc -O1 -g -w -fno-builtin -I"$root/include" "$@" -o "$tap_dir/$output" -pthread -ldl
}

with_owl="-L$root/lib -lowl -Wl,-rpath,$root/lib"

linked() {
    # shellcheck disable=SC2086
    compile "$1-linked" "$here/$1.c" $with_owl && $limit "$tap_dir/$1-linked"
}

archived() {
    compile "$1-archived" "$here/$1.c" "$root/lib/libowl.a" -rdynamic &&
        $limit "$tap_dir/$1-archived"
}

preloaded() {
    compile "$1" "$here/$1.c" && LD_PRELOAD=$lib $limit "$tap_dir/$1"
}

# in_files NAME: what preloaded() has compiled, with all large blocks in files.
in_files() {
    OWL_BACKING=memfd LD_PRELOAD=$lib $limit "$tap_dir/$1"
}

# copies KIND NUMBER: each is a library of its own to the loader.
copies() {
    mkdir -p "$tap_dir/$1" || return 1
    i=0
    while [ "$i" -lt "$3" ]; do
        cp "$tap_dir/$2.so" "$tap_dir/$1/$2-$i.so" || return 1
        i=$((i + 1))
    done
}

# The program is without the library, which its users bring, or which is preloaded.
libraries_come_and_go() {
    compile user.so -shared -fPIC -DUSER "$here/accept_dl.c" && copies many user 320 &&
        compile dl "$here/accept_dl.c" && LD_PRELOAD=$lib $limit "$tap_dir/dl" users "$tap_dir/many"
}

# 64 bytes of static thread-local memory are left when it comes: five times 16 were given back, one
# of which the loader may have lost to alignment.
the_library_comes_late() {
    # shellcheck disable=SC2086
    compile user.so -shared -fPIC -DUSER -DLATE "$here/accept_dl.c" $with_owl &&
        compile filler.so -shared -fPIC -DFILLER=16 "$here/accept_dl.c" &&
        copies late user 1 && copies late filler 300 &&
        $limit "$tap_dir/dl" late 5 "$tap_dir/late"
}

try 'odd times and places, linked with libowl.so' linked accept_odd
if [ -e "$root/lib/libowl.a" ]; then
    try 'odd times and places, linked with libowl.a' archived accept_odd
else
    skip 'odd times and places, linked with libowl.a' 'there is no libowl.a'
fi
try 'odd times and places, preloaded' preloaded accept_odd
try 'odd times and places, with blocks in files' in_files accept_odd
try 'processes' preloaded accept_process
try 'processes, with blocks in files' in_files accept_process
try 'hundreds of libraries that allocate come and go' libraries_come_and_go
try 'the library comes when little static thread-local memory is left' the_library_comes_late
tap_done
