# SPDX-License-Identifier: BSD-2-Clause

# OWL_TCL
# Which Tcl the adapter in tcl/ is made for: --with-tcl=DIR names the directory of its
# tclConfig.sh; without it, the Tcl that pkg-config knows.
# Sets owl_tcl (yes or no), owl_tcl_text (for the report), TCL_VERSION, TCL_CFLAGS,
# TCL_ARCHIVE (the static libtcl), TCL_LIB_FILE (the shared one's name), TCL_LIBS,
# TCL_TAG (tcl86), and TCL_LAYOUT_CFLAGS (nothing without Tcl's internal headers).
AC_DEFUN([OWL_TCL], [
  AC_ARG_WITH([tcl],
    [AS_HELP_STRING([--with-tcl=DIR],
      [build the adapter for the Tcl whose tclConfig.sh is in DIR; --without-tcl: for none])],
    [], [with_tcl=yes])

  AC_MSG_CHECKING([for tclConfig.sh])
  owl_tcl=no
  owl_tcl_config=
  AS_CASE([$with_tcl],
    [no], [],
    [yes],
    [owl_tcl_libdir=`$PKG_CONFIG --variable=libdir tcl8.6 2>/dev/null || $PKG_CONFIG --variable=libdir tcl 2>/dev/null`
     for owl_dir in "$owl_tcl_libdir/tcl8.6" "$owl_tcl_libdir"; do
       AS_IF([test -z "$owl_tcl_config" && test -f "$owl_dir/tclConfig.sh"],
         [owl_tcl_config=$owl_dir/tclConfig.sh])
     done],
    [for owl_dir in "$with_tcl" "$with_tcl/lib"; do
       AS_IF([test -z "$owl_tcl_config" && test -f "$owl_dir/tclConfig.sh"],
         [owl_tcl_config=$owl_dir/tclConfig.sh])
     done
     AS_IF([test -z "$owl_tcl_config"],
       [AC_MSG_ERROR([there is no tclConfig.sh in $with_tcl])])])
  AC_MSG_RESULT([${owl_tcl_config:-no}])

  owl_tcl_text="no: no adapter for Tcl, no comparison with its allocator (Debian package: tcl8.6-dev)"
  AS_IF([test -n "$owl_tcl_config"], [
    . "$owl_tcl_config"
    TCL_CFLAGS=$TCL_INCLUDE_SPEC
    TCL_TAG=tcl`AS_ECHO(["$TCL_VERSION"]) | tr -d .`
    owl_tcl_dir=`dirname "$owl_tcl_config"`

    AC_MSG_CHECKING([for the static library of Tcl $TCL_VERSION])
    TCL_ARCHIVE=
    for owl_dir in "$owl_tcl_libdir" "$owl_tcl_dir" "$TCL_EXEC_PREFIX/lib" \
        `AS_ECHO(["$TCL_LIB_SPEC"]) | tr ' ' '\n' | sed -n 's/^-L//p'`; do
      AS_IF([test -z "$TCL_ARCHIVE" && test -f "$owl_dir/libtcl$TCL_VERSION.a"],
        [TCL_ARCHIVE=$owl_dir/libtcl$TCL_VERSION.a])
    done
    AC_MSG_RESULT([${TCL_ARCHIVE:-no}])

    AS_IF([test -n "$TCL_ARCHIVE"],
      [AC_MSG_CHECKING([whether its objects can be linked into a library])
       owl_save_LIBS=$LIBS
       owl_save_CFLAGS=$CFLAGS
       LIBS="-Wl,--whole-archive $TCL_ARCHIVE -Wl,--no-whole-archive -Wl,-z,defs $TCL_LIBS"
       CFLAGS="$CFLAGS -shared -fPIC"
       AC_LINK_IFELSE([AC_LANG_SOURCE([[int owl_probe;]])],
         [owl_tcl=yes; owl_tcl_text="$TCL_VERSION, $TCL_ARCHIVE"],
         [owl_tcl_text="no adapter: the objects of $TCL_ARCHIVE do not link into a library"])
       LIBS=$owl_save_LIBS
       CFLAGS=$owl_save_CFLAGS
       AC_MSG_RESULT([$owl_tcl])],
      [owl_tcl_text="no adapter: Tcl $TCL_VERSION has no static library here"])

    OWL_TCL_LAYOUT
  ])
  AC_SUBST([TCL_VERSION])
  AC_SUBST([TCL_CFLAGS])
  AC_SUBST([TCL_ARCHIVE])
  AC_SUBST([TCL_LIB_FILE])
  AC_SUBST([TCL_LIBS])
  AC_SUBST([TCL_TAG])
  AC_SUBST([TCL_LAYOUT_CFLAGS])
])

# OWL_TCL_LAYOUT
# Flags to compile with tclInt.h as Tcl itself was compiled, as far as they matter, if it
# is there: Debian has it beside tcl.h, a Tcl that was built here in its sources.
AC_DEFUN([OWL_TCL_LAYOUT], [
  AC_MSG_CHECKING([for Tcl's internal headers])
  TCL_LAYOUT_CFLAGS=
  owl_tcl_include=`AS_ECHO(["$TCL_INCLUDE_SPEC"]) | sed 's/^-I//; s/ .*//'`
  for owl_dir in "$owl_tcl_include/tcl-private" "$TCL_SRC_DIR"; do
    AS_IF([test -z "$TCL_LAYOUT_CFLAGS" && test -f "$owl_dir/generic/tclInt.h"],
      [TCL_LAYOUT_CFLAGS="-I$owl_dir/generic -I$owl_dir/unix"])
  done
  AS_IF([test -n "$TCL_LAYOUT_CFLAGS"],
    [owl_tcl_defs=`AS_ECHO(["$TCL_DEFS"]) | tr ' ' '\n' |
       grep -E '^-D(HAVE_|USE_THREAD_ALLOC|TCL_|PURIFY)@<:@A-Za-z0-9_=@:>@*$' | tr '\n' ' '`
     TCL_LAYOUT_CFLAGS="$TCL_LAYOUT_CFLAGS $owl_tcl_defs"
     AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no: the layout of AllocCache is not checked])])
])
