#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# Holds the house: a room of core/ uses only rooms that stand below it.
#
# The order is read from core/README.md, from the fenced block that opens with
# ```house. Its lines, from top to bottom:
#
#   floor: ROOM...       one floor
#   beside: ROOM...      rooms at the side of all floors
#   everywhere: ROOM...  what everybody may use
#
# A room is core/ROOM.h with core/ROOM.c; a file core/ROOM_more.c belongs to ROOM,
# unless ROOM_more is a room itself. `#include "x.h"` in a room's file uses room x:
#
#   - a floor room may use the floors below its own, and the rooms of `everywhere`;
#   - the top floor, the door, may use the rooms beside as well;
#   - a room beside may use every floor but the top one, `everywhere`, and rooms of
#     `beside:` lines below its own;
#   - a room of `everywhere` may use its like, and the bottom floor, where the
#     system calls are;
#   - rooms of one line may otherwise not use one another;
#   - and no room uses itself by way of others, whatever the rules above allow.
#
# The table of rooms below the block, which says what each does, has exactly these.
#
# Only core/os.c and core/os_*.c make system calls that have to do with memory or waiting;
# others go through the table in core/os.h.
#
# Makefile.am names all headers: one that it does not know is not distributed.

# Functions are called by name, through try and clean.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=${OWL_SRCDIR:-$here/..}
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

calls='mmap|mmap64|munmap|mremap|madvise|mprotect|memfd_create|mincore|sbrk|brk'
calls="$calls|ftruncate|fallocate|syscall|futex"

# house TREE: the lines of the block, as "KIND ROOM...".
house() {
    # shellcheck disable=SC2016
    sed -n '/^```house[[:space:]]*$/,/^```[[:space:]]*$/p' "$1/core/README.md" |
        sed -En 's/^(floor|beside|everywhere):[[:space:]]*/\1 /p'
}

# table TREE: the rooms in the first column of the table that opens with | room |.
table() {
    awk -F '|' '
        /^\| room \|/ { inside = 1; next }
        !/^\|/ { inside = 0 }
        inside && $2 !~ /^-+$/ { gsub(/,/, " ", $2); print $2 }' "$1/core/README.md" |
        tr -s ' ' '\n' | grep . | sort
}

# table_check TREE: a line for each room that only the block or only the table has.
table_check() {
    house "$1" | cut -d ' ' -f 2- | tr ' ' '\n' | sort >"$tap_dir/block"
    table "$1" | diff "$tap_dir/block" - | sed -n 's/^< /not in the table: /p
        s/^> /not in the house: /p'
}

# includes TREE: a line "FILE HEADER" for each #include "HEADER" of core/. A room's
# file says "x.h"; a path, as in "owl/owl.h", is no room.
includes() {
    for file in "$1"/core/*.c "$1"/core/*.h; do
        sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"/]*\)\.h".*/\1/p' "$file" |
            sed "s|^|${file##*/} |"
    done
}

# files TREE: the names of all sources of core/.
files() {
    for file in "$1"/core/*.c "$1"/core/*.h; do
        echo "${file##*/}"
    done
}

# house_check TREE: a line for each violation.
house_check() {
    {
        house "$1" | sed 's/^/house /'
        files "$1" | sed 's/^/file /'
        includes "$1" | sed 's/^/use /'
    } | awk '
        function room_of(name) {
            sub(/\.[ch]$/, "", name)
            while (!(name in kind) && name ~ /_/)
                sub(/_[^_]*$/, "", name)
            return name
        }
        function may(from, to) {
            if (kind[to] == "everywhere")
                return 1
            if (kind[from] == "everywhere")
                return line[to] == bottom
            if (kind[from] == "beside")
                return kind[to] == "floor" ? line[to] > door : line[to] > line[from]
            if (kind[to] == "beside")
                return line[from] == door
            return line[to] > line[from]
        }
        # A walk down from room; state 1: we are below it, 2: seen.
        function walk(room, path,    to) {
            state[room] = 1
            path = path " -> " room
            for (to in kind) {
                if (!((room, to) in edge) || state[to] == 2)
                    continue
                if (state[to] == 1)
                    print "a circle:" substr(path, 4) " -> " to
                else
                    walk(to, path)
            }
            state[room] = 2
        }
        $1 == "house" {
            lines++
            for (i = 3; i <= NF; i++) {
                if ($i in kind)
                    print "core/README.md names " $i " twice"
                kind[$i] = $2
                line[$i] = lines
            }
            if ($2 == "floor") {
                if (!door)
                    door = lines
                bottom = lines
            }
        }
        $1 == "file" {
            room = room_of($2)
            if (room in kind)
                present[room] = 1
            else
                print "core/" $2 " is in no room of core/README.md"
        }
        $1 == "use" {
            from = room_of($2)
            to = room_of($3 ".h")
            if (from == to || !(from in kind))
                next
            if (!(to in kind)) {
                print "core/" $2 " includes \"" $3 ".h\", which is no room"
                next
            }
            uses++
            edge[from, to] = 1
            if (!may(from, to))
                print "core/" $2 ": " from " may not use " to
        }
        END {
            if (!door)
                print "core/README.md has no house"
            if (!uses)
                print "no room uses another: nothing was checked"
            for (room in kind)
                if (!state[room])
                    walk(room, "")
        }'
}

# bare FILE: the source without its comments and its texts in quotes.
bare() {
    awk '{
        out = ""
        rest = $0
        while (rest != "") {
            if (inside) {
                at = index(rest, "*/")
                if (!at)
                    break
                rest = substr(rest, at + 2)
                inside = 0
            } else if (match(rest, /"([^"\\]|\\.)*"|\/\/.*|\/\*/)) {
                out = out substr(rest, 1, RSTART - 1) " "
                inside = substr(rest, RSTART, 2) == "/*"
                rest = substr(rest, RSTART + RLENGTH)
            } else {
                out = out rest
                break
            }
        }
        print out
    }' "$1"
}

# calls_check TREE: a line for each direct system call outside os. Going through
# a table (->call or .call) is fine.
calls_check() {
    for file in "$1"/core/*.c "$1"/core/*.h; do
        case ${file##*/} in os.c | os_*.c) continue ;; esac
        bare "$file" |
            grep -nE "(^|[^A-Za-z0-9_.>]|[^-]>)($calls)[[:space:]]*\\(" |
            sed "s|^|core/${file##*/}:|"
    done
}

# headers_check TREE: a line for each header that Makefile.am does not name.
headers_check() {
    (cd "$1" && find core include tcl stress tests -name '*.h' -o -name '*.hpp') |
        while read -r header; do
            grep -qw "$header" "$1/Makefile.am" || echo "Makefile.am does not name $header"
        done
}

# clean CHECK TREE: no violations.
clean() {
    "$1" "$2" >"$tap_dir/violations"
    cat "$tap_dir/violations"
    [ ! -s "$tap_dir/violations" ]
}

# copy NAME: a copy of core/ to break, in $tree.
copy() {
    tree=$tap_dir/$1
    mkdir -p "$tree/core"
    cp "$top"/core/*.c "$top"/core/*.h "$top"/core/README.md "$tree/core/"
    chmod -R u+w "$tree"
}

# A broken tree is reported, by exactly the broken place.
# caught NAME CHECK PATTERN
caught() {
    "$2" "$tree" >"$tap_dir/violations"
    if [ "$(grep -c . "$tap_dir/violations")" -ge 1 ] && grep -q "$3" "$tap_dir/violations"; then
        pass "$1"
    else
        fail "$1" "$tap_dir/violations"
    fi
}

bottom=$(house "$top" | awk '$1 == "floor" { room = $2 } END { print room }')
door=$(house "$top" | awk '$1 == "floor" { print $2; exit }')

try 'rooms use only rooms below them' clean house_check "$top"
try 'the table says of each room what it does' clean table_check "$top"
try 'only os makes system calls' clean calls_check "$top"
try 'all headers are distributed' clean headers_check "$top"

# The checks can fail.
copy upward
echo "#include \"$door.h\"" >>"$tree/core/$bottom.h"
caught 'a room that uses a higher one is found' house_check "$bottom may not use $door"

copy circle
side=$(house "$top" | awk '$1 == "everywhere" { print $2; exit }')
echo "#include \"$bottom.h\"" >>"$tree/core/$side.h"
echo "#include \"$side.h\"" >>"$tree/core/$bottom.h"
caught 'rooms that use one another are found' house_check 'circle'

copy stray
echo '/* nothing */' >"$tree/core/stray.h"
caught 'a file without a room is found' house_check 'stray.h is in no room'

copy table
sed -i "/^| $bottom |/s/$bottom/cellar/" "$tree/core/README.md"
caught 'a room without a row is found' table_check "not in the table: $bottom"
caught 'a row without a room is found' table_check 'not in the house: cellar'

copy call
echo 'void *stray(void) { return mmap (0, 1, 0, 0, -1, 0); }' >>"$tree/core/$door.c"
caught 'a direct system call is found' calls_check "core/$door.c:.*mmap"

copy headers
cp "$top/Makefile.am" "$tree/"
for part in include tcl stress tests; do
    mkdir "$tree/$part"
done
echo '/* nothing */' >"$tree/stress/stray.h"
caught 'a header that is not distributed is found' headers_check 'not name stress/stray.h'

copy words
cat >>"$tree/core/$door.c" <<'C'
/* mmap() in a
 * comment: munmap(p, n), */ int a = 1; // and madvise(p)
const char *text = "mremap(p)"; int (*table_mmap)(void) = os->mmap(p) + os.munmap(p);
C
try 'words that are no system calls are left alone' clean calls_check "$tree"

tap_done
