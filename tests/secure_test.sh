#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Faults of a program are found with each option that hardens, with and without a
# handler; and real programs do the same work with OWL_SECURE=1 as without owlalloc:
# Redis, python3, the C compiler, git and tclsh. With OWL_TEST_ALL=1 these run for 20
# seconds each, and with the options for debugging too.
#
# OWL_ROOT names the installation that is tested.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
cc=${CC:-cc}
seconds=0
[ "${OWL_TEST_ALL-0}" = 0 ] || seconds=20
unset OWL_JUNK OWL_ZERO_ON_FREE OWL_QUARANTINE OWL_GUARD OWL_SECURE
cd "${tap_dir:?}" || exit 1

# --- faults ---

for kind in shared static; do
    library="-L$root/lib -lowl -Wl,-rpath,$root/lib"
    [ "$kind" = shared ] || library=$root/lib/libowl.a
    # shellcheck disable=SC2086
    $cc -O1 -fno-builtin -Wall -Wextra -Werror -Wno-use-after-free -pthread -I"$root/include" \
        -o "$kind" "$here/check_program.c" $library 2>cc.log ||
        $cc -O1 -fno-builtin -w -pthread -I"$root/include" -o "$kind" "$here/check_program.c" \
            $library || {
        fail "a program with faults is built, $kind" cc.log
        tap_done
    }
done

# dies WORDS OPTION FAULT BYTES: by abort(), and its first line has these.
dies() {
    for kind in shared static; do
        (
            ulimit -c 0
            exec env "$2" ./"$kind" "$3" "$4"
        ) >out 2>err
        got=$?
        cat out err
        [ "$got" -eq 134 ] && head -n 1 err | grep -q "^owlalloc: pointer 0x[0-9a-f]*: $1" ||
            return 1
    done
}

# lives OPTION FAULT BYTES: nothing is found.
lives() {
    for kind in shared static; do
        env "$1" ./"$kind" "$2" "$3" >out 2>&1 && [ ! -s out ] || {
            cat out
            return 1
        }
    done
}

# tells LINE OPTION FAULT BYTES: the handler is told so, and the program goes on.
tells() {
    env "$2" ./shared "$3" "$4" handler >out 2>&1
    got=$?
    cat out
    [ "$got" -eq 0 ] && grep -q "^$1\$" out
}

interior='points into a block, not at its start'
invalid='not an allocated block'
described='block of [0-9]* bytes at 0x[0-9a-f]*, class [0-9]*, owner 0x[0-9a-f]* of thread 0x'
for option in OWL_SECURE=0 OWL_SECURE=1 OWL_JUNK=1 OWL_ZERO_ON_FREE=1 OWL_QUARANTINE=1M; do
    try "$option: no false alarm" lives "$option" none 100
    try "$option: double free" dies "double free ($described" "$option" double 100
    try "$option: late double free" dies 'double free' "$option" late 100
    try "$option: interior pointer" dies "$interior ($described" "$option" interior 100
    try "$option: misaligned pointer" dies "$interior" "$option" misaligned 100
    try "$option: foreign pointer" dies 'not memory of this allocator' "$option" foreign 100
    try "$option: realloc" dies "$interior" "$option" realloc 100
    try "$option: wrong size" dies 'freed with a size larger' "$option" size 100
    try "$option: large block" dies "$interior" "$option" interior 100000
done
for option in OWL_SECURE=0 OWL_ZERO_ON_FREE=1; do
    try "$option: large double free" dies "$invalid" "$option" double 100000
done
try 'without junk a write after free is nobody else'"'"'s' lives OWL_SECURE=0 write 1000
try 'junk: write after free' dies 'written to after the block was freed' OWL_JUNK=1 write 1000
for option in OWL_GUARD=1 OWL_GUARD=1/1; do
    try "$option: no false alarm" lives "$option" none 100
    try "$option: use after free" dies 'used after the block was freed' "$option" read 100
    try "$option: write after free" dies 'used after the block was freed' "$option" write 100
    try "$option: overflow" dies '\(used, outside of\|written to, beside\) the block' "$option" \
        overflow 5000
    try "$option: double free" dies 'double free' "$option" double 100
    try "$option: interior pointer" dies "$interior" "$option" interior 100
done

try 'the handler is told of a small block' tells \
    'double free, block right, 112 bytes, class known, owner known, callers none' \
    OWL_SECURE=0 double 100
try 'of a large one' tells \
    "$interior, block right, 102400 bytes, class none, owner none, callers none" \
    OWL_SECURE=0 interior 100000
try 'of a guarded one' tells \
    'used after the block was freed, block right, 100 bytes, class none, owner none, callers known' \
    OWL_GUARD=1 write 100
try 'of a foreign pointer' tells \
    'not memory of this allocator, block unknown, 0 bytes, class none, owner none, callers none' \
    OWL_SECURE=0 foreign 100
ends_all_the_same() {
    (
        ulimit -c 0
        exec env OWL_SECURE=1 ./shared double 100 handler
    ) >out 2>&1
    [ $? -eq 134 ]
}
try 'with OWL_SECURE=1 the process ends after the handler' ends_all_the_same

# --- programs ---

# has_owl COMMAND...: the library is in the program: it does not like this value.
has_owl() {
    OWL_SECURE=2 LD_PRELOAD="$lib" "$@" 2>&1 >/dev/null </dev/null |
        grep -q '^owlalloc: OWL_SECURE=2: not a number from 0 to 1 '
}

# same COMMAND...: prints the same with the options in $options as without owlalloc, as often as
# there is time for, and at least once.
same() {
    "$@" >wanted 2>&1 </dev/null || {
        cat wanted
        return 1
    }
    end=$(($(date +%s) + seconds))
    while :; do
        # shellcheck disable=SC2086
        env $options LD_PRELOAD="$lib" "$@" >got 2>&1 </dev/null || {
            tail -n 20 got
            return 1
        }
        cmp wanted got || return 1
        [ "$(date +%s)" -lt "$end" ] || break
    done
}

cat >work.py <<'PY'
import hashlib, json, random, re
random.seed(7)
out = hashlib.sha256()
words = re.compile(r'(?P<key>[a-z]+)[^a-z]+(?P<value>(?:[0-9]+\.)?[0-9]+)|"([^"\\]|\\.)*"')
for turn in range(60):
    rows = [{'name': 'k%d' % random.randrange(10**6), 'tags': ['t' * random.randrange(60)] * 5,
             'nested': {str(i): [i, i / 7, None, 'x' * i] for i in range(random.randrange(40))}}
            for _ in range(120)]
    text = json.dumps(rows, indent=turn % 3 or None)
    assert json.loads(text) == rows
    found = [(m.group('key'), m.group('value'), m.group(0)[:40]) for m in words.finditer(text)]
    parts = re.split(r'[,:{}\[\]\s]+', text)
    out.update(repr((len(found), sorted(set(parts))[:500], found[:500])).encode())
print(out.hexdigest())
PY
cat >work.tcl <<'TCL'
set seed 1
proc random {n} {
    global seed
    set seed [expr {($seed * 1103515245 + 12345) % 2147483648}]
    return [expr {$seed / 7 % $n}]
}
set sum 0
for {set turn 0} {$turn < 40} {incr turn} {
    set d [dict create]
    for {set i 0} {$i < 1500} {incr i} {
        dict lappend d key[random 300] [string repeat [random 1000] [random 40]]
    }
    set text [join [dict values $d] " "]
    regsub -all {(\d)(7\d*)} $text {<\1\2>} text
    set words [lsort -unique [split $text <>]]
    foreach w $words {
        set sum [expr {($sum * 31 + [string length $w]) % 1000003}]
    }
    set sum [expr {($sum + [llength [regexp -all -inline {\d+} $text]]) % 1000003}]
}
puts $sum
TCL
awk 'BEGIN {
    for (i = 0; i < 150; i++) {
        printf "struct s%d { int a, b[%d]; struct s%d *next; };\n", i, i + 1, i
        printf "int f%d(struct s%d *s, int n) { int t = 0; for (int i = 0; i < n; i++) ", i, i
        printf "if (s->b[i %% %d] > t) t += s->b[i %% %d] * %d; else s = s->next; ", i + 1, i + 1, i
        printf "return t + s->a; }\n"
    }
}' >work.c

make_repository() {
    git init -q --bare work.git || return
    awk 'BEGIN {
        print "blob\nmark :1\ndata 2\nx\n"
        for (i = 2; i < 300; i++) {
            text = ""
            for (k = 0; k < 80; k++)
                text = text (i * k * 7919 % 10007) "\n"
            printf "commit refs/heads/main\nmark :%d\ncommitter a <a@example.org> %d +0000\n", i, i
            from = (i > 2) ? "from :" (i - 1) "\n" : ""
            printf "data 2\nc\n%sM 644 inline f%d\n", from, i % 40
            printf "data %d\n%s\n", length(text), text
        }
    }' | git --git-dir=work.git fast-import --quiet
}

# redis SECONDS: a server serves its own benchmark, then has what was put into it.
redis() {
    mkdir -p redis
    # shellcheck disable=SC2086
    env $options LD_PRELOAD="$lib" "$server" --port 0 --unixsocket "$tap_dir/redis/socket" \
        --dir "$tap_dir/redis" --save '' --appendonly no --daemonize no >redis/log 2>&1 &
    pid=$!
    i=0
    until redis-cli -s redis/socket ping >/dev/null 2>&1; do
        i=$((i + 1))
        [ $i -lt 100 ] || break
        sleep 0.1
    done
    ask() {
        redis-cli -s redis/socket "$@"
    }
    end=$(($(date +%s) + seconds))
    while :; do
        redis-benchmark -s redis/socket -q -n 5000 -r 3000 -d 300 -P 8 >redis/out 2>&1 &&
            ! grep -qi error redis/out || break
        [ "$(date +%s)" -lt "$end" ] || break
    done
    ask set here "$(awk 'BEGIN { for (i = 0; i < 2000; i++) printf "%d,", i }')" >/dev/null
    [ "$(ask strlen here)" -eq 8890 ] && [ "$(ask memory doctor | wc -c)" -gt 0 ] &&
        [ "$(ask ping)" = PONG ] && ask shutdown nosave
    wait "$pid" || {
        cat redis/log redis/out
        return 1
    }
}

server=$(command -v redis-server) || {
    server=$tap_dir/redis-server
    ln -s "$(command -v redis-check-rdb || echo none)" "$server"
}
python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null)
tclsh=$(command -v tclsh8.6 || command -v tclsh)
git_ready=$(command -v git >/dev/null && make_repository && echo yes)

# programs: each with the options in $options.
programs() {
    if redis-cli --version >/dev/null 2>&1 && [ -x "$server" ]; then
        try "$options: Redis" redis
    else
        skip "$options: Redis" 'it is not here'
    fi
    if [ -n "$python" ]; then
        try "$options: python3" same "$python" work.py
    else
        skip "$options: python3" 'it is not here'
    fi
    try "$options: the C compiler" same sh -c "$cc -O1 -c -o work.o work.c && cksum work.o"
    if [ -n "$git_ready" ]; then
        try "$options: git fsck" same sh -c 'git --git-dir=work.git fsck --full --strict \
            --no-progress && git --git-dir=work.git log --stat --oneline | cksum'
    else
        skip "$options: git fsck" 'git is not here'
    fi
    if [ -n "$tclsh" ]; then
        try "$options: tclsh" same "$tclsh" work.tcl
    else
        skip "$options: tclsh" 'it is not here'
    fi
}

[ -z "$python" ] || try 'owlalloc is in python3' has_owl "$python" -c 'print()'
[ -z "$tclsh" ] || try 'in tclsh' has_owl "$tclsh"
try 'in the C compiler' has_owl "$cc" -c -o /dev/null work.c
[ -z "$git_ready" ] || try 'in git' has_owl git --git-dir=work.git log
[ ! -x "$server" ] || try 'in Redis' has_owl "$server" --version

options=OWL_SECURE=1
programs
if [ "$seconds" -gt 0 ]; then
    for options in OWL_GUARD=1/100 'OWL_SECURE=1 OWL_JUNK=1 OWL_QUARANTINE=4M' \
        'OWL_JUNK=1 OWL_ZERO_ON_FREE=1 OWL_GUARD=1/1000'; do
        programs
    done
fi
tap_done
