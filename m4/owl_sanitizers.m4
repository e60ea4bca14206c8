# SPDX-License-Identifier: BSD-2-Clause

# OWL_SANITIZERS
# --enable-sanitizers=LIST, LIST one or more of address, undefined, thread.
# Sets OWL_SAN_CFLAGS, owl_sanitizers (the list with blanks, or nothing) and
# owl_tsan. A sanitizer brings a malloc of its own, so the library that
# replaces malloc is not built then: only the unit tests are.
AC_DEFUN([OWL_SANITIZERS], [
  AC_ARG_ENABLE([sanitizers],
    [AS_HELP_STRING([--enable-sanitizers=LIST],
      [build the unit tests with sanitizers: "address,undefined" (the default list) or "thread"])],
    [], [enable_sanitizers=no])
  owl_sanitizers=
  owl_tsan=no
  owl_asan=no
  OWL_SAN_CFLAGS=
  AS_CASE([$enable_sanitizers],
    [no], [],
    [yes], [owl_sanitizers="address undefined"],
    [owl_sanitizers=`AS_ECHO(["$enable_sanitizers"]) | tr ',' ' '`
     AS_IF([test -z "`AS_ECHO(["$owl_sanitizers"]) | tr -d ' '`"],
       [AC_MSG_ERROR([--enable-sanitizers has an empty list])])])
  for owl_san in $owl_sanitizers; do
    AS_CASE([$owl_san],
      [address], [owl_asan=yes],
      [undefined], [],
      [thread], [owl_tsan=yes],
      [AC_MSG_ERROR([unknown sanitizer "$owl_san": choose from address, undefined, thread])])
  done
  AS_IF([test "$owl_tsan$owl_asan" = yesyes],
    [AC_MSG_ERROR([the sanitizers "thread" and "address" exclude one another])])
  AS_IF([test -n "$owl_sanitizers"], [
    owl_list=`AS_ECHO(["$owl_sanitizers"]) | sed 's/^ *//; s/ *$//; s/  */,/g'`
    OWL_SAN_CFLAGS="-fsanitize=$owl_list -fno-sanitize-recover=all -fno-omit-frame-pointer"
    AC_MSG_CHECKING([whether programs link with -fsanitize=$owl_list])
    owl_save_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS $OWL_SAN_CFLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
      [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       AC_MSG_ERROR([$CC cannot link with -fsanitize=$owl_list (Debian packages: libgcc-12-dev for gcc, libclang-rt-14-dev for clang)])])
    CFLAGS=$owl_save_CFLAGS
  ])
  AC_SUBST([OWL_SAN_CFLAGS])
])
