#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Programs under limits of the system, and where the system refuses calls: each
# works, or sees ENOMEM.
#
# OWL_ROOT names the installation that is tested.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
cc=${CC:-cc}
program=$tap_dir/program

$cc -O1 -fno-builtin -Wall -Wextra -Werror -pthread -o "$program" "$here/limits_program.c" || {
    fail 'a program for limits is built'
    tap_done
}

# owl COMMAND...
owl() {
    env LD_PRELOAD="$lib" OWL_BACKING="${backing:-auto}" "$@"
}

# under LIMIT VALUE COMMAND...: with what ulimit calls so, and without what make may keep open.
under() {
    (
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
        ulimit "$1" "$2" || exit 1
        shift 2
        owl "$@"
    )
}

# refuses COMMAND...: passes, and memory was refused; refuses_none: none was.
refuses() {
    status 3 "$@"
}

refuses_none() {
    status 0 "$@"
}

# either COMMAND...: passes, refused or not.
either() {
    "$@" || [ $? -eq 3 ]
}

# Address space, KiB: the program and its libraries take some 20 MiB.
try 'little address space' refuses under -v 60000 "$program"
try 'more' refuses under -v 200000 "$program"
try 'enough' refuses_none under -v 2000000 "$program"

for backing in auto memfd; do
    try "no file may be long, $backing" refuses_none under -f 0 "$program"
    try "nor very long, $backing" refuses_none under -f 1000 "$program"
    try "no more files, $backing" refuses_none owl "$program" files
    try "all closed, $backing" refuses_none owl "$program" closed
    owl "$program" userfaultfd=1 2>/dev/null
    if [ $? -ne 77 ]; then
        for call in memfd_create mremap mincore madvise membarrier clone userfaultfd; do
            try "no $call: EPERM, $backing" refuses_none owl "$program" $call=1
            try "no $call: ENOSYS, $backing" refuses_none owl "$program" $call=38
        done
    else
        skip "calls that are refused, $backing" 'no filters may be set here'
    fi
    try "mappings used up, $backing" either owl "$program" mappings
    try "addresses become few, $backing" refuses_none owl "$program" addresses
done
backing=auto

# A limit of a control group ends the program where memory is short; it must not where
# there is enough.
group=/sys/fs/cgroup/memory/owl-test.$$
if mkdir "$group" 2>/dev/null && echo 300000000 2>/dev/null >"$group/memory.limit_in_bytes"; then
    # shellcheck disable=SC2016
    try 'in a control group' env LD_PRELOAD="$lib" sh -c 'echo $$ >"$1/tasks" && exec "$2"' sh \
        "$group" "$program"
else
    skip 'in a control group' 'none can be made here'
fi
rmdir "$group" 2>/dev/null

cat >"$tap_dir/lists.py" <<'P'
kept = [b"x" * 100 for _ in range(1000)]
try:
    while True:
        kept.append(bytearray(1 << 20))
except MemoryError:
    pass
n = len(kept)
del kept[1000:]
assert n > 1010 and all(k == b"x" * 100 for k in kept)
P
if command -v python3 >/dev/null; then
    try 'python3 sees MemoryError' under -v 400000 python3 "$tap_dir/lists.py"
else
    skip 'python3 sees MemoryError' 'no python3'
fi
echo 'set x {}; for {set i 0} {$i < 20000} {incr i} {lappend x $i}; exit [expr {[llength $x] != 20000}]' \
    >"$tap_dir/lists.tcl"
if command -v tclsh8.6 >/dev/null; then
    try 'tclsh8.6 in little address space' under -v 100000 tclsh8.6 "$tap_dir/lists.tcl"
    try 'tclsh8.6 without files to open' under -n 4 tclsh8.6 "$tap_dir/lists.tcl"
else
    skip 'tclsh8.6 in little address space' 'no tclsh8.6'
fi

tap_done
