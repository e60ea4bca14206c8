/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tcl_GetMemoryInfo, in the form that zippy gives and NaviServer's statistics page parses: a list for
 * each pool, with its name and ten lists of seven numbers, one for each of zippy's block sizes:
 *
 *   {name {blockSize numFree numRemoves numInserts totalAssigned numLocks numWaits} ...} ...
 */
#include "tcl_alloc.h"

#include <stdio.h>

#include <owl/owl.h>

/* Weak: in a preloaded library, which all programs get, and not all have a Tcl. */
#pragma weak Tcl_DStringAppendElement
#pragma weak Tcl_DStringStartSublist
#pragma weak Tcl_DStringEndSublist

void Tcl_GetMemoryInfo(Tcl_DString *info)
{
    char numbers[80];
    Tcl_DStringStartSublist(info);
    Tcl_DStringAppendElement(info, "shared");
    for (unsigned size = 32; size <= 16384; size *= 2) {
        snprintf(numbers, sizeof numbers, "%u 0 0 0 0 0 0", size);
        Tcl_DStringAppendElement(info, numbers);
    }
    Tcl_DStringEndSublist(info);
}
