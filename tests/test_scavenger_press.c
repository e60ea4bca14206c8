/* SPDX-License-Identifier: BSD-2-Clause */
/* The scavenger where memory is short: from files that say what the test wants. */
#include "scavenger.h"

#include <owl/option.h>
#include <owl/owl.h>

#include "child.h"
#include "option.h"
#include "pool.h"
#include "pressure_files.h"
#include "pressure_read.h"

enum { BYTES = 16 << 20 };

static uint64_t now = 1000;

static uint64_t stopped_clock(void)
{
    return now;
}

static size_t dirty(void)
{
    return owl_pool_count().dirty << OWL_GRANULE_SHIFT;
}

static void take_and_free(void)
{
    char *p = owl_malloc(BYTES);
    check(p != NULL);
    memset(p, 1, BYTES);
    owl_free(p);
}

static void set_up(void)
{
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    owl_option_force(OWL_OPTION_DIRTY, 2 * BYTES);
    take_and_free();
    files_install();
    owl_os.milliseconds = stopped_clock;
}

static void stalls(const char *avg10)
{
    char text[100];
    snprintf(text, sizeof text, "some avg10=%s avg60=0.00 avg300=0.00 total=5\n", avg10);
    file_says(PSI, text);
}

static void without_pressure_all_stays(void)
{
    set_up();
    check(owl_scavenger_press() == OWL_DECAY_MS / 2);
    check(dirty() >= BYTES);
    owl_option_force(OWL_OPTION_DECAY_MS, 0);
    check(owl_scavenger_press() > 0);
}

static void pressure_takes_a_share_and_hastens(void)
{
    set_up();
    stalls("20.00"); /* of 40: a severity of a half, an eighth of what is free */
    size_t before = dirty();
    check(owl_scavenger_press() == OWL_DECAY_MS / 4);
    check(dirty() <= before - before / 8 + OWL_GRANULE && dirty() >= before - before / 8);
    stalls("99.00");
    now += OWL_PRESSURE_READ_MS;
    check(owl_scavenger_press() < OWL_DECAY_MS / 10);
    check(dirty() == 0);
}

static void it_is_read_now_and_then_only(void)
{
    set_up();
    check(owl_scavenger_press() == OWL_DECAY_MS / 2);
    stalls("99.00");
    now += OWL_PRESSURE_READ_MS - 1;
    check(owl_scavenger_press() == OWL_DECAY_MS / 2 && dirty() >= BYTES);
    now++;
    owl_scavenger_press();
    check(dirty() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(without_pressure_all_stays),
        child_test(pressure_takes_a_share_and_hastens),
        child_test(it_is_read_now_and_then_only),
    };
    return cmocka_run_group_tests_name("scavenger_press", tests, NULL, NULL);
}
