#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The library for aarch64: compiled without a warning, its shortest ways, and a program that uses
# it under qemu-user. On another machine that takes Debian's packages gcc-aarch64-linux-gnu,
# libc6-dev-arm64-cross and qemu-user.
#
#     sh tests/aarch64_test.sh --record
#
# prints the record of the shortest ways, for tests/fastpath/.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=${OWL_SRCDIR:-$here/..}
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/fastpath.sh
. "$here/fastpath.sh"

fastpath_tools=aarch64-linux-gnu-
library=$tap_dir/libowl.so

command -v aarch64-linux-gnu-gcc >/dev/null 2>&1 || skip_all 'there is no compiler for aarch64'
ck=${CK_INCLUDE:-/usr/include}
[ -e "$ck/gcc/aarch64/ck_pr.h" ] || skip_all "there is no ck for aarch64 in $ck"

# Concurrency Kit's own headers, as they would be for an aarch64: its memory is in no total order.
headers() {
    mkdir "$tap_dir/ck" && cp "$ck"/ck_*.h "$tap_dir/ck" && cp -R "$ck/gcc" "$tap_dir/ck" &&
        sed -i 's/CK_MD_TSO/CK_MD_RMO/; s/CK_MD_SSE_ENABLE/CK_MD_SSE_DISABLE/' "$tap_dir/ck/ck_md.h"
}

compile() {
    headers && aarch64-linux-gnu-gcc -O2 -std=gnu11 -fPIC -shared -fvisibility=hidden -Wall \
        -Wextra -Werror -static-libgcc -I"$top/include" -iquote "$top/core" \
        -isystem "$tap_dir/ck" -o "$library" "$top"/core/*.c -pthread \
        -Wl,--version-script="$top/core/owl.map" -Wl,-z,initfirst
}

if [ "${1-}" = --record ]; then
    compile && record "$library"
    exit
fi

# An emulator with the whole of its address space reserved keeps books of it that are gigabytes.
in_emulator() {
    ulimit -v 16000000
    timeout -k 5 100 qemu-aarch64 -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH="$tap_dir" "$@"
}

program() {
    aarch64-linux-gnu-gcc -O1 -g -fno-builtin -I"$top/include" -o "$tap_dir/program" \
        "$here/accept_cross.c" -L"$tap_dir" -lowl -pthread &&
        (in_emulator "$tap_dir/program")
}

try 'the library is compiled' compile
fastpath "$library" "$here/fastpath/aarch64" 20 2 40 5
if command -v qemu-aarch64 >/dev/null 2>&1; then
    try 'a program runs' program
else
    skip 'a program runs' 'there is no qemu-aarch64'
fi
tap_done
