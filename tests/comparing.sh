# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
# For tests of the comparing programs: source it after tap.sh. A function of the test runs the
# program, and leaves its output in ./out and ./err.

# says FILE PATTERN
says() {
    grep -qE -e "$2" "$1" || {
        echo "no line like $2 in:"
        cat "$1"
        return 1
    }
}

# wrong_usage RUN NAME PATTERN ARGUMENT...: status 2, one line of the program of that name to
# standard error, nothing to standard output.
wrong_usage() {
    usage_run=$1
    usage_line="^$2: $3"
    shift 3
    status 2 "$usage_run" "$@" && says err "$usage_line" || return 1
    [ "$(wc -l <err)" -eq 1 ] && [ ! -s out ]
}
