#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The fuzzer's program (tests/fuzz/README.md) over what earlier runs found worth keeping, and over
# random inputs.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=${OWL_SRCDIR:-$here/..}
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

inputs=${OWL_FUZZ_INPUTS:-2000}
fuzz=tests/test_fuzz
# Its model is of a heap that no tool watches: freed blocks do not wait.
export OWL_TOOLS=0
[ -x "$fuzz" ] || skip_all 'no tests/test_fuzz here: run by make check'

# each_input: every file of the corpus was run, alone and in a row with the others.
each_input() {
    "$fuzz" "$top"/tests/fuzz/corpus/* >"$tap_dir/run" || return 1
    [ "$(grep -c . "$tap_dir/run")" -ge 10 ] || {
        echo 'hardly any corpus'
        return 1
    }
}

# random_inputs SEED: the generator's last word tells that all were run.
random_inputs() {
    "$fuzz" --random "$inputs" --seed "$1" "$tap_dir/input" >"$tap_dir/run" || {
        echo 'the input was:'
        od -An -v -tx1 "$tap_dir/input"
        return 1
    }
    grep -q "^$inputs random inputs" "$tap_dir/run"
}

# A file that cannot be read fails, and so would a block that is not what the model says.
refuses_what_is_not_there() {
    status 1 "$fuzz" "$tap_dir/nothing"
}

try 'the corpus' each_input
try "$inputs random inputs" random_inputs 1
try 'a file that is not there is an error' refuses_what_is_not_there

tap_done
