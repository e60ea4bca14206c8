# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# What logs of Tcl's test suite say: source this. A log is the output of all.tcl.

# suite_complete LOG: the suite ran to its end.
suite_complete() {
    grep -q '^Tests ended at ' "$1" && [ -n "$(suite_count Total "$1")" ]
}

# suite_count Total|Passed|Skipped|Failed LOG
suite_count() {
    awk -v word="$1" '/^all\.tcl:\tTotal\t/ {
        for (i = 1; i < NF; i++)
            if ($i == word)
                count = $(i + 1)
    } END { if (count != "") print count }' "$2"
}

# suite_counts LOG: the four, in words.
suite_counts() {
    echo "$(suite_count Total "$1") tests, $(suite_count Passed "$1") passed," \
        "$(suite_count Skipped "$1") skipped, $(suite_count Failed "$1") failed"
}

# suite_failures LOG: "FILE TEST" for each test that failed, sorted; TEST is (error) for a
# file that ended early, crashed, or wrote to standard error.
suite_failures() {
    awk '/^[A-Za-z0-9_-]+\.test$/ { file = $1 }
        /^==== .* FAILED$/ { print file, $2 }
        /^Test file error: / { print file, "(error)" }' "$1" | sort -u
}

# --- two runs --------------------------------------------------------------

# DIR/WHO/suite.log is the log of a run. The caller defines
#
#   suite WHO LOG ARGUMENT...: run the suite with WHO, its output to DIR/WHO/LOG; succeed
#                              if it ran to its end. ARGUMENTs are for all.tcl.

# suite_differences DIR A B LOG: "WHO FILE TEST" for each test that failed with one only.
suite_differences() {
    suite_failures "$1/$2/$4" >"$1/$2/failed"
    suite_failures "$1/$3/$4" >"$1/$3/failed"
    {
        comm -23 "$1/$2/failed" "$1/$3/failed" | sed "s/^/$2 /"
        comm -13 "$1/$2/failed" "$1/$3/failed" | sed "s/^/$3 /"
    } | sort
}

# suite_again DIR A B: run the files of the differing tests with both once more; keep in
# DIR/differ what differs as before.
suite_again() {
    suite_files=$(awk '{ print $2 }' "$1/differ" | sort -u | tr '\n' ' ')
    echo "failed with one only, so these files are run again with both: $suite_files"
    sed 's/^/    failed with /' "$1/differ"
    suite "$2" again.log -file "$suite_files" || return 1
    suite "$3" again.log -file "$suite_files" || return 1
    suite_differences "$1" "$2" "$3" again.log >"$1/differ.again"
    comm -23 "$1/differ" "$1/differ.again" | sed 's/^/    no such difference this time: /'
    comm -12 "$1/differ" "$1/differ.again" >"$1/differ.still"
    mv "$1/differ.still" "$1/differ"
}

# suite_amount LOG: how much was run. A file that ended early leaves out its tests, so
# that only the number of files is worth comparing then.
suite_amount() {
    sed -n 's/^Sourced \([0-9]*\) Test Files\.$/\1 files/p' "$1"
    [ -n "$suite_cut" ] || echo "$(suite_count Total "$1") tests"
}

# suite_same DIR A B: the same tests fail with both; says what it finds. Tests that depend
# on time fail now and then with any allocator, so a difference counts if it is the same
# in three runs. As tests that are not run do not fail, there must be as many of them.
suite_same() {
    suite_differences "$1" "$2" "$3" suite.log >"$1/differ"
    suite_both=$(comm -12 "$1/$2/failed" "$1/$3/failed" | grep -c . || :)
    suite_cut=$(grep -F '(error)' "$1/differ" || :)
    suite_a=$(suite_amount "$1/$2/suite.log")
    suite_b=$(suite_amount "$1/$3/suite.log")
    [ "$suite_a" = "$suite_b" ] || {
        echo "$2 has run $suite_a, $3" "$suite_b"
        return 1
    }
    for suite_try in 2 3; do
        [ -s "$1/differ" ] || break
        echo "run $suite_try of 3:"
        suite_again "$1" "$2" "$3" || return 1
    done
    [ ! -s "$1/differ" ] || {
        echo 'failed with one only, each time:'
        sed 's/^/    failed with /' "$1/differ"
        return 1
    }
    echo "no test fails with $2 or $3 only, $suite_both with both"
}
