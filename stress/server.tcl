#!/usr/bin/env tclsh8.6
# SPDX-License-Identifier: BSD-2-Clause
#
# A server built as NaviServer is: the main thread accepts, a pool of connection threads, each with
# an interpreter of its own, answers, and a thread that has answered so many requests is replaced by
# a new one. Pages are in server_pages.tcl, what a connection thread does in server_connection.tcl.
#
#     tclsh8.6 server.tcl --threads 4 --requests 1000
#
# prints "port N" when it is ready, and ends with status 0 when the page /quit was asked for.
#
# A connection is handed over with thread::transfer, which waits until the other thread takes it. To
# wait in a circle is impossible: the main thread transfers nothing to a thread after the `finish`
# that it sends, and no thread transfers anything to the main thread before it got that.

package require Tcl 8.6-
package require Thread

set home [file dirname [file normalize [info script]]]
source [file join $home options.tcl]

namespace eval pool {
    # The threads that take connections, and how many each has, by thread.
    variable connections
    array set connections {}
    # Threads that have not been joined.
    variable alive 0
    variable listener ""
    variable quitting 0
    variable done 0
    variable script ""
    # How long the connection threads may take to end, in milliseconds.
    variable end_most 30000
}

proc pool::start_thread {} {
    variable connections
    variable alive
    variable script
    set id [thread::create -joinable]
    thread::send $id $script
    set connections($id) 0
    incr alive
    tsv::incr stats threads_started
}

# A channel is busy until its accept is over.
proc pool::accept {channel address port} {
    tsv::incr stats connections
    after 0 [list pool::assign $channel {}]
}

# Hand a connection to the thread that has the fewest. `got` are lines of a request, read already.
proc pool::assign {channel got} {
    variable connections
    variable quitting
    if {$quitting} {
        catch {chan close $channel}
        return
    }
    set best ""
    foreach {id count} [array get connections] {
        if {$best eq "" || $count < $connections($best)} {
            set best $id
        }
    }
    thread::transfer $best $channel
    incr connections($best)
    thread::send -async $best [list connection::take $channel $got]
}

proc pool::dropped {id} {
    variable connections
    if {[info exists connections($id)]} {
        incr connections($id) -1
    }
}

# A thread has answered as many requests as it may.
proc pool::retire {id} {
    variable connections
    variable quitting
    if {!$quitting} {
        unset connections($id)
        start_thread
        thread::send -async $id {connection::finish give_back}
    }
}

# A thread said its last word; it ends now.
proc pool::ended {id} {
    variable alive
    variable quitting
    variable done
    thread::join $id
    tsv::incr stats threads_ended
    if {[incr alive -1] == 0 && $quitting} {
        set done 1
    }
}

proc pool::quit {} {
    variable connections
    variable listener
    variable quitting
    variable end_most
    if {$quitting} {
        return
    }
    set quitting 1
    close $listener
    foreach id [array names connections] {
        thread::send -async $id {connection::finish drop}
    }
    array unset connections
    after $end_most {
        puts stderr "server.tcl: $pool::alive threads do not end"
        exit 1
    }
}

# With --until-eof: nobody writes to standard input, so it is readable when it ends.
proc pool::input {} {
    if {[catch {chan read stdin 4096}] || [chan eof stdin]} {
        chan event stdin readable {}
        quit
    }
}

set options [options::parse server.tcl "A threaded HTTP server, for tests and comparisons." {
    port      0         {integer 0} N       "port, 0 for any free one"
    host      127.0.0.1 text        ADDRESS "address to listen at"
    threads   4         {integer 1} N       "connection threads"
    requests  0         {integer 0} N       "replace a thread after so many, 0: never"
    until-eof 0         flag        ""      "end when standard input ends, too"
} $argv]

foreach name {requests errors connections threads_started threads_ended} {
    tsv::set stats $name 0
}
tsv::set counters visits 0
set pool::script [subst {
    source [list [file join $home server_pages.tcl]]
    source [list [file join $home server_connection.tcl]]
    connection::start [thread::id] [dict get $options requests]
}]
for {set i 0} {$i < [dict get $options threads]} {incr i} {
    pool::start_thread
}
if {[catch {
    set pool::listener [socket -server pool::accept -myaddr [dict get $options host] \
        [dict get $options port]]
} message]} {
    options::fail server.tcl $message
}
puts "port [lindex [chan configure $pool::listener -sockname] 2]"
flush stdout
if {[dict get $options until-eof]} {
    chan configure stdin -blocking 0
    chan event stdin readable pool::input
}
vwait pool::done
exit 0
