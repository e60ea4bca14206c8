#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Real programs run unchanged with libowl.so preloaded: each runs twice in the same
# place, without and with it; exit status, output and errors must be equal to the
# byte. Programs that the machine lacks are skipped.
#
# OWL_ROOT names the installation whose library is tested.

# Functions are called by name, through try; and it is cat that we look into.
# shellcheck disable=SC2317,SC2002

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

root=${OWL_ROOT:-$here/../build/root}
lib=$root/lib/libowl.so
[ -e "$lib" ] || skip_all "there is no $lib"
lib=$(CDPATH='' cd -- "$(dirname -- "$lib")" && pwd)/libowl.so

work=$tap_dir/work
LC_ALL=C
TZ=UTC0
HOME=$work
PYTHONHASHSEED=0
PYTHONDONTWRITEBYTECODE=1
export LC_ALL TZ PYTHONHASHSEED PYTHONDONTWRITEBYTECODE

use_limit 120

# once PRELOAD NAME: run $tap_dir/script in a fresh directory; results to NAME.*
once() {
    rm -rf "$work"
    mkdir "$work"
    (
        cd "$work" || exit 1
        [ -z "$1" ] || export LD_PRELOAD="$1"
        $limit sh "$tap_dir/script"
    ) >"$tap_dir/$2.out" 2>"$tap_dir/$2.err" </dev/null
    echo $? >"$tap_dir/$2.status"
}

# same: what the two runs gave is equal, and the first was a success.
same() {
    cat "$tap_dir/plain.err"
    grep -qx 0 "$tap_dir/plain.status" || {
        echo "without the library it fails too: status $(cat "$tap_dir/plain.status")"
        return 1
    }
    for part in status err out; do
        cmp "$tap_dir/plain.$part" "$tap_dir/owl.$part" || {
            diff "$tap_dir/plain.$part" "$tap_dir/owl.$part" | head -n 20
            return 1
        }
    done
    [ -s "$tap_dir/plain.out" ]
}

# compare NAME PROGRAM...: the script on standard input needs the PROGRAMs.
compare() {
    cat >"$tap_dir/script"
    name=$1
    shift
    for program; do
        command -v "$program" >/dev/null 2>&1 || {
            skip "$name" "no $program here"
            return
        }
    done
    once '' plain
    once "$lib" owl
    try "$name" same
}

in_use() {
    LD_PRELOAD=$lib cat /proc/self/maps | grep -F libowl.so
}

# A child of a child has it too, and nothing complains.
in_use_below() {
    LD_PRELOAD=$lib sh -c '(cat /proc/self/maps)' 2>"$tap_dir/err" | grep -F libowl.so &&
        [ ! -s "$tap_dir/err" ]
}

try 'the library is in use' in_use
try 'the library is in use in children' in_use_below

compare 'cat, the smallest' cat <<'S'
echo text | cat
S

compare 'sh: subshells and pipes' seq <<'S'
for i in $(seq 200); do
    x=$(echo "$i" | (read -r n; echo $((n * n))))
    echo "$x"
done
S

compare 'bash: arrays, substitutions, here-strings' bash seq <<'S'
bash -c '
declare -A squares
list=()
for ((i = 0; i < 20000; i++)); do
    squares[k$i]=$((i * i)); list+=("item $i")
done
for i in 1 77 19999; do echo "${squares[k$i]} ${list[$i]}"; done
text=$(printf "%s," "${list[@]}"); echo "${#text} ${text//item/x}" | cksum
for i in {1..60}; do read -r w <<<"$(echo "$i" | tr 0-9 a-j)"; echo "$w"; done
cat <(seq 1000) <(seq 500) | cksum
'
S

compare 'python3: json, regular expressions, threads, big numbers' python3 <<'S'
cat >t.py <<'P'
import hashlib, json, random, re, threading, zlib
random.seed(1)
def value(depth):
    k = random.randrange(6 if depth else 4)
    if k == 0: return random.random()
    if k == 1: return random.randrange(10 ** 12)
    if k == 2: return "".join(random.choice("abc \"\\\u20ac") for _ in range(random.randrange(300)))
    if k == 3: return None
    if k == 4: return [value(depth - 1) for _ in range(random.randrange(20))]
    return {"k%d" % i: value(depth - 1) for i in range(random.randrange(20))}
doc = [value(4) for _ in range(200)]
text = json.dumps(doc, sort_keys=True)
assert json.loads(text) == doc
print(len(text), hashlib.sha256(text.encode()).hexdigest())
words = re.findall(r"[ab]+c", text)
print(len(words), max(words, key=len), re.sub(r"(a)(b)", r"\2\1", text)[1000:1100])
def work(n, out):
    part = [zlib.compress(bytes(str(i) * 50, "ascii")) for i in range(n, n + 1500)]
    out[n] = hashlib.sha256(b"".join(part)).hexdigest()
out = {}
threads = [threading.Thread(target=work, args=(n, out)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
print([out[n] for n in sorted(out)])
grow = bytearray()
for i in range(200000): grow += b"0123456789"
print(hashlib.sha256(grow).hexdigest(), len(str(3 ** 8000)))
P
python3 t.py
S

compare 'python3: processes' python3 <<'S'
cat >t.py <<'P'
import multiprocessing, subprocess, sys
def square(n): return sum(i * i for i in range(n))
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(4) as pool:
        print(pool.map(square, range(0, 4000, 7)))
    print(subprocess.run(["ls", "-a", "/usr"], capture_output=True).stdout)
P
python3 t.py
S

compare 'perl: hashes, regular expressions, sorting' perl <<'S'
perl -we '
use strict;
my ($seed, %count, @lines) = (7);
for (1 .. 60000) {
    $seed = ($seed * 1103515245 + 12345) % 2147483648;
    my $word = sprintf("w%x", $seed % 5003);
    $count{$word}++;
    push @lines, "$word " . "x" x ($seed % 90);
}
my $text = join "\n", @lines;
my $n = () = $text =~ /w[0-7]+ x{3,5}$/mg;
$text =~ s/(w\w+) (x+)/$2-$1/g;
print "$n ", length $text, " ", unpack("%32C*", $text), "\n";
print "$_ $count{$_}\n" for (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 50];
'
S

compare 'gcc: a large C file' gcc awk <<'S'
awk 'BEGIN {
    print "struct s { int a, b; double d[4]; struct s *next; };"
    for (i = 0; i < 500; i++) {
        printf "int f%d(struct s *p, int n)\n{\n    int t = %d;\n", i, i
        printf "    for (int i = 0; i < n && p; i++, p = p->next) {\n"
        printf "        switch ((p->a + i) %% 7) {\n"
        for (c = 0; c < 7; c++)
            printf "        case %d: t += p->b * %d - (int)p->d[%d]; break;\n", c, i + c, c % 4
        printf "        }\n    }\n    return t%s;\n}\n", i ? " + f" (i - 1) "(p, n - 1)" : ""
    }
}' >big.c
gcc -O1 -g -S -o big.s big.c && cksum big.s && wc -c <big.s
S

compare 'make: parallel jobs' make <<'S'
{
    printf 'all:'; for i in 1 2 3 4 5 6 7 8 9; do printf ' out%s' "$i"; done; echo
    printf '\t@cat out* | cksum\n'
    printf 'out%%:\n\t@seq $* 20000 >$@\n'
} >Makefile
make -s -j4
S

compare 'git: init, add, commit, log, gc' git seq <<'S'
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null HOME="$PWD"
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='1600000000 +0000'
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org GIT_COMMITTER_DATE='1600000000 +0000'
git init -q -b main repo && cd repo || exit 1
for i in $(seq 12); do
    for j in $(seq 25); do seq "$i" "$((i * j + 300))" >"file$j"; done
    git add . && git commit -q -m "commit $i" || exit 1
done
git log --stat --format='%H %s' && git diff HEAD~5 | cksum
git -c gc.auto=0 gc -q --aggressive && git fsck --full --no-progress && git count-objects -v | grep -v size
S

compare 'sqlite3: tables, index, sort' sqlite3 <<'S'
sqlite3 t.db <<'Q'
create table t(id integer primary key, a int, b text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)
    insert into t select i, (i * 7919) % 10007, printf('text %d %s', i, hex(zeroblob(i % 60))) from n;
create index ta on t(a);
select a, count(*), max(length(b)) from t group by a order by 2 desc, a limit 20;
select sum(x.a * y.id) from t x join t y on x.a = y.id where y.b like '%9%';
update t set b = b || b where id % 3 = 0; delete from t where a < 2000; vacuum;
select count(*), sum(length(b)) from t; pragma integrity_check;
Q
S

compare 'tclsh: lists, dicts, regular expressions, threads' tclsh <<'S'
cat >t.tcl <<'T'
proc work {n} {
    set d [dict create]
    for {set i 0} {$i < $n} {incr i} {
        dict lappend d [expr {$i % 97}] "value $i"
        append text [string repeat [format %x $i] 3]
    }
    set r [regsub -all {([0-9]+)([a-f])} $text {\2\1}]
    list [dict size $d] [string length $r] [llength [lsort [split $r a]]] [zlib crc32 $r]
}
puts [work 30000]
if {![catch {package require Thread}]} {
    for {set i 0} {$i < 4} {incr i} {
        lappend threads [set t [thread::create -joinable]]
        thread::send $t [list proc work {n} [info body work]]
        thread::send -async $t "work 1000[set i]" result($t)
    }
    foreach t $threads {
        if {![info exists result($t)]} { vwait result($t) }
        puts $result($t)
        thread::release $t
        thread::join $t
    }
}
T
tclsh t.tcl
S

compare 'ls -lR of a large tree' ls <<'S'
ls -lR /usr/share /usr/include 2>/dev/null | head -n 100000 | cksum
S

compare 'sort: parallel, and small buffers' sort seq awk <<'S'
awk 'BEGIN { s = 1; for (i = 0; i < 300000; i++) { s = (s * 16807) % 2147483647; print s } }' >in
sort --parallel=4 in | cksum
sort --parallel=2 -n -S 1M -T . in | cksum
sort -u in | wc -l
S

compare 'tar and xz: there and back' tar xz seq <<'S'
mkdir d && for i in $(seq 300); do seq "$i" "$((i * 9))" >"d/$i"; done
tar --sort=name --mtime=@0 --owner=0 --group=0 -cf d.tar d && xz -T2 -3 -k d.tar && cksum d.tar d.tar.xz
mkdir e && tar -C e -xJf d.tar.xz && diff -r d e/d && echo same
S

compare 'awk and sed' awk sed seq <<'S'
seq 100000 | awk '{ a[$1 % 1009] = a[$1 % 1009] " " $1 } END { for (i = 0; i < 1009; i++) print a[i] }' |
    sed -E 's/([0-9]+) ([0-9]+)/\2 \1/g; s/7/seven/g' | cksum
S

tap_done
