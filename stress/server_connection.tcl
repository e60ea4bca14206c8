# SPDX-License-Identifier: BSD-2-Clause
#
# A connection thread of server.tcl: reads requests of the connections it is given, answers them,
# and keeps the connections for more. HTTP/1.1 with GET and HEAD.
#
# Nothing here waits: a channel is either read from, or, while an answer is on its way, written to.
# A thread ends when the main thread says so: between two requests it hands its connections back.

namespace eval connection {
    # Lines of the request that has not come wholly, by channel. Each channel of ours is in it.
    variable lines
    array set lines {}
    # Channels with an answer on its way; whether the connection is kept afterwards.
    variable writing
    array set writing {}
    # How many requests to answer before this thread asks to be replaced, 0 for no end.
    variable limit 0
    variable answered 0
    # "" while at work, then what becomes of the connections: back to the main thread, or close.
    variable finishing ""
    variable main ""
    # A request line and its headers are not longer than this, in bytes.
    variable request_most 16384

    variable reasons {
        200 "OK" 400 "Bad Request" 404 "Not Found" 405 "Method Not Allowed"
        431 "Request Header Fields Too Large" 500 "Internal Server Error"
    }
}

proc connection::start {main_thread requests} {
    variable main $main_thread
    variable limit $requests
    interp bgerror {} connection::background_error
}

proc connection::background_error {message options} {
    tsv::incr stats errors
    puts stderr "server.tcl: [dict get $options -errorinfo]"
}

proc connection::tell_main {args} {
    variable main
    thread::send -async $main $args
}

# The main thread has transferred a channel to us; `got` are lines that another thread has read.
proc connection::take {channel got} {
    variable lines
    set lines($channel) $got
    chan configure $channel -blocking 0 -buffering full -buffersize 65536 \
        -encoding iso8859-1 -translation {crlf lf}
    chan event $channel readable [list connection::read_requests $channel]
    read_requests $channel
}

proc connection::drop {channel} {
    variable lines
    variable writing
    unset -nocomplain lines($channel) writing($channel)
    catch {chan close $channel}
    tell_main pool::dropped [thread::id]
    end_if_done
}

# Read and answer until there is no more, or the channel is not ours or not to be read from now.
proc connection::read_requests {channel} {
    variable lines
    variable request_most
    while 1 {
        if {[catch {chan gets $channel line} length]} {
            drop $channel
            return
        }
        if {$length < 0} {
            break
        }
        if {$line ne ""} {
            lappend lines($channel) $line
            if {[string length $lines($channel)] > $request_most} {
                break
            }
        } elseif {[llength $lines($channel)] > 0} {
            # Blank lines before a request are to be ignored.
            set request $lines($channel)
            set lines($channel) {}
            if {![answer $channel $request]} {
                return
            }
        }
    }
    if {[chan eof $channel]} {
        drop $channel
    } elseif {[string length $lines($channel)] + [chan pending input $channel] > $request_most} {
        send $channel 431 "the request is too long\n" 0 0
    }
}

# parse REQUEST: {method path query keep}, or an error with the code {HTTP status}.
proc connection::parse {request} {
    if {![regexp {^([A-Z]+) (\S+) HTTP/1\.([01])$} [lindex $request 0] all method target minor]} {
        return -code error -errorcode {HTTP 400} "no request"
    }
    if {$method ni {GET HEAD}} {
        return -code error -errorcode {HTTP 405} "only GET and HEAD"
    }
    set keep $minor
    foreach line [lrange $request 1 end] {
        if {![regexp {^([\w-]+):[ \t]*(.*?)[ \t]*$} $line all name value]} {
            return -code error -errorcode {HTTP 400} "no header: $line"
        }
        if {[string equal -nocase $name connection]} {
            switch [string tolower $value] {
                close { set keep 0 }
                keep-alive { set keep 1 }
            }
        }
    }
    set query {}
    regexp {^([^?]*)(?:\?(.*))?$} $target all path text
    foreach pair [split $text &] {
        if {[regexp {^(\w+)=(\w*)$} $pair all name value]} {
            dict set query $name $value
        }
    }
    return [list $method $path $query $keep]
}

# Returns whether to go on reading from the channel.
proc connection::answer {channel request} {
    if {[catch {parse $request} parsed options]} {
        return [send $channel [lindex [dict get $options -errorcode] 1] "$parsed\n" 0 0]
    }
    lassign $parsed method path query keep
    set name [string range $path 1 end]
    if {![regexp {^\w+$} $name] || [info procs ::page::$name] eq ""} {
        set status 404
        set body "no page $path\n"
    } elseif {![catch {::page::$name $query} body options]} {
        set status 200
    } elseif {[dict get $options -errorcode] eq {PAGE QUERY}} {
        set status 400
        append body \n
    } else {
        set status 500
        append body \n
        tsv::incr stats errors
        puts stderr "server.tcl: $path: [dict get $options -errorinfo]"
    }
    return [send $channel $status $body [expr {$method eq "HEAD"}] $keep]
}

# Returns whether to go on reading from the channel.
proc connection::send {channel status body head_only keep} {
    variable reasons
    variable writing
    variable answered
    set body [encoding convertto utf-8 $body]
    set type [expr {[string match <html>* $body] ? "text/html" : "text/plain"}]
    append head "HTTP/1.1 $status [dict get $reasons $status]\r\n" \
        "Content-Type: $type; charset=utf-8\r\n" \
        "Content-Length: [string length $body]\r\n" \
        "Connection: [expr {$keep ? "keep-alive" : "close"}]\r\n\r\n"
    tsv::incr stats requests
    incr answered
    if {[catch {
        chan puts -nonewline $channel $head
        if {!$head_only} {
            chan puts -nonewline $channel $body
        }
        chan flush $channel
    }]} {
        drop $channel
        return 0
    }
    set writing($channel) $keep
    if {[chan pending output $channel] > 0} {
        chan event $channel readable {}
        chan event $channel writable [list connection::write_more $channel]
        return 0
    }
    return [written $channel]
}

# The system took what it was not ready for before, or the connection is broken; Tcl tells the
# latter at the next call only.
proc connection::write_more {channel} {
    if {[catch {chan flush $channel}]} {
        drop $channel
    } elseif {[chan pending output $channel] == 0} {
        chan event $channel writable {}
        chan event $channel readable [list connection::read_requests $channel]
        if {[written $channel]} {
            read_requests $channel
        }
    }
}

# The answer is out. Returns whether to go on reading from the channel.
proc connection::written {channel} {
    variable writing
    variable finishing
    variable limit
    variable answered
    set keep $writing($channel)
    unset writing($channel)
    if {!$keep} {
        drop $channel
        return 0
    }
    if {$finishing ne ""} {
        $finishing $channel
        return 0
    }
    if {$limit > 0 && $answered >= $limit} {
        set answered 0
        set limit 0
        tell_main pool::retire [thread::id]
    }
    return 1
}

# The last message from the main thread: no connection comes after it. `what` is give_back or drop.
proc connection::finish {what} {
    variable lines
    variable writing
    variable finishing $what
    foreach channel [array names lines] {
        if {![info exists writing($channel)]} {
            $what $channel
        }
    }
    end_if_done
}

proc connection::give_back {channel} {
    variable main
    variable lines
    set got $lines($channel)
    unset lines($channel)
    thread::transfer $main $channel
    tell_main pool::assign $channel $got
    end_if_done
}

proc connection::end_if_done {} {
    variable lines
    variable finishing
    if {$finishing in {"" ended} || [array size lines] > 0} {
        return
    }
    set finishing ended
    tell_main pool::ended [thread::id]
    thread::release
}
