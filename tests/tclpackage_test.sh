#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The Tcl package owl, by tests/owl.test: in a stock tclsh that does not run on
# owlalloc, and in those that do; and in programs that have Tcl inside.
#
# OWL_ROOT names the installation whose package is tested.

# Functions are called by name, through try; and it is Tcl that expands.
# shellcheck disable=SC2317,SC2016

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

root=${OWL_ROOT:-$here/../build/root}
[ -e "$root/lib/owl-tcl/pkgIndex.tcl" ] || skip_all "there is no $root/lib/owl-tcl"
command -v tclsh8.6 >/dev/null 2>&1 || skip_all 'no tclsh8.6 here'
root=$(CDPATH='' cd -- "$root" && pwd)
lib=$root/lib/libowl.so
cc=${CC:-cc}
pkg_config=${PKG_CONFIG:-pkg-config}
header=$root/include/owl/owl.h
OWL_VERSION=${OWL_VERSION:-$(sed -n 's/^#define OWL_VERSION "\(.*\)"/\1/p' "$header")}
TCLLIBPATH=$root/lib
export OWL_VERSION TCLLIBPATH
unset LD_PRELOAD OWL_DIRTY OWL_DIRTY_SHARE OWL_MAGAZINE

# A line for each result of tcltest; its last one begins with the file's name and counts.
results() {
    sed -En 's/^\+\+\+\+ ([^ ]+) PASSED$/ok \1/p; s/^==== ([^ ]+) FAILED$/bad \1/p
        s/^.*Total[[:blank:]]+([0-9]+)[[:blank:]]+Passed[[:blank:]]+([0-9]+).*/end \2/p' "$1"
}

# tcl_tests NAME PROGRAM ASSIGNMENT...: owl.test in such an environment, by a tclsh or what
# starts one; what its constraints leave out is another run's.
tcl_tests() {
    name=$1
    program=$2
    shift 2
    # The program may be of several words.
    # shellcheck disable=SC2086
    env "$@" $program "$here/owl.test" -verbose 'pass body error' \
        >"$tap_dir/$name.out" 2>&1 </dev/null
    status=$?
    results "$tap_dir/$name.out" >"$tap_dir/$name.results"
    while read -r result test; do
        case $result in
            ok) pass "$name: $test" ;;
            bad) fail "$name: $test" "$tap_dir/$name.out" ;;
        esac
    done <"$tap_dir/$name.results"
    if [ "$status" -eq 0 ] && grep -q '^end [1-9]' "$tap_dir/$name.results"; then
        pass "$name: it ran to its end"
    else
        echo "status $status" >>"$tap_dir/$name.out"
        fail "$name: it ran to its end" "$tap_dir/$name.out"
    fi
}

tcl_tests stock tclsh8.6 OWL_EXPECT=none
tcl_tests preload tclsh8.6 OWL_EXPECT=malloc OWL_FILE="$lib" LD_PRELOAD="$lib" OWL_MAGAZINE=64K
if [ -x "$root/bin/owl-run" ] && [ -x "$root/bin/owltclsh" ]; then
    tcl_tests owl-run "$root/bin/owl-run tclsh8.6" OWL_EXPECT=malloc OWL_FILE="$lib" OWL_MAGAZINE=64K
    tcl_tests owltclsh "$root/bin/owltclsh" OWL_EXPECT=malloc OWL_FILE="$root/bin/owltclsh" \
        OWL_MAGAZINE=64K
else
    skip 'owl-run and owltclsh' 'they were not built'
fi
echo 'if {[catch {package require Thread}]} {exit 1}' | tclsh8.6 ||
    skip 'in threads' 'no package Thread here'

# The package's own directory will do, and so will its parent.
found_in() {
    TCLLIBPATH=$1 tclsh8.6 <<'TCL' | grep -qx "$OWL_VERSION"
puts [package require owl]
TCL
}
try 'it is found in its directory' found_in "$root/lib/owl-tcl"
try 'and in the one above' found_in "$root/lib"

# Only libc, and no more names than its entry.
only_entry() {
    package=$root/lib/owl-tcl/libowl-package.so
    nm -D --defined-only "$package" | awk '{ print $3 }' >"$tap_dir/names"
    readelf -d "$package" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' \
        >>"$tap_dir/names"
    cat "$tap_dir/names"
    [ "$(tr '\n' ' ' <"$tap_dir/names")" = 'Owl_Init libc.so.6 ' ]
}
if command -v readelf >/dev/null && command -v nm >/dev/null; then
    try 'it exports its entry and needs libc' only_entry
else
    skip 'its names' 'no readelf and nm here'
fi

# ---- programs with Tcl inside ----

cat >"$tap_dir/inside.c" <<'C'
#include <stdio.h>
#include <tcl.h>

int main(int argc, char **argv)
{
    Tcl_FindExecutable(argv[0]);
    Tcl_Interp *interp = Tcl_CreateInterp();
    if (argc != 2 || Tcl_Init(interp) != TCL_OK || Tcl_Eval(interp, argv[1]) != TCL_OK) {
        puts(Tcl_GetStringResult(interp));
        return 1;
    }
    puts(Tcl_GetStringResult(interp));
    Tcl_Finalize();
    return 0;
}
C

# The same, but what it loads is seen by nobody else.
cat >"$tap_dir/alone.c" <<'C'
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    void *tcl = dlopen("libtcl8.6.so", RTLD_NOW | RTLD_LOCAL);
    void *(*create)(void) = tcl ? (void *(*)(void))dlsym(tcl, "Tcl_CreateInterp") : 0;
    void (*find)(const char *) = tcl ? (void (*)(const char *))dlsym(tcl, "Tcl_FindExecutable") : 0;
    int (*init)(void *) = tcl ? (int (*)(void *))dlsym(tcl, "Tcl_Init") : 0;
    int (*eval)(void *, const char *) =
        tcl ? (int (*)(void *, const char *))dlsym(tcl, "Tcl_Eval") : 0;
    const char *(*result)(void *) =
        tcl ? (const char *(*)(void *))dlsym(tcl, "Tcl_GetStringResult") : 0;
    if (argc != 2 || !create || !find || !init || !eval || !result)
        return 2;
    find(argv[0]);
    void *interp = create();
    int bad = init(interp) || eval(interp, argv[1]);
    puts(result(interp));
    return bad;
}
C

# builds NAME SOURCE FLAGS...
builds() {
    out=$tap_dir/$1
    source=$tap_dir/$2
    shift 2
    # shellcheck disable=SC2046
    $cc -pthread -o "$out" "$source" $($pkg_config --cflags tcl8.6) "$@" >"$tap_dir/cc.out" 2>&1
}

# prints WANTED PROGRAM SCRIPT
prints() {
    got=$("$2" "$3")
    echo "$got"
    [ "$got" = "$1" ]
}

if $pkg_config --exists tcl8.6 2>/dev/null && builds contains inside.c -rdynamic \
    -Wl,-u,malloc "$root/lib/libowl.a" -ltcl8.6; then
    try 'a program that contains owlalloc' prints "$tap_dir/contains 1" "$tap_dir/contains" \
        'package require owl; owl trim; set v [owl version]
         list [dict get $v file] [dict get $v malloc]'
    builds linked inside.c -L"$root/lib" -Wl,--no-as-needed -lowl -ltcl8.6 -Wl,-rpath,"$root/lib"
    try 'a program linked with libowl.so' prints "libowl.so.0 1" "$tap_dir/linked" \
        'package require owl; set v [owl version]
         list [file tail [dict get $v file]] [dict get $v malloc]'
    builds alone alone.c
    try 'a program that loaded Tcl for itself alone has pools' prints shared "$tap_dir/alone" \
        'package require owl; owl stats; lindex [owl pools] end 0'
    # A libtcl that brought owlalloc, seen by nobody else: the heap is found beside Tcl.
    mkdir "$tap_dir/tcl"
    builds tcl/libtcl8.6.so inside.c -shared -fPIC -Dmain=unused -Wl,-soname,libtcl8.6.so \
        -Wl,--no-as-needed -L"$root/lib" -lowl -Wl,-rpath,"$root/lib" \
        -Wl,--whole-archive "$($pkg_config --variable=libdir tcl8.6)/libtcl8.6.a" \
        -Wl,--no-whole-archive -lz -lm
    LD_LIBRARY_PATH=$tap_dir/tcl
    export LD_LIBRARY_PATH
    try 'a libtcl that brings owlalloc along' prints "libowl.so.0" "$tap_dir/alone" \
        'package require owl; owl trim; file tail [dict get [owl version] file]'
    unset LD_LIBRARY_PATH
else
    skip 'programs with Tcl inside' "no headers of Tcl 8.6 here"
fi

# The environment that Tcl freed is not read.
at_exit() {
    LD_PRELOAD=$lib OWL_DIRTY=3M tclsh8.6 <<'TCL'
package require owl
for {set i 0} {$i < 200} {incr i} {set env(OWL_X$i) $i}
set env(OWL_DIRTY) nonsense
foreach name [array names env] {unset env($name)}
if {[owl option dirty] != 3 << 20} {exit 1}
TCL
}
try 'what a script makes of the environment changes nothing' at_exit

# A manual page that says what it should, and without a complaint.
manual() {
    MANWIDTH=80 man -l --warnings "$root/share/man/mann/owl.n" >"$tap_dir/man" 2>"$tap_dir/man.err"
    cat "$tap_dir/man.err"
    [ ! -s "$tap_dir/man.err" ] && grep -q 'owl trim' "$tap_dir/man" || return 1
    for word in $(tclsh8.6 <<'TCL'
package require owl
puts "[dict keys [owl version]]"
TCL
    ); do
        grep -qw "$word" "$tap_dir/man" || { echo "no $word"; return 1; }
    done
}
if command -v man >/dev/null 2>&1; then
    try 'the manual page is clean' manual
else
    skip 'the manual page is clean' 'no man here'
fi

tap_done
