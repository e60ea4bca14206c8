/* SPDX-License-Identifier: BSD-2-Clause */
/* tclsh with owlalloc inside: linked with libtcl's objects and the drop-in. */
#include <tcl.h>

static int init(Tcl_Interp *interp)
{
    if (Tcl_Init(interp) != TCL_OK)
        return TCL_ERROR;
    Tcl_ObjSetVar2(interp, Tcl_NewStringObj("tcl_rcFileName", -1), NULL,
                   Tcl_NewStringObj("~/.tclshrc", -1), TCL_GLOBAL_ONLY);
    return TCL_OK;
}

int main(int argc, char **argv)
{
    Tcl_Main(argc, argv, init);
    return 0;
}
