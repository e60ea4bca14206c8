/* SPDX-License-Identifier: BSD-2-Clause */
/* record_seal: makes a trace of the raw log that a recorded process has left (record_log.h). */
#ifndef OWL_STRESS_RECORD_SEAL_H
#define OWL_STRESS_RECORD_SEAL_H

#include <stdint.h>

struct seal_report {
    uint64_t calls;             /* written to the trace */
    uint64_t unknown;           /* gave up a block that was not seen: left out */
    uint64_t unseen;            /* frees that were not seen, known from the address coming again */
    uint64_t lost;              /* events for which the log had no room */
    uint32_t threads;
};

/* Returns 0; or -1 with a message of one line in `err`. */
int record_seal(const char *log, const char *trace, struct seal_report *report,
                char *err, unsigned errlen);

#endif
