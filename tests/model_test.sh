#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Searches the models of tests/model for a counterexample, with Spin: every order of the steps of
# all threads. There must be none; and when something is left out of a model there must be one,
# which an assertion finds, or the model would prove nothing.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

command -v spin >/dev/null 2>&1 || skip_all 'there is no spin here'
cc=${CC:-cc}
models=$here/model

# search MODEL OPTIMIZE DEFINE...: the output of the search is in $tap_dir/out. What compilers have
# to say of Spin's code is not asked for.
search() {
    search_model=$models/$1.pml
    search_level=$2
    shift 2
    cd "$tap_dir" &&
        rm -f pan pan.* ./*.trail &&
        spin -a "$@" "$search_model" >spin.out 2>&1 &&
        "$cc" -w "$search_level" -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -o pan pan.c &&
        ./pan -m100000 >out 2>&1 || {
        cat spin.out
        return 1
    }
}

# All states were searched, and no error was found.
is_right() {
    # shellcheck disable=SC2086
    search "$1" -O1 $2 || return 1
    cat "$tap_dir/out"
    grep -q 'errors: 0$' "$tap_dir/out" &&
        ! grep -qiE 'not completed|max search depth|out of memory' "$tap_dir/out"
}

# reaches_all PROCESS: each statement of it was reached in the last search.
reaches_all() {
    cat "$tap_dir/out"
    grep -A 1 "^unreached in proctype $1\$" "$tap_dir/out" | grep -q '(0 of '
}

# right NAME MODEL DEFINES
right() {
    try "$1" is_right "$2" "$3"
    sed -n 's/^ *\([0-9]*\) states, stored$/# \1 states/p' "$tap_dir/out"
}

# is_wrong MODEL DEFINES ASSERTION: that one fails, of which the regular expression shows a part.
is_wrong() {
    # shellcheck disable=SC2086
    search "$1" -O0 $2 || return 1
    cat "$tap_dir/out"
    grep -qE "assertion violated .*$3" "$tap_dir/out"
}

# wrong NAME MODEL DEFINES ASSERTION
wrong() {
    try "$1" is_wrong "$2" "$3" "$4"
    sed -n 's/^pan:1: \(.*\)/# \1/p' "$tap_dir/out"
}

# is_stuck MODEL DEFINES: there is a state from which nobody goes on.
is_stuck() {
    # shellcheck disable=SC2086
    search "$1" -O0 $2 || return 1
    cat "$tap_dir/out"
    grep -q 'invalid end state' "$tap_dir/out"
}

# stuck NAME MODEL DEFINES
stuck() {
    try "$1" is_stuck "$2" "$3"
}

# Who owns a slab. In the assertions a number is a place: 6 is HOME.
right 'owner' owner '-DCALLS=4'
try 'owner: each statement is reached' reaches_all thread
right 'owner, with parked caches' owner '-DCALLS=3 -DPARK'
right 'owner, with slabs that wait' owner '-DCALLS=3 -DKEEP'
right 'owner, with stale reads' owner '-DCALLS=3 -DSTALE'
right 'owner, with stale reads and parked caches' owner '-DCALLS=2 -DSTALE -DPARK'
own='owner\[s\]==mine'
home='place\[[^=]*==6'
wrong 'owner: not read again under the lock' owner '-DCALLS=4 -DNO_RECHECK' 'owner\[s\]==v'
wrong 'owner: slabs are taken from a thread' owner '-DCALLS=4 -DSTEAL' "$own"
wrong 'owner: a slab ends while a block is out' owner '-DCALLS=4 -DEND_EARLY' "$home"
wrong 'owner: adoption without a lock' owner '-DCALLS=4 -DNO_ORPHANS_LOCK' "$home|listed|owner"
wrong 'owner: read before there is a cache' owner '-DCALLS=4 -DREAD_FIRST' "$own"
wrong 'owner: slabs that wait end without a lock' owner '-DCALLS=3 -DKEEP -DNO_ENDED_LOCK' "$home"
wrong 'owner: an inbox stays open' owner '-DCALLS=4 -DNO_CLOSE' 'place|mine'
wrong 'owner: a parked cache has two holders' owner '-DCALLS=3 -DPARK -DNO_UNPARK' 'place'
wrong 'owner: whose is not read from the inbox' owner '-DCALLS=4 -DTRUST' "$own"
wrong 'owner: a bare pointer is handed over' owner '-DCALLS=3 -DSTALE -DBARE_HAND' 'v!=0'

# A claim on a cache. 1 is MAGAZINE.
few='-DCALLS=5 -DCLAIMS=2'
right 'claim' claim '-DCALLS=5 -DCLAIMS=3'
right 'claim, stores out of order' claim "$few -DWEAK"
both='!\((slow|claim)\)'
taken='place\[[rb]\]==1'
wrong 'claim: no barrier' claim "$few -DNO_BARRIER" "$both"
wrong 'claim: not looked whether the thread is busy' claim "$few -DNO_BUSY" "$both"
wrong 'claim: the newest block is taken too' claim "$few -DNEWEST_TOO" "$taken"
wrong 'claim: slow paths do not look' claim "$few -DNO_CLAIMED" "$both"
wrong 'claim: slow paths look once' claim "$few -DLOOK_ONCE" "$both"
wrong 'claim: its end is no release' claim "$few -DWEAK -DEND=false" "$taken|top>base"
wrong 'claim: the end of a slow path is no release' claim "$few -DWEAK -DLEAVE=false" "$taken"

# The lock of a word.
right 'lock' lock '-DCALLS=2'
try 'lock: each statement is reached' reaches_all thread
right 'lock, with a fork' lock '-DCALLS=2 -DFORK'
stuck 'lock: a fork gives up without a mark' lock '-DCALLS=2 -DFORK -DEARLY_END'
stuck 'lock: who has slept leaves no mark' lock '-DCALLS=2 -DNO_MARK'
stuck 'lock: sleep without a look' lock '-DCALLS=2 -DNO_COMPARE'
stuck 'lock: nobody is woken' lock '-DCALLS=2 -DNO_WAKE'

# With more calls the same holds. `make stress-long` asks for it.
if [ -n "${OWL_TEST_ALL-}" ]; then
    right 'lock, more calls' lock '-DCALLS=4'
    right 'owner, more calls' owner '-DCALLS=5'
    right 'owner, parked caches, more calls' owner '-DCALLS=4 -DPARK'
    right 'owner, slabs that wait, more calls' owner '-DCALLS=4 -DKEEP'
    right 'owner, slabs that wait, stale reads' owner '-DCALLS=3 -DSTALE -DKEEP'
    right 'owner, slabs that wait, parked caches' owner '-DCALLS=3 -DKEEP -DPARK'
    right 'owner, stale reads, parked caches, more calls' owner '-DCALLS=3 -DSTALE -DPARK'
    right 'claim, more calls and claims' claim '-DCALLS=12 -DCLAIMS=5'
    right 'claim, more calls, stores out of order' claim '-DCALLS=10 -DCLAIMS=4 -DWEAK'
fi

tap_done
