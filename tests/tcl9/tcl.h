/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The little of Tcl 9's public interface that the adapter uses, as its manual pages declare it
 * (Object(3), DString(3), Panic(3)), to compile the adapter where there is no Tcl 9.
 */
#ifndef _TCL
#define _TCL

#include <stddef.h>
#include <stdint.h>

#define TCL_MAJOR_VERSION 9
#define TCL_MINOR_VERSION 0

typedef ptrdiff_t Tcl_Size;
typedef long long Tcl_WideInt;
typedef struct Tcl_ObjType Tcl_ObjType;

typedef union Tcl_ObjInternalRep {
    long longValue;
    double doubleValue;
    void *otherValuePtr;
    Tcl_WideInt wideValue;
    struct {
        void *ptr1, *ptr2;
    } twoPtrValue;
    struct {
        void *ptr;
        unsigned long value;
    } ptrAndLongRep;
} Tcl_ObjInternalRep;

typedef struct Tcl_Obj {
    Tcl_Size refCount;
    char *bytes;
    Tcl_Size length;
    const Tcl_ObjType *typePtr;
    Tcl_ObjInternalRep internalRep;
} Tcl_Obj;

typedef struct Tcl_DString {
    char *string;
    Tcl_Size length, spaceAvl;
    char staticSpace[200];
} Tcl_DString;

char *Tcl_DStringAppendElement(Tcl_DString *dsPtr, const char *element);
void Tcl_DStringStartSublist(Tcl_DString *dsPtr);
void Tcl_DStringEndSublist(Tcl_DString *dsPtr);
_Noreturn void Tcl_Panic(const char *format, ...);

#endif
