/* SPDX-License-Identifier: BSD-2-Clause */
/* What the comparing programs write beside their tables: CSV, and drawings by gnuplot. */
#ifndef OWL_STRESS_OUTPUTS_H
#define OWL_STRESS_OUTPUTS_H

#include <stdbool.h>
#include <stdio.h>

/* "PROGRAM: OPTION: NAME: FAULT" to standard error. False. */
bool outputs_complain(const char *program, const char *option, const char *name,
                      const char *fault);

/* Opens the file for CSV, *csv, and tries the one for a drawing, before the runs: a name that
 * cannot be written to should cost no time. A name is NULL if there is to be no such file. False:
 * not all will go well, as has been said. */
bool outputs_open(const char *program, const char *csv_name, const char *plot_name, FILE **csv);

/* Text in quotes, for gnuplot. */
void outputs_quote(FILE *plot, const char *text);

#endif
