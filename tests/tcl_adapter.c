/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program with Tcl inside, linked with the drop-in: what a server's threads do with interpreters,
 * and what becomes of the memory. Prints one line for what is wrong; exit status 0 if nothing is.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tcl.h>

#define check(holds)                                                                              \
    ((holds) ? (void)0                                                                            \
             : (printf("line %d: %s does not hold\n", __LINE__, #holds), fflush(stdout), exit(1)))

static void evaluate(Tcl_Interp *interp, const char *script, const char *result)
{
    if (Tcl_Eval(interp, script) != TCL_OK) {
        printf("%s\n", Tcl_GetStringResult(interp));
        exit(1);
    }
    check(strcmp(Tcl_GetStringResult(interp), result) == 0);
}

static void *work(void *finalize)
{
    Tcl_Interp *interp = Tcl_CreateInterp();
    evaluate(interp,
             "for {set i 0} {$i < 3000} {incr i} {dict set d key$i [list $i $i]}; dict size $d",
             "3000");
    evaluate(interp, "string length [string repeat abc 100000]", "300000");
    evaluate(interp, "proc f n {expr {$n < 2 ? $n : [f [expr {$n-1}]] + [f [expr {$n-2}]]}}; f 15",
             "610");
    Tcl_DeleteInterp(interp);
    if (finalize != NULL)
        Tcl_FinalizeThread();
    return NULL;
}

/* Allocates and frees objects after Tcl has finalized the thread, and ends so. */
static void *go_on_after_finalization(void *unused)
{
    work("finalize");
    Tcl_Obj *objects[100];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++)
            Tcl_IncrRefCount(objects[i] = Tcl_NewStringObj("some text", -1));
        for (int i = 0; i < 100; i++)
            Tcl_DecrRefCount(objects[i]);
    }
    Tcl_Interp *interp = Tcl_CreateInterp();
    evaluate(interp, "expr 6*7", "42");
    Tcl_DeleteInterp(interp);
    return unused;
}

static void run(void *(*body)(void *), void *argument)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        check(pthread_create(&threads[i], NULL, body, argument) == 0);
    for (int i = 0; i < 4; i++)
        check(pthread_join(threads[i], NULL) == 0);
}

/* Tcl's blocks are this malloc's, and what it says of them is true. */
static void blocks_are_of_one_heap(void)
{
    char *p = ckalloc(1000);
    check(malloc_usable_size(p) >= 1000);
    memset(p, 'x', 1000);
    p = realloc(p, 100000);
    check(p[999] == 'x');
    p = ckrealloc(p, 10);
    check(p[9] == 'x');
    free(p);
    p = malloc(10);
    ckfree(p);
    p = ckalloc(0);
    check(p != NULL);
    p = ckrealloc(p, 0);
    check(p != NULL);
    ckfree(p);
    p = attemptckalloc(0xfffffff0u); /* as large as Tcl 8.6 can ask for */
    check(p == NULL || malloc_usable_size(p) >= 0xfffffff0u);
    free(p);
}

static size_t in_use(void)
{
    return mallinfo2().uordblks;
}

int main(int argc, char **argv)
{
    (void)argc;
    Tcl_FindExecutable(argv[0]);
    blocks_are_of_one_heap();
    run(work, NULL);
    run(work, "finalize");
    size_t before = in_use();
    for (int round = 0; round < 20; round++)
        run(round % 2 ? work : go_on_after_finalization, "finalize");
    /* 80 threads have ended: what they kept, some 50 KB of objects each, is back. (Tcl itself loses
     * some KB of its own for each thread that is used again after it was finalized.) */
    size_t after = in_use();
    if (after > before + 500000)
        printf("%zu bytes in use before, %zu after the threads\n", before, after);
    check(after <= before + 500000);
    Tcl_Finalize();
    for (int i = 0; i < 1000; i++)
        ckfree(ckrealloc(ckalloc(100), 1000)); /* after its end */
    return 0;
}
