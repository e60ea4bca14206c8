#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# owl-record sees every call of a program, in an order that can be run again, and
# leaves the program as it is.
#
# OWL_ROOT names the installation whose owl-record is tested.

# Functions are called by name, through try; and it is Tcl that expands.
# shellcheck disable=SC2317,SC2016

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

root=${OWL_ROOT:-$here/../build/root}
[ -x "$root/bin/owl-record" ] || skip_all "there is no $root/bin/owl-record"
root=$(CDPATH='' cd -- "$root" && pwd)
record=$root/bin/owl-record
cd "$tap_dir" || exit 1

# value FILE LINE: a number that --info prints.
value() {
    "$record" --info "$1" | awk -v name="$2" '
        { number = $NF; sub(/^ +/, ""); sub(/ +[0-9]+$/, "") }
        $0 == name { print number; exit }'
}

# equal WHAT GOT WANTED
equal() {
    [ "$2" = "$3" ] || {
        echo "$1: $2 instead of $3"
        return 1
    }
}

# ---- any program ----

unchanged() {
    mkdir -p tree/a tree/b
    ls -lR tree >plain.out || return 1
    "$record" -q -o ls.trace ls -lR tree >recorded.out 2>recorded.err || return 1
    cat recorded.err
    cmp plain.out recorded.out && [ ! -s recorded.err ] && [ -s ls.trace ] &&
        ! ls -d ./*.raw.* 2>/dev/null
}
try 'ls runs as before, and leaves a trace and nothing else' unchanged

info() {
    [ "$(value ls.trace calls)" -gt 50 ] && equal threads "$(value ls.trace threads)" 1
}
try '--info tells what is in it' info

refused() {
    head -c 200 ls.trace >short.trace
    { cat ls.trace; echo; } >long.trace
    for file in short.trace long.trace none.trace /dev/null; do
        status 125 "$record" --info "$file" || return 1
    done
}
try '--info refuses a file that is no whole trace' refused

statuses() {
    status 7 "$record" -q -o s.trace sh -c 'exit 7' &&
        status 137 "$record" -q -o s.trace sh -c 'kill -9 $$' &&
        status 127 "$record" -q -o s.trace ./no-such-program &&
        status 126 "$record" -q -o s.trace ./tree &&
        status 125 "$record" -q -o no/such/directory/s.trace ls
}
try 'the exit status is that of the program' statuses

children() {
    rm -f c.trace*
    "$record" -q -o c.trace sh -c 'ls /; ls /; exit 0' >/dev/null || return 1
    equal 'traces' "$(find . -name 'c.trace*' | wc -l)" 1 || return 1
    "$record" -q -f -o c.trace sh -c 'ls /; ls /; exit 0' >/dev/null || return 1
    equal 'traces with --follow' "$(find . -name 'c.trace*' | wc -l)" 3
}
try 'children are recorded only if asked for' children

replaced() {
    "$record" -q -o plain.trace ls / >/dev/null &&
        "$record" -q -o exec.trace sh -c 'exec ls /' >/dev/null &&
        equal calls "$(value exec.trace calls)" "$(value plain.trace calls)"
}
try 'a program that replaces itself is recorded from there on' replaced

# ---- a program whose calls are known ----

cat >calls.c <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, SLOTS = 16 };
static long rounds;
static char *slot[SLOTS];
static void *volatile sink;

static void *keep(void *p)
{
    if (!p)
        abort();
    return sink = p;
}

/* A round: 4 malloc, 1 calloc, 3 realloc, 5 aligned, 10 free, and some that do not count. */
static void *work(void *arg)
{
    unsigned at = (unsigned)(uintptr_t)arg;
    for (long i = 0; i < rounds; i++) {
        void *p;
        free(keep(malloc(24 + (size_t)i % 100)));
        free(keep(calloc(3, 7)));
        p = keep(realloc(NULL, 10));
        p = keep(realloc(p, 5000));
        if (realloc(p, PTRDIFF_MAX) || malloc(PTRDIFF_MAX) || calloc(SIZE_MAX, 2))
            abort();
        p = keep(reallocarray(p, 10, 7));
        if (reallocarray(p, SIZE_MAX, 2))
            abort();
        free(p);
        free(NULL);
        if (posix_memalign(&p, 64, 100) || posix_memalign(&sink, 3, 100) != EINVAL)
            abort();
        free(p);
        free(keep(aligned_alloc(256, 512)));
        free(keep(memalign(4096, 1)));
        free(keep(valloc(1)));
        free(keep(pvalloc(1)));
        if (!(p = strdup("abc")))               /* the C library's own malloc */
            abort();
        p = realloc(p, 40);
        free(p);
        char *mine = keep(malloc(100));         /* mostly freed by another thread */
        memset(mine, (int)at, 100);
        free(__atomic_exchange_n(&slot[(at += 5) % SLOTS], mine, __ATOMIC_ACQ_REL));
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t id[THREADS];
    const char *end = argc > 2 ? argv[2] : "exit";
    rounds = atol(argv[1]);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&id[i], NULL, work, (void *)i))
            return 1;
    if (strcmp(end, "fork") == 0) {             /* while the others are at work */
        pid_t pid = fork();
        if (pid == 0) {
            for (int i = 0; i < 1000; i++)
                free(keep(malloc(100)));
            _exit(0);
        }
        waitpid(pid, NULL, 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(id[i], NULL);
    for (int i = 0; i < SLOTS; i++)
        free(slot[i]);
    if (strcmp(end, "kill") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(end, "_exit") == 0)
        _exit(0);
    return 0;
}
C

# more LINE FILE BASE N: FILE has N calls more than BASE has.
more() {
    equal "$1 in $2" "$(($(value "$2" "$1") - $(value "$3" "$1")))" "$4"
}

# exact END STATUS: the rounds' calls are all there and no others.
exact() {
    rounds=5000
    total=$((4 * rounds))
    status "$2" "$record" -q -o none.trace ./calls 0 "$1" &&
        status "$2" "$record" -q -o calls.trace ./calls "$rounds" "$1" || return 1
    more malloc calls.trace none.trace $((4 * total)) &&
        more calloc calls.trace none.trace "$total" &&
        more realloc calls.trace none.trace $((3 * total)) &&
        more aligned calls.trace none.trace $((5 * total)) &&
        more free calls.trace none.trace $((10 * total)) &&
        equal 'left' "$(value calls.trace 'blocks never freed')" \
            "$(value none.trace 'blocks never freed')" &&
        equal threads "$(value calls.trace threads)" 5 &&
        [ "$(value calls.trace 'freed by other thread')" -gt 0 ]
}

if ! command -v "${CC:=cc}" >/dev/null 2>&1; then
    skip 'every call of a program with threads' "no $CC here"
elif ! "$CC" -O1 -fno-builtin -w -o calls calls.c -pthread >cc.out 2>&1; then
    fail 'every call of a program with threads' cc.out
else
    try 'every call of a program with threads' exact exit 0
    try 'also when it leaves by _exit' exact _exit 0
    try 'also when it is killed' exact kill 137
    try 'also when it forks, and the child goes on' exact fork 0
fi

# ---- Tcl ----

cat >strings.tcl <<'T'
package require Thread
set work {
    proc work {n} {
        for {set i 0} {$i < $n} {incr i} {
            lappend strings [string repeat x 5000]
        }
        llength $strings
    }
}
foreach n [lrange $argv 0 end] {
    set id [thread::create -joinable]
    thread::send $id $work
    puts [thread::send $id [list work $n]]
    thread::release $id
    thread::join $id
}
T

# in_bucket FILE LAST: how many blocks of the sizes up to LAST.
in_bucket() {
    "$record" --info "$1" | awk -v last="$2" '$1 == "up" && $3 == last { print $4; exit }'
}

tcl_blocks() {
    "$record" -q -o few.trace tclsh strings.tcl 100 100 &&
        "$record" -q -o many.trace tclsh strings.tcl 600 1100 || return 1
    # Beside the strings, the lists they are in may pass through this size.
    strings=$(($(in_bucket many.trace 8191) - $(in_bucket few.trace 8191)))
    echo "$strings strings"
    [ "$strings" -ge 1500 ] && [ "$strings" -le 1510 ] &&
        equal 'threads that ended' "$(value many.trace 'threads ended')" 2
}

if ! command -v tclsh >/dev/null 2>&1; then
    skip "the blocks of Tcl's interpreters" 'no tclsh here'
elif ! echo 'package require Thread' | tclsh >/dev/null 2>&1; then
    skip "the blocks of Tcl's interpreters" 'no Thread package here'
elif [ "$(echo 'puts [info exists tcl_platform(threaded)]' | tclsh)" != 1 ] ||
    ! ldd "$(command -v tclsh)" | grep -q libtcl; then
    skip "the blocks of Tcl's interpreters" 'this tclsh is linked another way'
else
    try "the blocks of Tcl's interpreters" tcl_blocks
fi

# With objects, 1000 integers more in a list are 1000 blocks of 48 bytes more.
tcl_objects() {
    for n in 100 1100; do
        "$record" -q -t -o "objects$n.trace" tclsh integers.tcl "$n" >/dev/null &&
            "$record" -q -o "plain$n.trace" tclsh integers.tcl "$n" >/dev/null || return 1
    done
    seen=$(($(in_bucket objects1100.trace 63) - $(in_bucket objects100.trace 63)))
    unseen=$(($(in_bucket plain1100.trace 63) - $(in_bucket plain100.trace 63)))
    echo "$seen objects seen, $unseen without the option"
    [ "$seen" -ge 1000 ] && [ "$unseen" -lt 100 ]
}
cat >integers.tcl <<'T'
for {set i 0} {$i < [lindex $argv 0]} {incr i} {
    lappend integers [expr {$i * 3}]
}
puts [llength $integers]
T

if [ ! -e "$root/lib/owl/record/libtcl8.6.so" ]; then
    skip 'Tcl_Objs' 'owl-record is installed without'
elif [ "$(echo 'puts $tcl_version' | tclsh 2>/dev/null)" != 8.6 ]; then
    skip 'Tcl_Objs' 'no tclsh8.6 here'
else
    try 'Tcl_Objs' tcl_objects
fi

# ---- with the others ----

under_owl() {
    LD_PRELOAD=$root/lib/libowl.so "$record" -q -o owl.trace ls -lR tree >recorded.out &&
        cmp plain.out recorded.out && [ "$(value owl.trace calls)" -gt 50 ]
}
if [ -e "$root/lib/libowl.so" ]; then
    try 'a program with an allocator preloaded' under_owl
else
    skip 'a program with an allocator preloaded' 'no libowl.so here'
fi

replay() {
    "$root/bin/owl-memtest" --allocators system --workload "trace:$1" --verify --rounds 1 --ops 1
}
for file in ls calls many; do
    name="owl-memtest replays $file.trace"
    if [ ! -x "$root/bin/owl-memtest" ]; then
        skip "$name" 'no owl-memtest here'
    elif [ ! -e "$file.trace" ]; then
        skip "$name" 'not recorded'
    else
        try "$name" replay "$file.trace"
    fi
done

tap_done
