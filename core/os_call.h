/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls that libc makes points of cancellation, without that: a thread that is to end would
 * end in the middle of malloc or free, with locks held.
 */
#ifndef OWL_CORE_OS_CALL_H
#define OWL_CORE_OS_CALL_H

#include <sys/types.h>

int os_open(const char *path, int flags, mode_t mode);
int os_close_file(int descriptor);
ssize_t os_read(int descriptor, void *to, size_t bytes);
ssize_t os_read_at(int descriptor, void *to, size_t bytes, off_t offset);
ssize_t os_write(int descriptor, const void *from, size_t bytes);

#endif
