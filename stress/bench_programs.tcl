# SPDX-License-Identifier: BSD-2-Clause
#
# The real programs of bench: what each is given to do, as the command that does it. Redis is a
# server, which another program, without the allocator, gives its work.

namespace eval programs {
    # Name, Debian's package, what it does.
    variable known {
        gcc     gcc           "gcc -O2 compiles a generated file"
        perl    perl-base     "hashes, lists and text"
        python3 python3       "objects, dictionaries, JSON; its own allocator is off"
        redis   redis-tools   "redis-benchmark asks a server; CPU and memory are the server's"
        sqlite3 sqlite3       "a database in memory: rows, an index, joins, groups, deletions"
        tclsh   tcl8.6        "lists, dicts and text; zippy takes the small blocks"
    }
}

proc programs::names {} {
    variable known
    return [lmap {name package about} $known { string cat $name }]
}

# So many times the usual amount, at least once.
proc programs::times {scale usual} {
    return [expr {max(1, int($scale * $usual))}]
}

# The command of a program that is no server.
proc programs::command {name scale} {
    set home $::home
    switch $name {
        gcc {
            return [list gcc -O2 -w -S -o - [source_file [times $scale 90]]]
        }
        perl {
            return [list env PERL_HASH_SEED=0 perl $home/bench_program.pl [times $scale 3]]
        }
        python3 {
            return [list env PYTHONMALLOC=malloc PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 \
                python3 -S $home/bench_program.py [times $scale 15]]
        }
        sqlite3 {
            return [list sqlite3 -batch \
                -cmd "CREATE TABLE work AS SELECT [times $scale 150000] AS rows" :memory: \
                ".read '$home/bench_program.sql'"]
        }
        tclsh {
            return [list tclsh8.6 $home/bench_program.tcl [times $scale 5]]
        }
    }
}

# A C file with so many functions, for the compiler.
proc programs::source_file {functions} {
    set file $trial::directory/program$functions.c
    if {[file exists $file]} {
        return $file
    }
    set text "struct item { struct item *next; int key; double weight; char name\[24\]; };\n"
    for {set i 0} {$i < $functions} {incr i} {
        append text [string map [list @ $i ` [expr {$i % 13 + 3}]] {
static int table@[`] = { 1, 2, 3 };
int find@(struct item *first, int key, const char *text)
{
    int sum = 0;
    for (struct item *one = first; one; one = one->next) {
        if (one->key == key + table@[sum & 1] && one->weight > ` * 0.5)
            return sum;
        for (int i = 0; i < ` && text[i]; i++) {
            switch (text[i]) {
            case 'a': sum += one->name[i]; break;
            case 'b': sum ^= table@[i] << 2; break;
            case 'z': sum -= one->key % (i + `); break;
            default: table@[i] += sum * key;
            }
        }
    }
    return sum > key ? find@(first->next, key - `, text + 1) : -sum;
}
}]
    }
    set channel [open $file w]
    puts $channel $text
    close $channel
    return $file
}

# --- redis ---------------------------------------------------------------------------

# Redis is one program under several names. Debian's package redis-server adds its name, and starts
# one at boot; redis-tools is enough here.
proc programs::redis_server {} {
    set link $trial::directory/redis-server
    if {![file exists $link]} {
        set program [auto_execok redis-server]
        if {$program eq ""} {
            set program [auto_execok redis-check-rdb]
        }
        if {$program eq ""} {
            error "no redis-server"
        }
        file link -symbolic $link [lindex $program 0]
    }
    return $link
}

proc programs::ask {args} {
    return [exec redis-cli -s $trial::directory/socket {*}$args 2>@1]
}

# As trial::run. The elapsed time is that of the client, all else that of the server.
proc programs::run_redis {library seconds scale} {
    set socket $trial::directory/socket
    set server [open |[trial::launch $library $seconds [list [redis_server] --port 0 \
        --unixsocket $socket --dir $trial::directory --save {} --appendonly no]]]
    set figures [dict create text "" end "no answer"]
    for {set tries 0} {$tries < 100 && ([catch {ask ping} pong] || $pong ne "PONG")} {incr tries} {
        after 50
    }
    set begun [clock microseconds]
    set failed [catch {
        exec timeout $seconds redis-benchmark -s $socket -q -c 16 -P 16 -r 50000 -d 200 \
            -n [times $scale 60000] -t set,get,incr,lpush,rpop,sadd,hset,zadd,mset
    } text]
    set elapsed [expr {[clock microseconds] - $begun}]
    catch {ask shutdown nosave}
    catch {
        set figures [dict merge $figures [trial::parse_lines [read $server]]]
    }
    catch {close $server}
    file delete $socket
    if {$failed} {
        return [dict merge $figures [dict create text $text end "no answer from the server"]]
    }
    return [dict merge $figures [dict create wall_ns ${elapsed}000 text ""]]
}

# --- all -----------------------------------------------------------------------------

# Why a program cannot take part, or "".
proc programs::missing {name} {
    variable known
    set needs [dict create redis {redis-cli redis-benchmark} tclsh tclsh8.6]
    foreach program [expr {[dict exists $needs $name] ? [dict get $needs $name] : $name}] {
        if {[auto_execok $program] eq ""} {
            set package [lindex $known [expr {[lsearch -exact $known $name] + 1}]]
            return "there is no $program (Debian: $package)"
        }
    }
    if {$name eq "redis" && [catch {redis_server} message]} {
        return $message
    }
    return ""
}

# Why a program does not run on a library, or "".
proc programs::refusal {name library} {
    if {$name eq "redis"} {
        return [trial::bound $library [list [redis_server] --version]]
    }
    return [trial::bound $library [command $name 0.001]]
}

proc programs::run {name library seconds scale} {
    if {$name eq "redis"} {
        return [run_redis $library $seconds $scale]
    }
    return [trial::run $library $seconds [command $name $scale]]
}
