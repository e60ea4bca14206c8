/* SPDX-License-Identifier: BSD-2-Clause */
#include "block.h"

void owl_block_report(const struct owl_block *b)
{
    const struct owl_span *s = owl_span_of(b);
    owl_report(OWL_FAULT_OVERWRITTEN, b, s != NULL ? s->bytes : 0);
}
