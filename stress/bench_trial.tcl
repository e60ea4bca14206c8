# SPDX-License-Identifier: BSD-2-Clause
#
# Who takes part in bench, and how its processes are started. A contender is a name and a library
# that is preloaded; the C library itself for `system`, which so comes before an allocator that a
# program is linked with. The dynamic linker goes on without a library that it cannot find, so that
# each one is tried, in the workloads' program and in each real program.

namespace eval trial {
    variable all {owl system jemalloc mimalloc tcmalloc tbbmalloc}
    variable worker ""          ;# the program of the workloads, which starts the others too
    variable directory ""       ;# of temporary files, gone at the end
}

proc trial::begin {program root} {
    variable worker
    variable directory
    # A library of the caller's would be in everybody.
    unset -nocomplain ::env(LD_PRELOAD)
    set worker $root/lib/owl/owl-bench-work
    if {![file executable $worker]} {
        options::fail $program "there is no $worker: build first, or say --root"
    }
    set directory [exec mktemp -d -t owl-bench.XXXXXX]
    # Wrong usage is found out here and there, and ends the program there.
    trace add execution exit enter trial::end
}

proc trial::end {args} {
    variable directory
    file delete -force $directory
}

# A file for a process's output.
proc trial::output {} {
    variable directory
    return $directory/output
}

proc trial::read_file {file} {
    set channel [open $file]
    chan configure $channel -translation binary
    set text [read $channel]
    close $channel
    return $text
}

# Lines of a word and a value, as a dict.
proc trial::parse_lines {text} {
    set values {}
    foreach line [split $text \n] {
        if {[regexp {^([a-z_]+) (.*)$} $line all name value]} {
            dict set values $name $value
        }
    }
    return $values
}

# The command that runs COMMAND with a library preloaded and prints what it took.
proc trial::launch {library seconds command} {
    variable worker
    return [list $worker --run $library $seconds [output] {*}$command]
}

# run LIBRARY SECONDS COMMAND: the figures of the process as a dict; `end` is "good" if it was, and
# `text` what it has printed.
proc trial::run {library seconds command} {
    set figures [dict create text ""]
    if {[catch {exec {*}[launch $library $seconds $command] 2>@1} text]} {
        dict set figures end "cannot run: [lindex [split $text \n] 0]"
        return $figures
    }
    return [dict merge $figures [parse_lines $text] [dict create text [read_file [output]]]]
}

# What there is to say of a run that failed: how it ended, and its last line.
proc trial::complaint {figures} {
    set line [lindex [split [string trimright [dict get $figures text]] \n] end]
    set text [dict get $figures end]
    if {$line ne ""} {
        append text ", and said: [string range $line 0 199]"
    }
    return $text
}

# Whether a mapped file is the library, which was given by its path or for the linker to find.
proc trial::same {library file} {
    if {[string match */* $library]} {
        return [expr {[exec readlink -f -- $library] eq [exec readlink -f -- $file]}]
    }
    return [string match $library* [file tail $file]]
}

# --- contenders --------------------------------------------------------------------

# find PROGRAM OPTIONS ROOT: a list of dicts {name library}. Says on CHANNEL who is left out.
proc trial::find {program options root channel} {
    variable all
    set words [split [dict get $options contenders] ,]
    if {[set at [lsearch -exact $words all]] >= 0} {
        set words [lreplace $words $at $at {*}$all]
    }
    set found {}
    foreach word $words {
        lassign [choose $program $word $root] name library missing
        if {$missing ne ""} {
            if {[string match *=* $word] || $word eq "owl"} {
                options::fail $program "$word: $missing"
            }
            puts $channel "$name is left out: $missing"
            continue
        }
        # The same one twice shows how far equals are apart on this machine.
        set names [report::column $found name]
        for {set n 2; set plain $name} {$name in $names} {incr n} {
            set name $plain#$n
        }
        lappend found [dict create name $name library $library]
    }
    if {[llength $found] == 0} {
        options::fail $program "no contender is here"
    }
    flush $channel
    return $found
}

# {name library missing}: why it cannot take part, or "".
proc trial::choose {program word root} {
    set package ""
    if {[regexp {^([^=]+)=(.+)$} $word all word library]} {
        if {[string match */* $library]} {
            set library [file normalize $library]
        }
        set libraries [list $library]
    } elseif {$word eq "owl"} {
        set libraries [list $root/lib/libowl.so]
    } elseif {$word eq "system"} {
        set libraries libc.so.6
    } elseif {[dict exists $contenders::peers $word]} {
        lassign [dict get $contenders::peers $word] libraries package
    } else {
        options::fail $program "no contender is called '$word'; try --help"
    }
    foreach library $libraries {
        set missing [attempt $library]
        if {$missing eq ""} {
            return [list $word $library ""]
        }
    }
    if {$package ne ""} {
        set missing "no [lindex $libraries 0] (Debian: $package)"
    }
    return [list $word "" $missing]
}

# Why a library cannot take part, or "".
proc trial::attempt {library} {
    variable worker
    if {[regexp {[ :]} $library]} {
        return "LD_PRELOAD takes no blanks and colons"
    }
    if {[string match */* $library] && ![file exists $library]} {
        return "there is no $library"
    }
    set figures [run $library 30 [list $worker --workload cubes --scale 0.001]]
    if {[dict get $figures end] ne "good"} {
        return "a trial ended with [complaint $figures]"
    }
    set file [dict get [parse_lines [dict get $figures text]] library]
    if {![same $library $file]} {
        return "malloc is that of $file"
    }
    return ""
}

# --- programs ----------------------------------------------------------------------

# Why a program does not get its memory from LIBRARY, or "". The dynamic linker tells where it has
# found malloc for whom, in all processes of the command; the library itself may know another one.
proc trial::bound {library command} {
    variable directory
    set log $directory/bindings
    set figures [run $library 60 [list env LD_DEBUG=bindings LD_DEBUG_OUTPUT=$log {*}$command]]
    set owners {}
    foreach file [glob -nocomplain $log.*] {
        foreach {line user owner} [regexp -all -inline -line \
                {binding file (\S+) \S+ to (\S+) \S+ normal symbol `(?:malloc|realloc)'} \
                [read_file $file]] {
            dict set owners $owner $user 1
        }
        file delete $file
    }
    if {[dict get $figures end] ne "good"} {
        return "a trial ended with [complaint $figures]"
    }
    dict for {owner users} $owners {
        foreach user [dict keys $users] {
            if {![same $library $owner] && ![same $library $user]} {
                return "malloc is that of $owner"
            }
        }
    }
    return [expr {[dict size $owners] > 0 ? "" : "it calls no malloc"}]
}
