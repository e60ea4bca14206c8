/* SPDX-License-Identifier: BSD-2-Clause */
/* Parts of the table in os.h: a thread that libc does not know. */
#ifndef OWL_CORE_OS_HIDDEN_H
#define OWL_CORE_OS_HIDDEN_H

#include "os.h"

void os_hidden_begin(void);
int os_hidden_start(void (*body)(bool alone), owl_word *local, uintptr_t value);
void os_sleep(owl_u32 *word, uint32_t value, unsigned milliseconds);

#endif
