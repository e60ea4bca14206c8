# SPDX-License-Identifier: BSD-2-Clause
#
# What bench has measured: medians, ratios to the best other contender, tables, CSV and JSON.

namespace eval results {
    # By work, then by contender: a list of dicts, one a round. Runs that failed are not in it.
    variable runs {}
    # By work, then by contender: whether a run has failed.
    variable failed {}
    # Where each run is written when it is done; "" for nowhere.
    variable csv ""
    variable fields {work contender round outcome wall_us cpu_us user_us system_us peak_rss_bytes
        kept_rss_bytes faults switches result}
    # What went wrong, and what casts doubt on the figures.
    variable failures {}
    variable doubts {}
    # How often something else ran when a run was about to begin.
    variable begun 0
    variable disturbed 0
    variable figures {
        wall_us         "elapsed time, ms"      1000.0
        cpu_us          "processor time, ms"    1000.0
        peak_rss_bytes  "peak memory, MiB"      1048576.0
    }
}

# --- gathering -------------------------------------------------------------------------

proc results::open_csv {program file} {
    variable csv
    variable fields
    if {[catch {open $file w} csv]} {
        options::fail $program $csv
    }
    puts $csv [join $fields ,]
}

proc results::write_csv {run} {
    variable csv
    variable fields
    puts $csv [join [lmap field $fields {
        string map {, ; \n { }} [expr {[dict exists $run $field] ? [dict get $run $field] : ""}]
    }] ,]
    flush $csv
}

proc results::add {work contender round outcome run} {
    variable runs
    variable failed
    variable csv
    variable failures
    if {$csv ne ""} {
        write_csv [dict merge [dict create work $work contender $contender round $round \
            outcome $outcome] $run]
    }
    if {$outcome eq "good"} {
        dict update runs $work of {
            dict lappend of $contender $run
        }
    } else {
        dict set failed $work $contender 1
        lappend failures "$work: $contender, round $round: $outcome"
    }
}

# Equal calls come to equal results.
proc results::check {works} {
    variable runs
    variable failures
    foreach work $works {
        if {![dict exists $runs $work]} {
            continue
        }
        set by {}
        dict for {contender list} [dict get $runs $work] {
            foreach run $list {
                dict lappend by [dict get $run result] $contender
            }
        }
        if {[dict size $by] > 1} {
            set parts {}
            dict for {result who} $by {
                lappend parts "$result of [join [lsort -unique $who] {, }]"
            }
            lappend failures "$work: results differ: [join $parts {; }]"
        }
    }
}

# The processes that run now, but for this one.
proc results::look_around {} {
    variable begun
    variable disturbed
    incr begun
    set load [split [trial::read_file /proc/loadavg]]
    if {[regexp {^(\d+)/} [lindex $load 3] all running] && $running > 1} {
        incr disturbed
    }
}

# Time that all processors together had, and what of it went to other machines.
proc results::processor_time {} {
    set fields [lrange [lindex [split [trial::read_file /proc/stat] \n] 0] 1 8]
    return [list [tcl::mathop::+ {*}$fields] [lindex $fields 7]]
}

proc results::judge {works names before after} {
    variable begun
    variable disturbed
    variable doubts
    if {$disturbed * 10 > $begun} {
        lappend doubts "something else was running when $disturbed of $begun runs began"
    }
    set all [expr {[lindex $after 0] - [lindex $before 0]}]
    set stolen [expr {100.0 * ([lindex $after 1] - [lindex $before 1]) / max(1, $all)}]
    if {$stolen > 1.0} {
        lappend doubts [format "%.1f %% of the processors' time went to other machines" $stolen]
    }
    set spreads {}
    foreach work $works {
        foreach name $names {
            if {[llength [values $work $name cpu_us]] > 1} {
                lappend spreads [report::spread [values $work $name cpu_us]]
            }
        }
    }
    if {[llength $spreads] > 0 && [report::median $spreads] > 0.1} {
        lappend doubts [format "equal runs spread by %.0f %% of processor time, as a median" \
            [expr {100 * [report::median $spreads]}]]
    }
    foreach name $names {
        if {[regexp {^(.*)#\d+$} $name all equal]} {
            set ratio [mean_ratio $works $name $equal cpu_us]
            if {$ratio ne "" && abs($ratio - 1.0) > 0.03} {
                lappend doubts [format "%s takes %.2f times the processor time of %s, its equal" \
                    $name $ratio $equal]
            }
        }
    }
}

# --- figures ---------------------------------------------------------------------------

proc results::values {work name figure} {
    variable runs
    if {![dict exists $runs $work $name]} {
        return {}
    }
    return [report::column [dict get $runs $work $name] $figure]
}

# The median, or "" for a contender that has failed in any round.
proc results::median {work name figure} {
    variable failed
    set list [values $work $name $figure]
    if {[llength $list] == 0 || [dict exists $failed $work $name]} {
        return ""
    }
    return [report::median $list]
}

# {value name} of the best contender but NAME; empty if there is none.
proc results::best_other {work name names figure} {
    set best {}
    foreach other $names {
        set value [expr {$other eq $name ? "" : [median $work $other $figure]}]
        if {$value ne "" && ($best eq "" || $value < [lindex $best 0])} {
            set best [list $value $other]
        }
    }
    return $best
}

# How many times the best other one's figure is NAME's; "" where there is none.
proc results::ratio {work name names figure} {
    set own [median $work $name $figure]
    set best [best_other $work $name $names $figure]
    if {$own eq "" || $best eq "" || [lindex $best 0] <= 0} {
        return ""
    }
    return [expr {$own / double([lindex $best 0])}]
}

# The works that all contenders have done: means are over these alone.
proc results::common {works names figure} {
    set common {}
    foreach work $works {
        set good 1
        foreach name $names {
            set value [median $work $name $figure]
            set good [expr {$good && $value ne "" && $value > 0}]
        }
        if {$good} {
            lappend common $work
        }
    }
    return $common
}

proc results::mean {works name figure} {
    if {[llength $works] == 0} {
        return ""
    }
    return [report::geometric_mean [lmap work $works { median $work $name $figure }]]
}

# The mean of NAME's figures over BASE's; "" without figures.
proc results::mean_ratio {works name base figure} {
    set works [common $works [list $name $base] $figure]
    if {[llength $works] == 0} {
        return ""
    }
    return [expr {[mean $works $name $figure] / [mean $works $base $figure]}]
}

proc results::shown {value divisor format {nothing FAILED}} {
    if {$value eq ""} {
        return $nothing
    }
    return [format $format [expr {$value / $divisor}]]
}

# --- tables ----------------------------------------------------------------------------

proc results::print_table {channel works names figure title divisor} {
    set base [lindex $names 0]
    puts $channel "\n$title"
    set rows [list [list "" {*}$names "$base/best other" spread]]
    foreach work $works {
        set row [list $work]
        foreach name $names {
            lappend row [shown [median $work $name $figure] $divisor %.1f]
        }
        set ratio [ratio $work $base $names $figure]
        set list [values $work $base $figure]
        lappend row [shown $ratio 1 %.2f -] \
            [shown [expr {[llength $list] == 0 ? "" : [report::spread $list]}] 1 %.2f -]
        lappend rows $row
    }
    set common [common $works $names $figure]
    if {[llength $common] > 0} {
        set means [list "geometric mean"]
        set relative [list "over $base's"]
        foreach name $names {
            lappend means [format %.1f [expr {[mean $common $name $figure] / $divisor}]]
            lappend relative [format %.3f [mean_ratio $common $name $base $figure]]
        }
        lappend rows [list {*}$means "" ""] [list {*}$relative "" ""]
    }
    report::table $channel $rows
}

# Where the first contender is not the best, the worst first.
proc results::print_behind {channel works names} {
    variable figures
    set base [lindex $names 0]
    foreach {figure title divisor} $figures {
        set behind {}
        foreach work $works {
            set ratio [ratio $work $base $names $figure]
            if {$ratio ne "" && $ratio > 1.0} {
                lassign [best_other $work $base $names $figure] value other
                lappend behind [list $ratio $work $other]
            }
        }
        puts $channel "\n$base behind another: [regsub {,.*} $title {}], [llength $behind] of\
            [llength $works]"
        foreach one [lsort -real -decreasing -index 0 $behind] {
            lassign $one ratio work other
            puts $channel [format "  %5.2f  %-18s %s" $ratio $work $other]
        }
    }
}

proc results::print {channel works names} {
    variable figures
    variable failures
    variable doubts
    foreach {figure title divisor} $figures {
        print_table $channel $works $names $figure $title $divisor
    }
    if {[llength $names] > 1} {
        print_behind $channel $works $names
    }
    puts $channel ""
    foreach text $doubts {
        puts $channel "noisy: $text"
    }
    foreach text $failures {
        puts $channel "FAILED: $text"
    }
    flush $channel
}

# --- JSON ------------------------------------------------------------------------------

proc results::json_contender {work name names} {
    variable figures
    variable runs
    set medians {}
    set ratios {}
    foreach {figure title divisor} $figures {
        set value [median $work $name $figure]
        if {$value ne ""} {
            dict set medians $figure $value
        }
        set value [ratio $work $name $names $figure]
        if {$value ne ""} {
            dict set ratios $figure [format %.4f $value]
        }
    }
    set list [expr {[dict exists $runs $work $name] ? [dict get $runs $work $name] : {}}]
    return [report::json_object [list name [report::json_text $name] \
        median [report::json_dict $medians] ratio_to_best_other [report::json_dict $ratios] \
        runs [report::json_array [lmap run $list { report::json_dict $run }]]]]
}

proc results::json_work {work names} {
    return [report::json_object [list name [report::json_text $work] contenders \
        [report::json_array [lmap name $names { json_contender $work $name $names }]]]]
}

# The geometric means of all works that all contenders have done.
proc results::json_means {works names} {
    variable figures
    set contenders {}
    foreach name $names {
        set means {}
        foreach {figure title divisor} $figures {
            set value [mean [common $works $names $figure] $name $figure]
            if {$value ne ""} {
                dict set means $figure [format %.1f $value]
            }
        }
        lappend contenders $name [report::json_dict $means]
    }
    return [report::json_object $contenders]
}

proc results::json {options works names} {
    variable failures
    variable doubts
    return [report::json_object [list program [report::json_text bench] \
        machine [report::machine] options [report::json_dict $options] \
        works [report::json_array [lmap work $works { json_work $work $names }]] \
        geometric_means [json_means $works $names] \
        noisy [report::json_array [lmap text $doubts { report::json_text $text }]] \
        failures [report::json_array [lmap text $failures { report::json_text $text }]]]]
}
