# SPDX-License-Identifier: BSD-2-Clause
#
# A small HTTP client: several requests side by side, a connection each.

namespace eval client {
    variable answers
    variable open
    variable timed_out
}

# fetch PORT PATHS SECONDS: a list of {status body}; status 0 is for no whole answer in that time.
proc client::fetch {port paths seconds} {
    variable answers
    variable open 0
    variable timed_out 0
    array unset answers
    set channels {}
    set i 0
    foreach path $paths {
        set answers($i) ""
        if {![catch {socket 127.0.0.1 $port} channel]} {
            incr open
            lappend channels $channel
            chan configure $channel -translation binary -blocking 0 -buffersize 65536
            chan puts -nonewline $channel "GET $path HTTP/1.1\r\nHost: localhost\r\n" 
            chan puts -nonewline $channel "Connection: close\r\n\r\n"
            chan flush $channel
            chan event $channel readable [list client::more $channel $i]
        }
        incr i
    }
    set timer [after [expr {int($seconds * 1000)}] {set client::timed_out 1; incr client::open 0}]
    while {$open > 0 && !$timed_out} {
        vwait client::open
    }
    after cancel $timer
    foreach channel $channels {
        catch {chan close $channel}
    }
    set result {}
    for {set n 0} {$n < $i} {incr n} {
        lappend result [parse $answers($n)]
        unset answers($n)
    }
    return $result
}

proc client::more {channel i} {
    variable answers
    variable open
    if {[catch {append answers($i) [chan read $channel]}] || [chan eof $channel]} {
        chan close $channel
        incr open -1
    }
}

proc client::parse {answer} {
    set end [string first \r\n\r\n $answer]
    if {![regexp {^HTTP/1\.1 (\d\d\d) .*?\r\nContent-Length: (\d+)\r\n} \
            [string range $answer 0 [expr {$end + 1}]] all status length]
            || $length != [string length $answer] - $end - 4} {
        return {0 ""}
    }
    return [list $status [string range $answer [expr {$end + 4}] end]]
}
