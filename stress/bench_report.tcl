# SPDX-License-Identifier: BSD-2-Clause
#
# Medians, tables and JSON, for server-bench and tcl-bench.

namespace eval report {}

proc report::median {numbers} {
    set sorted [lsort -real $numbers]
    set count [llength $sorted]
    set low [lindex $sorted [expr {($count - 1) / 2}]]
    set high [lindex $sorted [expr {$count / 2}]]
    return [expr {($low + $high) / 2.0}]
}

# (largest - smallest) / median.
proc report::spread {numbers} {
    set sorted [lsort -real $numbers]
    set median [median $numbers]
    return [expr {$median == 0 ? 0.0 : ([lindex $sorted end] - [lindex $sorted 0]) / $median}]
}

proc report::geometric_mean {numbers} {
    set sum 0.0
    foreach number $numbers {
        set sum [expr {$sum + log($number)}]
    }
    return [expr {exp($sum / [llength $numbers])}]
}

# The values that all dicts of a list have by the name.
proc report::column {dicts name} {
    return [lmap one $dicts { dict get $one $name }]
}

proc report::mib {bytes} {
    return [format %.1f [expr {$bytes / 1048576.0}]]
}

# rows: lists of cells, the first with the headings. The first column is flush left, all others
# right. A row that is shorter ends in a text that may be as long as it likes.
proc report::table {channel rows} {
    set columns [llength [lindex $rows 0]]
    set widths [lrepeat $columns 0]
    foreach row $rows {
        set whole [expr {[llength $row] == $columns}]
        for {set i 0} {$i < [llength $row] - !$whole} {incr i} {
            lset widths $i [expr {max([lindex $widths $i], [string length [lindex $row $i]])}]
        }
    }
    foreach row $rows {
        set whole [expr {[llength $row] == $columns}]
        set line [format %-*s [lindex $widths 0] [lindex $row 0]]
        for {set i 1} {$i < [llength $row]} {incr i} {
            set width [expr {$whole ? [lindex $widths $i] : 0}]
            append line [format "  %*s" $width [lindex $row $i]]
        }
        puts $channel [string trimright $line]
    }
    flush $channel
}

# --- JSON: text from values; objects and arrays are made of JSON texts ------

proc report::json_text {value} {
    set text [string map {\\ \\\\ \" \\\" \n \\n \t \\t \r \\r} $value]
    return "\"[regsub -all {[\x01-\x1f]} $text ?]\""
}

# Numbers stay as they are, anything else becomes a text.
proc report::json_value {value} {
    if {[regexp {^-?(0|[1-9]\d*)(\.\d+)?(e[-+]?\d+)?$} $value]} {
        return $value
    }
    return [json_text $value]
}

# members: names and JSON texts in turn.
proc report::json_object {members} {
    return \{[join [lmap {name json} $members { string cat [json_text $name] : $json }] ", "]\}
}

proc report::json_array {elements} {
    return "\[[join $elements ", "]\]"
}

# An object of plain values.
proc report::json_dict {values} {
    set members {}
    dict for {name value} $values {
        lappend members $name [json_value $value]
    }
    return [json_object $members]
}

proc report::machine {} {
    set processors [exec getconf _NPROCESSORS_ONLN]
    return [json_dict [dict create processors $processors \
        system "$::tcl_platform(os) $::tcl_platform(osVersion)" tcl [info patchlevel]]]
}

proc report::write_json {program file json} {
    if {$file eq "-"} {
        puts $json
    } elseif {[catch {
        set channel [open $file w]
        puts $channel $json
        close $channel
    } message]} {
        options::fail $program $message
    }
}

# A file that cannot be written should be known before the work is done.
proc report::check_file {program file} {
    if {$file ni {"" -} && [catch {close [open $file a]} message]} {
        options::fail $program $message
    }
}
