#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What the preloaded library adds to a program that does nothing, and to one that allocates twenty
# blocks: page faults, system calls, resident memory. Not time; stress/startup shows that.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

library=${OWL_ROOT:-$here/../build/root}/lib/libowl.so
[ -r "$library" ] || skip_all "there is no $library"
cd "${tap_dir:?}" || exit 1
source=$here/startup_program.c
"${CC:-gcc}" -O1 -o program "$source" || skip_all 'there is no C compiler'
"${CC:-gcc}" -O1 -DLIBRARY -shared -fPIC -o waste.so "$source" || skip_all 'no shared library'

# least LIBRARY BLOCKS: the least of some runs, of faults, KiB and own KiB.
least() {
    for i in $(seq 21); do
        LD_PRELOAD=$1 ./program "$2"
    done | awk '
        { for (i = 1; i <= 3; i++) if (NR == 1 || $i < least[i]) least[i] = $i }
        END { print least[1], least[2], least[3]; exit NR != 21 }'
}

# adds LIBRARY BLOCKS FAULTS KIB OWN: at most so many more than without a library.
adds() {
    least '' "$2" >plain && least "$1" "$2" >preloaded || return 1
    echo "faults, KiB, own KiB; without and with it; bounds $3 $4 $5"
    cat plain preloaded
    paste -d ' ' plain preloaded |
        awk -v f="$3" -v k="$4" -v o="$5" '{ exit !($4 - $1 <= f && $5 - $2 <= k && $6 - $3 <= o) }'
}

# calls LIBRARY BLOCKS: how many system calls.
calls() {
    strace -o calls -E LD_PRELOAD="$1" ./program "$2" >/dev/null && grep -c '^[a-z]' calls
}

# adds_calls LIBRARY BLOCKS BOUND
adds_calls() {
    plain=$(calls '' "$2") && preloaded=$(calls "$1" "$2") || return 1
    echo "$plain system calls without and $preloaded with it; bound $3"
    [ $((preloaded - plain)) -le "$3" ]
}

is_not() {
    ! "$@"
}

# Most of what is resident is the library's code, which all processes share, in pieces of 64 KiB
# that addresses decide on. So faults differ from run to run: 13 to 15 more as a rule, 18 at times.
try 'a program without malloc: 19 page faults, 0.5 MB, 48 KiB its own' adds "$library" 0 19 500 48
try 'twenty blocks: 35 page faults, 0.6 MB, 0.11 its own' adds "$library" 20 35 600 110
try 'the bounds can be missed' is_not adds ./waste.so 0 19 100000 100000
try 'those of memory, too' is_not adds ./waste.so 0 1000 500 48
if strace -o calls true 2>/dev/null; then
    try 'a program without malloc: 14 system calls' adds_calls "$library" 0 14
    try 'twenty blocks: 19 system calls' adds_calls "$library" 20 19
    try 'the bounds of system calls can be missed' is_not adds_calls ./waste.so 0 14
else
    skip 'system calls' 'there is no strace that works here'
fi
tap_done
