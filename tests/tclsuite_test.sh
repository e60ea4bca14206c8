#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# A selection of Tcl's own test suite, as far as a plain tclsh can run it, with Tcl on
# owlalloc in each way that is installed: the tests that fail must be those that fail
# with the stock tclsh. All of the suite is run by `./quickstart check-tcl-suite`.
#
# OWL_ROOT names the installation; OWL_TCL_SUITE the directory in which tcl_source.sh
# has put Tcl's source, which this does not fetch itself.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/tcl_results.sh
. "$here/tcl_results.sh"

root=${OWL_ROOT:-$here/../build/root}
tests=${OWL_TCL_SUITE:-$here/../build/tcl-suite}/source/tests
[ -e "$tests/all.tcl" ] || skip_all "no source of Tcl: ./quickstart check-tcl-suite gets it"
command -v tclsh8.6 >/dev/null 2>&1 || skip_all 'there is no tclsh8.6'
command -v timeout >/dev/null 2>&1 || skip_all 'there is no timeout'
[ -d "$root/lib" ] || skip_all "there is no $root/lib"
root=$(CDPATH='' cd -- "$root" && pwd)
tests=$(CDPATH='' cd -- "$tests" && pwd)
owltclsh=$root/bin/owltclsh
relinked=$root/lib/owl/tcl8.6
adapter=$root/lib/libowl-tcl.so
library=$root/lib/libowl.so

# What makes much use of memory in many ways and waits for little; names of test files.
files='append* apply* assemble* basic* binary* case* cmd* comp* concat* coroutine* dict*
    encoding* env* error* eval* exec* expr* fileName* for* get* history* if* incr* info* init*
    interp* ioCmd* ioTrans* iogt* join* lindex* linsert* list* llength* lmap* lrange* lrepeat*
    lreplace* lsearch* lset* math* msgcat* namespace* nre* oo* package* parse* pkg* proc*
    regexpComp* rename* result* safe* scan* set* source* split* stack* string* subst* switch*
    tailcall* thread* trace* unknown* uplevel* upvar* utf* util* var* while* zlib*'

# Of these, what does wait, for seconds.
slow='cmdAH-20.5 cmdAH-24.* exec-9.3 exec-17.1 exec-19.1 interp-34.* iocmd-31.* lmap-7.7
    thread-5.*'

# What hangs has failed; in seconds.
limit=150

# suite WHO LOG ARGUMENT...: see tcl_results.sh. The directory that it runs in is the one
# for temporary files, too: some tests expect that.
suite() {
    shell=tclsh8.6
    variable=UNUSED=
    constraints=
    case $1 in
        owltclsh) shell=$owltclsh ;;
        relinked) variable=LD_LIBRARY_PATH=$relinked ;;
        adapter) variable=LD_PRELOAD=$adapter ;;
        library) variable=LD_PRELOAD=$library ;;
        known-bugs) constraints=knownBug ;;
    esac
    mkdir -p "$tap_dir/$1"
    log=$tap_dir/$1/$2
    shift 2
    rm -rf "$tap_dir/run"
    mkdir "$tap_dir/run"
    (
        cd "$tap_dir/run" &&
            env -i PATH="$PATH" HOME="$tap_dir/run" LC_ALL=C "$variable" \
                timeout -k 5 "$limit" "$shell" "$tests/all.tcl" -constraints "$constraints" \
                -skip "$slow" "$@" >"$log" 2>&1 </dev/null
    )
    suite_complete "$log" || {
        echo 'the suite did not end; the end of its output:'
        tail -n 20 "$log"
        return 1
    }
}

# selection WHO: all of it.
selection() {
    suite "$1" suite.log -file "$(echo "$files" | sed 's/\*/*.test/g')" &&
        suite_counts "$tap_dir/$1/suite.log"
}

as_stock() {
    selection "$1" && suite_same "$tap_dir" stock "$1"
}

# loaded VARIABLE=VALUE LIBRARY: what the stock tclsh is given does take effect.
loaded() {
    # shellcheck disable=SC2016
    echo 'set maps [open /proc/self/maps]; puts [read $maps]' |
        env "$1" tclsh8.6 | grep -F "$2"
}

# A plain tclsh, which knows of tests that do fail.
plenty() {
    selection stock && [ "$(suite_count Passed "$tap_dir/stock/suite.log")" -gt 10000 ]
}

# Tests that are known to fail, run with one of two only, are reported; these are some.
difference_is_found() {
    suite known-bugs suite.log -file info.test && suite few suite.log -file info.test || return 1
    suite_same "$tap_dir" few known-bugs >"$tap_dir/said" && return 1
    cat "$tap_dir/said"
    grep -q '^    failed with known-bugs info.test info-' "$tap_dir/said"
}

# So are tests that one has not run, though these fail with none.
omission_is_found() {
    suite fewer suite.log -file list.test && suite most suite.log -file 'list.test set.test' ||
        return 1
    suite_same "$tap_dir" most fewer >"$tap_dir/said" && return 1
    cat "$tap_dir/said"
    grep -q '^most has run 2 files' "$tap_dir/said"
}

# A shell that dies in the midst of a file is reported too.
crash_is_found() {
    mkdir -p "$tap_dir/crash" "$tap_dir/clean"
    printf '%s\n' a.test b.test 'Test file error: child killed: SIGABRT' >"$tap_dir/crash/suite.log"
    printf '%s\n' a.test b.test >"$tap_dir/clean/suite.log"
    suite_differences "$tap_dir" clean crash suite.log >"$tap_dir/said"
    cat "$tap_dir/said"
    [ "$(cat "$tap_dir/said")" = 'crash b.test (error)' ]
}

try 'the stock tclsh, for comparison' plenty
try 'a test that fails with one only is found' difference_is_found
try 'tests that one has not run are found' omission_is_found
try 'a file that ends early is found' crash_is_found

if [ -x "$owltclsh" ]; then
    try 'owltclsh fails as the stock one does' as_stock owltclsh
else
    skip 'owltclsh fails as the stock one does' "no $owltclsh"
fi

# with WHO FILE VARIABLE=VALUE NAME
with() {
    if [ -e "$2" ]; then
        try "$4 takes effect" loaded "$3" "$2"
        try "with $4 the same tests fail" as_stock "$1"
    else
        skip "with $4 the same tests fail" "no $2"
    fi
}

with relinked "$relinked/libtcl8.6.so" LD_LIBRARY_PATH="$relinked" 'the re-linked libtcl'
with adapter "$adapter" LD_PRELOAD="$adapter" 'libowl-tcl.so preloaded'
with library "$library" LD_PRELOAD="$library" 'libowl.so preloaded'

tap_done
