#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Tcl's own test suite, as the proof that the drop-in can replace Tcl's allocator.
# DIR/source is Tcl's source (tcl_source.sh); all else is made below DIR, too. ROOT is
# an installation of owlalloc. In this order:
#
#   tcl_suite.sh build DIR ROOT        three builds of Tcl: zippy, Tcl's own allocator;
#                                      owl, the drop-in in its place; poisoned, that and
#                                      freed memory overwritten (tcl_poison.c)
#   tcl_suite.sh run DIR BUILD         all of the suite
#   tcl_suite.sh compare DIR BUILD     with zippy's results: exit status 0 if the same
#                                      tests failed
#
# The build and the run of zippy are done once. The suite is run by tcltest, the shell
# that has Tcl's commands for testing, with the Thread package of tclsh8.6.

set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tcl_results.sh
. "$here/tcl_results.sh"

# What hangs has failed; in seconds. A run takes four minutes on an idle machine.
limit=2400

die() {
    printf 'tcl_suite.sh: %s\n' "$*" >&2
    exit 1
}

# --- build -----------------------------------------------------------------

build_zippy() {
    [ ! -e "$dir/zippy/done" ] || return 0
    rm -rf "$dir/zippy"
    mkdir -p "$dir/zippy/build"
    cd "$dir/zippy/build"
    sh "$dir/source/unix/configure" --enable-threads --enable-shared --prefix="$dir/none"
    make -j "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)" binaries tcltest
    touch "$dir/zippy/done"
}

# relink NAME LINKED...: zippy's build, with the drop-in for tclThreadAlloc.o, and what
# else is to be LINKED into its libtcl.
relink() {
    build=$dir/$1/build
    shift
    rm -rf "${build%/*}"
    mkdir "${build%/*}"
    cp -a "$dir/zippy/build" "$build"
    cp "$dropin" "$build/tclThreadAlloc.o"
    rm "$build/libtcl8.6.so" "$build/tcltest"
    make -C "$build" binaries tcltest TCL_SHLIB_LD_EXTRAS="$*"
    # Make must not have compiled Tcl's own again.
    cmp "$dropin" "$build/tclThreadAlloc.o"
    nm "$build/libtcl8.6.so" | grep -q ' T owl_malloc$' ||
        die "$build/libtcl8.6.so is linked without the drop-in"
}

poison() {
    # CC may be a command with options.
    # shellcheck disable=SC2086
    ${CC:-cc} -std=gnu11 -O2 -fPIC -fvisibility=hidden -Wall -Wextra -Werror -c \
        -DPOISON_LOG="\"$dir/poisoned.log\"" -I"$root/include" -I"$dir/source/generic" \
        -o "$dir/tcl_poison.o" "$here/tcl_poison.c"
    relink poisoned "$dir/tcl_poison.o" \
        -Wl,--wrap=TclpFree,--wrap=TclpRealloc,--wrap=TclThreadFreeObj
}

build() {
    root=$(CDPATH='' cd -- "$1" && pwd -P)
    dropin=$root/lib/owl/owl_tcl86.o
    [ -e "$dropin" ] || die "there is no $dropin"
    # Someone else's make should not reach in here.
    unset MAKEFLAGS MFLAGS MAKELEVEL
    build_zippy
    relink owl
    poison
}

# --- run -------------------------------------------------------------------

# Where tclsh8.6 has its Thread package.
thread_directory() {
    tclsh8.6 <<'TCL'
package require Thread
foreach library [info loaded] {
    if {[lindex $library 1] eq "Thread"} {
        puts [file dirname [lindex $library 0]]
    }
}
TCL
}

# suite BUILD LOG ARGUMENT...: in a directory of its own, which is the one for temporary
# files, too: httpd11.tcl looks for such files in the directory that it runs in.
suite() {
    build=$dir/$1/build
    log=$dir/$1/$2
    shift 2
    rm -f "$log"
    threads=$(thread_directory)
    [ -n "$threads" ] || die 'tclsh8.6 has no Thread package (Debian package: tcl-thread)'
    rm -rf "$dir/run"
    mkdir "$dir/run"
    cd "$dir/run"
    status=0
    env -i PATH="$PATH" HOME="$dir/run" LC_ALL=C LD_LIBRARY_PATH="$build" \
        TCL_LIBRARY="$dir/source/library" TCLLIBPATH="$threads" \
        timeout -k 10 "$limit" "$build/tcltest" "$dir/source/tests/all.tcl" "$@" \
        >"$log" 2>&1 </dev/null || status=$?
    cd "$dir"
    rm -rf "$dir/run"
    suite_complete "$log" || {
        tail -n 20 "$log"
        die "the suite did not end (exit status $status); its output is in $log"
    }
}

run() {
    if [ "$1" = zippy ] && [ -e "$dir/zippy/suite.log" ] &&
        suite_complete "$dir/zippy/suite.log"; then
        return 0
    fi
    [ -e "$dir/$1/build/tcltest" ] || die "build first: there is no $dir/$1/build/tcltest"
    rm -f "$dir/$1.log"
    suite "$1" suite.log
}

# --- compare ---------------------------------------------------------------

# How much was overwritten; nothing would mean that the run showed nothing.
poisoned_amount() {
    awk '{ blocks += $1; objects += $2 }
        END {
            printf "%d blocks and %d objects overwritten as they were freed\n", blocks, objects
            exit !(blocks > 0 && objects > 0)
        }' "$dir/poisoned.log"
}

compare() {
    for build in zippy "$1"; do
        [ -e "$dir/$build/suite.log" ] || die "run first: there is no $dir/$build/suite.log"
        printf '%-10s%s\n' "$build" "$(suite_counts "$dir/$build/suite.log")"
    done
    [ "$1" != poisoned ] || poisoned_amount
    suite_same "$dir" zippy "$1"
}

# --- main ------------------------------------------------------------------

[ $# -eq 3 ] || die 'usage: tcl_suite.sh build DIR ROOT | run DIR BUILD | compare DIR BUILD'
[ -e "$2/source/tests/all.tcl" ] || die "there is no Tcl source in $2/source"
dir=$(CDPATH='' cd -- "$2" && pwd -P)
case $1 in
    build) build "$3" ;;
    run | compare) "$1" "$3" ;;
    *) die "unknown command: $1" ;;
esac
