/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions of os_guard.c, for the table in os.c alone; os.h says what they do. */
#ifndef OWL_CORE_OS_GUARD_H
#define OWL_CORE_OS_GUARD_H

#include "os.h"

size_t os_trace(const void **frames, size_t most);
bool os_where(const void *address, const char **file, uintptr_t *offset);
int os_catch_guard(bool (*fault)(uintptr_t address));

#endif
