/* SPDX-License-Identifier: BSD-2-Clause */
/* The entry that fuzzers call: one input, from an empty heap to an empty heap. */
#include <owl/owl.h>
#include <sys/prctl.h>

#include "fuzz.h"
#include "option.h"
#include "stats.h"

/* Memory is given back when the program says so, not by a thread of the allocator's own. Huge pages
 * would make resident what is touched in places only. */
int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void)count;
    (void)arguments;
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    return 0;
}

/* Calls that make and change blocks are the most of all. */
void fuzz_step(void)
{
    static void (*const subjects[])(unsigned) = {fuzz_alloc, fuzz_change, fuzz_alloc, fuzz_change,
                                                 fuzz_change, fuzz_array, fuzz_pages, fuzz_heap};
    static const unsigned counts[] = {FUZZ_ALLOC,  FUZZ_CHANGE, FUZZ_ALLOC, FUZZ_CHANGE,
                                      FUZZ_CHANGE, FUZZ_ARRAY,  FUZZ_PAGES, FUZZ_HEAP};
    unsigned byte = fuzz_byte(), subject = byte % 8;
    subjects[subject](byte / 8 % counts[subject]);
}

static void run(void)
{
    for (unsigned i = 0; i < FUZZ_STEPS && fuzz.at < fuzz.end; i++) {
        unsigned turn = fuzz.turns > 0 ? fuzz.turn : 0;
        fuzz.turns -= fuzz.turns > 0;
        if (turn == 0)
            fuzz_step();
        else
            fuzz_worker_step(turn);
        if (fuzz.leaving != 0)
            fuzz_worker_end(fuzz.leaving);
        fuzz.leaving = 0;
    }
}

static size_t live_bytes(void)
{
    struct owl_stats s;
    owl_stats_get(&s);
    return s.live_bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    owl_trim(0);
    size_t before = live_bytes();
    fuzz.at = data;
    fuzz.end = data + size;
    fuzz.seeds = 0;
    fuzz.turns = 0;
    run();
    fuzz_compare_all();
    fuzz_compare_arrays();
    fuzz_free_blocks();
    fuzz_release_arrays();
    for (unsigned i = 1; i <= FUZZ_WORKERS; i++)
        fuzz_worker_end(i);
    fuzz_reset_options();
    fuzz_check(owl_stats_heap_is_valid());
    fuzz_check(live_bytes() == before);
    return 0;
}
