/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fork: all locks are taken before, in the order of their ranks, and let go after, in parent and
 * child, so that the child, which has one thread, finds every structure whole and can allocate at
 * once.
 */
#ifndef OWL_CORE_FORK_H
#define OWL_CORE_FORK_H

void owl_fork_register(void);

#endif
