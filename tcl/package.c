/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Tcl package owl: one command, an ensemble, described in man/owl.n. It has no state, so it may
 * be loaded into any number of interpreters and threads. It has no entry for safe interpreters:
 * what it shows and changes is the whole process's.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <tcl.h>

#include "package_find.h"
#include "package_stats.h"

static int fail(Tcl_Interp *interp, const char *code, Tcl_Obj *message)
{
    Tcl_SetObjResult(interp, message);
    Tcl_SetErrorCode(interp, "OWL", code, NULL);
    return TCL_ERROR;
}

static int find_or_fail(Tcl_Interp *interp, struct package_allocator *a)
{
    if (package_find(a))
        return TCL_OK;
    return fail(interp, "NONE",
                Tcl_NewStringObj("this process does not run on owlalloc: "
                                 "start the program with owl-run PROGRAM", -1));
}

static int stats_command(ClientData unused, Tcl_Interp *interp, int objc, Tcl_Obj *const objv[])
{
    (void)unused;
    struct package_allocator a;
    if (objc != 1) {
        Tcl_WrongNumArgs(interp, 1, objv, NULL);
        return TCL_ERROR;
    }
    Tcl_SetObjResult(interp, package_stats(package_find(&a) ? &a : NULL));
    return TCL_OK;
}

static int threads_command(ClientData unused, Tcl_Interp *interp, int objc, Tcl_Obj *const objv[])
{
    (void)unused;
    struct package_allocator a;
    if (objc != 1) {
        Tcl_WrongNumArgs(interp, 1, objv, NULL);
        return TCL_ERROR;
    }
    if (find_or_fail(interp, &a) != TCL_OK)
        return TCL_ERROR;
    Tcl_SetObjResult(interp, package_stats_threads(&a));
    return TCL_OK;
}

/* A Tcl without its thread allocator has a Tcl_GetMemoryInfo that ends the process. */
static int has_pools(Tcl_Interp *interp)
{
    static const char script[] = "expr {[::tcl::pkgconfig get threaded] && "
                                 "![::tcl::pkgconfig get mem_debug]}";
    int has = 0;
    if (Tcl_EvalEx(interp, script, -1, TCL_EVAL_GLOBAL) != TCL_OK ||
        Tcl_GetBooleanFromObj(NULL, Tcl_GetObjResult(interp), &has) != TCL_OK)
        has = 0;
    Tcl_ResetResult(interp);
    return has;
}

static int pools_command(ClientData unused, Tcl_Interp *interp, int objc, Tcl_Obj *const objv[])
{
    (void)unused;
    void (*memory_info)(Tcl_DString *) = NULL;
    if (objc != 1) {
        Tcl_WrongNumArgs(interp, 1, objv, NULL);
        return TCL_ERROR;
    }
    void *function = package_find_function("Tcl_GetMemoryInfo");
    memcpy(&memory_info, &function, sizeof function);
    if (memory_info == NULL || !has_pools(interp))
        return fail(interp, "POOLS", Tcl_NewStringObj("this Tcl has no allocation pools", -1));

    /* Tcl's own takes a lock that the first allocation makes. */
    ckfree(ckalloc(1));
    Tcl_DString info;
    Tcl_DStringInit(&info);
    memory_info(&info);
    Tcl_DStringResult(interp, &info);
    return TCL_OK;
}

static int trim_command(ClientData unused, Tcl_Interp *interp, int objc, Tcl_Obj *const objv[])
{
    (void)unused;
    static const char *const options[] = {"-keep", NULL};
    struct package_allocator a;
    int index;
    Tcl_WideInt keep = 0;
    if (objc != 1 && objc != 3) {
        Tcl_WrongNumArgs(interp, 1, objv, "?-keep bytes?");
        return TCL_ERROR;
    }
    if (objc == 3 &&
        (Tcl_GetIndexFromObj(interp, objv[1], options, "option", 0, &index) != TCL_OK ||
         Tcl_GetWideIntFromObj(interp, objv[2], &keep) != TCL_OK))
        return TCL_ERROR;
    if (keep < 0)
        return fail(interp, "RANGE", Tcl_ObjPrintf("bytes to keep cannot be negative: %s",
                                                   Tcl_GetString(objv[2])));
    if (find_or_fail(interp, &a) != TCL_OK)
        return TCL_ERROR;
    Tcl_SetObjResult(interp, Tcl_NewWideIntObj((Tcl_WideInt)a.trim((size_t)keep)));
    return TCL_OK;
}

static Tcl_Obj *all_options(const struct package_allocator *a)
{
    Tcl_Obj *dict = Tcl_NewDictObj();
    const char *name;
    for (unsigned i = 0; (name = a->option_name(i)) != NULL; i++) {
        long long value;
        if (a->option_get(name, &value) == 0)
            package_put(dict, name, Tcl_NewWideIntObj(value));
    }
    return dict;
}

/* Why owl_option_get or owl_option_set said no, by errno. */
static int refuse_option(Tcl_Interp *interp, const char *name, const char *value)
{
    if (errno == EPERM)
        return fail(interp, "FIXED",
                    Tcl_ObjPrintf("option \"%s\" can only be set when the program starts", name));
    if (errno == EINVAL)
        return fail(interp, "RANGE",
                    Tcl_ObjPrintf("value out of the range of option \"%s\": %s", name, value));
    return fail(interp, "OPTION", Tcl_ObjPrintf("owlalloc has no option \"%s\"", name));
}

static int option_command(ClientData unused, Tcl_Interp *interp, int objc, Tcl_Obj *const objv[])
{
    (void)unused;
    struct package_allocator a;
    if (objc > 3) {
        Tcl_WrongNumArgs(interp, 1, objv, "?name? ?value?");
        return TCL_ERROR;
    }
    if (find_or_fail(interp, &a) != TCL_OK)
        return TCL_ERROR;
    if (objc == 1) {
        Tcl_SetObjResult(interp, all_options(&a));
        return TCL_OK;
    }
    const char *name = Tcl_GetString(objv[1]);
    const char *text = objc == 3 ? Tcl_GetString(objv[2]) : "";
    Tcl_WideInt wanted;
    long long value;
    if (objc == 3) {
        if (Tcl_GetWideIntFromObj(interp, objv[2], &wanted) != TCL_OK)
            return TCL_ERROR;
        if (a.option_set(name, wanted) != 0)
            return refuse_option(interp, name, text);
    }
    if (a.option_get(name, &value) != 0)
        return refuse_option(interp, name, text);
    Tcl_SetObjResult(interp, Tcl_NewWideIntObj(value));
    return TCL_OK;
}

static int version_command(ClientData unused, Tcl_Interp *interp, int objc, Tcl_Obj *const objv[])
{
    (void)unused;
    struct package_allocator a;
    if (objc != 1) {
        Tcl_WrongNumArgs(interp, 1, objv, NULL);
        return TCL_ERROR;
    }
    int found = package_find(&a);
    const char *file = found ? package_find_file(&a) : NULL;
    Tcl_Obj *dict = Tcl_NewDictObj();
    package_put(dict, "package", Tcl_NewStringObj(OWL_VERSION, -1));
    package_put(dict, "library", Tcl_NewStringObj(found ? a.version() : "", -1));
    package_put(dict, "file", Tcl_NewStringObj(file != NULL ? file : "", -1));
    package_put(dict, "malloc", Tcl_NewBooleanObj(found && package_find_has_malloc(&a)));
    Tcl_SetObjResult(interp, dict);
    return TCL_OK;
}

extern DLLEXPORT int Owl_Init(Tcl_Interp *interp);

DLLEXPORT int Owl_Init(Tcl_Interp *interp)
{
    static const struct {
        const char *name;
        Tcl_ObjCmdProc *body;
    } commands[] = {
        {"::owl::option", option_command},   {"::owl::pools", pools_command},
        {"::owl::stats", stats_command},     {"::owl::threads", threads_command},
        {"::owl::trim", trim_command},       {"::owl::version", version_command},
    };
    if (Tcl_InitStubs(interp, TCL_VERSION, 0) == NULL)
        return TCL_ERROR;
    Tcl_Namespace *space = Tcl_FindNamespace(interp, "::owl", NULL, TCL_GLOBAL_ONLY);
    if (space == NULL)
        space = Tcl_CreateNamespace(interp, "::owl", NULL, NULL);
    if (space == NULL)
        return TCL_ERROR;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        Tcl_CreateObjCommand(interp, commands[i].name, commands[i].body, NULL, NULL);
    if (Tcl_Export(interp, space, "[a-z]*", 0) != TCL_OK)
        return TCL_ERROR;
    Tcl_CreateEnsemble(interp, "::owl", space, TCL_ENSEMBLE_PREFIX);
    return Tcl_PkgProvide(interp, "owl", OWL_VERSION);
}
