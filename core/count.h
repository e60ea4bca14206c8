/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How often threads meet: counts of atomic read-modify-writes, of the system's barriers and of
 * locks. Only a build with OWL_COUNT counts (make count); in any other these functions are empty.
 *
 * Each thread counts in a record of its own, without an atomic or a lock. When the process ends, by
 * exit or by _exit, the sums over all threads that there ever were are added to the file that
 * OWL_COUNT_FILE names, as CSV: process, what, rank, count. A child of fork writes nothing.
 */
#ifndef OWL_CORE_COUNT_H
#define OWL_CORE_COUNT_H

/* Locks are counted by rank (lock.h), of which there are at most so many. */
#define OWL_COUNT_RANKS 20

enum owl_counted {
    OWL_COUNT_CALLS,    /* of malloc, calloc, realloc, free, new and delete, from outside */
    OWL_COUNT_CAS,      /* compare-and-swaps, whether they swap or not */
    OWL_COUNT_SWAPS,
    OWL_COUNT_ADDS,
    OWL_COUNT_BARRIERS, /* membarrier(2): every thread that runs passes one */
    OWL_COUNT_SLEEPS,   /* of who waits for a lock */
    OWL_COUNT_LOCKS,    /* taken; and by rank from here on */
    OWL_COUNT_WAITS = OWL_COUNT_LOCKS + OWL_COUNT_RANKS, /* those that another thread held */
    OWL_COUNTS = OWL_COUNT_WAITS + OWL_COUNT_RANKS
};

/* One more. Any thread, at any time; keeps errno. */
#ifdef OWL_COUNT
void owl_count(unsigned what);
#else
static inline void owl_count(unsigned what)
{
    (void)what;
}
#endif

/* By rank, for the file; NULL: there is none of the number. Defined in lock.c. */
extern const char *const owl_lock_names[OWL_COUNT_RANKS];

#endif
