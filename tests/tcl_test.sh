#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The ways into Tcl: the drop-in object, owltclsh, the re-linked libtcl, the preloaded
# library, and owl-run, which chooses.
#
# OWL_ROOT names the installation; OWL_TCL_TAG, OWL_TCL_VERSION, OWL_TCL_CFLAGS,
# OWL_TCL_ARCHIVE, OWL_TCL_LIB_FILE and OWL_TCL_LIBS the Tcl that it was made for.

# Functions are called by name, through try; and it is Tcl that expands.
# shellcheck disable=SC2317,SC2016

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

root=${OWL_ROOT:-$here/../build/root}
tag=${OWL_TCL_TAG:-tcl86} version=${OWL_TCL_VERSION:-8.6}
[ -e "$root/lib/owl/owl_$tag.o" ] || skip_all "there is no $root/lib/owl/owl_$tag.o"
root=$(CDPATH='' cd -- "$root" && pwd)
lib=$root/lib
object=$lib/owl/owl_$tag.o
libtcl=${OWL_TCL_LIB_FILE:-libtcl8.6.so}
relinked=$lib/owl/tcl$version/$libtcl
cflags=${OWL_TCL_CFLAGS:--I/usr/include/tcl8.6}
libs=${OWL_TCL_LIBS:--ldl -lz -lpthread -lm}
archive=${OWL_TCL_ARCHIVE:-}
cc=${CC:-cc}
top=${OWL_SRCDIR:-$here/..}
owltclsh=$root/bin/owltclsh
owl_run=$root/bin/owl-run
tclsh=$(command -v "tclsh$version" || :)
tmp=$tap_dir

# What takes the place of tclThreadAlloc.o defines its symbols, all of them; those that
# the core declares hidden are hidden.
nine_symbols() {
    nm "$object" | awk '$2 == "T" {print $3}' | grep '^Tcl' | sort >"$tmp/got"
    cat >"$tmp/wanted" <<'NAMES'
TclFinalizeThreadAlloc
TclFinalizeThreadAllocThread
TclFreeAllocCache
TclThreadAllocObj
TclThreadFreeObj
Tcl_GetMemoryInfo
TclpAlloc
TclpFree
TclpRealloc
NAMES
    diff "$tmp/wanted" "$tmp/got"
}

exports() {
    nm -D --defined-only "$1" | awk '$3 !~ /^_(init|fini)$/ {print $3}' | sort
}

# Nothing of the allocator's inside can clash with a program's names.
no_other_names() {
    exports "$lib/libowl.so" >"$tmp/public"
    nm -g --defined-only "$object" | awk '{print $3}' | grep -v '^Tcl' | sort |
        comm -13 "$tmp/public" - >"$tmp/others"
    cat "$tmp/others"
    [ -s "$tmp/public" ] && [ ! -s "$tmp/others" ]
}

same_exports() {
    stock=$(ldconfig -p 2>/dev/null | sed -n "s|.*$libtcl.* => ||p" | head -n 1)
    [ -n "$stock" ] || stock=$(dirname "$archive")/$libtcl
    exports "$stock" >"$tmp/stock"
    exports "$relinked" >"$tmp/relinked"
    diff "$tmp/stock" "$tmp/relinked" && grep -q Tcl_CreateInterp "$tmp/stock"
}

own_allocator_is_gone() {
    for file in "$relinked" "$owltclsh"; do
        nm "$file" | grep -wE 'PutBlocks|GetBlocks|MoveObjs|sharedCache' && return 1
    done
    readelf -d "$relinked" | grep -q 'NEEDED.*libowl\.so\.0' &&
        readelf -d "$relinked" | grep -q "SONAME.*$libtcl"
}

# $cflags and $libs are lists.
# shellcheck disable=SC2086
program_with_tcl_inside() {
    $cc -O1 -g -pthread $cflags -o "$tmp/adapter" "$top/tests/tcl_adapter.c" "$@" $libs &&
        LD_LIBRARY_PATH=$run_path "$tmp/adapter"
}

with_the_object() {
    run_path='' program_with_tcl_inside "$object" "$archive"
}

with_the_archive() {
    run_path='' program_with_tcl_inside -Wl,-u,TclpAlloc "$lib/owl/libowl-$tag.a" "$archive"
}

with_the_whole_archive() {
    run_path='' program_with_tcl_inside -Wl,--whole-archive "$lib/owl/libowl-$tag.a" \
        -Wl,--no-whole-archive "$archive"
}

with_the_relinked_library() {
    run_path=$(dirname "$relinked"):$lib program_with_tcl_inside "$relinked" -L"$lib" -lowl
}

# Archives that have no such allocator are refused, and nothing is made.
refuses_other_archives() {
    echo 'char *TclpAlloc(unsigned n) { (void)n; return 0; }' >"$tmp/tclAlloc.c"
    $cc -c -o "$tmp/tclAlloc.o" "$tmp/tclAlloc.c" && ar cr "$tmp/libpurify.a" "$tmp/tclAlloc.o" ||
        return 1
    CC=$cc AR=ar NM=nm sh "$top/tcl/relink.sh" library "$tmp/out.so" "$tmp/libpurify.a" libtcl.so \
        "$object" 2>"$tmp/message" && return 1
    cat "$tmp/message"
    grep -q 'PURIFY or' "$tmp/message" && [ ! -e "$tmp/out.so" ]
}

# The object comes too late: the archive's own member is linked, and that is seen.
# shellcheck disable=SC2086
refuses_a_wrong_order() {
    echo 'int main(void) { return 0; }' >"$tmp/main.c"
    CC=$cc AR=ar NM=nm sh "$top/tcl/relink.sh" program "$tmp/out" "$archive" "$tmp/main.c" \
        -Wl,-u,Tcl_CreateInterp $libs 2>"$tmp/message" && return 1
    cat "$tmp/message"
    [ ! -e "$tmp/out" ]
}

cat >"$tmp/script.tcl" <<'TCL'
proc sum {n} {set s 0; for {set i 0} {$i < $n} {incr i} {dict set d $i $i; incr s [dict get $d $i]}; set s}
puts [sum 1000]
puts [string length [string repeat x 1000000]]
set interps {}
for {set i 0} {$i < 20} {incr i} {lappend interps [interp create]}
foreach i $interps {interp eval $i {set l [lsort [split [string repeat "b a " 1000]]]}; interp delete $i}
if {![catch {package require Thread}]} {
    set t {}
    for {set i 0} {$i < 8} {incr i} {lappend t [thread::create -joinable {set x [string repeat y 10000]}]}
    foreach i $t {thread::join $i}
}
puts done
TCL
printf '499500\n1000000\ndone\n' >"$tmp/script.wanted"

# runs COMMAND...: the script says what it must.
runs() {
    "$@" "$tmp/script.tcl" >"$tmp/script.got" && diff "$tmp/script.wanted" "$tmp/script.got"
}

stock_with_relinked() {
    runs env LD_LIBRARY_PATH="$lib/owl/tcl$version" "$tclsh"
}

stock_with_preload() {
    runs env LD_PRELOAD="$lib/libowl-tcl.so" "$tclsh"
}

# chooses WAY COMMAND...
chooses() {
    way=$1
    shift
    "$owl_run" --verbose "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || return 1
    cat "$tmp/out" "$tmp/err"
    grep -q "$way" "$tmp/err"
}

chooses_for_a_script() {
    { echo "#!$tclsh"; cat "$tmp/script.tcl"; } >"$tmp/script"
    chmod +x "$tmp/script"
    chooses "the libtcl of $lib" "$tmp/script" && diff "$tmp/script.wanted" "$tmp/out"
}

owl_run_keeps_status() {
    "$owl_run" sh -c 'exit 7'
    [ $? -eq 7 ] || return 1
    "$owl_run" "$tmp/nonexistent" 2>"$tmp/err"
    [ $? -eq 127 ] || return 1
    "$owl_run" --bad 2>"$tmp/err"
    [ $? -eq 125 ] && grep -q usage "$tmp/err"
}

# clean_under_valgrind KIND [VARIABLE=VALUE...] SHELL: no errors; of KIND full, also nothing
# possibly lost, as zippy's pools are, those of Tcl_Objs under the preload too. Fewer
# rounds: it is slow.
clean_under_valgrind() {
    kind=$1
    shift
    sed 's/sum 1000/sum 100/; s/1000000/1000/' "$tmp/script.tcl" >"$tmp/short.tcl"
    (
        while [ $# -gt 1 ]; do
            export "$1"
            shift
        done
        valgrind --leak-check="$kind" --error-exitcode=9 "$1" "$tmp/short.tcl" >"$tmp/out" 2>"$tmp/err"
    ) || {
        cat "$tmp/err"
        return 1
    }
    grep -E 'lost|ERROR SUMMARY' "$tmp/err"
    [ "$(tail -n 1 "$tmp/out")" = done ] && { [ "$kind" != full ] || grep -q 'possibly lost: 0 bytes' "$tmp/err"; }
}

# What NaviServer looks up, under a name with tcmalloc in it.
tcmalloc_names() {
    cat >"$tmp/names.c" <<'C'
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void)
{
    const char *(*version)(int *, int *, const char **) = dlsym(RTLD_DEFAULT, "tc_version");
    void (*stats)(char *, int) = dlsym(RTLD_DEFAULT, "MallocExtension_GetStats");
    void (*release)(void) = dlsym(RTLD_DEFAULT, "MallocExtension_ReleaseFreeMemory");
    int (*property)(const char *, size_t *) =
        dlsym(RTLD_DEFAULT, "MallocExtension_GetNumericProperty");
    char text[1000], cut[10];
    size_t before = 0, after = 0, heap = 0;
    int major = -1, minor = -1;
    if (!version || !stats || !release || !property)
        return 1;
    stats(text, sizeof text);
    stats(cut, sizeof cut);
    if (!strstr(text, "MALLOC:") || strlen(cut) != 9 || strncmp(text, cut, 9) != 0)
        return 2;
    property("generic.current_allocated_bytes", &before);
    void *p = malloc(10000000);
    if (!p || !property("generic.current_allocated_bytes", &after) || after < before + 10000000)
        return 3;
    free(p);
    release();
    if (!property("generic.heap_size", &heap) || heap < before || property("no.such", &heap))
        return 4;
    const char *v = version(&major, &minor, NULL);
    return major < 0 || minor < 0 || !strchr(v, '.') ? 5 : 0;
}
C
    $cc -o "$tmp/names" "$tmp/names.c" -ldl && LD_PRELOAD=$lib/libowl-tcmalloc.so "$tmp/names"
}

# The adapter for Tcl 9: ten symbols, sizes that are size_t.
compiles_for_tcl9() {
    for source in zippy memory_info preload; do
        $cc -std=gnu11 -O2 -Wall -Wextra -Werror -I"$top/tests/tcl9" -I"$root/include" \
            -iquote "$top/tcl" -c -o "$tmp/$source.o" "$top/tcl/$source.c" || return 1
    done
    nm "$tmp/zippy.o" "$tmp/memory_info.o" | awk '$2 == "T" {print $3}' | sort >"$tmp/got"
    [ "$(wc -l <"$tmp/got")" -eq 10 ] && grep -qx TclInitThreadAlloc "$tmp/got"
}

memory_info() {
    cat >"$tmp/info.c" <<'C'
#include <stdio.h>
#include <tcl.h>
extern void Tcl_GetMemoryInfo(Tcl_DString *);
int main(void)
{
    Tcl_DString info;
    int pools, numbers;
    const char **pool, **row;
    Tcl_DStringInit(&info);
    Tcl_GetMemoryInfo(&info); /* before any allocation */
    ckfree(ckalloc(100));
    Tcl_DStringFree(&info);
    Tcl_GetMemoryInfo(&info);
    puts(Tcl_DStringValue(&info));
    if (Tcl_SplitList(NULL, Tcl_DStringValue(&info), &pools, &pool) != TCL_OK || pools < 2)
        return 1;
    for (int i = 0; i < pools; i++) {
        const char **parts;
        int count;
        if (Tcl_SplitList(NULL, pool[i], &count, &parts) != TCL_OK || count != 11)
            return 2;
        for (int k = 1; k < count; k++)
            if (Tcl_SplitList(NULL, parts[k], &numbers, &row) != TCL_OK || numbers != 7)
                return 3;
    }
    return 0;
}
C
    # shellcheck disable=SC2086
    $cc -o "$tmp/info" $cflags "$tmp/info.c" "$object" "$archive" $libs && "$tmp/info" >"$tmp/out" ||
        return 1
    cat "$tmp/out"
    grep -q '^{shared {32 ' "$tmp/out" && grep -q '{thread0x[0-9a-f]* {32 ' "$tmp/out"
}

try 'the drop-in has the nine symbols' nine_symbols
try 'the drop-in has no other names than the public ones' no_other_names
try "the re-linked $libtcl exports what the stock one does" same_exports
try 'of the own allocator of Tcl nothing is left' own_allocator_is_gone
if [ -n "$archive" ]; then
    try 'a program with the object' with_the_object
    try 'a program with the archive, asked for by -u' with_the_archive
    try 'a program with the whole archive' with_the_whole_archive
    try 'a linked program is seen to have the allocator of Tcl' refuses_a_wrong_order
    try 'Tcl_GetMemoryInfo has the form of zippy' memory_info
fi
try 'a program with the re-linked library' with_the_relinked_library
try 'archives without the allocator are refused' refuses_other_archives
try 'owltclsh' runs "$owltclsh"
try 'the adapter compiles for Tcl 9' compiles_for_tcl9
try 'libowl-tcmalloc.so has what NaviServer looks for' tcmalloc_names
try 'owl-run keeps statuses' owl_run_keeps_status
try 'owl-run chooses the preload for others' chooses "$lib/libowl-tcl.so for malloc" ls /
if [ -n "$tclsh" ]; then
    try 'stock tclsh with the re-linked library' stock_with_relinked
    try 'stock tclsh with the preload' stock_with_preload
    try 'owl-run tclsh' runs "$owl_run" "$tclsh"
    try 'owl-run chooses the re-linked library for tclsh' \
        chooses "the libtcl of $lib" "$tclsh" "$tmp/script.tcl"
    try 'owl-run looks into scripts' chooses_for_a_script
fi

# An old valgrind gives up at the debugging information of a newer compiler.
valgrind_can_read() {
    valgrind --leak-check=no "$owltclsh" "$tmp/nothing.tcl" >"$tmp/out" 2>&1 ||
        ! grep -q 'debuginfo reader' "$tmp/out"
}

: >"$tmp/nothing.tcl"
if [ -z "$(command -v valgrind)" ]; then
    skip 'under valgrind' 'there is no valgrind'
elif ! valgrind_can_read; then
    skip 'under valgrind' "valgrind cannot read this compiler's debugging information"
else
    try 'owltclsh under valgrind' clean_under_valgrind full "$owltclsh"
    if [ -n "$tclsh" ]; then
        try 'the re-linked library under valgrind' \
            clean_under_valgrind full LD_LIBRARY_PATH="$lib/owl/tcl$version" "$tclsh"
        try 'the preload under valgrind' \
            clean_under_valgrind no LD_PRELOAD="$lib/libowl-tcl.so" "$tclsh"
    fi
fi

tap_done
