# SPDX-License-Identifier: BSD-2-Clause
#
# What server_test.sh asks of stress/server.tcl. Run by a Tcl with its own allocator:
#
#     tclsh8.6 server_client.tcl STRESS PORT CHECK ARGUMENT...
#
# STRESS is the directory of the server's sources: pages that depend on their query alone are made
# here once more, to compare. The exit status is 0 if all was as it should be; what was not is said
# on standard output.

set argv [lassign $argv stress port check]
source [file join $stress bench_client.tcl]
source [file join $stress server_pages.tcl]

proc wrong {text} {
    puts $text
    exit 1
}

proc equal {what got wanted} {
    if {$got ne $wanted} {
        set at 0
        while {[string index $got $at] eq [string index $wanted $at]} {
            incr at
        }
        wrong "$what: [string length $got] characters, not [string length $wanted]; from $at on\
            '[string range $got $at [expr {$at + 60}]]',\
            not '[string range $wanted $at [expr {$at + 60}]]'"
    }
}

# What a path is to be answered with, as bytes.
proc wanted {path} {
    global known
    if {![info exists known($path)]} {
        regexp {^/(\w+)(?:\?(.*))?$} $path all name query
        set body [page::$name [split $query =&]]
        set known($path) [encoding convertto utf-8 $body]
    }
    return $known($path)
}

# The large page, made in another way than by the server.
proc large {kb} {
    set text ""
    for {set i 0} {$i < 16 * $kb} {incr i} {
        append text [string range "0000000$i" end-7 end] " " \
            [string repeat [string index $i end] 54] "\n"
    }
    return $text
}

proc get {path} {
    return [lindex [client::fetch $::port [list $path] 60] 0]
}

proc stat {name} {
    lassign [get /stats] status text
    if {$status != 200 || ![regexp -line "^$name (\\d+)$" $text all value]} {
        wrong "no $name in the statistics: $status $text"
    }
    return $value
}

# --- connections that are kept ---------------------------------------------------

proc open_connection {} {
    set channel [socket 127.0.0.1 $::port]
    chan configure $channel -translation binary -buffersize 65536
    return $channel
}

proc ask {channel text} {
    chan puts -nonewline $channel [string map {\n \r\n} $text]
    chan flush $channel
}

# hear CHANNEL ?HEAD?: the next answer, {status headers body}, of a channel that blocks, or of one
# that does not if we are a coroutine that its events resume. An answer to HEAD has no body.
proc hear {channel {head 0}} {
    set headers {}
    set line [hear_line $channel]
    if {![regexp {^HTTP/1\.1 (\d+) [\w ]+$} $line all status]} {
        wrong "no answer: '$line'"
    }
    while {[set line [hear_line $channel]] ne ""} {
        regexp {^([^:]+): (.*)$} $line all name value
        dict set headers [string tolower $name] $value
    }
    set length [expr {$head ? 0 : [dict get $headers content-length]}]
    set body ""
    while {[string length $body] < $length} {
        set more [chan read $channel [expr {$length - [string length $body]}]]
        append body $more
        if {$more eq "" && [chan eof $channel]} {
            wrong "the connection ended after [string length $body] bytes of $length"
        }
        if {[string length $body] < $length} {
            yield
        }
    }
    return [list $status $headers $body]
}

proc hear_line {channel} {
    while {[chan gets $channel line] < 0} {
        if {[chan eof $channel]} {
            wrong "the connection has ended"
        }
        yield
    }
    return [string trimright $line \r]
}

proc ended {what channel} {
    if {[chan read $channel] ne "" || ![chan eof $channel]} {
        wrong "$what: the connection is not closed"
    }
    chan close $channel
}

# --- the checks --------------------------------------------------------------------

proc check_pages {} {
    foreach seed {1 2 77 999999999} {
        foreach path [list /page?seed=$seed /list?seed=$seed /text?seed=$seed \
                /page?seed=$seed&rows=0 /list?length=3000&seed=$seed /text?lines=500&seed=$seed] {
            lassign [get $path] status body
            equal "status of $path" $status 200
            equal $path $body [wanted $path]
        }
        lassign [get /exec?seed=$seed] status body
        equal exec [regexp "<p>number $seed</p>" $body] 1
    }
    equal "two pages" [expr {[wanted /page?seed=1] ne [wanted /page?seed=2]}] 1
    lassign [get /burst?kb=300] status body
    equal "the large page" $body [large 300]
    regexp {visit (\d+)} [lindex [get /shared?id=7] 1] all before
    regexp {visit (\d+)} [lindex [get /shared?id=7] 1] all after
    equal visits $after [expr {$before + 1}]
}

proc check_protocol {} {
    set channel [open_connection]
    ask $channel "GET /page?seed=5 HTTP/1.1\nHost: a\n\n"
    lassign [hear $channel] status headers body
    equal "on a kept connection" $body [wanted /page?seed=5]
    ask $channel "HEAD /page?seed=5 HTTP/1.1\n\nGET /none HTTP/1.1\n\n\n"
    ask $channel "GET /page?rows=x HTTP/1.1\n\n"
    lassign [hear $channel 1] status headers body
    equal "length told by HEAD" [dict get $headers content-length] \
        [string length [wanted /page?seed=5]]
    equal "a page that is not there" [lindex [hear $channel] 0] 404
    equal "a query that is wrong" [lindex [hear $channel] 0] 400
    set requests ""
    for {set seed 1} {$seed <= 100} {incr seed} {
        append requests "GET /text?seed=$seed HTTP/1.1\n\n"
    }
    ask $channel $requests
    for {set seed 1} {$seed <= 100} {incr seed} {
        equal "in a pipeline, $seed" [lindex [hear $channel] 2] [wanted /text?seed=$seed]
    }
    foreach char [split "GET /list?seed=3 HTTP/1.1\nConnection: close\n\n" ""] {
        ask $channel $char
    }
    equal "piece by piece" [lindex [hear $channel] 2] [wanted /list?seed=3]
    ended "Connection: close" $channel
    foreach {status request} [list 400 "nonsense\n\n" 405 "POST /page HTTP/1.1\n\n" \
            400 "GET /page HTTP/1.1\nno header\n\n" 200 "GET /page HTTP/1.0\n\n" \
            431 "GET /page HTTP/1.1\nlong: [string repeat x 20000]"] {
        set channel [open_connection]
        ask $channel $request
        equal "status of [string range $request 0 30]" [lindex [hear $channel] 0] $status
        ended [string range $request 0 30] $channel
    }
}

# Clients that keep their connections and ask for pages, one after another.
proc client_run {number requests} {
    set channel [open_connection]
    chan configure $channel -blocking 0
    chan event $channel readable [info coroutine]
    for {set i 0} {$i < $requests} {incr i} {
        set name [lindex {page list text} [expr {($i + $number) % 3}]]
        set path /$name?seed=[expr {($i * 7 + $number) % 20}]
        ask $channel "GET $path HTTP/1.1\nHost: client$number\n\n"
        lassign [hear $channel] status headers body
        equal "client $number, request $i" $body [wanted $path]
    }
    chan close $channel
    incr ::clients -1
}

# check_crowd CLIENTS REQUESTS RECYCLE THREADS: a thread is replaced after RECYCLE requests.
proc check_crowd {count requests recycle threads} {
    set before [stat requests]
    set ended [stat threads_ended]
    set ::clients $count
    for {set i 0} {$i < $count} {incr i} {
        coroutine client$i client_run $i $requests
    }
    set timer [after 60000 {wrong "the clients do not come to an end"}]
    while {$::clients > 0} {
        vwait clients
    }
    after cancel $timer
    equal errors [stat errors] 0
    # Other requests than of the clients: for the statistics.
    equal requests [expr {[stat requests] - $before}] [expr {$count * $requests + 3}]
    # A thread goes on with its connections until it is told to end, so there are fewer than that.
    set replaced [expr {[stat threads_ended] - $ended}]
    if {$replaced < $count * $requests / $recycle / 3} {
        wrong "only $replaced threads were replaced"
    }
    equal threads [expr {[stat threads_started] - [stat threads_ended] <= 2 * $threads}] 1
}

proc check_large {count} {
    # Clients that go away, before an answer, within a request, and without a request.
    foreach request {"GET /burst HTTP/1.1\n\n" "GET /page HTTP/1.1\n" ""} {
        set channel [open_connection]
        ask $channel $request
        chan close $channel
    }
    set large [large 2048]
    set paths {}
    for {set i 0} {$i < $count} {incr i} {
        lappend paths /burst?kb=2048 /exec?seed=$i /page?seed=$i
    }
    foreach path $paths answer [client::fetch $::port $paths 120] {
        lassign $answer status body
        equal "status of $path" $status 200
        switch -glob $path {
            /burst* { equal $path $body $large }
            /page* { equal $path $body [wanted $path] }
            default { equal $path [regexp "<p>number [lindex [split $path =] 1]</p>" $body] 1 }
        }
    }
    equal errors [stat errors] 0
}

proc check_quit {} {
    # A connection without a request, and one in the middle of a large answer, do not hinder it.
    set idle [open_connection]
    set busy [open_connection]
    ask $busy "GET /burst?kb=2048 HTTP/1.1\n\n"
    equal answer [get /quit] {200 {bye
}}
    equal "the last answer" [lindex [hear $busy] 2] [large 2048]
    ended "the idle connection" $idle
}

check_$check {*}$argv
