/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scavenger: gives free memory back though the program idles. It looks once in half of the
 * decay time, at whatever was not used from one look to the next:
 *
 *   caches       of idle threads are flushed: their blocks come home, some slabs end
 *   slabs        pages on which all blocks are at home are purged
 *   the pool     as much is purged as has been dirty all the time
 *
 * Where memory is short (pressure_read.h) it looks more often, and first gives back a share of all
 * that is free.
 *
 * So what an idle program has passes these three stations and is gone after two to three decay
 * times. What it does use stays, however much of it is free at times.
 *
 * It is a thread that libc does not know (os_hidden.c), and lives only while there is something to
 * do: it is started when much may be due (due.h), looks until nothing is left or nothing much has
 * been for a while, and ends. In between nothing wakes up. A child of fork has none until it makes
 * memory free itself.
 */
#ifndef OWL_CORE_SCAVENGER_H
#define OWL_CORE_SCAVENGER_H

#include <stdbool.h>
#include <stddef.h>

/* One look, as of above. Whether anything is left for later ones. One thread at a time. */
bool owl_scavenger_look(void);

/* What owl_relieve (owl/pressure.h) does; may change errno. */
size_t owl_scavenger_relieve(double severity);

/* Does that for the severity there is. The milliseconds until the next look: half of the decay
 * time, or the less the shorter memory is. One thread at a time. */
unsigned owl_scavenger_press(void);

/* Gives back at once what is free, in use lately or not, but `keep` bytes. The bytes. Any thread,
 * and as many at a time as like. */
size_t owl_scavenger_purge(size_t keep);

/* A call that finds no memory; all but `bytes` is 0 at first. */
struct owl_rescue {
    size_t bytes; /* that it asks for; 0: few */
    unsigned tries;
    unsigned useless; /* of these, the last ones */
};

/* Before such a call tries again: gives back all that is free, and waits some milliseconds if more
 * may come free soon. False: there is no point in another try. Keeps errno. Any thread, without
 * locks. */
bool owl_scavenger_rescue(struct owl_rescue *r);

#endif
