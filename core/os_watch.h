/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The functions of os_watch*.c, for the table in os.c alone; os.h says what they do.
 */
#ifndef OWL_CORE_OS_WATCH_H
#define OWL_CORE_OS_WATCH_H

#include "os.h"

int os_watch_open(bool *unpopulated);
int os_watch_register(int descriptor, void *start, size_t bytes, bool missing, bool write);
int os_watch_unregister(int descriptor, void *start, size_t bytes);
int os_watch_next(int descriptor, int bell, struct owl_os_fault *fault);
int os_watch_copy(int descriptor, void *to, const void *from, size_t bytes, bool protect);
int os_watch_zero(int descriptor, void *start, size_t bytes);
int os_watch_protect(int descriptor, void *start, size_t bytes, bool protect);
void os_watch_wake(int descriptor, void *start, size_t bytes);
int os_bell_make(void);
void os_bell_ring(int bell);
void os_close(int descriptor);
int os_protect(void *start, size_t bytes, bool read, bool write);
int os_populate_read(void *start, size_t bytes);
void os_join(void *start, size_t bytes);
int os_no_fork(void *start, size_t bytes);
int os_catch(bool (*fault)(uintptr_t address, bool write));

/* From a handler of ours: the handler before it is called, or happens what does without one: with
 * that restored the access is repeated, or, if the signal was sent, sent again. */
void os_pass_on(const struct sigaction *to, int number, siginfo_t *info, void *context);
bool os_permits(uintptr_t address, bool write);
void os_signals_block(sigset_t *mask);
void os_signals_hold(sigset_t *mask);
void os_signals_restore(const sigset_t *mask);
int os_thread_start(pthread_t *thread, void *(*body)(void *));
void os_thread_name(const char *name);
void os_thread_join(pthread_t thread);
int os_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
void os_wake_all(owl_u32 *word);

#endif
