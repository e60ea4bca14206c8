# SPDX-License-Identifier: BSD-2-Clause
#
# What stress/bench runs in Tcl: lists, dicts and text, with large values, as zippy asks malloc for
# these only. The argument is how many times all of it is done; the output depends on that alone.

proc work {} {
    set table {}
    for {set i 0} {$i < 12000} {incr i} {
        set name key[expr {$i * 7919 % 10007}]
        dict lappend table $name $i "value $i" [list $i [string repeat x [expr {$i % 50}]]]
    }
    set rows {}
    dict for {name values} $table {
        lappend rows [list $name [llength $values] [join $values ,]]
    }
    set rows [lsort -index 2 [lsort $rows]]
    set text ""
    foreach row $rows {
        append text [join $row \t] \n
    }
    set pages [lmap n {1 2 3 4 5 6 7 8} { string map [list x $n value page] $text }]
    set lines [split [join $pages \n] \n]
    return [list [dict size $table] [llength $rows] [string length $text] [llength $lines] \
        [regexp -all {\tpage} [lindex $pages 3]]]
}

for {set round 0} {$round < [lindex $argv 0]} {incr round} {
    set result [work]
}
puts $result
