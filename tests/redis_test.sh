#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# stress/redis-bench: a small run on each contender that is here, its table and its CSV, that Redis
# really runs on what it is told to, and what it says of wrong usage.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/comparing.sh
. "$here/comparing.sh"

bench=${OWL_SRCDIR:-$here/..}/stress/redis-bench
root=${OWL_ROOT:-build/root}
case $root in
    /*) ;;
    *) root=$(pwd)/$root ;;
esac
[ -r "$root/lib/libowl.so" ] || skip_all "there is no $root/lib/libowl.so"
command -v redis-cli >/dev/null 2>&1 || skip_all 'there is no redis-cli'
command -v redis-server >/dev/null 2>&1 || command -v redis-check-rdb >/dev/null 2>&1 ||
    skip_all 'there is no redis-server'
cd "${tap_dir:?}" || exit 1

bench() {
    sh "$bench" --root "$root" "$@" >out 2>err
}

# wrong PATTERN ARGUMENT...
wrong() {
    wrong_usage bench redis-bench "$@"
}

runs() {
    bench --percent 3 --rounds 3 --idle 0 --contenders owl,system --csv all.csv || {
        cat out err
        return 1
    }
}

# Three phases in three rounds each; Redis holds what it may and never more than a little above;
# the keys of both phases do not fit, so that some were dropped.
csv_is_whole() {
    awk -F , '
        NR == 1 { bad = $0 != "allocator,round,phase,rss_bytes,rss_peak_bytes,used_bytes,keys"; next }
        { seen[$1 "," $3]++ }
        NF != 7 || $4 < $6 || $5 < $4 * 0.99 { print; bad = 1 }
        $6 > 3 * 1048576 * 1.1 || $6 < 3 * 1048576 * 0.9 { print; bad = 1 }
        $3 == "small" && ($7 < 3000 || $7 > 21000) { print; bad = 1 }
        $3 != "small" && ($7 < 2000 || $7 > 21000 + 5100) { print; bad = 1 }
        END {
            for (s in seen) { series++; if (seen[s] != 3) { print s, seen[s]; bad = 1 } }
            exit bad || series != 6
        }' all.csv
}

# The table has the medians.
table_fits() {
    for each in owl system; do
        awk -F , -v a="$each" '$1 == a && $3 == "idle" { print $4 }' all.csv | sort -n |
            awk 'NR == 2 { printf "%.1f\n", $1 / 1048576 }' >wanted
        awk -v a="$each" '$1 == a { print $4 }' out | diff wanted - || return 1
    done
}

# A library without malloc leaves Redis with its own: such figures would be of the wrong allocator.
finds_impostor() {
    echo 'int nothing;' >nothing.c
    ${CC:-cc} -shared -fPIC -o libnothing.so nothing.c || return 1
    status 1 bench --percent 1 --rounds 1 --idle 0 --contenders "mine=$tap_dir/libnothing.so" &&
        says out '^mine FAILED in round 1'
}

try 'Redis runs on owlalloc and on the C library' runs
try 'CSV is well-formed' csv_is_whole
try 'the table has the medians' table_fits
if ldd "$(command -v redis-server || command -v redis-check-rdb)" 2>/dev/null |
    grep -q jemalloc && command -v "${CC:-cc}" >/dev/null 2>&1; then
    try 'a library that is no allocator is found out' finds_impostor
else
    skip 'a library that is no allocator is found out' 'Redis is not linked with jemalloc here'
fi
try 'error: unknown option' wrong "'--no-such' is not an option" --no-such
try 'error: option without value' wrong "'--idle' needs a value" --idle
try 'error: number' wrong "--rounds: '0' is not a whole number from 1 to 1000" --rounds 0
try 'error: contender' wrong "--contenders: 'dmalloc' is not known" --contenders dmalloc
try 'error: library' wrong '--contenders: mine=./no.so: ./no.so cannot be preloaded' \
    --contenders mine=./no.so
try 'error: CSV file' wrong '--csv: cannot write to no/file' --csv no/file
try 'help' status 0 bench --help
try 'help names the options' says out '^  --percent N '
tap_done
