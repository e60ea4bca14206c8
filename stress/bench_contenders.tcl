# SPDX-License-Identifier: BSD-2-Clause
#
# Who takes part in server-bench and tcl-bench: a contender is a name and the command that runs a
# Tcl script with some allocator. It is tried before it is measured, and the libraries mapped in the
# trial tell whether the allocator is really in there: the dynamic linker goes on without a library
# that it cannot find.

namespace eval contenders {
    variable all {zippy owl-static owl-relinked owl-preload jemalloc mimalloc tcmalloc}

    # Libraries by name, the first that works is taken, and Debian's package of them.
    variable peers {
        jemalloc {{libjemalloc.so.2 libjemalloc.so.1} libjemalloc2}
        mimalloc {{libmimalloc.so.3 libmimalloc.so.2 libmimalloc.so} libmimalloc2.0}
        tcmalloc {{libtcmalloc_minimal.so.4 libtcmalloc.so.4} libtcmalloc-minimal4}
        tbbmalloc {libtbbmalloc_proxy.so.2 libtbbmalloc2}
    }

    # Prints the libraries in use, and fails without the Thread package.
    variable trial {
        package require Thread
        set maps [open /proc/self/maps]
        foreach line [split [read $maps] \n] {
            if {[llength $line] == 6} {
                dict set files [lindex $line 5] 1
            }
        }
        puts [join [dict keys $files] \n]
    }
}

# What the programs of this directory have in common on their command lines.
proc contenders::options {} {
    return {
        contenders all       text        LIST      "names, by commas; NAME=LIBRARY for LD_PRELOAD"
        root       {}        text        DIRECTORY "where owlalloc is installed (build/root)"
        tclsh      tclsh8.6  text        PROGRAM   "the Tcl shell with zippy"
        rounds     5         {integer 1} N         "rounds; all contenders take part in each"
        json       {}        text        FILE      "write all figures there, - for standard output"
        quick      0         flag        ""        "short runs, good for nothing but a test"
    }
}

# find PROGRAM OPTIONS: a list of dicts {name command}. Says on CHANNEL who is left out.
proc contenders::find {program options channel} {
    variable all
    # A library of the caller's would be in everybody.
    unset -nocomplain ::env(LD_PRELOAD)
    set root [dict get $options root]
    if {$root eq ""} {
        set root [file join [file dirname $::home] build root]
    }
    set words [split [dict get $options contenders] ,]
    if {[set at [lsearch -exact $words all]] >= 0} {
        set words [lreplace $words $at $at {*}$all]
    }
    set found {}
    foreach word $words {
        lassign [choose $program $word [file normalize $root] [dict get $options tclsh]] \
            name command missing
        if {$missing eq ""} {
            # The same one twice shows how far equals are apart on this machine.
            set names [report::column $found name]
            for {set n 2; set plain $name} {$name in $names} {incr n} {
                set name $plain#$n
            }
            lappend found [dict create name $name command $command]
        } elseif {[string match *=* $word]} {
            options::fail $program "$word: $missing"
        } else {
            puts $channel "$name is left out: $missing"
        }
    }
    if {[llength $found] == 0} {
        options::fail $program "no contender is here"
    }
    flush $channel
    return $found
}

# choose: {name command missing}; why it cannot take part, or "".
proc contenders::choose {program word root tclsh} {
    variable peers
    set relinked $root/lib/owl/tcl8.6
    set preload $root/lib/libowl-tcl.so
    switch -glob $word {
        zippy {
            return [list $word {*}[attempt [list $tclsh] libtcl8.6.so* libowl*]]
        }
        owl-static {
            return [list $word {*}[attempt [list $root/bin/owltclsh] $root/bin/owltclsh \
                libtcl8.6.so*]]
        }
        owl-relinked {
            return [list $word {*}[attempt [list env LD_LIBRARY_PATH=$relinked $tclsh] \
                $relinked/libtcl8.6.so]]
        }
        owl-preload {
            return [list $word {*}[preloaded $preload $tclsh]]
        }
        ?*=?* {
            regexp {^([^=]*)=(.*)$} $word all name library
            return [list $name {*}[preloaded $library $tclsh]]
        }
    }
    if {![dict exists $peers $word]} {
        options::fail $program "no contender is called '$word'; try --help"
    }
    lassign [dict get $peers $word] libraries package
    foreach library $libraries {
        lassign [preloaded $library $tclsh] command missing
        if {$missing eq ""} {
            return [list $word $command ""]
        }
    }
    return [list $word {} "no [lindex $libraries 0] (Debian: $package)"]
}

# A library by its path, or by a name for the dynamic linker to find.
proc contenders::preloaded {library tclsh} {
    set wanted $library*
    if {[string match */* $library]} {
        set library [file normalize $library]
        set wanted $library
        if {[regexp {[ :]} $library]} {
            return {{} "LD_PRELOAD takes no blanks and colons"}
        }
    }
    return [attempt [list env LD_PRELOAD=$library $tclsh] $wanted]
}

# attempt COMMAND WANTED ?UNWANTED?: {command missing}. Both are patterns for the names of files
# that are mapped, without their directories; or WANTED is the whole path of one.
proc contenders::attempt {command wanted {unwanted {}}} {
    variable trial
    set whole [string match /* $wanted]
    if {$whole && ![file exists $wanted]} {
        return [list $command "there is no $wanted"]
    }
    if {[catch {exec {*}$command << $trial 2>@1} output]} {
        return [list $command "[join $command] fails: [lindex [split $output \n] 0]"]
    }
    set files [split $output \n]
    set names [lmap file $files { file tail $file }]
    if {$whole} {
        # What is mapped has its final name.
        set in_use [expr {[exec readlink -f -- $wanted] in $files}]
    } else {
        set in_use [expr {[lsearch -glob $names $wanted] >= 0}]
    }
    if {!$in_use} {
        return [list $command "[join $command] does not use it"]
    }
    if {[lsearch -glob $names $unwanted] >= 0} {
        return [list $command "[join $command] uses another allocator"]
    }
    return [list $command ""]
}
