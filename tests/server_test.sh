#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# stress/server.tcl, a threaded server in Tcl, answers right on every way of owlalloc into
# Tcl that is installed, and with Tcl's own allocator; and the two programs that compare
# allocators with it and with scripts, server-bench and tcl-bench, work.
#
# OWL_ROOT names the installation, OWL_SRCDIR the sources, where the server is.

# Functions are called by name, through try; and it is Tcl that expands.
# shellcheck disable=SC2317,SC2016

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

root=${OWL_ROOT:-$here/../build/root}
top=$(CDPATH='' cd -- "${OWL_SRCDIR:-$here/..}" && pwd)
[ -d "$root" ] || skip_all "there is no $root"
root=$(CDPATH='' cd -- "$root" && pwd)
stress=$top/stress

tclsh=tclsh8.6
command -v "$tclsh" >/dev/null 2>&1 || skip_all "there is no $tclsh"
echo 'package require Thread' | "$tclsh" >/dev/null 2>&1 ||
    skip_all "$tclsh has no Thread package (Debian: tcl-thread)"

threads=3
recycle=25

# --- the server ----------------------------------------------------------------

# await COMMAND...: until it succeeds, for 20 seconds at most.
await() {
    for _ in $(seq 200); do
        ! "$@" || return 0
        sleep 0.1
    done
    return 1
}

# serve DIRECTORY COMMAND...: the server of the directory, run by the command; its port to
# $port. What hangs is killed.
serve() {
    sources=$1
    shift
    rm -f "$tap_dir/port" "$tap_dir/err"
    timeout -k 5 300 "$@" "$sources/server.tcl" --threads "$threads" --requests "$recycle" \
        >"$tap_dir/port" 2>"$tap_dir/err" &
    server=$!
    await grep -q '^port ' "$tap_dir/port" || {
        cat "$tap_dir/err"
        return 1
    }
    port=$(sed -n 's/^port //p' "$tap_dir/port")
}

client() {
    timeout -k 5 200 "$tclsh" "$here/server_client.tcl" "$stress" "$port" "$@"
}

# under_wrk: some load; no request may fail.
under_wrk() {
    wrk -t 1 -c 10 -d 1 --timeout 20 -s "$stress/server-bench.lua" "http://127.0.0.1:$port/" \
        -- page 5 list 2 text 2 shared 2 exec 1 || return 1
} >"$tap_dir/wrk.out" 2>&1

no_failures() {
    under_wrk
    cat "$tap_dir/wrk.out"
    grep -q '^result requests [1-9].* connect 0 read 0 write 0 timeout 0 status 0 damaged 0$' \
        "$tap_dir/wrk.out"
}

# The server is asked to end, and does, without a word on the way.
ends() {
    client quit
    asked=$?
    [ "$asked" -eq 0 ] || kill "$server"
    wait "$server"
    status=$?
    echo "status $status"
    cat "$tap_dir/err"
    [ "$asked" -eq 0 ] && [ "$status" -eq 0 ] && [ ! -s "$tap_dir/err" ]
}

# check_way NAME COMMAND...
check_way() {
    way=$1
    shift
    if ! serve "$stress" "$@" >"$tap_dir/serve.out" 2>&1; then
        fail "$way: the server starts" "$tap_dir/serve.out"
        return
    fi
    try "$way: pages have the right contents" client pages
    try "$way: connections are kept, requests come in pieces and in heaps" client protocol
    try "$way: clients side by side, while threads are replaced" client crowd 12 60 "$recycle" \
        "$threads"
    try "$way: large pages and other programs, side by side" client large 8
    if command -v wrk >/dev/null 2>&1; then
        try "$way: no request of wrk's fails" no_failures
    else
        skip "$way: no request of wrk's fails" 'no wrk here'
    fi
    try "$way: it ends when asked to, with its threads" ends
}

# if_there NAME FILE COMMAND...
if_there() {
    name=$1
    file=$2
    shift 2
    if [ -e "$file" ]; then
        check_way "$name" "$@"
    else
        skip "$name" "there is no $file"
    fi
}

relinked=$root/lib/owl/tcl8.6
check_way zippy "$tclsh"
if_there libowl.so "$root/lib/libowl.so" env LD_PRELOAD="$root/lib/libowl.so" "$tclsh"
if_there owl-static "$root/bin/owltclsh" "$root/bin/owltclsh"
if_there owl-relinked "$relinked/libtcl8.6.so" env LD_LIBRARY_PATH="$relinked" "$tclsh"
if_there owl-preload "$root/lib/libowl-tcl.so" env LD_PRELOAD="$root/lib/libowl-tcl.so" "$tclsh"

until_eof() {
    timeout -k 5 60 "$tclsh" "$stress/server.tcl" --until-eof </dev/null >"$tap_dir/port" &&
        grep -q '^port [1-9]' "$tap_dir/port"
}
try 'the server ends with its standard input, if told to' until_eof

bad_options() {
    for option in --nonsense extra --port --port=x --port=-1 --threads=0 --until-eof=1; do
        status 2 "$tclsh" "$stress/server.tcl" "$option" </dev/null || return 1
    done
}
try 'the server refuses wrong options' bad_options

# --- a server that is wrong ------------------------------------------------------

# damage FILE FROM TO: copies of the sources, with another text in a file.
damage() {
    rm -rf "$tap_dir/damaged"
    cp -r "$stress" "$tap_dir/damaged"
    chmod -R u+w "$tap_dir/damaged"
    sed "s|$2|$3|" "$stress/$1" >"$tap_dir/damaged/$1"
    ! cmp -s "$stress/$1" "$tap_dir/damaged/$1"
}

# A digit of the price is another one.
wrong_page_is_found() {
    damage server_pages.tcl '/ 100.0}' '/ 100.1}' && serve "$tap_dir/damaged" "$tclsh" || return 1
    status 1 client pages
    found=$?
    ends && [ "$found" -eq 0 ]
}
try 'a page that is wrong is found' wrong_page_is_found

# --- server-bench and tcl-bench ----------------------------------------------------

ways=zippy,owl-static,owl-relinked,owl-preload

# bench NAME ARGUMENT...: a quick run, in $tap_dir; what it prints to bench.out.
bench() {
    name=$1
    shift
    timeout -k 5 300 "$tclsh" "$stress/$name" --root "$root" --quick "$@" >"$tap_dir/bench.out" 2>&1
}

# table: what must be in bench.out, one regular expression a line.
table() {
    cat "$tap_dir/bench.out"
    while read -r pattern; do
        grep -qE "$pattern" "$tap_dir/bench.out" || {
            echo "nothing like: $pattern"
            return 1
        }
    done
}

number='[0-9]+\.[0-9]+'

server_table() {
    bench server-bench --contenders "$ways" --json "$tap_dir/server.json" || {
        cat "$tap_dir/bench.out"
        return 1
    }
    table <<TEXT
^ +requests/s +ratio +spread +CPU us +ratio +p99 ms +loaded MiB +peak MiB +idle MiB +replaced +failed\$
^zippy +[1-9][0-9]* +1\.00 +0\.00 +[1-9][0-9]* +1\.00 +$number +$number +$number +$number +[0-9]+ +0\$
TEXT
}

server_json() {
    python3 - "$tap_dir/server.json" <<'SOURCE'
import json, sys
d = json.load(open(sys.argv[1]))
assert d["program"] == "server-bench" and d["failed"] == 0 and d["options"]["threads"] == 4
assert d["machine"]["processors"] >= 1
zippy = d["contenders"][0]
assert zippy["name"] == "zippy", zippy
assert zippy["median"]["ratio"] == 1 and abs(zippy["median"]["cpu_ratio"] - 1) < 1e-9, zippy
for c in d["contenders"]:
    m, (run,) = c["median"], c["runs"]
    assert run["ok"] == 1 and run["failed"] == 0 and run["requests"] > 10, c
    assert m["cpu_us_per_request"] > 10 and m["cpu_ratio"] > 0, c
    assert m["requests_per_second"] == run["requests_per_second"] > 0, c
    assert m["rss_peak_bytes"] >= m["rss_idle_bytes"] > 1e6, c
    assert m["p99_us"] >= m["p50_us"] > 0, c
SOURCE
}

# Pages that come short of their end, and contenders that are not there.
server_failure() {
    damage server_pages.tcl '</body></html>' '</body></htm>' || return 1
    status 1 timeout -k 5 100 "$tclsh" "$tap_dir/damaged/server-bench" --root "$tap_dir/none" \
        --quick --contenders zippy,owl-static >"$tap_dir/bench.out" 2>&1 &&
        table <<TEXT
^owl-static is left out: there is no .*/none/bin/owltclsh\$
^zippy .* [1-9][0-9]*\$
TEXT
}

tcl_table() {
    bench tcl-bench --contenders "$ways" --json "$tap_dir/tcl.json" || {
        cat "$tap_dir/bench.out"
        return 1
    }
    table <<TEXT
^ +zippy ms +spread
^fib +$number
^list \\* +$number
^dict \\* +$number
^append \\* +$number
^regsub +$number
^lsort +$number
^interp \\* +$number
^threads \\* +$number
^geometric mean
^geometric mean \\*
^zippy( +$number){8}\$
TEXT
}

tcl_json() {
    python3 - "$tap_dir/tcl.json" <<'SOURCE'
import json, sys
d = json.load(open(sys.argv[1]))
assert d["program"] == "tcl-bench" and d["failures"] == [] and d["options"]["rounds"] == 1
names = "fib list dict append regsub lsort interp threads memory".split()
for c in d["contenders"]:
    assert [b["name"] for b in c["benchmarks"]] == names, c
    for b in c["benchmarks"][:-1]:
        assert len(b["runs"]) == 1 and b["median"]["wall_us"] == b["runs"][0]["wall_us"] > 0, b
    assert c["benchmarks"][-1]["median"]["rss_ended3_bytes"] > 1e6
    for means in c["geometric_mean_ratio"].values():
        assert means["all"] > 0 and means["heavy"] > 0, c
zippy = d["contenders"][0]
assert zippy["name"] == "zippy"
assert all(abs(x - 1) < 1e-9 for m in zippy["geometric_mean_ratio"].values() for x in m.values())
SOURCE
}

# A result that is another one in each process.
tcl_failure() {
    damage tcl-bench.tcl 'return \[string length \$text\]' 'return [pid]' &&
        status 1 timeout -k 5 100 "$tclsh" "$tap_dir/damaged/tcl-bench" --quick \
            --contenders zippy,zippy --benchmarks append >"$tap_dir/bench.out" 2>&1 &&
        table <<TEXT
^FAILED: append: results differ: [0-9]+ by zippy; [0-9]+ by zippy#2\$
TEXT
}

bench_options() {
    for program in server-bench tcl-bench; do
        for option in --nonsense --rounds=0 --contenders=none --contenders=x=/none.so \
            --contenders= --json=/none/file; do
            status 2 "$tclsh" "$stress/$program" "$option" </dev/null || return 1
        done
        status 2 "$tclsh" "$stress/$program" --root "$tap_dir/none" --contenders owl-static ||
            return 1
        "$tclsh" "$stress/$program" --help | grep '^usage: ' || return 1
    done
    status 2 "$tclsh" "$stress/tcl-bench" --benchmarks none &&
        status 2 "$tclsh" "$stress/server-bench" --mix page
}

# json NAME CHECK
json() {
    if command -v python3 >/dev/null 2>&1; then
        try "$1" "$2"
    else
        skip "$1" 'no python3 here'
    fi
}

try 'tcl-bench prints its tables' tcl_table
json 'tcl-bench writes JSON' tcl_json
try 'tcl-bench finds results that differ' tcl_failure
if command -v wrk >/dev/null 2>&1; then
    try 'server-bench prints its table' server_table
    json 'server-bench writes JSON' server_json
    try 'server-bench counts pages that are damaged' server_failure
    try 'both refuse wrong options' bench_options
else
    skip 'server-bench' 'no wrk here (Debian: wrk)'
fi

tap_done
