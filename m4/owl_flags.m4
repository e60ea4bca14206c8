# SPDX-License-Identifier: BSD-2-Clause

# OWL_CC_FLAGS(VARIABLE, FLAGS)
# Append to VARIABLE those FLAGS that the compiler takes without a warning.
# -Werror makes clang refuse options that it would otherwise only mention.
AC_DEFUN([OWL_CC_FLAGS], [
  AC_LANG_ASSERT([C])
  for owl_flag in $2; do
    AC_MSG_CHECKING([whether $CC takes $owl_flag])
    owl_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror $owl_flag"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([[int owl_probe; int main(void) { return owl_probe; }]])],
      [AC_MSG_RESULT([yes])
       $1="$$1 $owl_flag"],
      [AC_MSG_RESULT([no])])
    CFLAGS=$owl_save_CFLAGS
  done
])

# OWL_LD_FLAGS(VARIABLE, FLAGS)
# The same for linker flags.
AC_DEFUN([OWL_LD_FLAGS], [
  for owl_flag in $2; do
    AC_MSG_CHECKING([whether the linker takes $owl_flag])
    owl_save_LDFLAGS=$LDFLAGS
    LDFLAGS="$LDFLAGS $owl_flag"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
      [AC_MSG_RESULT([yes])
       $1="$$1 $owl_flag"],
      [AC_MSG_RESULT([no])])
    LDFLAGS=$owl_save_LDFLAGS
  done
])

# OWL_MISSING(WHAT, DEBIAN-PACKAGE)
# Note a missing requirement. OWL_REPORT_MISSING names them all at once, so
# that nobody has to run configure once for each.
AC_DEFUN([OWL_MISSING], [
  owl_missing="$owl_missing
  $1 (Debian package: $2)"
  owl_packages="$owl_packages $2"
])

AC_DEFUN([OWL_REPORT_MISSING], [
  AS_IF([test -n "$owl_missing"],
    [AC_MSG_ERROR([these are missing:$owl_missing
Install them, for instance with: apt-get install$owl_packages])])
])
