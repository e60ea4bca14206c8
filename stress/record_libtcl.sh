#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# record_libtcl.sh CC LIBTCL_A OBJECT OUTPUT: link the objects of libtcl8.6.a into a shared library,
# with OBJECT (record_tcl_objects.o) for its allocator.
set -e
cc=$1 archive=$2 object=$3 output=$4
copy=$output.a
trap 'rm -f "$copy"' EXIT
cp "$archive" "$copy"
chmod u+w "$copy"
ar d "$copy" tclThreadAlloc.o
# $cc may be a command with options.
# shellcheck disable=SC2086
$cc -shared -Wl,-soname,libtcl8.6.so -o "$output" "$object" \
    -Wl,--whole-archive "$copy" -Wl,--no-whole-archive -Wl,-z,defs -lz -ldl -lm -pthread
