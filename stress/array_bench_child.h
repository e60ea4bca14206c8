/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * array_bench_child: the measured process, and the one of the demonstration. It is this program
 * again, started by memtest_spawn, with the arguments
 *
 * --child FD ROUND KIND LIBRARY [WAY COUNT FRONT]
 *
 * LIBRARY is libowl.so where a way needs it opened, or "-". Sends a struct memtest_record to FD.
 */
#ifndef OWL_STRESS_ARRAY_BENCH_CHILD_H
#define OWL_STRESS_ARRAY_BENCH_CHILD_H

#include <stdbool.h>
#include <stddef.h>

/* The way for --demo; it prints to standard output. */
#define ARRAY_BENCH_DEMO "demo"

int array_bench_child(int argc, char **argv);

/* Whether there is an object of this name beside that libowl.so: "owl", "cxx". */
bool array_bench_has_object(const char *libowl, const char *name);

#endif
