#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# The shortest ways through malloc and free in the installed library; see fastpath.sh.
#
#     sh tests/fastpath_test.sh --record
#
# prints the record of that library, for tests/fastpath/.

# Functions are called by name, through try.
# shellcheck disable=SC2317

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/tap.sh
. "$here/tap.sh"
# shellcheck source=tests/fastpath.sh
. "$here/fastpath.sh"

fastpath_tools=
library=${OWL_ROOT:-$here/../build/root}/lib/libowl.so

command -v objdump >/dev/null 2>&1 || skip_all 'there is no objdump here'
[ -e "$library" ] || skip_all "there is no $library"
nm -D "$library" | grep -qE ' U __[at]san_' && skip_all 'the library has a sanitizer in it'
if [ "${1-}" = --record ]; then
    record "$library"
    exit
fi
case $(uname -m) in
    x86_64) fastpath "$library" "$here/fastpath/x86_64" 19 2 30 5 ;;
    aarch64) fastpath "$library" "$here/fastpath/aarch64" 20 2 40 5 ;;
    *) skip_all "nothing is known of $(uname -m)" ;;
esac
tap_done
