#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# How often threads meet, by stress/count: locks and atomics per 1,000 calls, once caches are
# filled, stay below bounds. They are counts, so that it hardly matters what else the machine does.
# A block is two calls, malloc and free.
#
# Where a promise is met its bound is the promise: a thread that frees what it allocated takes
# fewer than 1 lock in 1,000 blocks, and one lock comes to 30 blocks or more that change threads one
# by one. Elsewhere the bound is a third above what was counted when it was written, or twice the
# most of some runs where it depends on who runs when.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

stress=${OWL_SRCDIR:-$here/..}/stress
root=${OWL_ROOT:-build/root}
library=${OWL_COUNT_LIBRARY:-build/count/libowl-count.so}
command -v tclsh8.6 >/dev/null 2>&1 || skip_all 'there is no tclsh8.6'
[ -r "$library" ] || skip_all "there is no $library"
[ -x "$root/lib/owl/owl-bench-work" ] || skip_all "there is no $root/lib/owl/owl-bench-work"

# count SCALE WORKLOADS: its CSV in $tap_dir/csv.
count() {
    tclsh8.6 "$stress/count" --root "$root" --library "$library" --scale "$1" --workloads "$2" \
        --csv "$tap_dir/csv"
}

# at_most WHAT BOUND WORKLOAD: so many locks, or atomics, per 1,000 calls.
at_most() {
    awk -F , -v wanted="$1" -v bound="$2" -v name="$3" '
        $1 != name || $2 != "later" { next }
        $3 == "calls" { calls += $5 }
        $3 == wanted { n += $5 }
        wanted == "atomics" && ($3 == "cas" || $3 == "swaps" || $3 == "adds") { n += $5 }
        END {
            print name, wanted, n + 0, "in", calls + 0, "calls; bound per 1,000:", bound
            exit !(calls > 1000 && 1000 * n <= bound * calls)
        }' "$tap_dir/csv"
}

local_ones=alloc-uniform,alloc-skewed,sh6,cache-scratch,cache-thrash,glibc-thread,bignum,cubes,tree
local_ones=$local_ones,memtest-small

few_locks() {
    for name in $(echo "$local_ones" | tr , ' '); do
        at_most locks 0.5 "$name" && at_most atomics 1 "$name" || return 1
    done
}

# In 4 million free-and-malloc, at this scale; a process has some calls of its own.
calls_are_counted() {
    awk -F , '$1 == "memtest-small" && $2 == "later" && $3 == "calls" { print; seen = $5 }
        END { exit seen != 8000000 }' "$tap_dir/csv"
}

# A lock is a compare-and-swap when it is taken and a swap when it is released; those of threads
# that have ended are there too.
locks_are_counted() {
    awk -F , '$1 == "sh6" && $2 == "start" {
            n[$3] += $5
            if ($3 == "locks" && $4 == "a claim on a cache")
                claims = $5
        }
        END {
            print n["locks"], n["cas"], n["swaps"], claims
            exit !(n["locks"] > 100 && n["cas"] >= n["locks"] && n["swaps"] >= n["locks"] - 1 &&
                claims >= 16)
        }' "$tap_dir/csv"
}

# The same calls with magazines of hardly any blocks take locks all the time.
small_magazines_show() {
    OWL_MAGAZINE=256 count 0.02 memtest-small || return 1
    ! at_most locks 0.5 memtest-small && ! at_most locks 50 memtest-small
}

wrong_usage() {
    status 2 tclsh8.6 "$stress/count" --root "$root" --library "$library" --workloads none &&
        status 2 tclsh8.6 "$stress/count" --root "$root" --library "$tap_dir/none"
}

# A library that does not count is no zero.
others_are_refused() {
    status 1 tclsh8.6 "$stress/count" --root "$root" --library "$root/lib/libowl.so" \
        --scale 0.001 --workloads sh6
}

# The installed library knows nothing of it.
no_trace() {
    ! grep -q OWL_COUNT_FILE "$root/lib/libowl.so" && grep -q OWL_COUNT_FILE "$library"
}

try 'local workloads are counted' count 0.2 "$local_ones"
try 'threads that free what they allocate take fewer than 1 lock in 1,000 blocks' few_locks
try 'calls are all counted' calls_are_counted
try 'locks are all counted, of threads that ended too' locks_are_counted

try 'workloads whose blocks change threads are counted' count 0.2 \
    memtest-producer,xmalloc-pairs,xmalloc-funnel,rptest,mstress
try 'blocks that are handed on one by one: 30 and more to a lock' at_most locks 16.6 memtest-producer
try 'bursts of blocks that are handed on' at_most locks 40 xmalloc-pairs
try 'bursts of blocks for one thread' at_most locks 40 xmalloc-funnel
try 'lists of blocks that are handed on' at_most locks 14 rptest
try 'objects that cross, threads that end' at_most locks 15 mstress

try 'other workloads are counted' count 0.2 \
    glibc-simple,realloc,memtest-uniform,memtest-realloc,memtest-churn,tcl-trace,thread-churn
try 'batches of one size' at_most locks 31 glibc-simple
try 'uniform sizes' at_most locks 2.7 memtest-uniform
try 'blocks that grow up to 4 MiB' at_most locks 36 realloc
try 'blocks that grow up to 128 KiB' at_most locks 23 memtest-realloc
try 'a Tcl server' at_most locks 11 tcl-trace
try 'threads that come and go' at_most locks 90 memtest-churn
try 'threads of 60 calls' at_most locks 90 thread-churn

try 'with small magazines the bounds do not hold' small_magazines_show
try 'the installed library does not count' no_trace
try 'a library that does not count is refused' others_are_refused
try 'wrong usage' wrong_usage
tap_done
