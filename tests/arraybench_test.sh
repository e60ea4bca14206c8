#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# owl-array-bench, small: all contenders, the CSV, the demonstration, errors.
#
# OWL_ROOT names the installation.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

bench=${OWL_ROOT:-$here/../build/root}/bin/owl-array-bench
[ -x "$bench" ] || skip_all "there is no $bench"

all_contenders() {
    "$bench" --bytes 3M --rounds 2 --csv "$tap_dir/csv" >"$tap_dir/table" || {
        cat "$tap_dir/table"
        return 1
    }
    cat "$tap_dir/table"
    for name in plain owl owl-block mremap realloc:system realloc:owl; do
        grep -Eq "^$name  *[0-9.]+  *[0-9.]+  *[0-9.]+  *[0-9.]+" "$tap_dir/table" || return 1
    done
}

# Of plain four runs, with its peak at least as large as the array.
csv_is_complete() {
    cat "$tap_dir/csv"
    [ "$(grep -c '^plain,' "$tap_dir/csv")" -eq 4 ] &&
        awk -F , 'NR > 1 && (NF != 7 || $4 != 3145728 || $5 <= 0 || $6 <= 0 || $7 < $4) { exit 1 }' \
            "$tap_dir/csv"
}

chosen_contenders() {
    "$bench" --bytes 64K --rounds 1 --contenders owl --csv - 2>"$tap_dir/table" >"$tap_dir/csv" &&
        [ "$(cut -d , -f 1 "$tap_dir/csv" | sort -u | tr '\n' ' ')" = 'contender owl plain ' ] &&
        grep -q '^owl ' "$tap_dir/table"
}

demonstration() {
    "$bench" --demo --bytes 8M >"$tap_dir/demo" || return 1
    cat "$tap_dir/demo"
    [ "$(sed -n 's/.*first element at //p' "$tap_dir/demo" | sort -u | wc -l)" -eq 1 ] &&
        grep -q '^ *1048576 doubles' "$tap_dir/demo"
}

# refused ARGUMENT...: status 2, and one line on standard error.
refused() {
    "$bench" "$@" >"$tap_dir/out" 2>"$tap_dir/err"
    got=$?
    cat "$tap_dir/out" "$tap_dir/err"
    [ "$got" -eq 2 ] && [ ! -s "$tap_dir/out" ] && [ "$(wc -l <"$tap_dir/err")" -eq 1 ]
}

try 'all contenders' all_contenders
try 'the CSV has every run' csv_is_complete
try 'contenders can be chosen' chosen_contenders
try '--demo: no element moves' demonstration
for arguments in --unknown extra --bytes --bytes=0 --bytes=1T --bytes=-1 --bytes=4096G --rounds=0 \
    --rounds=x --timeout=0 --contenders=none --contenders= --csv=/nonexistent/file; do
    try "$arguments is refused" refused "$arguments"
done
try '--help' "$bench" --help
try '--version' "$bench" --version
try 'a run that takes too long is a failure' status 1 "$bench" --bytes 64M --rounds 1 \
    --contenders plain --timeout 0.001
tap_done
