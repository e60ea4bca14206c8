/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory pressure: functions of the program are called when memory becomes short, and owlalloc
 * gives back what is free.
 *
 * The severity is a number from 0 to 1, the largest of these:
 *
 *   - stalls: the share of the last ten seconds in which some thread waited for memory, as the
 *     kernel tells it for the machine (/proc/pressure/memory) and for the program's own control
 *     group; 0.4 and more is 1;
 *   - a limit of the control group or of one above it (memory.high, memory.max; in version 1
 *     memory.limit_in_bytes): 0 at three quarters of it, 1 at the limit, even between. Files that
 *     the kernel can drop at once (inactive_file) do not count;
 *   - 1 when one of these limits was hit, or memory ran out there, since the last look
 *     (memory.events.local, or memory.events before Linux 5.2);
 *   - the option `limit` (owl/option.h): as for a group's, by what is in use.
 *
 * What is less than 1/32 counts as 0. A file that is not there, or may not be read, says nothing.
 *
 * A thread named owl-pressure looks, calls the handlers one after the other, each with the
 * severity, and then does what owl_relieve does. It does so when the kernel tells of stalls or of a
 * limit that was hit, and when the severity has risen by 1/16 or more; at most once a second. It is
 * there from the first owl_on_pressure to the last owl_off_pressure, and gets no signals. Without
 * pressure it sleeps until the kernel wakes it; but each second it looks if there is a limit, as
 * nearness can only be asked for. Stalls alone are watched only where the kernel lets the program
 * set a trigger for them.
 *
 * Handlers may do anything, allocate, free, call these functions, and take their time: others wait.
 * One that forks must not return in the child. After a fork the child has the handlers, but no
 * thread, until it calls owl_on_pressure or owl_off_pressure for whatever handler.
 *
 * The thread has some descriptors, with high numbers, closed on exec. A program may close them:
 * they are looked at before each use, and opened again within seconds.
 *
 * All functions are thread-safe.
 */
#ifndef OWL_PRESSURE_H
#define OWL_PRESSURE_H

#include <owl/owl.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void owl_pressure_handler(double severity, void *context);

/* Has handler called with the context from now on. 0; or -1, nothing changed, with EINVAL: it is
 * NULL; EEXIST: it is so already with this context; ENOMEM, EAGAIN, EMFILE and the like: there is
 * no memory, thread or descriptor to be had. */
OWL_API int owl_on_pressure(owl_pressure_handler *handler, void *context);

/* Ends that. When it returns, no such call is running and none will: it waits for one that is, so
 * the caller must hold nothing that the handler waits for. In a handler it does not wait; the one
 * that is running, itself perhaps, is not called again. 0; or -1 with ENOENT: it was not there. */
OWL_API int owl_off_pressure(owl_pressure_handler *handler, void *context);

/* Gives free memory back to the system: the caches of all threads are emptied, and of the free
 * memory that may be resident a share of 2 s^4, at most all, is given back; the least severity that
 * gives back all is 0.84. Nothing is done for 0 and less. The bytes given back, of which some may
 * not have been resident. Keeps errno. */
OWL_API size_t owl_relieve(double severity);

#ifdef __cplusplus
}
#endif

#endif
