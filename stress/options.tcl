# SPDX-License-Identifier: BSD-2-Clause
#
# Command lines of the Tcl programs in this directory: --name VALUE, --name=VALUE, --flag.

namespace eval options {}

# A dict of values by name, or a message and exit 2. SPEC has a line for each option:
#
#     name default type argument text
#
# type: flag, or text, or a list {integer|number LEAST}.
# Those with a default of their own may be given once; the last one wins.
proc options::parse {program intro spec argv} {
    set values {}
    foreach {name default type argument text} $spec {
        dict set values $name $default
    }
    while {[llength $argv] > 0} {
        set argv [lassign $argv word]
        if {$word eq "--help"} {
            puts [usage $program $intro $spec]
            exit 0
        }
        if {![regexp {^--([a-z-]+)(=(.*))?$} $word all name equals value]
                || ![dict exists $values $name]} {
            fail $program "unknown argument: $word; try --help"
        }
        set type [type_of $spec $name]
        if {$type eq "flag"} {
            if {$equals ne ""} {
                fail $program "--$name has no argument"
            }
            set value 1
        } elseif {$equals eq ""} {
            if {[llength $argv] == 0} {
                fail $program "--$name needs an argument"
            }
            set argv [lassign $argv value]
        }
        check $program $name $type $value
        dict set values $name $value
    }
    return $values
}

proc options::type_of {spec wanted} {
    foreach {name default type argument text} $spec {
        if {$name eq $wanted} {
            return $type
        }
    }
}

proc options::check {program name type value} {
    lassign $type kind least
    switch $kind {
        integer {
            # Decimal only, and what fits in an int everywhere.
            set good [expr {[regexp {^(0|[1-9][0-9]{0,8})$} $value] && $value >= $least}]
        }
        number {
            set good [expr {[regexp {^[0-9]{1,8}(\.[0-9]+)?$} $value] && $value >= $least}]
        }
        default {
            set good [expr {$value ne ""}]
        }
    }
    if {!$good} {
        fail $program "--$name: '$value' will not do; try --help"
    }
}

proc options::fail {program message} {
    puts stderr "$program: $message"
    exit 2
}

proc options::usage {program intro spec} {
    set lines [list "usage: $program \[option...\]" "" $intro ""]
    foreach {name default type argument text} $spec {
        set shown "--$name[expr {$argument eq "" ? "" : " $argument"}]"
        if {$type ne "flag" && $default ne ""} {
            append text " ($default)"
        }
        lappend lines [format "  %-22s %s" $shown $text]
    }
    return [join $lines \n]
}
