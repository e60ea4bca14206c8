/* SPDX-License-Identifier: BSD-2-Clause */
/* record_info: prints what is in a trace, for people and for scripts. */
#ifndef OWL_STRESS_RECORD_INFO_H
#define OWL_STRESS_RECORD_INFO_H

/* Returns 0, or -1 with a message on the standard error. */
int record_info(const char *file);

#endif
