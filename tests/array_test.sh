#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Arrays of the installed library: owl::array beside std::vector and std::deque, and the operations
# under Valgrind and under `ulimit -v`, which both refuse large reservations.
#
# OWL_ROOT names the installation; CC and CXX the compilers.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
use_compiler
cxx=${CXX:-c++}

# compile COMPILER OUTPUT ARGUMENT...
compile() {
    compiler=$1
    output=$2
    shift 2
    # shellcheck disable=SC2086
    $compiler -O1 -g -Wall -Wextra -Wpedantic -Werror -I"$root/include" "$@" \
        -o "$tap_dir/$output" -L"$root/lib" -lowl -Wl,-rpath,"$root/lib" -pthread
}

# in_cxx STANDARD
in_cxx() {
    compile "$cxx -std=$1" "array-$1" "$here/array_cxx.cc" && "$tap_dir/array-$1" 20000
}

in_c() {
    compile "$cc -std=c99" ops "$here/array_ops.c" && "$tap_dir/ops" 300000 >"$tap_dir/plain"
}

# A reserve of 8 TiB on either side is got in full where nothing forbids it.
reserve_is_full() {
    cat "$tap_dir/plain"
    [ "$(cat "$tap_dir/plain")" -ge 1099511627776 ]
}

# limited KIB: the reserve that is got under this limit is small, yet used up and then exceeded.
limited() {
    (ulimit -v "$1" && exec "$tap_dir/ops" 3000000) >"$tap_dir/limited" || return 1
    cat "$tap_dir/limited"
    [ "$(cat "$tap_dir/limited")" -lt 3000000 ]
}

under_valgrind() {
    valgrind --error-exitcode=9 --leak-check=no -q "$@" >"$tap_dir/valgrind" 2>&1
    got=$?
    cat "$tap_dir/valgrind"
    return "$got"
}

# Elements under Valgrind, which is slow.
few=${OWL_TEST_ALL:+300000}
few=${few:-30000}

clean_under_valgrind() {
    under_valgrind "$@" && ! grep -q 'ERROR SUMMARY: [1-9]' "$tap_dir/valgrind"
}

# An old valgrind gives up at the debugging information of a newer compiler.
valgrind_can_read() {
    echo 'int main(void) { return 0; }' >"$tap_dir/nothing.c"
    compile "$cc" nothing "$tap_dir/nothing.c" >/dev/null 2>&1 || return 1
    valgrind -q "$tap_dir/nothing" >"$tap_dir/valgrind" 2>&1
}

# An error of the program's own is seen: the run is checked at all.
error_under_valgrind() {
    ! under_valgrind "$tap_dir/ops" 100 error
}

try 'core operations, in strict C99' in_c
try 'a reserve of 2^40 elements' reserve_is_full
try 'under ulimit -v 262144' limited 262144
if [ -z "$(command -v valgrind)" ]; then
    skip 'under Valgrind' 'there is no valgrind'
elif ! valgrind_can_read; then
    skip 'under Valgrind' "valgrind cannot read this compiler's debugging information"
else
    valgrind_works=yes
    try 'core operations under Valgrind' clean_under_valgrind "$tap_dir/ops" "$few"
    try 'Valgrind finds an error in the same program' error_under_valgrind
fi
if command -v "${cxx%% *}" >/dev/null 2>&1; then
    try 'owl::array in C++11' in_cxx c++11
    try 'owl::array in C++17' in_cxx c++17
    if [ "${valgrind_works-no}" = yes ]; then
        try 'owl::array under Valgrind' clean_under_valgrind "$tap_dir/array-c++11" 1000
    else
        skip 'owl::array under Valgrind' 'valgrind is not here, or cannot be used'
    fi
else
    skip 'owl::array in C++' "there is no compiler $cxx"
fi
tap_done
