#!/usr/bin/env tclsh
# SPDX-License-Identifier: BSD-2-Clause
#
# A small server with an interpreter in each thread, and its clients, in one script: the kind of
# program that owlalloc is for. tcl-server.trace is a recording of it:
#
#     owl-record -o tcl-server.trace tclsh8.6 tcl-server.tcl
#
# The first thread listens on the loopback address and deals connections out to worker threads in
# turn. A worker reads a request, answers it and closes. After so many requests a worker is replaced
# by a new one, while it may still be at work. Client threads send a mix of requests that depends on
# the seed alone and check the answers. What the script prints depends only on its options, so two
# runs can be compared; how the threads interleave is up to the system.
#
# Options: -workers N  -clients N  -requests N (of all clients)  -recycle N (requests)  -seed N

package require Tcl 8.6-
package require Thread

set options {-workers 3 -clients 3 -requests 84 -recycle 16 -seed 1}
foreach {name value} $argv {
    if {![dict exists $options $name] || ![string is integer -strict $value] || $value < 1} {
        puts stderr "usage: tcl-server.tcl ?-workers N? ?-clients N? ?-requests N?\
            ?-recycle N? ?-seed N?"
        exit 2
    }
    dict set options $name $value
}

# ---- what both sides have ----

set common {
    # A generator of its own, so that every Tcl version draws the same numbers.
    namespace eval random {
        variable state 1
        proc seed {n} {
            variable state [expr {($n * 2654435761 + 12345) & 0x7fffffff}]
        }
        proc below {limit} {
            variable state
            set state [expr {($state * 1103515245 + 12345) & 0x7fffffff}]
            return [expr {($state >> 8) % $limit}]
        }
    }
    proc random_word {} {
        set word ""
        for {set n [expr {3 + [random::below 8]}]} {$n > 0} {incr n -1} {
            append word [string index abcdefghijklmnopqrstuvwxyz [random::below 26]]
        }
        return $word
    }
    proc random_text {words} {
        set text {}
        while {[llength $text] < $words} {
            lappend text [random_word]
        }
        return [join $text " "]
    }
    proc url_encode {text} {
        set result ""
        foreach char [split $text ""] {
            if {[string match {[a-zA-Z0-9._-]} $char]} {
                append result $char
            } else {
                foreach byte [split [encoding convertto utf-8 $char] ""] {
                    append result % [format %02X [scan $byte %c]]
                }
            }
        }
        return $result
    }
    proc url_decode {text} {
        set text [string map {+ " " \\ \\\\ \[ \\\[ $ \\$} $text]
        regsub -all {%([0-9A-Fa-f][0-9A-Fa-f])} $text {[format %c 0x\1]} text
        return [encoding convertfrom utf-8 [subst -novariables $text]]
    }
}

# ---- a worker: one procedure a kind of page ----

set worker {
    namespace eval page {
        proc escape {text} {
            return [string map {& &amp; < &lt; > &gt; \" &quot;} $text]
        }

        # A table of records: dicts of dicts, sorted, printed.
        proc table {query} {
            set rows {}
            for {set i 0} {$i < [dict get $query rows]} {incr i} {
                dict set rows $i name [random_word]
                dict set rows $i price [format %.2f [expr {[random::below 100000] / 100.0}]]
                dict set rows $i when [clock format [expr {1700000000 + [random::below 10000000]}] \
                    -format "%Y-%m-%d %H:%M" -gmt 1]
                dict set rows $i note [random_text [random::below 12]]
            }
            set order [lsort -command [list ::page::by_price $rows] [dict keys $rows]]
            set html "<table>\n"
            foreach i $order {
                append html "<tr>"
                dict for {key value} [dict get $rows $i] {
                    append html [format {<td class="%s">%s</td>} $key [escape $value]]
                }
                append html "</tr>\n"
            }
            return [append html "</table>\n"]
        }
        proc by_price {rows a b} {
            set pa [dict get $rows $a price]
            set pb [dict get $rows $b price]
            return [expr {$pa < $pb ? -1 : $pa > $pb ? 1 : $a - $b}]
        }

        # A template in a child interpreter: made, filled with procedures, run, deleted.
        proc template {query} {
            set child [interp create -safe]
            interp alias $child escape {} ::page::escape
            set rest "<h1>%title%</h1>\n<p>%body%</p>\n"
            regsub -all {%(\w+)%} $rest {[::fill::\1]} rest
            $child eval {namespace eval fill {variable data {}}}
            $child eval [list set ::fill::data $query]
            foreach field {title body} {
                $child eval [string map [list FIELD $field] {
                    proc ::fill::FIELD {} {
                        variable data
                        set words {}
                        foreach word [split [dict get $data FIELD] " "] {
                            lappend words [string totitle $word]
                        }
                        return [escape [join $words " "]]
                    }
                }]
            }
            set html [$child eval [list subst $rest]]
            interp delete $child
            return $html
        }

        # A search in a text that all threads share.
        proc search {query} {
            set hits [dict create]
            set line 0
            foreach text [split [tsv::get corpus text] \n] {
                incr line
                foreach {all before word after} [regexp -all -inline -nocase \
                        "(\\w*) ?\\m([dict get $query prefix]\\w*) ?(\\w*)" $text] {
                    dict lappend hits [string tolower $word] "$line: $before <b>$word</b> $after"
                }
            }
            set html ""
            foreach word [lsort -dictionary [dict keys $hits]] {
                append html "<dt>$word<dd>" [join [lsort [dict get $hits $word]] "<br>"] \n
            }
            return $html
        }

        # Something like JSON, there and back.
        proc tree {query} {
            set text [encode [grow [dict get $query depth]]]
            set at 0
            set again [encode [parse $text at]]
            if {$again ne $text} {
                error "the tree came back changed"
            }
            return $text
        }
        proc grow {depth} {
            if {$depth == 0} {
                return [list leaf [random_word]]
            }
            set node {}
            for {set n [expr {2 + [random::below 3]}]} {$n > 0} {incr n -1} {
                lappend node [random_word] [grow [expr {$depth - 1}]]
            }
            return [list node $node]
        }
        proc encode {tree} {
            lassign $tree kind value
            if {$kind eq "leaf"} {
                return "\"$value\""
            }
            set parts {}
            foreach {key child} $value {
                lappend parts "\"$key\":[encode $child]"
            }
            return "{[join $parts ,]}"
        }
        proc parse {text at_name} {
            upvar 1 $at_name at
            if {[string index $text $at] eq "\""} {
                regexp -start $at {\A"([^""]*)"} $text all word
                incr at [string length $all]
                return [list leaf $word]
            }
            set node {}
            while {[string index $text $at] ne "\}"} {
                incr at
                regexp -start $at {\A"([^""]*)":} $text all key
                incr at [string length $all]
                lappend node $key [parse $text at]
            }
            incr at
            return [list node $node]
        }

        # A session that all threads share. What is told does not depend on who came first.
        proc session {query} {
            set id [dict get $query id]
            tsv::lock sessions {
                if {![tsv::exists sessions $id]} {
                    tsv::set sessions $id {}
                }
                tsv::lappend sessions $id [random_text 6]
                if {[tsv::llength sessions $id] > 20} {
                    tsv::set sessions $id [tsv::lrange sessions $id 10 end]
                }
            }
            tsv::incr counters visits
            return "<p>hello $id</p>\n"
        }

        # A form of many fields, as bytes and as text.
        proc form {query} {
            set total 0
            set packed ""
            dict for {key value} $query {
                if {[scan $key field%d number] == 1} {
                    incr total $number
                }
                append packed [binary format Sa* [string length $value] \
                    [encoding convertto utf-8 $value]]
            }
            set count 0
            for {set at 0} {$at < [string length $packed]} {incr count} {
                binary scan $packed @${at}Su length
                incr at [expr {2 + $length}]
            }
            return "<p>$count fields, sum $total, [string length $packed] bytes</p>\n"
        }

        # A long answer, built by appending, and packed.
        proc archive {query} {
            set text ""
            for {set i 0} {$i < [dict get $query lines]} {incr i} {
                append text [format "%06d %-12s %s\n" $i [random_word] \
                    [string repeat = [expr {$i % 60}]]]
            }
            set packed [zlib compress $text]
            if {[zlib decompress $packed] ne $text} {
                error "the archive came back changed"
            }
            return $text
        }
    }

    proc parse_query {text} {
        set query {}
        foreach pair [split $text &] {
            lassign [split $pair =] key value
            dict set query [url_decode $key] [url_decode $value]
        }
        return $query
    }

    proc answer {channel} {
        fconfigure $channel -translation {auto crlf} -encoding utf-8 -blocking 1
        gets $channel line
        if {![regexp {^(GET|POST) /(\w+)\?(\S*) HTTP/1\.0$} $line all method name text]} {
            error "not a request: $line"
        }
        set headers {}
        while {[gets $channel line] > 0} {
            regexp {^([\w-]+):\s*(.*)$} $line all key value
            dict set headers [string tolower $key] $value
        }
        if {$method eq "POST"} {
            append text & [read $channel [dict get $headers content-length]]
        }
        set query [parse_query $text]
        random::seed [dict get $query seed]
        set body [::page::$name $query]
        puts $channel "HTTP/1.0 200 OK\nContent-Type: text/html\nContent-Length:\
            [string length $body]\nETag: [format %08x [zlib crc32 $body]]\n"
        fconfigure $channel -translation binary
        puts -nonewline $channel $body
    }

    proc serve {channel} {
        if {[catch {answer $channel} message]} {
            tsv::lappend counters errors $message
        }
        close $channel
    }
}

# ---- a client ----

set client {
    proc make_request {} {
        set seed [random::below 1000000]
        switch [random::below 10] {
            0 - 1 { return "table seed=$seed&rows=[expr {2 + [random::below 10]}]" }
            2 { return "template seed=$seed&title=[url_encode [random_text 3]]&body=[url_encode \
                    [random_text [random::below 20]]]" }
            3 - 4 { return "search seed=$seed&prefix=[string range [random_word] 0 1]" }
            5 { return "tree seed=$seed&depth=[expr {1 + [random::below 3]}]" }
            6 - 7 { return "session seed=$seed&id=user[random::below 50]" }
            8 {
                set pairs "form seed=$seed"
                for {set i 0} {$i < 6} {incr i} {
                    append pairs &field$i= [url_encode "caf\u00e9 [random_text 4]"]
                }
                return $pairs
            }
            9 { return "archive seed=$seed&lines=[expr {10 + [random::below 120]}]" }
        }
    }

    proc ask {port name text} {
        set channel [socket 127.0.0.1 $port]
        fconfigure $channel -translation {auto crlf} -encoding utf-8
        if {$name eq "form"} {
            regexp {^([^&]*)&(.*)$} $text all text body
            puts $channel "POST /$name?$text HTTP/1.0\nContent-Length: [string length $body]\n"
            puts -nonewline $channel $body
        } else {
            puts $channel "GET /$name?$text HTTP/1.0\nUser-Agent: client [thread::id]\n"
        }
        flush $channel
        set headers {}
        while {[gets $channel line] > 0} {
            if {[regexp {^([\w-]+):\s*(.*)$} $line all key value]} {
                dict set headers [string tolower $key] $value
            }
        }
        fconfigure $channel -translation binary
        set body [read $channel]
        close $channel
        if {[string length $body] != [dict get $headers content-length]
                || [format %08x [zlib crc32 $body]] ne [dict get $headers etag]} {
            error "a damaged answer to $name $text"
        }
        return [zlib crc32 $body]
    }

    proc talk {main port seed requests} {
        random::seed $seed
        set sum 0
        for {set i 0} {$i < $requests} {incr i} {
            lassign [make_request] name text
            if {[catch {ask $port $name $text} crc]} {
                tsv::lappend counters errors $crc
            } else {
                set sum [expr {($sum * 31 + $crc) & 0xffffffff}]
            }
        }
        thread::send -async $main [list client_done [format %08x $sum]]
    }
}

# ---- the first thread ----

proc new_worker {} {
    return [thread::create [string cat $::common $::worker { thread::wait }]]
}

# The channel is busy until the accept is over, so it goes to a worker when we are idle.
proc accept {channel address port} {
    after idle [list deal_out $channel]
}

proc deal_out {channel} {
    global workers turn served options
    set turn [expr {($turn + 1) % [llength $workers]}]
    set worker [lindex $workers $turn]
    thread::transfer $worker $channel
    thread::send -async $worker [list serve $channel]
    if {[incr served($worker)] >= [dict get $options -recycle]} {
        unset served($worker)
        # Said by itself it comes after the requests that wait there; said by us it would drop them.
        thread::send -async $worker thread::release
        lset workers $turn [new_worker]
    }
}

proc client_done {sum} {
    lappend ::sums $sum
}

eval $common
random::seed [dict get $options -seed]
set lines {}
for {set i 0} {$i < 40} {incr i} {
    lappend lines [random_text 8]
}
tsv::set corpus text [join $lines \n]
tsv::set counters visits 0
tsv::set counters errors {}

set workers {}
set turn 0
set sums {}
for {set i 0} {$i < [dict get $options -workers]} {incr i} {
    lappend workers [new_worker]
}
set listener [socket -server accept -myaddr 127.0.0.1 0]
set port [lindex [fconfigure $listener -sockname] 2]
set clients [dict get $options -clients]
set joins {}
for {set i 0} {$i < $clients} {incr i} {
    set requests [expr {([dict get $options -requests] + $i) / $clients}]
    set id [thread::create -joinable [string cat $common $client {
        thread::wait
    }]]
    lappend joins $id
    thread::send -async $id [list talk [thread::id] $port \
        [expr {[dict get $options -seed] * 1000 + $i}] $requests]
}
set watchdog [after 120000 {puts stderr "no end in sight"; exit 1}]
while {[llength $sums] < $clients} {
    vwait sums
}
after cancel $watchdog
close $listener
foreach id $joins {
    thread::send -async $id thread::release
    thread::join $id
}
foreach id $workers {
    thread::send -async $id thread::release
}
while {[llength [thread::names]] > 1} {
    after 10
}
puts "requests [dict get $options -requests] visits [tsv::get counters visits]\
    answers [join [lsort $sums] " "]"
foreach message [tsv::get counters errors] {
    puts stderr $message
}
exit [expr {[tsv::llength counters errors] > 0}]
