/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How short memory is at this moment. include/owl/pressure.h tells what the severity is made of.
 *
 * The control groups of the process, one of version 2 and one of version 1 that has the memory
 * controller, are found by /proc/self/cgroup, which tells their paths in their hierarchies, and
 * /proc/self/mountinfo, which tells where these are mounted and from which path on.
 *
 * No thread, no allocation and no lock: each call opens files, reads and closes them. Thread-safe.
 */
#ifndef OWL_CORE_PRESSURE_READ_H
#define OWL_CORE_PRESSURE_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Paths that are longer are not looked at. */
#define OWL_PRESSURE_PATH 1024

/* The directory of a control group; empty: there is none. Those above it, as far as they can be
 * seen, are its beginnings of at least `top` bytes. */
struct owl_pressure_group {
    char path[OWL_PRESSURE_PATH];
    size_t top;
};

struct owl_pressure_places {
    struct owl_pressure_group v1, v2;
};

struct owl_pressure_look {
    double severity; /* without what the events tell */
    uint64_t events; /* how often limits were hit so far */
    bool limited;    /* there is a limit, of a group or of our own */
};

/* Finds the groups of the process. */
void owl_pressure_find(struct owl_pressure_places *places);

/* Reads all there is. */
void owl_pressure_look(const struct owl_pressure_places *places, struct owl_pressure_look *look);

/* The group above; false: it was the topmost. */
bool owl_pressure_up(struct owl_pressure_group *group);

/* Where a group tells how often its limits were hit: those of its own, since Linux 5.2. What the
 * older file tells has been of the groups below it too since then, whose limits are none of
 * ours. */
#define OWL_PRESSURE_EVENTS "memory.events.local"
#define OWL_PRESSURE_EVENTS_OLD "memory.events"

/* The path of a file of a group. False: it is too long. */
bool owl_pressure_file(const struct owl_pressure_group *group, const char *name,
                       char path[OWL_PRESSURE_PATH]);

/* The share of free memory that is given back for a severity: pressure that a machine can stand
 * takes little, and what it cannot takes all; the fourth power. What is no number is 0. */
static inline double owl_pressure_share(double severity)
{
    double s = severity > 0.0 ? severity : 0.0;
    double share = s < 1.0 ? 2.0 * s * s * s * s : 1.0;
    return share < 1.0 ? share : 1.0;
}

#endif
