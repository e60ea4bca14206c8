# SPDX-License-Identifier: BSD-2-Clause
#
# The pages of server.tcl, loaded by each of its connection threads. A page is a procedure of the
# namespace page; it gets the query of the request as a dict and returns the text of the answer.
# Except for `shared`, what it returns depends on the query alone, so that it can be checked.
# Some are named as commands of Tcl are; in this namespace those need their full names.

package require Thread

namespace eval page {}
namespace eval pages {
    variable words {
        allocator block cache dict empty free grow heap idle join kernel list magazine number
        owner page queue range slab thread user value wait xenon yield zone
    }

    # number QUERY NAME DEFAULT MOST: a number of the query, from 0 to MOST.
    proc number {query name default most} {
        if {![dict exists $query $name]} {
            return $default
        }
        set value [dict get $query $name]
        if {![string is digit -strict $value] || [string length $value] > 9 || $value > $most} {
            return -code error -errorcode {PAGE QUERY} "$name is no number from 0 to $most"
        }
        return [scan $value %d]
    }

    # draw SEED: the next of a row of numbers that depends on the first only, 0 to 2^31 - 1.
    proc draw {seed_name} {
        upvar 1 $seed_name seed
        set seed [expr {($seed * 1103515245 + 12345) & 0x7fffffff}]
        return [expr {$seed >> 8}]
    }

    proc word {seed_name} {
        variable words
        upvar 1 $seed_name seed
        return [lindex $words [expr {[draw seed] % [llength $words]}]]
    }

    proc escape {text} {
        return [string map {& &amp; < &lt; > &gt; \" &quot;} $text]
    }

    proc html {title body} {
        return "<html><head><title>[escape $title]</title></head>\n<body>\n$body</body></html>\n"
    }

    # records SEED ROWS: a dict of dicts, as a database might have answered.
    proc records {seed rows} {
        set records {}
        for {set i 0} {$i < $rows} {incr i} {
            set record [dict create id $i]
            dict set record name "[word seed] & [word seed]"
            dict set record price [format %.2f [expr {[draw seed] % 100000 / 100.0}]]
            set note {}
            for {set n [expr {[draw seed] % 12}]} {$n > 0} {incr n -1} {
                lappend note [word seed]
            }
            dict set record note [join $note " "]
            dict set records $i $record
        }
        return $records
    }
}

# A page as most are: records from dicts, put into a template whose fields a regsub finds.
proc page::page {query} {
    set records [pages::records [pages::number $query seed 1 999999999] \
        [pages::number $query rows 20 10000]]
    set row {<tr id="@id@"><td>@name@</td><td>@price@ EUR</td><td>@note@</td></tr>}
    regsub -all {@(\w+)@} $row {[pages::escape [dict get $record \1]]} row
    set rows ""
    set total 0
    dict for {id record} $records {
        append rows [subst -nobackslashes -novariables $row] \n
        set total [expr {$total + [dict get $record price]}]
    }
    regsub -all {<td>([^<]+)</td>} $rows {<td class="filled">\1</td>} rows
    return [pages::html "[dict size $records] records" \
        "<table>\n$rows</table>\n<p>[format %.2f $total]</p>\n"]
}

# Lists: made, sorted, counted, turned round.
proc page::list {query} {
    set seed [pages::number $query seed 1 999999999]
    set numbers {}
    set words {}
    for {set n [pages::number $query length 400 100000]} {$n > 0} {incr n -1} {
        lappend numbers [expr {[pages::draw seed] % 10000}]
        lappend words [pages::word seed]
    }
    set counts {}
    foreach word $words {
        dict incr counts $word
    }
    set lines {}
    foreach {word count} [lsort -stride 2 -index 0 $counts] {
        lappend lines "<li>$word $count</li>"
    }
    set sorted [lsort -integer $numbers]
    return [pages::html "[llength $sorted] numbers" "<ul>\n[join $lines \n]\n</ul>\n<p>[join \
        [lreverse $sorted] ", "]</p>\n"]
}

# Strings: appended to, searched with regular expressions, mapped, packed and unpacked.
proc page::text {query} {
    set seed [pages::number $query seed 1 999999999]
    set text ""
    for {set n [pages::number $query lines 60 100000]} {$n > 0} {incr n -1} {
        append text "[pages::word seed]=[pages::draw seed] caf\u00e9 <[pages::word seed]>\n"
    }
    set pairs [regexp -all -inline -line {^(\w+)=(\d+) .*<([a-m]\w*)>$} $text]
    set found ""
    foreach {all key number word} $pairs {
        append found "[string totitle $key] [string length $number] [string toupper $word]\n"
    }
    set packed [zlib compress [encoding convertto utf-8 $text]]
    if {[encoding convertfrom utf-8 [zlib decompress $packed]] ne $text} {
        error "the text came back changed"
    }
    return [pages::html "[string length $text] characters" \
        "<pre>\n[pages::escape $text]</pre>\n<pre>\n$found</pre>\n"]
}

# Variables that all threads share: a session's history, and a counter of visits.
proc page::shared {query} {
    set id session[pages::number $query id 0 999]
    tsv::lock sessions {
        tsv::lappend sessions $id [clock seconds]
        if {[tsv::llength sessions $id] > 50} {
            tsv::set sessions $id [tsv::lrange sessions $id 25 end]
        }
    }
    return [pages::html $id "<p>visit [tsv::incr counters visits]</p>\n"]
}

# Another program's output.
proc page::exec {query} {
    set number [pages::number $query seed 1 999999999]
    return [pages::html exec "<p>[::exec cat << "number $number"]</p>\n"]
}

# Some megabytes, made of many small pieces: 16 lines a KiB.
proc page::burst {query} {
    set count [expr {16 * [pages::number $query kb 4096 262144]}]
    set lines {}
    for {set i 0} {$i < $count} {incr i} {
        dict set lines $i [format "%08d %s" $i [string repeat [expr {$i % 10}] 54]]
    }
    return [join [dict values $lines] \n]\n
}

# What the server did so far.
proc page::stats {query} {
    set text ""
    foreach name [lsort [tsv::array names stats]] {
        append text "$name [tsv::get stats $name]\n"
    }
    set status [open /proc/self/status]
    foreach line [split [read $status] \n] {
        if {[regexp {^(VmRSS|VmHWM|Threads):\s+(\d+)} $line all name value]} {
            append text "$name $value\n"
        }
    }
    close $status
    return $text
}

# The end of the server, once this is answered.
proc page::quit {query} {
    connection::tell_main pool::quit
    return "bye\n"
}
