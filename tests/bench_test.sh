#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# stress/bench: a small run of all workloads and programs on two allocators, the table, the CSV and
# the JSON; that calls are the same for all and follow from the seed; that libraries which crash,
# hang, damage blocks or change the calls count as failures; what it says of wrong usage.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/comparing.sh
. "$here/comparing.sh"

bench=${OWL_SRCDIR:-$here/..}/stress/bench
root=${OWL_ROOT:-build/root}
case $root in
    /*) ;;
    *) root=$(pwd)/$root ;;
esac
worker=$root/lib/owl/owl-bench-work
[ -r "$root/lib/libowl.so" ] || skip_all "there is no $root/lib/libowl.so"
command -v tclsh8.6 >/dev/null 2>&1 || skip_all 'there is no tclsh8.6'
cd "${tap_dir:?}" || exit 1
TMPDIR=$tap_dir
export TMPDIR

# bench ARGUMENT...: output in ./out and ./err.
bench() {
    tclsh8.6 "$bench" --root "$root" "$@" >out 2>err
}

# small ARGUMENT...: a small run of a workload or a few.
small() {
    bench --scale 0.002 --rounds 1 --threads 4 "$@"
}

# wrong PATTERN ARGUMENT...
wrong() {
    wrong_usage bench bench "$@"
}

everything() {
    small --contenders owl,system --csv all.csv --json all.json || {
        cat out err
        return 1
    }
}

"$worker" --list | cut -d ' ' -f 1 >workloads

# Each workload has a line for either contender; so has each program that was not left out.
csv_is_whole() {
    sed -n 's/ is left out:.*//p' out >absent
    { cat workloads && printf '%s\n' gcc perl python3 redis sqlite3 tclsh; } |
        grep -vxF -f absent | sed 's/.*/&,owl,1,good\n&,system,1,good/' | sort >wanted
    sed 1d all.csv | cut -d , -f 1-4 | sort | diff wanted - || return 1
    awk -F , '
        NR == 1 {
            bad = $0 != "work,contender,round,outcome,wall_us,cpu_us,user_us,system_us," \
                "peak_rss_bytes,kept_rss_bytes,faults,switches,result"
            next
        }
        NF != 13 || $5 <= 0 || $6 != $7 + $8 || $9 < 1000000 || $11 <= 0 { print; bad = 1 }
        $10 != "" && ($10 < 1000000 || $10 > $9 * 1.2 + 1000000) { print; bad = 1 }
        { seen++ }
        END { exit bad || seen < 50 }' all.csv
}

# The calls of a workload are the same for all, so that its sums are.
sums() {
    sed 1d "$1" | awk -F , '{ print $1, $13 }' | sort -u
}

same_calls() {
    sums all.csv >all.sums
    cut -d ' ' -f 1 all.sums | uniq -d | diff /dev/null - && [ "$(wc -l <all.sums)" -ge 26 ]
}

# With another seed the sums of what depends on random numbers are others, with the same they stay.
# Those that remain: calls without chance, and those that only count.
seed_counts() {
    chosen=alloc-skewed,larson,mstress,rptest,cubes,tree
    small --contenders system --workloads "$chosen" --seed 2 --csv other.csv &&
        small --contenders system --workloads "$chosen" --csv again.csv || return 1
    sums again.csv >again.sums
    grep -xF -f again.sums all.sums | diff again.sums - || return 1
    sums other.csv >other.sums
    grep -xF -f other.sums all.sums | diff /dev/null - && [ "$(wc -l <other.sums)" -eq 6 ]
}

# The three tables have a row for each work, and means.
table_is_whole() {
    [ "$(grep -c '^geometric mean  *[0-9.]*  *[0-9.]*$' out)" -eq 3 ] || return 1
    while read -r name; do
        [ "$(grep -cE "^$name( +[0-9.]+){4}\$" out)" -eq 3 ] || {
            echo "no three rows of $name"
            return 1
        }
    done <workloads
    awk -F , '$1 == "tree" && $2 == "system" { printf "%.1f\n", $9 / 1048576 }' all.csv >wanted
    awk '$1 == "tree" { value = $3 } /^owl behind/ { exit } END { print value }' out | diff wanted -
}

# Who is behind is told with the larger ratios first, and only if there is another contender.
behind_in_order() {
    awk '/^owl behind another: / { last = 1e9; lists++ }
        /^  +[0-9.]+ / { if ($1 > last || $1 < 1) bad = 1; last = $1 }
        END { exit bad || lists != 3 }' out
}

json_is_whole() {
    python3 - <<'PY'
import csv, json, math
data = json.load(open("all.json"))
rows = list(csv.DictReader(open("all.csv")))
assert data["program"] == "bench" and data["failures"] == [], data["failures"]
assert [w["name"] for w in data["works"]] == list(dict.fromkeys(r["work"] for r in rows))
for work in data["works"]:
    assert [c["name"] for c in work["contenders"]] == ["owl", "system"]
    for contender, other in zip(work["contenders"], work["contenders"][::-1]):
        run, = [r for r in rows if (r["work"], r["contender"]) == (work["name"], contender["name"])]
        assert contender["median"]["cpu_us"] == int(run["cpu_us"])
        assert contender["runs"][0]["result"] == int(run["result"])
        ratio = contender["median"]["wall_us"] / other["median"]["wall_us"]
        assert abs(contender["ratio_to_best_other"]["wall_us"] - ratio) < 0.001, work
peaks = [int(r["peak_rss_bytes"]) for r in rows if r["contender"] == "owl"]
mean = math.exp(sum(map(math.log, peaks)) / len(peaks))
assert abs(data["geometric_means"]["owl"]["peak_rss_bytes"] - mean) < 1
PY
}

# library NAME: compiles lib$NAME.so of standard input, a malloc family over the C library's.
library() {
    cat >"$1.c" && ${CC:-cc} -shared -fPIC -O1 -fno-builtin -o "lib$1.so" "$1.c"
}

# The C library's own functions under other names, for a library of these tests. What is between
# malloc and its block is up to the library: it defines `seen`.
family() {
    cat <<'C'
#include <stddef.h>
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void __libc_free(void *);
static void *seen(unsigned char *p, size_t n);
void *malloc(size_t n) { return seen(__libc_malloc(n), n); }
void *calloc(size_t m, size_t n) { return __libc_calloc(m, n); }
void *realloc(void *p, size_t n) { return __libc_realloc(p, n); }
void free(void *p) { __libc_free(p); }
C
}

# Only blocks of a size that the trial does not have: so the contender takes part, and fails.
libraries() {
    { family && echo 'static void *seen(unsigned char *p, size_t n)
        { if (n >= 1 << 20) __builtin_trap(); return p; }'; } | library crash &&
        { family && echo 'static void *seen(unsigned char *p, size_t n)
            { while (n >= 1 << 20) __asm__ volatile(""); return p; }'; } | library hang &&
        { family && echo 'static void *seen(unsigned char *p, size_t n) { return p; }
            unsigned long long strtoull(const char *s, char **end, int base)
            { unsigned long long value = 0;
              for (; *s >= 48 && *s < 58; s++) value = 10 * value + (*s - 48);
              if (!end) return value;
              *end = (char *)s; return value + 1; }
            unsigned long long __isoc23_strtoull(const char *s, char **end, int base)
            { return strtoull(s, end, base); }'; } | library calls &&
        { family | sed 's/__libc_realloc(p, n); }/(__libc_free(p), __libc_calloc(1, n)); }/' &&
            echo 'static void *seen(unsigned char *p, size_t n) { return p; }'; } | library loses &&
        echo 'int nothing;' | library nothing
}

# failing NAME WORK PATTERN ARGUMENT...: a run on that library fails, and the table says so.
failing() {
    failing_name=$1
    failing_work=$2
    failing_pattern=$3
    shift 3
    status 1 small --contenders "system,mine=$tap_dir/lib$failing_name.so" \
        --workloads "$failing_work" --csv fail.csv "$@" || {
        cat out err
        return 1
    }
    says out "^FAILED: $failing_work: $failing_pattern"
}

crashes() {
    failing crash large 'mine, round 1: signal [0-9]+ ' &&
        says out '^large +[0-9.]+ +FAILED' && says fail.csv '^large,mine,1,signal [^,]*(,[^,]*){9}$'
}

nothing_is_left() {
    [ -z "$(find "$tap_dir" -name 'owl-bench.*')" ]
}

twice_named() {
    small --contenders system,system --workloads tree,cubes --rounds 2 &&
        says out ' system  system#2 ' && says out '^over system.s +1\.000 '
}

try 'all workloads and programs run' everything
cp out all.out
try 'CSV is whole' csv_is_whole
try 'every contender gets the same calls' same_calls
try 'the tables are whole' table_is_whole
try 'who is behind is told in order' behind_in_order
if command -v python3 >/dev/null 2>&1; then
    try 'JSON says what the CSV says' json_is_whole
else
    skip 'JSON says what the CSV says' 'no python3'
fi
try 'the calls follow from the seed' seed_counts
try 'a contender named twice' twice_named
if libraries >cc.out 2>&1; then
    try 'a crash is a failure' crashes
    try 'a run that takes too long is a failure' failing hang large 'mine, round 1: timeout' \
        --timeout 0.5
    try 'lost contents are a failure' failing loses realloc \
        'mine, round 1: status 1, and said: owl-bench-work: realloc to [0-9]+ bytes lost '
    try 'other calls are a failure' failing calls larson 'results differ: [0-9]+ of '
    try 'a library without malloc is refused' wrong \
        'mine=.*: malloc is that of .*libc' --contenders "mine=$tap_dir/libnothing.so"
else
    cat cc.out
    skip 'libraries that fail' 'no C compiler'
fi
try 'error: unknown option' wrong 'unknown argument: --no-such' --no-such
try 'error: workload' wrong "no workload is called 'larsson'" --workloads tree,larsson
try 'error: contender' wrong "no contender is called 'dmalloc'" --contenders dmalloc
try 'error: library' wrong 'mine=./no.so: there is no ' --contenders mine=./no.so
try 'error: programs' wrong "--programs: 'maybe' will not do" --programs maybe
try 'error: number' wrong "--threads: '500' is not from 1 to 256" --threads 500
try 'error: root' wrong 'there is no .*/none/lib/owl/owl-bench-work' --root "$tap_dir/none"
try 'error: CSV file' wrong '.*no/file' --csv no/file
try 'help' status 0 bench --help
try 'help names the workloads' says out '^  larson  '
try 'no temporary files are left' nothing_is_left
tap_done
