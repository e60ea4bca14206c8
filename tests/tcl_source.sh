#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# tcl_source.sh DIRECTORY: put Debian's source of Tcl 8.6 into DIRECTORY/source, unless
# it is there already. It holds Tcl's test suite, which no binary package does.
#
# It comes from where this machine gets its packages: apt is run with a configuration of
# its own below DIRECTORY, in which the machine's sources are turned into sources of
# source code. Nothing of the machine's is changed, and any user can do it. Takes the
# version that is installed, else the newest. Needs dpkg-source (package dpkg-dev).

set -eu

[ $# -eq 1 ] || {
    echo "usage: $0 DIRECTORY" >&2
    exit 2
}
[ ! -e "$1/source/tests/all.tcl" ] || exit 0
for program in apt-get apt-config dpkg-source; do
    command -v "$program" >/dev/null 2>&1 || {
        echo "there is no $program to get Tcl's source with" >&2
        exit 1
    }
done

mkdir -p "$1"
dir=$(CDPATH='' cd -- "$1" && pwd -P)
work=$dir/fetch
rm -rf "$work" "$dir/source"
mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Packages' lines of an apt list become their sources' lines; others are dropped.
list_of_sources() {
    sed -n 's/^[[:space:]]*deb[[:space:]]/deb-src /p' "$1"
}

# The same for the other format, in stanzas.
stanzas_of_sources() {
    sed 's/^[Tt]ypes:.*/Types: deb-src/' "$1"
}

# Where the machine's apt looks.
list=
parts=
eval "$(apt-config shell list Dir::Etc::sourcelist/f parts Dir::Etc::sourceparts/d)"
: >"$work/sources.list"
[ ! -r "$list" ] || list_of_sources "$list" >"$work/sources.list"
for file in "$parts"/*.list; do
    [ ! -r "$file" ] || list_of_sources "$file" >"$work/parts/${file##*/}"
done
for file in "$parts"/*.sources; do
    [ ! -r "$file" ] || stanzas_of_sources "$file" >"$work/parts/${file##*/}"
done

# Read after the machine's configuration, which stays in force for the rest. What others
# hooked to an update of the machine's lists is not for these.
cat >"$work/apt.conf" <<CONF
#clear APT::Update;
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "$work/parts";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
CONF

get() {
    apt-get -c "$work/apt.conf" "$@"
}

# A source that does not answer must not matter as long as another has the package, so
# an update that fails is only a message in the log.
get update || echo 'apt-get update failed; going on with what it got'
version=$(dpkg-query -W -f '${source:Version}\n' libtcl8.6 2>/dev/null | head -n 1)
cd "$work"
{ [ -n "$version" ] && get source --download-only "tcl8.6=$version"; } ||
    get source --download-only tcl8.6
dpkg-source --no-check -x tcl8.6_*.dsc "$work/source"
[ -e "$work/source/tests/all.tcl" ] || {
    echo "Debian's source of Tcl has no tests/all.tcl" >&2
    exit 1
}
mv "$work/source" "$dir/source"
