#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Redis, preloaded, writes its dump in a child of fork while it is written to. The dump must be what
# Redis held at the fork. Writers wait for the moment in which it tells its digest of all keys and
# values and forks; another Redis, which loads the dump, tells its own.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

lib=${OWL_ROOT:-build/root}/lib/libowl.so
case $lib in
    /*) ;;
    *) lib=$(pwd)/$lib ;;
esac
[ -r "$lib" ] || skip_all "there is no $lib"
command -v redis-cli >/dev/null 2>&1 || skip_all 'there is no redis-cli'
# The programs are one, which goes by its name.
server=$(command -v redis-server || command -v redis-check-rdb) ||
    skip_all 'there is no redis-server'
cd "${tap_dir:?}" || exit 1
ln -s "$server" redis-server

pids=
stop_all() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null
    done
    wait
    rm -rf "$tap_dir"
}
trap stop_all EXIT

cli() {
    name=$1
    shift
    redis-cli -s "$tap_dir/$name.sock" "$@"
}

# start NAME VARIABLE=VALUE...: a server without a port, on a socket.
start() {
    name=$1
    shift
    mkdir -p "$name"
    env "$@" ./redis-server --port 0 --unixsocket "$tap_dir/$name.sock" --dir "$tap_dir/$name" \
        --save '' --enable-debug-command yes --hash-max-listpack-entries 16 >"$name.log" 2>&1 &
    pids="$pids $!"
    server_pid=$!
    tries=0
    until [ "$(cli "$name" ping 2>/dev/null)" = PONG ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || {
            cat "$name.log"
            return 1
        }
        sleep 0.1
    done
}

# Keys of each type, and strings that are larger than a slab's blocks, or than 32 MiB.
fill() {
    cli "$1" eval "
        for i = 1, 20000 do redis.call('set', 'key:' .. i, string.rep('v' .. i, i % 60)) end
        for i = 1, 200 do
            for j = 1, 60 do
                redis.call('hset', 'hash:' .. i, 'field' .. j, string.rep('x', j))
                redis.call('rpush', 'list:' .. i, 'element' .. j)
                redis.call('zadd', 'zset:' .. i, j, 'member' .. j)
            end
            redis.call('set', 'large:' .. i, string.rep('y' .. i, 20000))
        end
        redis.call('set', 'huge', string.rep('z', 40000000))
        return 'filled'" 0 | grep -x filled
}

# Two that write over the same keys without end: many small ones, or parts of the huge one.
small="
    for i = 1, 400 do
        redis.call('set', 'key:' .. math.random(20000), string.rep('w', math.random(300)))
        redis.call('hset', 'hash:' .. math.random(200), 'field' .. math.random(90), i)
        redis.call('zadd', 'zset:' .. math.random(200), i, 'member' .. math.random(90))
        redis.call('rpush', 'list:' .. math.random(200), i)
        redis.call('lpop', 'list:' .. math.random(200))
    end"
huge="redis.call('setrange', 'huge', math.random(39000000), 'some bytes')"

write() {
    for script in "$small" "$huge"; do
        while cli first eval "math.randomseed($(date +%N)) $script" 0 >/dev/null 2>&1; do
            sleep 0.01
        done &
        writers="$writers $!"
    done
    pids="$pids $writers"
    sleep 0.3
}

# At one moment: the digest, and the fork.
digest_and_dump() {
    printf '%s\n' 'client pause 30000 write' 'debug digest' bgsave 'client unpause' |
        cli first >answer
    cat answer
    grep -E '^[0-9a-f]{40}$' answer >at_fork && grep -q 'Background saving started' answer || return 1
    while cli first info persistence | grep -q '^rdb_bgsave_in_progress:1'; do
        sleep 0.1
    done
    cli first debug digest >afterwards
    cli first info persistence | grep '^rdb_last_bgsave_status:ok'
}

# same: the dump has the digest of its moment, and the server another by now: it was written to.
same() {
    digest_and_dump || return 1
    ! cmp -s at_fork afterwards || {
        echo 'nothing was written meanwhile'
        return 1
    }
    rm -rf second
    mkdir second
    cp first/dump.rdb second/ || return 1
    start second OWL_NONE= || return 1
    cli second debug digest >loaded
    kill "$server_pid"
    wait "$server_pid"
    cmp at_fork loaded
}

# loaded: the server runs on the library.
loaded() {
    grep -F "$lib" "/proc/$server_pid/maps"
}

writers=
# run_with WORDS VARIABLE=VALUE
run_with() {
    writers=
    start first LD_PRELOAD="$lib" "$2" || {
        fail "Redis starts, $1" first.log
        return
    }
    try "Redis runs on the library, $1" loaded
    try "Redis is filled, $1" fill first
    write
    try "a dump under load is of the moment of the fork, $1" same
    try "so is a second one, $1" same
    for writer in $writers; do
        kill "$writer"
    done
    cli first shutdown nosave
    wait
    pids=
}

run_with 'blocks in private memory' OWL_BACKING=private
run_with 'blocks in files' OWL_BACKING=memfd
tap_done
