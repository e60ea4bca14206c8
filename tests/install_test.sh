#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What an installation promises: its files, its symbols, pkg-config, and programs in
# C and C++ that link with the shared and with the static library.
#
# OWL_ROOT names the installation. It may be a staged one (make install DESTDIR=...).

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"

use_library
cc=${CC:-cc}
cxx=${CXX:-$(command -v g++ || command -v c++ || command -v clang++ || :)}
pkg_config=${PKG_CONFIG:-pkg-config}

# owl_pc OPTION...: ask owl.pc; for a staged installation, below its stage.
owl_pc() {
    PKG_CONFIG_PATH=$root/lib/pkgconfig $pkg_config "$@" owl
}
prefix=$(owl_pc --variable=prefix)
case $root in
    "$prefix") ;;
    *"$prefix") PKG_CONFIG_SYSROOT_DIR=${root%"$prefix"}; export PKG_CONFIG_SYSROOT_DIR ;;
esac

files_exist() {
    missing=0
    for file in lib/libowl.so lib/libowl.a lib/pkgconfig/owl.pc \
        include/owl/owl.h include/owl/option.h include/owl/stats.h \
        include/owl/pages.h \
        include/owl/watch.h include/owl/pagefile.h \
        include/owl/array.h include/owl/array.hpp \
        bin/owl-memtest bin/owl-record lib/owl/libowl-record.so share/owl/tcl-server.trace \
        bin/owl-pages-bench share/man/man1/owl-pages-bench.1 \
        bin/owl-soak share/man/man1/owl-soak.1 \
        share/man/man1/owl-memtest.1 share/man/man1/owl-record.1; do
        [ -s "$root/$file" ] || {
            echo "no $file"
            missing=1
        }
    done
    return "$missing"
}

needs_only_libc() {
    readelf -d "$lib" | sed -n 's/.*(NEEDED).*\[\(.*\)\].*/\1/p' >"$tap_dir/needed"
    cat "$tap_dir/needed"
    [ "$(cat "$tap_dir/needed")" = libc.so.6 ]
}

# The promised names outside owl_*.
promised() {
    cat <<'NAMES'
malloc calloc realloc free aligned_alloc free_sized free_aligned_sized posix_memalign
reallocarray memalign valloc pvalloc cfree malloc_usable_size malloc_trim
mallinfo2 malloc_stats malloc_info
NAMES
    for new in _Znwm _Znam; do
        echo "$new" "${new}RKSt9nothrow_t" "${new}St11align_val_t" \
            "${new}St11align_val_tRKSt9nothrow_t"
    done
    for delete in _ZdlPv _ZdaPv; do
        echo "$delete" "${delete}m" "${delete}RKSt9nothrow_t" "${delete}St11align_val_t" \
            "${delete}mSt11align_val_t" "${delete}St11align_val_tRKSt9nothrow_t"
    done
}

# Every owl_ function that a header declares, as the compiler sees it.
declared() {
    for header in "$root"/include/owl/*.h; do
        $cc -E -P -I"$root/include" "$header"
    done | tr '\n' ' ' | sed 's/__attribute__ *((/\n/g; s/;/;\n/g' | grep -v '^ *typedef' |
        grep -oE '(^|[^A-Za-z0-9_])owl_[a-z0-9_]+ *\([^()]*' |
        grep -oE 'owl_[a-z0-9_]+ *\(' | tr -d ' ('
}

symbols_as_promised() {
    { promised | tr ' ' '\n'; declared; } | sort -u >"$tap_dir/promised"
    nm -D --defined-only "$lib" | awk '{ print $3 }' | sort -u >"$tap_dir/exported"
    grep -q '^owl_version$' "$tap_dir/promised" || {
        echo "owl/owl.h declares no owl_version"
        return 1
    }
    # Lines that only one of the two has.
    diff "$tap_dir/promised" "$tap_dir/exported"
}

unversioned() {
    ! nm -D --defined-only "$lib" | grep '@'
}

cat >"$tap_dir/prog.c" <<'C'
#include <owl/owl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *p[100];
    for (int i = 0; i < 100; i++) {
        if (!(p[i] = malloc((size_t)i * 1000 + 1)))
            return 1;
        memset(p[i], i, (size_t)i * 1000 + 1);
    }
    for (int i = 0; i < 100; i++) {
        if (malloc_usable_size(p[i]) < (size_t)i * 1000 + 1 || p[i][i * 1000] != i)
            return 2;
        if (!(p[i] = realloc(p[i], (size_t)i * 2000 + 1)) || p[i][i * 1000] != i)
            return 3;
        free(p[i]);
    }
    if (strcmp(owl_version(), OWL_VERSION) != 0)
        return 4;
    char line[200];
    snprintf(line, sizeof line, "%d.%d.%d", OWL_VERSION_MAJOR, OWL_VERSION_MINOR,
             OWL_VERSION_PATCH);
    if (strcmp(line, OWL_VERSION) != 0)
        return 5;
    puts(owl_version());
    return 0;
}
C

cat >"$tap_dir/prog.cc" <<'C'
#include <owl/owl.h>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

struct alignas(256) wide { char c[300]; };

static int handled;
static void handler() { handled++; std::set_new_handler(nullptr); }

// Through a volatile pointer, for the compiler may leave out a pair of new and delete.
template <class T> static T *seen(T *p) { T *volatile v = p; return v; }

static bool aligned(const void *p, std::size_t a) { return reinterpret_cast<std::uintptr_t>(p) % a == 0; }

static bool operators()
{
    using std::align_val_t;
    using std::nothrow;
    const align_val_t a{512};
    operator delete(seen(operator new(10)));
    operator delete(seen(operator new(10)), std::size_t{10});
    operator delete(seen(operator new(10, nothrow)), nothrow);
    operator delete[](seen(operator new[](10)));
    operator delete[](seen(operator new[](10)), std::size_t{10});
    operator delete[](seen(operator new[](10, nothrow)), nothrow);
    void *p[] = {operator new(10, a), operator new(10, a), operator new(10, a, nothrow),
                 operator new[](10, a), operator new[](10, a), operator new[](10, a, nothrow)};
    for (void *q : p)
        if (!q || !aligned(q, 512))
            return false;
    operator delete(p[0], a);
    operator delete(p[1], std::size_t{10}, a);
    operator delete(p[2], a, nothrow);
    operator delete[](p[3], a);
    operator delete[](p[4], std::size_t{10}, a);
    operator delete[](p[5], a, nothrow);
    wide *w = seen(new wide[3]);
    bool good = aligned(w, 256);
    delete[] w;
    operator delete(nullptr);
    operator delete[](nullptr, std::size_t{1});
    return good;
}

static bool failures()
{
    volatile std::size_t huge = SIZE_MAX / 2;
    if (operator new(huge, std::nothrow) || operator new[](huge, std::align_val_t{64}, std::nothrow))
        return false;
    std::set_new_handler(handler);
    for (int form = 0; form < 2; form++) {
        try {
            seen(form ? operator new[](huge, std::align_val_t{64}) : operator new(huge));
            return false;
        } catch (const std::bad_alloc &) {
        }
    }
    return handled == 1;
}

static void containers()
{
    std::map<std::string, std::vector<int>> m;
    for (int i = 0; i < 20000; i++)
        m["key " + std::to_string(i % 500)].push_back(i);
    std::vector<std::shared_ptr<std::string>> v;
    for (int i = 0; i < 20000; i++)
        v.push_back(std::make_shared<std::string>(std::size_t(i % 100), 'x'));
}

int main()
{
    if (std::strcmp(owl_version(), OWL_VERSION) != 0)
        return 1;
    if (!operators())
        return 2;
    if (!failures())
        return 3;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back(containers);
    for (auto &t : threads)
        t.join();
    std::puts(owl_version());
    return 0;
}
C

# build_c OUT FLAGS..., build_cxx OUT FLAGS...
build_c() {
    out=$tap_dir/$1
    shift
    # shellcheck disable=SC2046
    $cc -Wall -Wextra -Werror -pthread -o "$out" "$tap_dir/prog.c" $(owl_pc --cflags) "$@"
}

build_cxx() {
    out=$tap_dir/$1
    shift
    # shellcheck disable=SC2046
    $cxx -std=c++17 -Wall -Wextra -Werror -pthread -o "$out" "$tap_dir/prog.cc" \
        $(owl_pc --cflags) "$@"
}

# runs OUT: it prints the version that pkg-config names.
runs() {
    said=$(LD_LIBRARY_PATH=$root/lib "$tap_dir/$1") || {
        echo "status $?"
        return 1
    }
    echo "$said"
    [ "$said" = "$(owl_pc --modversion)" ]
}

# shared BUILDER OUT
shared() {
    # shellcheck disable=SC2046
    "$1" "$2" $(owl_pc --libs) && runs "$2" &&
        readelf -d "$tap_dir/$2" | grep -q 'NEEDED.*libowl\.so\.0'
}

# static BUILDER OUT: malloc is then within the program.
static() {
    "$1" "$2" "$root/lib/libowl.a" && runs "$2" &&
        nm "$tap_dir/$2" | grep -q ' T malloc$' &&
        ! readelf -d "$tap_dir/$2" | grep libowl
}

# strict_headers: each header stands alone, and asks for nothing that a strict compiler refuses.
strict_headers() {
    for header in owl option stats array watch pagefile; do
        echo "#include <owl/$header.h>" >"$tap_dir/header.c"
        # shellcheck disable=SC2046
        $cc -std=c99 -pedantic-errors -Wall -Wextra -Wundef -Wstrict-prototypes -Werror \
            -fsyntax-only $(owl_pc --cflags) "$tap_dir/header.c" || return 1
    done
}

version_is_configured() {
    owl_pc --modversion
    [ "$(owl_pc --modversion)" = "${OWL_VERSION:-$(owl_pc --modversion)}" ]
}

try 'all promised files are there' files_exist
try 'pkg-config finds owl' owl_pc --cflags --libs
try 'pkg-config names the version' version_is_configured
try 'each header stands alone, in strict C99' strict_headers
try 'a C program links with libowl.so and runs' shared build_c c-shared
try 'a C program links with libowl.a and runs' static build_c c-static
if [ -n "$cxx" ]; then
    try 'a C++ program links with libowl.so and runs' shared build_cxx cxx-shared
    try 'a C++ program links with libowl.a and runs' static build_cxx cxx-static
else
    skip 'a C++ program links with libowl.so and runs' 'no C++ compiler here'
    skip 'a C++ program links with libowl.a and runs' 'no C++ compiler here'
fi
if command -v readelf >/dev/null && command -v nm >/dev/null; then
    try 'libowl.so needs libc and nothing else' needs_only_libc
    try 'libowl.so exports what is promised, nothing else' symbols_as_promised
    try 'its symbols have no versions, so that they replace any' unversioned
else
    skip 'symbols of libowl.so' 'no readelf and nm here'
fi

tap_done
