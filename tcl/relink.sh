#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Links the objects of a static libtcl with another allocator than its own.
#
#   relink.sh library OUTPUT ARCHIVE SONAME ARGUMENT...   a libtcl*.so
#   relink.sh program OUTPUT ARCHIVE ARGUMENT...          a program with Tcl in it
#
# The arguments are what else the linker is given: the allocator's objects, libraries, options.
# $CC, $AR and $NM are the tools. Nothing is left behind unless all is as it should be.
set -eu

die() {
    rm -f "$output"
    printf 'relink.sh: %s\n' "$*" >&2
    exit 1
}

what=$1 output=$2 archive=$3
shift 3
copy=$output.copy.a map=$output.map
trap 'rm -f "$copy" "$map"' EXIT

# With -DPURIFY or -DTCL_MEM_DEBUG the allocator is another member, tclAlloc.o, or malloc itself.
$NM "$archive" 2>/dev/null | awk '
    /^tclThreadAlloc\.o:$/ { there = 1 }
    /^$/ { there = 0 }
    there && $2 == "T" && $3 == "TclpAlloc" { found = 1 }
    END { exit !found }' ||
    die "$archive: its tclThreadAlloc.o does not define TclpAlloc. It was built with PURIFY or" \
        "TCL_MEM_DEBUG, or without threads: there is no allocator of Tcl's in it to replace."

# $CC may be a command with options.
# shellcheck disable=SC2086
case $what in
library)
    soname=$1
    shift
    cp "$archive" "$copy"
    chmod u+w "$copy"
    $AR d "$copy" tclThreadAlloc.o
    $CC -shared -Wl,-soname,"$soname" -o "$output" -Wl,-Map,"$map" \
        -Wl,--whole-archive "$copy" -Wl,--no-whole-archive "$@" -Wl,-z,defs
    ;;
program)
    $CC -o "$output" -Wl,-Map,"$map" "$@" "$archive"
    ;;
*)
    die "library or program, not $what"
    ;;
esac

if grep -q 'tclThreadAlloc\.o' "$map"; then
    die "$output: tclThreadAlloc.o was linked, so it has Tcl's own allocator"
fi
