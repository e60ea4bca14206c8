#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# owl-memtest: every workload verified on every allocator that is here, its JSON, its errors, and
# that it finds out allocators that are broken in known ways. Prints TAP.
#
# OWL_MEMTEST names the program. Runs in a temporary directory and needs a C compiler (CC) for the
# broken allocators; without one those tests are skipped.

memtest=${OWL_MEMTEST:-build/root/bin/owl-memtest}
compiler=${CC:-cc}
tests=0
failed=0

case $memtest in
/*) ;;
*) memtest=$(pwd)/$memtest ;;
esac
if ! [ -x "$memtest" ]; then
    echo "1..0 # SKIP $memtest is not built"
    exit 0
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

# result STATUS NAME: a test that succeeded if STATUS is 0; otherwise shows what the run printed.
result() {
    tests=$((tests + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $tests - $2"
    else
        echo "not ok $tests - $2"
        failed=$((failed + 1))
        sed 's/^/# /' out err 2>/dev/null
    fi
}

skip() {
    tests=$((tests + 1))
    echo "ok $tests - $1 # SKIP $2"
}

# run ARGUMENT...: one round, output in ./out and ./err, exit status in $status.
run() {
    "$memtest" --rounds 1 "$@" >out 2>err
    status=$?
}

# is EXPECTED NAME: the exit status of the last run
is() {
    [ "$status" -eq "$1" ]
    result $? "$2"
}

# A trace of two threads: blocks that cross over, reallocs of them, aligned blocks, blocks of no
# bytes, and some that are never freed.
make_trace() {
    perl -e '
        use strict; use warnings; no warnings "portable";
        my @events; my $blocks = 0;
        sub event { my ($kind, $value, @rest) = @_;
            my $bytes = chr($kind | ($value < 31 ? $value : 31) << 3);
            for my $v (($value < 31 ? () : $value - 31), @rest) {
                my $left = $v;
                while ($left >= 128) { $bytes .= chr(128 | $left & 127); $left >>= 7; }
                $bytes .= chr $left;
            }
            push @events, $bytes;
            return $blocks++ if $kind < 4 || $kind == 5;
        }
        sub fnv { use integer; my $h = 0xcbf29ce484222325;
            $h = ($h ^ ord) * 0x100000001b3 for split //, $_[0]; return $h; }
        my $ops = 0;
        for my $turn (1 .. 300) {
            event(6, 0);
            my $a = event(1, 40 + $turn); my $b = event(2, 700); my $c = event(5, 6, 5000);
            event(1, $turn % 7);
            event(6, 1);
            my $d = event(3, $blocks - 1 - $a, 3000);
            event(4, $blocks - 1 - $b);
            my $e = event(1, 48);
            event(6, 0);
            event(4, $blocks - 1 - $d); event(4, $blocks - 1 - $c);
            my $f = event(3, $blocks - 1 - $e, 90000);
            event(4, $blocks - 1 - $f);
            $ops += 11;
        }
        my $body = join "", @events;
        my $head = "owltrace" . pack("VVQ<Q<Q<q<", 1, 2, $ops, $blocks, length $body, fnv($body));
        binmode STDOUT; print $head, pack("q<", fnv($head)), $body;
    ' >made.trace
}

# What is wrong depends on the name defined; with none of them the allocator is right.
make_allocators() {
    cat >peer.c <<'SOURCE'
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef CRASH_AT
#define CRASH_AT 0
#endif
#ifndef HANG_AT
#define HANG_AT 0
#endif
#ifndef TWICE_AFTER
#define TWICE_AFTER 0
#endif
#ifndef SHORT_EVERY
#define SHORT_EVERY 0
#endif
#ifndef MISALIGN_EVERY
#define MISALIGN_EVERY 0
#endif
#ifndef FAIL_AT
#define FAIL_AT 0
#endif
#ifndef REALLOC_LOSES
#define REALLOC_LOSES 0
#endif
#ifndef CALLOC_DIRTY
#define CALLOC_DIRTY 0
#endif

enum { HEADER = 16 };

static char *arena;
static size_t used;
static unsigned long count;
static char *last;

static void *take(size_t alignment, size_t size)
{
    size_t room = size + alignment + 2 * HEADER;
    char *p;

    if (arena == NULL) {
        char *fresh = mmap(NULL, (size_t)1 << 36, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        char *expected = NULL;

        __atomic_compare_exchange_n(&arena, &expected, fresh, 0, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
    }
    room = (room + 15) & ~(size_t)15;
    p = arena + __atomic_fetch_add(&used, room, __ATOMIC_SEQ_CST) + HEADER;
    p += (alignment - (size_t)p % alignment) % alignment;
    ((size_t *)p)[-1] = size;
    return p;
}

void *malloc(size_t size)
{
    unsigned long n = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    char *p;

    if (CRASH_AT != 0 && n > CRASH_AT)
        abort();
    while (HANG_AT != 0 && n > HANG_AT)
        pause();
    if (FAIL_AT != 0 && n > FAIL_AT) {
        errno = ENOMEM;
        return NULL;
    }
    if (TWICE_AFTER != 0 && n > TWICE_AFTER && last != NULL && ((size_t *)last)[-1] >= size)
        return last;                    /* which nobody has freed */
    if (SHORT_EVERY != 0 && n % SHORT_EVERY == 0 && size > 64) {
        p = take(16, size);             /* its end is where the next block begins */
        __atomic_fetch_sub(&used, 64, __ATOMIC_SEQ_CST);
        return p;
    }
    p = take(16, size);
    if (MISALIGN_EVERY != 0 && n % MISALIGN_EVERY == 0) {
        p += 8;
        ((size_t *)p)[-1] = size;
    }
    last = p;
    return p;
}

void free(void *block)
{
    if (block == last)
        last = NULL;
}

void *calloc(size_t number, size_t size)
{
    char *p = malloc(number * size);

    if (p != NULL && CALLOC_DIRTY && number * size > 600)
        p[600] = 1;
    return p;
}

void *realloc(void *block, size_t size)
{
    char *p = malloc(size);
    size_t keep;

    if (block == NULL || p == NULL)
        return p;
    keep = ((size_t *)block)[-1] < size ? ((size_t *)block)[-1] : size;
    memcpy(p, block, keep - (REALLOC_LOSES && keep > 100 ? 1 : 0));
    return p;
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = take(alignment < 16 ? 16 : alignment, size);
    return 0;
}

size_t malloc_usable_size(void *block)
{
    return block != NULL ? ((size_t *)block)[-1] : 0;
}
SOURCE
    for peer in good CRASH_AT=500 HANG_AT=500 TWICE_AFTER=300 SHORT_EVERY=300 MISALIGN_EVERY=300 \
                FAIL_AT=500 REALLOC_LOSES=1 CALLOC_DIRTY=1; do
        "$compiler" -shared -fPIC -O1 -fno-builtin -D"$peer" -o "${peer%%=*}.so" peer.c >err 2>&1 ||
            return 1
    done
}

# caught PEER WORKLOAD PATTERN NAME: the peer is found out, and the table says how.
caught() {
    run --allocators "$1=./$1.so" --workload "$2" --verify --threads 2 --live 200 --ops 2000
    [ "$status" -eq 1 ] && grep -q "FAILED.*$3" out
    result $? "$4"
}

check_json() {
    if command -v python3 >/dev/null; then
        python3 - "$1" <<'SOURCE'
import json, sys
d = json.load(open(sys.argv[1]))
w = d["workloads"]
assert [x["name"] for x in w] == ["uniform", "small"], w
assert all(len(x["results"]) == 1 and len(x["results"][0]["runs"]) == 2 for x in w)
run = w[0]["results"][0]["runs"][1]
assert run["ok"] and run["ops"] == 4000, run
assert run["rss_peak_bytes"] >= run["rss_start_bytes"] > 0 and run["live_peak_bytes"] > 0
assert d["failures"] == 0 and d["machine"]["processors"] >= 1 and d["options"]["seed"] == 7
SOURCE
    else
        perl -MJSON::PP -0777 -ne '
            my $d = decode_json($_);
            exit !(@{$d->{workloads}} == 2 && $d->{failures} == 0
                   && $d->{workloads}[0]{results}[0]{runs}[1]{ops} == 4000)' "$1"
    fi
}

all=uniform,small,realloc,producer,churn
if command -v perl >/dev/null && make_trace; then
    all=$all,trace:made.trace
fi

for allocator in system zippy owl; do
    for threads in 1 5; do
        name="$allocator: all workloads, $threads thread(s), verified"
        run --allocators $allocator --workload $all --verify --ops 6000 --live 300 \
            --threads $threads
        if grep -q "not available" out && [ $allocator != system ]; then
            skip "$name" "$allocator is not here"
        else
            is 0 "$name"
        fi
    done
done
for allocator in system zippy owl; do
    name="$allocator: the recorded trace, verified"
    run --allocators $allocator --workload tcl --verify --ops 1
    if [ "$status" -eq 2 ]; then
        skip "$name" "the trace is not installed"
    elif grep -q "not available" out && [ $allocator != system ]; then
        skip "$name" "$allocator is not here"
    else
        is 0 "$name"
    fi
done
run --allocators system --workload $all --seconds 0.05 --threads 3
is 0 "runs by time end"

# How many different peaks of live bytes are in these files.
live_bytes() {
    cat "$@" | sed -n 's/.*"live_peak_bytes": *\([0-9.e+]*\).*/\1/p' | sort -u | wc -l
}

# The same seed is the same work: the live bytes at the end of equal runs are equal.
run --allocators system,system --workload uniform --ops 5000 --threads 1 --json twice.json
[ "$(live_bytes twice.json)" -eq 1 ]
result $? "equal seeds make equal runs"
run --allocators system --workload uniform --ops 5000 --threads 1 --seed 9 --json other.json
[ "$(live_bytes twice.json other.json)" -eq 2 ]
result $? "another seed makes another run"

"$memtest" --allocators system --workload uniform,small --ops 2000 --threads 2 --rounds 2 --seed 7 \
    --json report.json >out 2>err
status=$?
is 0 "--json"
if command -v python3 >/dev/null || perl -MJSON::PP -e 1 2>/dev/null; then
    check_json report.json 2>>err
    result $? "the JSON is valid and complete"
else
    skip "the JSON is valid and complete" "neither python3 nor perl"
fi
! [ -s err ]
result $? "no progress line in a file or a pipe"

for arguments in --unknown extra --threads --threads=0 --threads=x --threads= --ops=1e3 \
                 --seconds=-1 --seconds=nan --live=0 --cap=99999 --rounds=0 --seed=-1 \
                 --workload=none "--workload=uniform," --workload=trace: \
                 --workload=trace:/nonexistent --allocators=none "--allocators=," \
                 --allocators=a=/nonexistent "--ops=1 --seconds=1" --json=/nonexistent/file; do
    # shellcheck disable=SC2086 # some are two arguments
    run $arguments
    [ "$status" -eq 2 ] && [ -s err ] && ! [ -s out ]
    result $? "$arguments: an error message and exit status 2"
done
run --help
grep -q "^usage:" out
result $? "--help"
run --version
is 0 "--version"

run --allocators zippy=libnosuchtcl.so --workload uniform
grep -q "install" err && [ "$status" -eq 2 ]
result $? "a missing libtcl is named, and what to install"

if make_allocators; then
    run --allocators good=./good.so --workload $all --verify --threads 2 --live 200 --ops 2000
    is 0 "a peer that works"
    run --allocators system,CRASH_AT=./CRASH_AT.so,good=./good.so --workload uniform --ops 2000 \
        --threads 2
    [ "$status" -eq 1 ] && grep -q "CRASH_AT *FAILED 1 of 1: died of signal 6" out &&
        grep -q "^good  *[0-9]" out
    result $? "a peer that crashes is a failure, and the others still run"
    run --allocators HANG_AT=./HANG_AT.so --workload uniform --ops 2000 --timeout 1
    [ "$status" -eq 1 ] && grep -q "FAILED.*killed" out
    result $? "a peer that hangs is a failure"
    caught TWICE_AFTER uniform "was written" "a block given out twice is found (uniform)"
    caught TWICE_AFTER producer "was written" "a block given out twice is found (producer)"
    caught TWICE_AFTER churn "was written" "a block given out twice is found (churn)"
    caught SHORT_EVERY small "was written" "blocks that overlap are found"
    caught MISALIGN_EVERY uniform "not aligned" "a misaligned block is found"
    caught REALLOC_LOSES realloc "was written" "a realloc that loses a byte is found"
    caught FAIL_AT uniform "returned NULL" "an allocation that fails is found"
    if [ -f made.trace ] && [ "$all" != "${all%trace*}" ]; then
        caught CALLOC_DIRTY trace:made.trace "calloc" "memory from calloc that is not zero is found"
        caught TWICE_AFTER trace:made.trace "was written" "a block given out twice is found (trace)"
    fi
    run --allocators none=./nomalloc.so
    is 2 "a library that is not there"
    echo 'int nothing;' >nothing.c
    "$compiler" -shared -fPIC -o nothing.so nothing.c &&
        run --allocators nothing=./nothing.so --workload uniform
    is 2 "a library without malloc"
else
    skip "broken allocators are found" "no C compiler"
fi

echo "1..$tests"
# The TAP driver counts what failed; a status of its own would count as one failure more.
[ "$failed" -eq 0 ] || [ -n "${AM_TAP_AWK-}" ] || exit 1
exit 0
