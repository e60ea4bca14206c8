#!/usr/bin/env tclsh8.6
# SPDX-License-Identifier: BSD-2-Clause
#
# One benchmark in a process of its own, for tcl-bench:
#
#     tclsh8.6 tcl-bench.tcl --list            a line for each: name, kind
#     tclsh8.6 tcl-bench.tcl NAME ?PERCENT?    run it, at that much of its size
#
# prints a dict. `wall_us` and `cpu_us` are of the work alone, after a warm-up; `result` depends on
# the size alone, so runs with different allocators can be compared. Kinds:
#
#     heavy    depends on the allocator: a tenth and more of the instructions are its own, or the
#              system works for it most of the time
#     other    hardly does: a twentieth at the most
#     memory   is about resident memory: rss_..._bytes, and no times

package require Tcl 8.6-

# By name: kind, size, and the size of the warm-up. The procedure work_NAME gets the size.
set benchmarks {
    fib     {other  28        18}
    list    {heavy  30        4}
    dict    {heavy  5         1}
    append  {heavy  268435456 4194304}
    regsub  {other  60        4}
    lsort   {other  120000    10000}
    interp  {heavy  150       10}
    threads {heavy  2         1}
    memory  {memory 40000     0}
}

namespace eval bench {}

# --- what is measured ------------------------------------------------------------

proc work_fib {n} {
    return [expr {$n < 2 ? $n : [work_fib [expr {$n - 1}]] + [work_fib [expr {$n - 2}]]}]
}

# Lists of lists, built by appending, taken apart and joined.
proc work_list {rounds} {
    set sum 0
    for {set round 0} {$round < $rounds} {incr round} {
        set rows {}
        for {set i 0} {$i < 6000} {incr i} {
            lappend rows [list $i "item $i" [expr {$i * 0.5}]]
        }
        set names [lmap row $rows { lindex $row 1 }]
        set flat [concat {*}$rows]
        incr sum [expr {[llength $flat] + [llength $names] + [string length [join $names ,]]}]
    }
    return $sum
}

proc work_dict {rounds} {
    set sum 0
    for {set round 0} {$round < $rounds} {incr round} {
        set table {}
        for {set i 0} {$i < 40000} {incr i} {
            dict set table key$i "value $i"
        }
        for {set i 0} {$i < 40000} {incr i 3} {
            dict unset table key$i
        }
        dict for {key value} $table {
            incr sum [string length $value]
        }
    }
    return $sum
}

proc work_append {size} {
    set chunk [string repeat x 1000]
    set text ""
    for {set i 0} {$i < $size / 1000} {incr i} {
        append text $chunk
    }
    return [string length $text]
}

proc work_regsub {rounds} {
    set text ""
    for {set i 0} {$i < 400} {incr i} {
        append text "<a href=\"page$i\">name [expr {$i % 17}]</a>\n"
    }
    set sum 0
    for {set round 0} {$round < $rounds} {incr round} {
        regsub -all {<a href="(\w+)">([^<]*)</a>} $text {[\2](\1)} out
        incr sum [string length $out]
        incr sum [llength [regexp -all -inline {name \d+} $text]]
    }
    return $sum
}

proc work_lsort {count} {
    set seed 1
    set words {}
    for {set i 0} {$i < $count} {incr i} {
        set seed [expr {($seed * 1103515245 + 12345) & 0x7fffffff}]
        lappend words "w[expr {$seed >> 8}]"
    }
    set sorted [lsort $words]
    set natural [lsort -dictionary $words]
    return "[lindex $sorted 0] [lindex $sorted end] [lindex $natural 0] [lindex $natural end]"
}

# Interpreters with some procedures and variables, as a request or a user might have.
proc work_interp {count} {
    set sum 0
    for {set i 0} {$i < $count} {incr i} {
        set child [interp create]
        $child eval {
            for {set n 0} {$n < 50} {incr n} {
                proc work$n {a b} "return \[expr {\$a * $n + \$b}\]"
                set data($n) [string repeat $n 20]
            }
        }
        incr sum [$child eval {expr {[work7 1 2] + [array size data]}}]
        interp delete $child
    }
    return $sum
}

# Work for a thread: a dict of so many records. Told to leave, the thread ends with the dict alive,
# as those of servers do.
set ::bench::thread_script {
    proc build {entries} {
        for {set i 0} {$i < $entries} {incr i} {
            dict set ::table key$i [list $i "name $i" [expr {$i * 3}]]
        }
        return [dict size $::table]
    }
    thread::wait
}

# with_threads COUNT ENTRIES ?SCRIPT?: start them, let all build, do SCRIPT, end and join them.
proc bench::with_threads {count entries {script {}}} {
    variable thread_script
    variable built
    set threads {}
    array unset built
    for {set i 0} {$i < $count} {incr i} {
        set id [thread::create -joinable $thread_script]
        lappend threads $id
        thread::send -async $id [list build $entries] ::bench::built($id)
    }
    while {[array size built] < $count} {
        vwait ::bench::built
    }
    set sum 0
    foreach id $threads {
        incr sum $built($id)
    }
    uplevel 1 $script
    foreach id $threads {
        thread::release $id
        thread::join $id
    }
    return $sum
}

proc work_threads {rounds} {
    set sum 0
    for {set round 0} {$round < $rounds} {incr round} {
        incr sum [bench::with_threads 4 40000]
    }
    return $sum
}

# Three times: 8 threads that build a dict each, and end.
proc work_memory {entries idle_ms} {
    set figures {}
    set sum 0
    for {set round 1} {$round <= 3} {incr round} {
        incr sum [bench::with_threads 8 $entries {
            dict set figures rss_built${round}_bytes [bench::rss VmRSS]
        }]
        dict set figures rss_ended${round}_bytes [bench::rss VmRSS]
    }
    after $idle_ms
    dict set figures rss_idle_bytes [bench::rss VmRSS]
    dict set figures rss_peak_bytes [bench::rss VmHWM]
    return [list $sum $figures]
}

# --- how ---------------------------------------------------------------------------

proc bench::rss {field} {
    set status [open /proc/self/status]
    set text [read $status]
    close $status
    regexp -line "^$field:\\s+(\\d+) kB" $text all kb
    return [expr {$kb * 1024}]
}

# Processor time of the process, in microseconds: to 10 ms, but threads that ended are in it.
proc bench::cpu_of_process {} {
    set stat [open /proc/self/stat]
    set fields [lrange [regsub {^.*\) } [read $stat] {}] 0 end]
    close $stat
    return [expr {([lindex $fields 11] + [lindex $fields 12]) * 10000}]
}

# The same of the threads that are there, finer.
proc bench::cpu_of_threads {} {
    set sum 0
    foreach file [glob /proc/self/task/*/schedstat] {
        set schedstat [open $file]
        incr sum [lindex [read $schedstat] 0]
        close $schedstat
    }
    return [expr {$sum / 1000}]
}

proc bench::run {name percent} {
    lassign [dict get $::benchmarks $name] kind size warming
    if {$name eq "fib"} {
        # The time grows 1.618 times with each 1 more.
        set size [expr {max(1, int($size + log($percent / 100.0) / log(1.618)))}]
    } else {
        set size [expr {max(1, $size * $percent / 100)}]
    }
    if {$kind eq "memory"} {
        lassign [work_memory $size [expr {20 * $percent}]] result figures
        return [list result $result {*}$figures]
    }
    work_$name [expr {min($size, $warming)}]
    set clock [expr {$name eq "threads" || ![file exists /proc/self/schedstat] ?
        "cpu_of_process" : "cpu_of_threads"}]
    set cpu [$clock]
    set wall [clock microseconds]
    set result [work_$name $size]
    set wall [expr {[clock microseconds] - $wall}]
    set cpu [expr {[$clock] - $cpu}]
    return [list result $result wall_us $wall cpu_us $cpu]
}

proc main {argv} {
    global benchmarks
    lassign $argv name percent
    if {$name eq "--list"} {
        dict for {name about} $benchmarks {
            puts "$name [lindex $about 0]"
        }
        return
    }
    if {$percent eq ""} {
        set percent 100
    }
    if {![dict exists $benchmarks $name] || ![string is integer -strict $percent]
            || $percent < 1 || $percent > 1000 || [llength $argv] > 2} {
        puts stderr "usage: tcl-bench.tcl --list | NAME ?PERCENT?"
        exit 2
    }
    if {$name in {threads memory}} {
        package require Thread
    }
    puts [bench::run $name $percent]
}

main $argv
