#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What memcheck and AddressSanitizer find in programs that use the installed library: nothing in
# one that uses all of it as one may, and what is wrong in those of watched_program.c that do one
# thing wrong each.
#
# OWL_ROOT names the installation that is tested; CC the compiler.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
use_compiler
cd "${tap_dir:?}" || exit 1
unset OWL_TOOLS OWL_QUARANTINE OWL_JUNK OWL_ZERO_ON_FREE OWL_GUARD OWL_SECURE ASAN_OPTIONS

# build OUTPUT SOURCE ARGUMENT...: with libowl, unless the arguments name libowl.a.
build() {
    output=$1
    source=$2
    shift 2
    library="-L$root/lib -lowl -Wl,-rpath,$root/lib"
    case "$*" in *libowl.a*) library= ;; esac
    # shellcheck disable=SC2086
    $cc -g -O1 -fno-builtin -w -pthread -I"$root/include" -o "$output" "$source" "$@" $library
}

# The malloc family and owl_ functions on one heap; what the argument says is left undone or wrong.
cat >family.c <<'C'
#include <owl/owl.h>
#include <stdlib.h>
#include <string.h>
int main(int count, char **arguments)
{
    char what = count > 1 ? arguments[1][0] : 'n';
    char *volatile p = malloc(10), *volatile q = owl_malloc(20), *volatile r = calloc(3, 7);
    char *volatile s = strdup("text"), *volatile t = NULL;
    if (posix_memalign((void **)&t, 64, 1000) != 0 || r[20] != 0)
        return 1;
    p = realloc(p, 40000);
    p[39999] = 1;
    q = realloc(q, 30);
    s = owl_realloc(s, 50);
    r[21 * (what == 'o')] = 1;
    free(q);
    owl_free(p);
    owl_free(s);
    free(t);
    if (what != 'l')
        free(r);
    p = q = r = s = t = NULL;
    return 0;
}
C

# A block that only the argument says is freed has the one pointer to a block of another allocator.
cat >roots.c <<'C'
#include <owl/array.h>
#include <owl/owl.h>
#include <stdlib.h>
static void *kept[3];
int main(int count, char **arguments)
{
    kept[0] = owl_malloc(1000);
    kept[1] = owl_malloc((size_t)3 << 30);
    kept[2] = owl_array_append(owl_array_new(8, 1 << 20), NULL, 2);
    ((void **)kept[0])[50] = malloc(11);
    ((void **)kept[1])[5000] = malloc(22);
    *(void **)owl_array_data(kept[2]) = malloc(33);
    if (count > 1) {
        owl_free(kept[0]);
        owl_free(kept[1]);
        owl_array_release(kept[2]);
    }
    return 0;
}
C

# Blocks of malloc's relatives, of which Valgrind knows some, through others.
cat >relatives.c <<'C'
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
void free_sized(void *p, size_t size);
void free_aligned_sized(void *p, size_t alignment, size_t size);
int main(void)
{
    void *p[8];
    volatile size_t most = -1;
    p[0] = reallocarray(NULL, 3, 100);
    p[1] = reallocarray(malloc(10), 5, 100);
    p[2] = realloc(reallocarray(NULL, 7, 10), 1000);
    p[3] = pvalloc(5000);
    p[4] = realloc(pvalloc(1), 100);
    p[5] = calloc(1, 200);
    p[6] = aligned_alloc(64, 128);
    p[7] = reallocarray(calloc(10, 10), 20, 20);
    if (reallocarray(p[7], most, 2) != NULL || pvalloc(most) != NULL)
        return 1;
    for (int i = 0; i < 8; i++)
        memset(p[i], i, i == 3 ? 8192 : 100);
    free_sized(p[5], 200);
    free_aligned_sized(p[6], 64, 128);
    for (int i = 0; i < 8; i++)
        if (i != 5 && i != 6)
            free(p[i]);
    puts("done");
    return 0;
}
C

# What is the usable size, and how many blocks of one size have one address: one if freed blocks do
# not wait.
cat >mode.c <<'C'
#include <owl/owl.h>
#include <stdio.h>
int main(void)
{
    void *p = owl_malloc(100);
    size_t usable = owl_malloc_usable_size(p);
    owl_free(p);
    printf("%zu %s\n", usable, owl_malloc(100) == p ? "same" : "other");
    return 0;
}
C

build dynamic "$here/watched_program.c" >cc.log 2>&1 && build mode mode.c >>cc.log 2>&1 &&
    build archive "$here/watched_program.c" "$root/lib/libowl.a" >>cc.log 2>&1 &&
    build family family.c >>cc.log 2>&1 && build relatives relatives.c >>cc.log 2>&1 || {
    fail 'programs are built' cc.log
    tap_done
}

# --- memcheck ---

one_heap=--soname-synonyms=somalloc=nouserintercepts

# memcheck ARGUMENT...: what it says of a program is in err.
memcheck() {
    valgrind --leak-check=full --show-leak-kinds=all --errors-for-leak-kinds=definite "$@" \
        >out 2>err
    got=$?
    cat out err
    return "$got"
}

# clean ARGUMENT...: no error, and nothing is left, not even something reachable.
clean() {
    memcheck "$@" && grep -q 'ERROR SUMMARY: 0 errors' err &&
        grep -q 'All heap blocks were freed' err && grep -q 'total heap usage: [1-9]' err
}

clean_without_tools() {
    (
        export OWL_TOOLS=0
        clean "$@"
    )
}

# finds LINE ERRORS ARGUMENT...: memcheck says so, and so many errors in all.
finds() {
    line=$1
    errors=$2
    shift 2
    memcheck "$@"
    grep -q "$line" err && grep -q "ERROR SUMMARY: $errors errors" err
}

clean_with_options() {
    (
        export OWL_JUNK=1 OWL_QUARANTINE=100K OWL_GUARD=1 OWL_SECURE=1
        clean "$@"
    )
}

# says ARGUMENT...: the first is what the program at the end prints.
says() {
    wanted=$1
    shift
    "$@" >out 2>err
    cat out err
    [ "$(cat out)" = "$wanted" ]
}

# silent PROGRAM FAULT: with the option off it is not found.
silent() {
    OWL_TOOLS=0 valgrind ./"$1" "$2" >out 2>err
    cat err
    grep -q 'ERROR SUMMARY: 0 errors' err
}

# found: each fault by its kind, by how much it is out, and how often.
found() {
    for each in small:100 one:1 large:200,000 pages:8,192; do
        bytes=${each#*:}
        try "memcheck finds an overrun, $bytes bytes" finds \
            "is 0 bytes after a block of size $bytes alloc'd" 1 ./dynamic "overrun_${each%:*}"
    done
    try 'of an array' finds 'Invalid write of size 4' 1 ./dynamic overrun_array
    try 'of an array with a reserve' finds 'Invalid write of size 4' 1 ./dynamic overrun_space
    try 'an underrun' finds "is 1 bytes before a block of size 100 alloc'd" 1 ./dynamic underrun
    for fault in use_after_free use_after_realloc; do
        try "$fault" finds "is 50 bytes inside a block of size 100 free'd" 1 ./dynamic $fault
    done
    try 'an uninitialised value' finds 'depends on uninitialised value' 1 ./dynamic uninitialised
    for fault in double_free interior; do
        try "$fault" finds 'Invalid free() / delete' 1 ./dynamic $fault
    done
    try 'a leak of 123 bytes' finds 'definitely lost: 123 bytes in 1 blocks' 1 \
        ./dynamic leak_small
    try 'a leak of 456789 bytes' finds 'definitely lost: 456,789 bytes in 1 blocks' 1 \
        ./dynamic leak_large
    try 'a leak of an array' finds ' in 1 blocks are definitely lost' 1 ./dynamic leak_array
}

# An old valgrind gives up at the debugging information of a newer compiler; and a library that was
# built without its headers knows nothing of it.
memcheck_works() {
    memcheck ./mode && [ "$(cat out)" != '112 same' ]
}

try 'without a tool all is as usual' says '112 same' ./mode
if [ -z "$(command -v valgrind)" ]; then
    skip 'memcheck' 'there is no valgrind'
elif ! valgrind ./mode >out 2>err; then
    skip 'memcheck' "valgrind cannot read this compiler's debugging information"
elif ! echo '#include <valgrind/memcheck.h>' | $cc -E - >/dev/null 2>&1; then
    skip 'memcheck' 'its headers are not here'
else
    try 'under memcheck the allocator knows it' memcheck_works
    try 'the usable size is what was asked for' says '100 other' valgrind -q ./mode
    try "Valgrind's other tools watch no blocks" says '112 same' valgrind -q --tool=none ./mode
    try 'with OWL_TOOLS=0 all is as usual' says '112 same' env OWL_TOOLS=0 valgrind -q ./mode
    try 'and an overrun is not found' silent dynamic overrun_small
    try 'all calls, with nothing to complain of' clean ./dynamic clean 1
    try 'the same, linked with the archive' clean ./archive clean 1
    try 'the same, malloc being ours' clean $one_heap ./dynamic clean 1
    try 'with other options too' clean_with_options ./dynamic clean 1
    try 'malloc and owl_malloc on one heap' clean $one_heap ./family
    try "malloc's relatives, which Valgrind does not know all" clean ./relatives
    try 'with OWL_TOOLS=0 too' clean_without_tools ./relatives
    try 'on one heap' clean $one_heap ./relatives
    try 'an overrun of a block of calloc' finds "is 0 bytes after a block of size 21 alloc'd" 1 \
        $one_heap ./family o
    try 'a leak of one' finds 'definitely lost: 21 bytes in 1 blocks' 1 $one_heap ./family l
    found
    try 'the archive: a use after free' finds "is 50 bytes inside a block of size 100 free'd" 1 \
        ./archive use_after_free
    try 'a leak' finds 'definitely lost: 123 bytes in 1 blocks' 1 ./archive leak_small
fi

# --- AddressSanitizer ---

# has_asan: programs can be built with it, and run.
has_asan() {
    build with_asan "$here/watched_program.c" -fsanitize=address >cc.log 2>&1 &&
        build roots roots.c -fsanitize=address >>cc.log 2>&1 &&
        build asan_mode mode.c -fsanitize=address >>cc.log 2>&1 && ./asan_mode >out 2>&1
}

# asan_finds LINE FAULT: as a line of its report, or of owlalloc's.
asan_finds() {
    (
        ulimit -c 0
        exec ./with_asan "$2"
    ) >out 2>&1
    got=$?
    head -n 30 out
    [ "$got" -ne 0 ] && grep -q "$1" out
}

asan_silent() {
    OWL_TOOLS=0 ./with_asan overrun_small
}

# lost ARGUMENT...: the bytes that its leak checker has lost.
lost() {
    ./roots "$@" >out 2>&1
    cat out >&2
    sed -n 's/^SUMMARY: AddressSanitizer: \([0-9]*\) byte(s) leaked.*/\1/p' out
}

roots_are_known() {
    [ -z "$(lost)" ] && [ "$(lost free)" -eq 66 ]
}

if ! has_asan; then
    skip 'AddressSanitizer' "$cc cannot build or run a program with it"
else
    try 'in a program with AddressSanitizer the allocator knows it' says '100 other' ./asan_mode
    try 'all calls, with nothing to complain of' ./with_asan clean 3
    for fault in overrun_small overrun_one overrun_large overrun_pages overrun_array \
        overrun_space underrun use_after_free use_after_realloc; do
        try "AddressSanitizer finds $fault" asan_finds \
            'ERROR: AddressSanitizer: use-after-poison' "$fault"
    done
    try 'owlalloc finds a double free' asan_finds '^owlalloc: .*: double free' double_free
    try 'an interior pointer' asan_finds '^owlalloc: .*: points into a block' interior
    try 'a size that is too large by 1' asan_finds '^owlalloc: .* larger than the block' wrong_size
    try 'with OWL_TOOLS=0 an overrun is not found' asan_silent
    if ./roots free >out 2>&1; then
        skip 'pointers in blocks are roots' 'the leak checker does not run here'
    else
        try 'pointers in blocks are roots' roots_are_known
    fi
fi
tap_done
