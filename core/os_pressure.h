/* SPDX-License-Identifier: BSD-2-Clause */
/* The system calls for memory pressure, for the table in os.c alone; os.h says what they do. */
#ifndef OWL_CORE_OS_PRESSURE_H
#define OWL_CORE_OS_PRESSURE_H

#include "os.h"

int os_lines(const char *path, bool (*line)(char *text, void *context), void *context);
int os_pressure_open(struct owl_file *file, const char *path, const char *trigger);
int os_pressure_bell(struct owl_file ends[2]);
void os_pressure_ring(const struct owl_file *end);
unsigned os_pressure_wait(const struct owl_file *files, size_t count, const struct owl_file *bell,
                          int milliseconds);

#endif
