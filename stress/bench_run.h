/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_run: a program with an allocator preloaded, and what it took.
 *
 * The kernel's figure for the most memory of a process begins with what its parent had resident
 * when it was born. So the parent is this small process, and not the script that compares.
 */
#ifndef OWL_STRESS_BENCH_RUN_H
#define OWL_STRESS_BENCH_RUN_H

/*
 * LIBRARY SECONDS OUTPUT PROGRAM [ARGUMENT...]: what follows --run. Prints how the program ended
 * and its figures, those of processes that it has waited for among them. Returns 0 if it could be
 * started, whatever became of it.
 */
int bench_run_main(int argc, char **argv);

#endif
