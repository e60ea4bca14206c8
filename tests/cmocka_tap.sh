#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# cmocka_tap.sh COMMAND...: run a cmocka program and print its TAP as the TAP driver
# wants it. cmocka 1.1.5 says "not ok" of a skipped test, and a program with several
# groups prints several plans and numbers each from 1.
#
# Unit tests look at the allocator as programs have it that no tool watches: with a sanitizer
# in the process it would be another (OWL_TOOLS, owl/option.h). test_tools says so itself.

OWL_TOOLS=0
export OWL_TOOLS
{
    CMOCKA_MESSAGE_OUTPUT=TAP "$@" 2>&1
    echo "cmocka_tap: status $?"
} | awk '
    /^1\.\.[0-9]+$/ {
        plan += substr($0, 4)
        next
    }
    /^(not )?ok [0-9]+/ {
        sub(/ [0-9]+( - )?/, " " ++count " - ")
        if (sub(/ -  # SKIP /, " - "))
            print substr($0, 5) " # SKIP"
        else {
            failed += /^not/
            print
        }
        fflush()
        next
    }
    # The driver counts each failed test; cmocka, whose status is their number,
    # would add one failure more.
    /^cmocka_tap: status [0-9]+$/ {
        status = $3
        if (failed && status == failed)
            status = 0
        next
    }
    { print; fflush() }
    END {
        if (plan || !status)
            print "1.." plan + 0
        exit status
    }'
