# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# The shortest ways through malloc and free, as the compiler made them: the instructions from the
# entry to the first return. Their kinds are kept in tests/fastpath/, a file an architecture, so
# that a change shows in review; there are no more of them than a bound, and none is atomic, calls
# something or touches the stack. What another compiler makes has other kinds, so only the rest
# holds for it. Source this after tap.sh; $fastpath_tools is what the tools' names begin with.

# way LIBRARY FUNCTION: its instructions up to the first return, a line each.
way() {
    "${fastpath_tools}objdump" -d --no-show-raw-insn --no-addresses "$1" 2>/dev/null |
        awk -v wanted="<$2>:" '
            $1 == wanted { inside = 1; next }
            inside && NF == 0 { exit }
            inside { sub(/^[ \t]+/, ""); sub(/[ \t]*(#|\/\/).*/, ""); print }
            inside && /^ret/ { exit }'
}

# compiler_of LIBRARY: who made it, as the library says.
compiler_of() {
    "${fastpath_tools}readelf" -p .comment "$1" |
        sed -n 's/.*GCC: .* \([0-9]*\.[0-9.]*\)$/gcc \1/p' | head -n 1
}

# record LIBRARY: what tests/fastpath/ has of it.
record() {
    compiler_of "$1"
    for f in malloc free; do
        echo "$f:" "$(way "$1" $f | awk '{ print $1 }' | tr '\n' ' ' | sed 's/ $//')"
    done
}

# at_most LIBRARY FUNCTION INSTRUCTIONS BRANCHES
at_most() {
    way "$1" "$2" >"$tap_dir/way"
    cat "$tap_dir/way"
    grep -q '^ret' "$tap_dir/way" && [ "$(wc -l <"$tap_dir/way")" -le "$3" ] &&
        [ "$(grep -cE '^(j|b\.|cbn?z|tbn?z)' "$tap_dir/way")" -le "$4" ]
}

# plain LIBRARY FUNCTION: nothing atomic, no call, no stack.
plain() {
    way "$1" "$2" >"$tap_dir/way"
    cat "$tap_dir/way"
    ! grep -E '^(lock|xchg|cmpxchg|[ml]fence|call|push|pop)' "$tap_dir/way" &&
        ! grep -E '^(ldxr|stxr|ldax|stlx|lda|stl|cas|swp|ldadd|dmb|bl|blr)[a-z]*[[:space:]]' \
            "$tap_dir/way" &&
        ! grep -E '%rsp|%rbp|\[sp' "$tap_dir/way"
}

# as_recorded LIBRARY FILE
as_recorded() {
    record "$1" | diff "$2" -
}

# fastpath LIBRARY FILE MALLOC BRANCHES FREE BRANCHES: the record, and bounds.
fastpath() {
    try "malloc has at most $3 instructions, $4 branches" at_most "$1" malloc "$3" "$4"
    try "free has at most $5 instructions, $6 branches" at_most "$1" free "$5" "$6"
    try 'malloc has no call, no atomic instruction, no stack' plain "$1" malloc
    try 'free has no call, no atomic instruction, no stack' plain "$1" free
    if [ "$(sed -n 1p "$2")" = "$(compiler_of "$1")" ]; then
        try 'the instructions are those recorded' as_recorded "$1" "$2"
    else
        skip 'the instructions are those recorded' "that was $(sed -n 1p "$2")"
    fi
}
