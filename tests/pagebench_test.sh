#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# owl-pages-bench: each test on each kind of contender, its table, its CSV and its plot; that sizes
# are drawn as they should be; that contents lost by an allocator are found; what it says of wrong
# usage. Small runs: no time is judged.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/comparing.sh
. "$here/comparing.sh"

bench=${OWL_ROOT:-build/root}/bin/owl-pages-bench
case $bench in
    /*) ;;
    *) bench=$(pwd)/$bench ;;
esac
[ -x "$bench" ] || skip_all "$bench is not built"
cd "${tap_dir:?}" || exit 1

# bench ARGUMENT...: output in ./out and ./err.
bench() {
    "$bench" "$@" >out 2>err
}

# wrong PATTERN ARGUMENT...
wrong() {
    wrong_usage bench owl-pages-bench "$@"
}

small='--loops 300 --slots 16 --to 64K --live 1M --blocks 4 --passes 2 --rounds 2'

# all_tests CONTENDER...: each test with its variants, as CSV.
all_tests() {
    # shellcheck disable=SC2086
    bench $small --most 256K --generator even,published --allocators "$1" --csv all.csv || {
        cat out err
        return 1
    }
}

# rows TEST ALLOCATOR PART: of all.csv, in both rounds.
rows() {
    awk -F , -v t="$1" -v a="$2" -v p="$3" '
        $1 == t && $4 == a && $6 == p { n[$5]++ }
        END { print n[1] + 0, n[2] + 0 }' all.csv
}

# Every line has as many fields as the heading, and numbers where numbers belong.
csv_is_whole() {
    awk -F , '
        NR == 1 { fields = NF; next }
        NF != fields { print "line " NR " has " NF " fields"; bad = 1 }
        { for (i = 7; i <= NF; i++) if ($i !~ /^[0-9]+(\.[0-9]+)?$/) {
              print "line " NR ": " $i; bad = 1 } }
        END { exit bad || NR < 2 || fields != 14 }' all.csv
}

# In 300 steps each of the bins from 4 KiB to 128 KiB gets a block; the ring counts every free
# and every allocation once.
ring_counts() {
    for part in free alloc; do
        [ "$(rows ring "$1" $part)" = "24 24" ] || {
            echo "$part: $(rows ring "$1" $part) rows"
            return 1
        }
    done
    awk -F , -v a="$1" '
        $1 == "ring" && $4 == a { n[$2 " " $3 " " $5 " " $6] += $8 }
        END { for (k in n) { runs++; if (n[k] != 300) { print k, n[k]; bad = 1 } }
              exit bad || runs != 16 }' all.csv
}

# 4 blocks grow to 8, 16, 32 and 64 KiB, one growth each; 4 blocks grow twice.
growth_counts() {
    awk -F , -v a="$1" '
        $1 == "double" && $4 == a && $6 == "grow" { doubled[$7] += $8 }
        $1 == "grow" && $4 == a && $6 == "grow" { grown += $8 }
        END { exit !(doubled[8192] == 8 && doubled[16384] == 8 && doubled[32768] == 8 &&
                     doubled[65536] == 8 && length(doubled) == 4 && grown == 16) }' all.csv
}

takes_no_part() {
    ! grep -q "^$1,.*,$2," all.csv
}

# Even sizes fill every bin about alike; with the published ones the topmost has the most.
sizes() {
    bench --allocators null --test ring --touch no --generator even,published --loops 20000 \
        --slots 1 --rounds 1 --csv sizes.csv || return 1
    awk -F , '
        $6 != "alloc" { next }
        $2 == "even" { even[$7] = $8 }
        $2 == "published" { published[$7] = $8 }
        END {
            for (b = 4096; b < 8388608; b *= 2) {
                print b, even[b], published[b]
                if (even[b] < 20000 / 11 * 0.8 || even[b] > 20000 / 11 * 1.2)
                    bad = 1
                uniform = 41 / 52 * b / 8388608
                wanted = 20000 * (uniform + 1 / 52)
                if (published[b] < wanted * 0.8 || published[b] > wanted * 1.2)
                    bad = 1
            }
            exit bad || length(even) != 11
        }' sizes.csv
}

# The same seed gives the same sizes, another one others.
seeds() {
    for seed in 1 1 2; do
        bench --allocators null --test ring --touch no --loops 500 --rounds 1 --seed $seed \
            --csv seed.csv || return 1
        cut -d , -f 1-4,6-8 seed.csv | cksum >>sums
    done
    [ "$(sed -n 1p sums)" = "$(sed -n 2p sums)" ] && [ "$(sed -n 1p sums)" != "$(sed -n 3p sums)" ]
}

# Touching faults in fresh pages, all of them; not touching none of them.
touch_counts() {
    bench --allocators mmap --test ring --loops 100 --least 64K --most 64K --slots 4 --rounds 1 \
        --csv touch.csv || return 1
    awk -F , '$3 == "no" { no = $12 } $3 == "yes" { yes = $12 }
        END { print no, yes; exit !(no < 100 && yes >= 1600 && yes < 1800) }' touch.csv
}

broken_realloc() {
    cat >broken.c <<'SOURCE'
#define _GNU_SOURCE 1
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

static char pool[64 << 20];
static size_t used;

void *malloc(size_t n)
{
    char *p = pool + used;
    used += (n + 15) & ~(size_t)15;
    return used <= sizeof pool ? p : NULL;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *p, size_t n)
{
    char *q = malloc(n);
    if (q != NULL && p != NULL)
        memcpy(q, p, n / 4);
    return q;
}
SOURCE
    ${CC:-cc} -O1 -fno-builtin -shared -fPIC -o libbroken.so broken.c
}

finds_losses() {
    status 1 bench --allocators broken=./libbroken.so --test double --to 64K --live 64K \
        --rounds 1 && says out '^broken FAILED 1 of 1: contents were lost, at a block of 8192 bytes'
}

plots() {
    # shellcheck disable=SC2086
    bench $small --allocators null,mmap --plot 'a b.svg' || return 1
    says 'a b.svg' '<svg' && says 'a b.svg' 'mmap' && says 'a b.svg' 'realloc by 16 pages' &&
        says 'a b.svg' '</svg>'
}

without_gnuplot() {
    PATH=$tap_dir/none "$bench" --allocators null --plot x.svg >out 2>err && return 1
    says err '^owl-pages-bench: --plot: x.svg: gnuplot is not installed \(Debian: gnuplot-nox\)$'
}

contenders=owl-pages,owl,mmap,mmap-populate,copy,null,system
try 'all tests run with all kinds of contenders' all_tests "$contenders"
try 'CSV is well-formed' csv_is_whole
for name in owl-pages owl mmap mmap-populate null system; do
    try "ring: $name replaces each block once" ring_counts "$name"
done
for name in owl-pages owl mmap copy system; do
    try "growth: $name grows each block as often as asked" growth_counts "$name"
done
try 'copy takes no part in the ring' takes_no_part ring copy
try 'null takes no part in growth' takes_no_part double null
try 'mmap-populate takes no part in growth' takes_no_part grow mmap-populate
try 'tables have a row for each size' says out '^128K +[0-9.]+ [num]?s'
try 'tables tell of page faults' says out '^faults +[0-9]+'
try 'sizes are drawn as described' sizes
try 'a seed decides on all sizes' seeds
try 'touching faults every page in' touch_counts
if broken_realloc 2>/dev/null; then
    try 'lost contents are found' finds_losses
else
    skip 'lost contents are found' "no C compiler"
fi
if command -v gnuplot >/dev/null 2>&1; then
    try 'a plot is drawn' plots
else
    skip 'a plot is drawn' "no gnuplot"
fi
try 'error: no gnuplot' without_gnuplot
try 'error: unknown option' wrong "'--no-such' is not an option" --no-such
try 'error: option without value' wrong "'--loops' needs a value" --loops
try 'error: argument' wrong "'x' is not an option" x
try 'error: number' wrong "--loops: '1e3' is not a whole number from 1 to" --loops 1e3
try 'error: size' wrong "--most: '4T' is not a size from 4096 to" --most 4T
try 'error: size too small' wrong "--least: '1K' is not a size from 4096 to" --least 1K
try 'error: sizes the wrong way round' wrong '--least is more than --most' --least 2M --most 1M
try 'error: test' wrong "--test: 'rings' is none" --test rings
try 'error: touch' wrong "--touch: 'maybe' is none" --touch maybe
try 'error: generator' wrong "--generator: '' is none" --generator even,
try 'error: timeout' wrong "--timeout: '-1' is not a number of seconds" --timeout -1
try 'error: allocator' wrong "--allocators: 'dmalloc' is not known" --allocators dmalloc
try 'error: library' wrong '--allocators: ./no.so' --allocators mine=./no.so
try 'error: CSV file' wrong '--csv: no/file: ' --allocators null --csv no/file
try 'a run that takes too long fails' status 1 bench --allocators mmap --test ring --timeout 0.01
try 'help' status 0 bench --help
try 'help names the options' says out '^  --generator G,'
try 'version' status 0 bench --version
tap_done
