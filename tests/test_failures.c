/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The same work again and again, while the first, the second, ... system call of a kind fails, or
 * all from there on, until it passes without a failure. Then each refusal of memory is a NULL with
 * ENOMEM, no other block is harmed, the heap is whole, it all works again afterwards, and all
 * memory can be given back.
 */
#include "failures_work.h"

/* So small that larger blocks have mappings. */
#define RESERVE_MOST ((size_t)20 << 20)

/* What the work is done with. */
static const struct setting {
    const char *name;
    int backing;
    size_t reserve_most;
    bool strict;
    int error; /* of the calls that fail: theirs is not for the caller */
} settings[] = {
    {"private memory", OWL_BACKING_PRIVATE, SIZE_MAX, false, EPERM},
    {"a file", OWL_BACKING_MEMFD, SIZE_MAX, false, ENOMEM},
    {"small ranges, a file, strict overcommit", OWL_BACKING_MEMFD, RESERVE_MOST, true, ENOSYS},
};
enum { SETTINGS = sizeof settings / sizeof *settings };

static const struct setting *setting;
static enum fault_call failing;
static unsigned long first_failing;
static bool and_all_later;

static void begin(void)
{
    faults_clear();
    faults.reserve_most = setting->reserve_most;
    faults.strict = setting->strict;
    faults.error = setting->error;
    atomic_store(&refusals, 0);
}

/* Without this, what is refused is lost: addresses that nobody uses, but no memory. */
static bool loses_addresses(enum fault_call call)
{
    return call == FAULT_UNMAP || call == FAULT_FILL || call == FAULT_RESET ||
           call == FAULT_FILE_MAP;
}

static void set_up(void)
{
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    faults_install();
    begin();
    check(owl_option_set("backing", setting->backing) == 0);
}

/* Exits with 7 if the call that was to fail was never made. */
static void work_with_failure(void)
{
    set_up();
    fault_at(failing, first_failing);
    if (and_all_later)
        faults.to[failing] = ULONG_MAX;
    work(true);
    check_all_free(loses_addresses(failing));
    bool reached = calls_of(failing) >= first_failing;
    if (!reached)
        check(atomic_load(&refusals) == 0);
    begin();
    work(false);
    check(atomic_load(&refusals) == 0);
    check_all_free(loses_addresses(failing));
    check(loses_addresses(failing) || owl_pool_count().used == 0);
    if (!reached)
        _exit(7);
}

/* Each of the first calls, and some of those after; or, if the environment says OWL_TEST_ALL, each.
 * That takes minutes. */
static unsigned long next_number(unsigned long n)
{
    if (test_all)
        return n + 1;
    return and_all_later || SANITIZED ? 3 * n + 1 : n + 1 + n / 3;
}

static void fail_each_with(const struct setting *s, enum fault_call call, bool later)
{
    int status = 0;
    unsigned long n = 1;
    setting = s;
    failing = call;
    and_all_later = later;
    for (; status == 0; n = next_number(n)) {
        first_failing = n;
        status = child_status(work_with_failure);
        assert_in_range(n, 1, 2000);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
        fail_msg("%s: failing %s number %lu%s: status %#x", s->name, fault_names[call],
                 first_failing, later ? " and all later" : "", (unsigned)status);
}

static void fail_each(void **state)
{
    enum fault_call call = (enum fault_call)(uintptr_t)*state;
    for (int i = 0; i < SETTINGS; i++) {
        fail_each_with(&settings[i], call, false);
        fail_each_with(&settings[i], call, true);
    }
}

int main(void)
{
    struct CMUnitTest tests[FAULT_CALLS];
    for (uintptr_t i = 0; i < FAULT_CALLS; i++)
        tests[i] = (struct CMUnitTest){
            .name = fault_names[i], .test_func = fail_each, .initial_state = (void *)i};
    return cmocka_run_group_tests_name("failures", tests, NULL, NULL);
}
