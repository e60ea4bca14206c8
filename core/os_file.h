/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The functions of os_file.c, for the table in os.c alone; os.h says what they do.
 */
#ifndef OWL_CORE_OS_FILE_H
#define OWL_CORE_OS_FILE_H

#include "os.h"

int os_file_make(struct owl_file *file, size_t bytes);
bool os_file_is_open(const struct owl_file *file);
int os_file_map(const struct owl_file *file, size_t offset, void *start, size_t bytes, bool shared);
int os_file_reserve(const struct owl_file *file, void *start, size_t bytes);
int os_file_commit(void *start, size_t bytes);
int os_file_open(const struct owl_file *file);
void os_file_close(struct owl_file *file);
int os_punch(void *start, size_t bytes);
int os_changed(const void *start, size_t pages, uint8_t *changed);
bool os_strict_overcommit(void);
/* A high number for a descriptor, or the same. */
int os_file_park(int descriptor);
size_t os_mapping_limit(void);
size_t os_mapping_count(void);

#endif
