/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The functions of os_pagefile.c, for the table in os.c alone; os.h says what they do.
 */
#ifndef OWL_CORE_OS_PAGEFILE_H
#define OWL_CORE_OS_PAGEFILE_H

#include "os.h"

int os_pagefile_open(struct owl_file *file, const char *path);
int os_pagefile_read(const struct owl_file *file, void *to, size_t bytes, size_t offset);
int os_pagefile_write(const struct owl_file *file, const struct iovec *from, int count,
                      size_t offset);
int os_pagefile_flush(const struct owl_file *file);

#endif
