# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# TAP for shell tests: source this, call pass, fail, skip or try, and tap_done at the end.

tap_count=0
tap_failures=0

# pass NAME
pass() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1"
}

# fail NAME [FILE]: FILE says why; a long one is cut.
fail() {
    tap_count=$((tap_count + 1))
    tap_failures=$((tap_failures + 1))
    echo "not ok $tap_count - $1"
    [ -z "${2-}" ] || note "$2"
}

# skip NAME WHY
skip() {
    tap_count=$((tap_count + 1))
    echo "ok $tap_count - $1 # SKIP $2"
}

# note FILE: show it as TAP comments.
note() {
    head -n 40 "$1" | sed 's/^/#   /'
}

# try NAME COMMAND...: passes if COMMAND does; shows its output if not. Needs $tap_dir.
try() {
    tap_name=$1
    shift
    if "$@" >"$tap_dir/try.out" 2>&1; then
        pass "$tap_name"
    else
        fail "$tap_name" "$tap_dir/try.out"
    fi
}

# status WANTED COMMAND...: for use under try.
status() {
    wanted=$1
    shift
    "$@"
    got=$?
    [ "$got" -eq "$wanted" ] || {
        echo "status $got instead of $wanted"
        return 1
    }
}

# skip_all WHY: the whole script has nothing to do here.
skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

# What tests need that use an installation:

# use_library: $root is the installation that OWL_ROOT names, $lib its library.
use_library() {
    root=${OWL_ROOT:-$here/../build/root}
    [ -e "$root/lib/libowl.so" ] || skip_all "there is no $root/lib/libowl.so"
    root=$(CDPATH='' cd -- "$root" && pwd)
    lib=$root/lib/libowl.so
}

# use_compiler: $cc is what CC names.
use_compiler() {
    cc=${CC:-cc}
    command -v "${cc%% *}" >/dev/null 2>&1 || skip_all "there is no compiler $cc"
}

# use_limit SECONDS: what hangs after $limit has failed.
use_limit() {
    limit=
    if command -v timeout >/dev/null 2>&1; then
        limit="timeout -k 5 $1"
    fi
}

# tap_done: the plan, and the exit status. The TAP driver counts what failed by
# itself; a status of its own would count as one failure more.
tap_done() {
    echo "1..$tap_count"
    [ "$tap_failures" -eq 0 ] || [ -n "${AM_TAP_AWK-}" ] || exit 1
    exit 0
}

# A directory for the test's files, gone afterwards.
tap_dir=$(mktemp -d "${TMPDIR:-/tmp}/owl-test.XXXXXX") || exit 1
trap 'rm -rf "$tap_dir"' EXIT
trap 'exit 1' HUP INT TERM
