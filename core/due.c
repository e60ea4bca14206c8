/* SPDX-License-Identifier: BSD-2-Clause */
#include "due.h"

struct owl_due owl_due = {.least = OWL_DUE_NEVER};
