#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# owl-soak: days and patterns on each kind of contender, the table, the CSV and the plot; that
# every contender gets the same calls; that a leak shows, and no leak where there is none; system
# calls of threads that come and go; what it says of wrong usage. Small runs.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/comparing.sh
. "$here/comparing.sh"

soak=${OWL_ROOT:-build/root}/bin/owl-soak
case $soak in
    /*) ;;
    *) soak=$(pwd)/$soak ;;
esac
[ -x "$soak" ] || skip_all "$soak is not built"
cd "${tap_dir:?}" || exit 1

# soak ARGUMENT...: output in ./out and ./err.
soak() {
    "$soak" "$@" >out 2>err
}

# wrong PATTERN ARGUMENT...
wrong() {
    wrong_usage soak owl-soak "$@"
}

short='--seconds 0.5 --step 60 --requests 300 --sessions 8000 --recycle 40'

# days CSV ARGUMENT...
days() {
    csv=$1
    shift
    # shellcheck disable=SC2086
    soak $short --csv "$csv" "$@" || {
        cat out err
        return 1
    }
}

# form CSV: as many fields as the heading in each line, and numbers where numbers belong.
form() {
    awk -F , '
        NR == 1 { fields = NF; next }
        NF != fields { print "line " NR " has " NF " fields"; bad = 1 }
        { for (i = 1; i <= NF; i++)
              if (i != 3 && i != 8 && i != 10 && $i !~ /^[0-9]+(\.[0-9]+)?$/) {
                  print "line " NR ": " $i; bad = 1 } }
        $4 < 0 || $5 < $6 / 2 || $5 > $7 * 1.1 { print "line " NR ": " $0; bad = 1 }
        END { exit bad || NR < 2 || fields != 12 }' "$1"
}

# A sample for each hour from 7:00 of the first day to 6:00 after the last, in order of time.
hours() {
    awk -F , -v of="$1" '
        $3 != of || $9 != 1 { next }
        $2 != 7 + n || $1 < last { print n ": " $0; bad = 1 }
        { n++; last = $1 }
        END { exit bad || n != 48 }' days.csv
}

# live CSV ALLOCATOR ROUND: hour, live bytes, requests.
live() {
    awk -F , -v a="$2" -v r="$3" '$3 == a && $9 == r { print $2, $4, $11 }' "$1"
}

# The live curve is the same with every allocator and in every round, and another with another
# seed. It grows by day, shrinks by night, and stands still while the server idles.
same_live() {
    live days.csv system 1 >first
    for each in owl system; do
        for round in 1 2; do
            live days.csv $each $round | cmp - first || return 1
        done
    done
    days other.csv --days 2 --allocators system --seed 2 --rounds 1 || return 1
    ! live other.csv system 1 | cmp -s - first
}

tides() {
    awk '
        { at[$1 + 0] = $2; requests[$1 + 0] = $3 }
        END {
            print at[6 + 10], at[6 + 23], at[28], at[29], requests[28], requests[29]
            exit !(at[16] > 3 * at[29] && at[40] > 3 * at[29] && at[29] > 0 && at[27] == at[29] &&
                   requests[27] == requests[29] && requests[30] > requests[29])
        }' first
}

# What the table says of live bytes is what the CSV says.
table_fits() {
    awk -F , '$3 == "system" && $9 == 1 { sum += $4; n++; if ($4 > most) most = $4 }
        END { printf "%.1f %.1f\n", most / 1048576, sum / n / 1048576 }' days.csv >wanted
    awk '$1 == "live" { print $2, $3; exit }' days.out | diff wanted - || return 1
    awk -F , '$3 == "system" && $2 == 29 { s[$9] = $5 - $6 }
        END { printf "%.1f\n", (s[1] + s[2]) / 2 / 1048576 }' days.csv >wanted
    awk '$1 == "day" && $2 == "1," && $3 == "5:00" { print $6 }' days.out | diff wanted -
}

# A library whose free forgets one block in eight of a page or less.
leaking_library() {
    cat >leak.c <<'SOURCE'
#include <stdatomic.h>
#include <stddef.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);
size_t malloc_usable_size(void *);

void *malloc(size_t n) { return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { return __libc_realloc(p, n); }
void free(void *p)
{
    static atomic_uint calls;
    if (p == NULL || malloc_usable_size(p) > 4096 || atomic_fetch_add(&calls, 1) % 8 != 0)
        __libc_free(p);
}
SOURCE
    ${CC:-cc} -O1 -fno-builtin -shared -fPIC -o libleak.so leak.c
}

# slope NAME FIELD: of the table of days; MiB a day, or its standard error.
slope() {
    awk -v name="$1" -v field="$2" '$1 == name { print $field; exit }' leak.out
}

# One thread, as several may make the C library's malloc itself grow for some days.
finds_leak() {
    days leak.csv --days 8 --threads 1 --requests 1000 --allocators leak=./libleak.so,system ||
        return 1
    cp out leak.out
    cat out
    awk -v leak="$(slope leak 5)" -v error="$(slope leak 6)" -v sound="$(slope system 5)" '
        BEGIN { exit !(leak > 10 && leak > 4 * error && sound < leak / 10) }'
}

# All patterns, with each kind of contender.
patterns() {
    soak --pattern all --scale 0.01 --idle 0.1 --rounds 2 --allocators "$1" --csv patterns.csv || {
        cat out err
        return 1
    }
}

# phases PATTERN COUNT: so many samples in each run; the last one is of the idle process.
phases() {
    awk -F , -v p="$1" -v wanted="$2" '
        $8 != p { next }
        { run[$3 "," $9]++; last[$3 "," $9] = $10 }
        END {
            for (r in run) {
                runs++
                if (run[r] != wanted || last[r] != "idle") { print r, run[r], last[r]; bad = 1 }
            }
            exit bad || runs != 2 * contenders
        }' contenders="$count" patterns.csv
}

# of PATTERN PHASE ALLOCATOR: live and resident MiB, the latter without what was there before.
of() {
    awk -F , -v p="$1" -v phase="$2" -v a="$3" '
        $8 == p && $10 == phase && $3 == a && $9 == 1 {
            print $4 / 1048576, ($5 - $6) / 1048576 }' patterns.csv
}

# near PATTERN PHASE LEAST MOST: live MiB, of all contenders; and no contender holds it in less.
near() {
    for each in owl system; do
        of "$1" "$2" $each | awk -v least="$3" -v most="$4" '
            { print; seen++; bad = !($1 >= least && $1 <= most && $2 >= $1 * 0.95) }
            END { exit bad || seen != 1 }' || return 1
    done
}

equal_live() {
    for each in owl system; do
        awk -F , -v a=$each '$3 == a && $9 == 1 { print $8, $10, $4 }' patterns.csv >$each.live
    done
    cmp owl.live system.live
}

# System calls of a child that sees so many threads born: strace counts those of all threads.
# calls_of ALLOCATOR SCALE
calls_of() {
    strace -f -c -o strace.out "$soak" --pattern churn --scale "$2" --idle 0 --rounds 1 \
        --allocators "$1" >out 2>err || return 1
    awk '$1 ~ /^[0-9.]+$/ && $NF != "total" { sum += $4 } END { print sum + 0 }' strace.out
}

# each_of ALLOCATOR: system calls of each of 1600 threads.
each_of() {
    few=$(calls_of "$1" 0.04) && many=$(calls_of "$1" 0.2) && echo $(((many - few) * 100 / 1600))
}

# A thread that is born, allocates, and ends costs what the C library itself asks of the system
# (about 10 calls), and none for its memory, which is that of the thread before.
calls_per_thread() {
    if ! owl=$(each_of owl) || ! system=$(each_of system); then
        cat out err
        return 1
    fi
    echo "system calls of 100 threads: owl $owl, system $system"
    [ "$owl" -ge 500 ] && [ "$owl" -le "$system" ]
}

plots() {
    days plot.csv --allocators system --plot 'a b.svg' || return 1
    says 'a b.svg' '<svg' && says 'a b.svg' 'system' && says 'a b.svg' 'live' &&
        says 'a b.svg' '</svg>'
}

without_gnuplot() {
    PATH=$tap_dir/none "$soak" --allocators system --plot x.svg >out 2>err && return 1
    says err '^owl-soak: --plot: x.svg: gnuplot is not installed \(Debian: gnuplot-nox\)$'
}

together() {
    days together.csv --days 1 --allocators system,owl --together || return 1
    live together.csv owl 1 >owl.live
    live together.csv system 1 | cmp - owl.live && [ "$(wc -l <owl.live)" -eq 24 ]
}

contenders=owl,system
count=2
if soak --pattern sparse --scale 0.001 --idle 0 --rounds 1 --allocators zippy; then
    contenders=$contenders,zippy
    count=3
fi
try 'days run with all kinds of contenders' days days.csv --days 2 --rounds 2 \
    --allocators $contenders
cp out days.out
try 'CSV of days is well-formed' form days.csv
try 'a sample at each hour' hours owl
try 'every contender has the same blocks live, in each round' same_live
try 'live memory grows by day and shrinks by night' tides
try 'the table says what the CSV says' table_fits
try 'the table tells of speed' says days.out '^owl( +[0-9.-]+){5} +[1-9][0-9]+ +[0-9.]+$'
try 'contenders run together' together
if leaking_library 2>/dev/null; then
    try 'a leak shows as a slope' finds_leak
else
    skip 'a leak shows as a slope' "no C compiler"
fi
try 'all patterns run with all kinds of contenders' patterns $contenders
try 'CSV of patterns is well-formed' form patterns.csv
for each in sparse:3 sizes:4 strings:13 producer:4 sleeper:10 churn:3 idle:6; do
    try "${each%:*}: all phases are told" phases "${each%:*}" "${each#*:}"
done
try 'sparse: nearly all is freed' near sparse '1 in 1000 left' 0.005 0.02
try 'sparse: what was filled' near sparse filled 9.8 10
try 'sizes: as much again, in other sizes' near sizes '256 to 2048 bytes' 2.7 2.8
try 'producer: nothing is added to what lives' near producer 'half asleep' 3.6 3.8
try 'sleeper: what the other thread took' near sleeper 'other size 4' 1.9 2.1
try 'idle: what the peak held' near idle peak 10 11
try 'patterns: the same calls for all' equal_live
try 'patterns have a table each' says out '^sleeper: resident MiB and resident/live'
if command -v strace >/dev/null 2>&1 && strace -o strace.out true 2>/dev/null; then
    try 'churn: system calls of a thread' calls_per_thread
else
    skip 'churn: system calls of a thread' "no strace"
fi
if command -v gnuplot >/dev/null 2>&1; then
    try 'a plot is drawn' plots
else
    skip 'a plot is drawn' "no gnuplot"
fi
try 'error: no gnuplot' without_gnuplot
try 'error: unknown option' wrong "'--no-such' is not an option" --no-such
try 'error: option without value' wrong "'--days' needs a value" --days
try 'error: argument' wrong "'x' is not an option" x
try 'error: number' wrong "--days: '1e1' is not a whole number from 1 to" --days 1e1
try 'error: real number' wrong "--seconds: 'nan' is not a number from" --seconds nan
try 'error: step' wrong '--step: an hour is no multiple of 7 minutes' --step 7
try 'error: too many steps' wrong '365 days have more than' --days 365
try 'error: pattern' wrong "--pattern: 'swiss' is none" --pattern sparse,swiss
try 'error: plot of a pattern' wrong '--plot: only days are drawn' --pattern idle --plot x.svg
try 'error: allocator' wrong "--allocators: 'dmalloc' is not known" --allocators dmalloc
try 'error: CSV file' wrong '--csv: no/file: ' --allocators system --csv no/file
try 'a run that takes too long fails' status 1 soak --allocators system --seconds 5 --timeout 0.5
try 'a failed run is told' says out '^system FAILED 1 of 1: not done after 0.5 seconds: killed'
try 'help' status 0 soak --help
try 'help names the options' says out '^  --pattern P,'
try 'version' status 0 soak --version
tap_done
