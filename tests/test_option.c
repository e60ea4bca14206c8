/* SPDX-License-Identifier: BSD-2-Clause */
/* Options: their names, their ranges, the environment, and that each acts. */
#include <errno.h>
#include <owl/option.h>
#include <pthread.h>

#include "alloc.h"
#include "child.h"
#include "option.h"
#include "os.h"
#include "pool.h"

#define MIB ((size_t)1 << 20)

static char said[4000];
static unsigned messages;

static void listen(const char *text, size_t bytes)
{
    check(strlen(said) + bytes < sizeof said);
    strncat(said, text, bytes);
    messages++;
}

static long long value_of(const char *name)
{
    long long value = -1;
    check(owl_option_get(name, &value) == 0);
    return value;
}

/* Reads an environment of one entry. */
static void read_entry(const char *entry)
{
    char *environment[] = {(char *)(uintptr_t)entry, NULL};
    said[0] = '\0';
    messages = 0;
    owl_os.message = listen;
    owl_option_read(environment);
}

static void names_are_listed(void)
{
    unsigned n = 0;
    for (; owl_option_name(n) != NULL; n++) {
        check(value_of(owl_option_name(n)) >= 0);
        for (unsigned i = 0; i < n; i++)
            check(strcmp(owl_option_name(i), owl_option_name(n)) != 0);
    }
    check(n == OWL_OPTION_COUNT && owl_option_name(n + 1) == NULL && owl_option_name(~0u) == NULL);
}

static void defaults_are_those_of_tune(void)
{
    check(value_of("dirty") == (long long)OWL_DIRTY_MIN);
    check(value_of("dirty_share") == OWL_DIRTY_SHARE);
    check(value_of("magazine") == (long long)OWL_MAGAZINE_BYTES);
}

static void values_can_be_set(void)
{
    errno = 9;
    check(owl_option_set("dirty", 12345) == 0 && value_of("dirty") == 12345);
    check(owl_option_set("dirty", 0) == 0 && value_of("dirty") == 0);
    check(owl_option_set("dirty", PTRDIFF_MAX) == 0 && value_of("dirty") == PTRDIFF_MAX);
    check(owl_option_set("dirty_share", OWL_DIRTY_SHARE_MAX) == 0 && errno == 9);
    check(value_of("dirty_share") == OWL_DIRTY_SHARE_MAX);
}

static int refusal(const char *name, long long value)
{
    errno = 0;
    check(owl_option_set(name, value) == -1);
    return errno;
}

static void refusals_change_nothing(void)
{
    long long value = 77;
    check(refusal("dirty", -1) == EINVAL && value_of("dirty") == (long long)OWL_DIRTY_MIN);
    check(refusal("dirty_share", OWL_DIRTY_SHARE_MAX + 1) == EINVAL);
    check(value_of("dirty_share") == OWL_DIRTY_SHARE);
    check(refusal("magazine", 4096) == EPERM && refusal("magazine", -1) == EPERM);
    check(value_of("magazine") == (long long)OWL_MAGAZINE_BYTES);
    check(refusal("Dirty", 1) == ENOENT && refusal("dirt", 1) == ENOENT);
    check(refusal("", 1) == ENOENT);
    errno = 0;
    check(owl_option_get("OWL_DIRTY", &value) == -1 && errno == ENOENT && value == 77);
}

static void the_environment_is_read(void)
{
    static const struct {
        const char *entry;
        long long dirty;
    } good[] = {
        {"OWL_DIRTY=0", 0},
        {"OWL_DIRTY=1", 1},
        {"OWL_DIRTY=0010", 10},
        {"OWL_DIRTY=3k", 3 << 10},
        {"OWL_DIRTY=3K", 3 << 10},
        {"OWL_DIRTY=5m", 5 << 20},
        {"OWL_DIRTY=5M", 5 << 20},
        {"OWL_DIRTY=7g", 7ll << 30},
        {"OWL_DIRTY=7G", 7ll << 30},
        {"OWL_DIRTY=9223372036854775807", INT64_MAX},
        {"OWL_DIRTY=8589934591G", 8589934591ll << 30},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        read_entry(good[i].entry);
        check(messages == 0 && value_of("dirty") == good[i].dirty);
    }
    read_entry("OWL_MAGAZINE=64K");
    check(messages == 0 && value_of("magazine") == 65536);
    read_entry("OWL_GUARD=1/1000");
    check(messages == 0 && value_of("guard") == 1000);
    read_entry("OWL_GUARD=50");
    check(messages == 0 && value_of("guard") == 50);
}

static void what_is_wrong_is_said_in_a_line(void)
{
    static const char *const bad[] = {
        "OWL_DIRTY=",      "OWL_DIRTY=-1",  "OWL_DIRTY=+1",   "OWL_DIRTY= 1",  "OWL_DIRTY=1 ",
        "OWL_DIRTY=12x",   "OWL_DIRTY=K",   "OWL_DIRTY=1KB",  "OWL_DIRTY=1T",  "OWL_DIRTY=0x10",
        "OWL_DIRTY=1.5M",  "OWL_DIRTY=ten", "OWL_DIRTY=1\nK", "OWL_DIRTY=\xff",
        "OWL_DIRTY=9223372036854775808",    "OWL_DIRTY=99999999999999999999",
        "OWL_DIRTY=8589934592G",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        read_entry(bad[i]);
        check(messages == 1 && value_of("dirty") == (long long)OWL_DIRTY_MIN);
        check(strncmp(said, "owlalloc: OWL_DIRTY=", 20) == 0 && strstr(said, " 6291456\n") != NULL);
        check(strchr(said, '\n') == said + strlen(said) - 1);
    }
    static const char *const rates[] = {"OWL_GUARD=1/", "OWL_GUARD=2/5", "OWL_GUARD=1/2/3"};
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        read_entry(rates[i]);
        check(messages == 1 && value_of("guard") == 0);
    }
    read_entry("OWL_JUNK=1/1");
    check(messages == 1 && value_of("junk") == 0);
    read_entry("OWL_DIRTY_SHARE=2M");
    check(messages == 1 && value_of("dirty_share") == OWL_DIRTY_SHARE);
    check(strcmp(said, "owlalloc: OWL_DIRTY_SHARE=2M: not a number from 0 to 1048576 (K, M, G may "
                       "follow); the default is used, 8\n") == 0);
}

static void long_values_are_cut(void)
{
    char entry[5000] = "OWL_DIRTY=";
    memset(entry + 10, 'x', sizeof entry - 11);
    read_entry(entry);
    check(messages == 1 && strlen(said) < 250 && strstr(said, "xxx: not a number") != NULL);
}

static void other_entries_are_left_alone(void)
{
    char *environment[] = {(char *)(uintptr_t)"OWL_DIRT=1", (char *)(uintptr_t)"OWL_DIRTY",
                           (char *)(uintptr_t)"OWL_DIRTYX=2", (char *)(uintptr_t)"owl_dirty=3",
                           (char *)(uintptr_t)"", (char *)(uintptr_t)"OWL_DIRTY=4",
                           (char *)(uintptr_t)"OWL_DIRTY=5", NULL};
    owl_os.message = listen;
    owl_option_read(environment + 8 - 1);
    check(value_of("dirty") == (long long)OWL_DIRTY_MIN);
    owl_option_read(environment);
    check(messages == 0 && value_of("dirty") == 4);
    check(value_of("dirty_share") == OWL_DIRTY_SHARE);
}

/* What stays dirty when a block of so many MiB is freed beside others in use. */
static uint64_t fast_clock(void)
{
    static uint64_t now;
    return now += 1000000;
}

static size_t dirty_after(size_t freed, size_t in_use)
{
    void *p = owl_malloc(freed * MIB), *q = owl_malloc(in_use * MIB);
    check(p != NULL && q != NULL);
    owl_free(p);
    owl_cache_flush(owl_cache_mine());
    size_t dirty = owl_pool_count().dirty << OWL_GRANULE_SHIFT;
    owl_free(q);
    owl_trim(0);
    return dirty;
}

static void dirty_bounds_what_stays(void)
{
    size_t least = OWL_DIRTY_MIN / MIB;
    owl_os.milliseconds = fast_clock; /* there is always time to purge */
    check(dirty_after(least, 1) == least * MIB);
    check(dirty_after(least + 1, 1) <= OWL_DIRTY_MIN - OWL_DIRTY_MIN / OWL_DIRTY_SLACK);
    check(owl_option_set("dirty", 4 * MIB) == 0);
    check(dirty_after(least, 1) <= 4 * MIB - 4 * MIB / OWL_DIRTY_SLACK);
    check(dirty_after(3, 1) == 3 * MIB);
    check(owl_option_set("dirty", 0) == 0);
    check(dirty_after(8, 1) <= MIB / OWL_DIRTY_SHARE); /* the share */
    check(owl_option_set("dirty", 64 * MIB) == 0);
    check(dirty_after(50, 1) == 50 * MIB);
}

static void dirty_share_bounds_what_stays(void)
{
    owl_os.milliseconds = fast_clock;
    check(owl_option_set("dirty", 0) == 0);
    check(dirty_after(8, 100) == 8 * MIB);
    check(owl_option_set("dirty_share", 50) == 0);
    check(dirty_after(8, 100) <= 2 * MIB && dirty_after(1, 100) == MIB);
    check(owl_option_set("dirty_share", 0) == 0);
    check(dirty_after(1, 100) == 0);
}

/* Also where a part of it may be purged for that. */
static void without_a_share_dirty_holds_at_any_rate(void)
{
    check(owl_option_set("dirty_share", 0) == 0);
    for (int i = 0; i < 3; i++)
        check(dirty_after(30, 1) <= OWL_DIRTY_MIN);
}

/* Free blocks of a size that this thread keeps when it has freed many. */
static size_t kept(size_t size)
{
    static void *blocks[2000];
    for (int i = 0; i < 2000; i++)
        blocks[i] = owl_malloc(size);
    for (int i = 0; i < 2000; i++)
        owl_free(blocks[i]);
    struct owl_cache_counts counts = {.blocks = 0};
    owl_cache_count(owl_cache_mine(), &counts);
    check(counts.bytes == counts.blocks * size && owl_cache_is_valid(owl_cache_mine()));
    owl_cache_flush(owl_cache_mine());
    return counts.blocks;
}

static void *keep_again(void *unused)
{
    check(kept(1024) <= 16 && kept(1024) >= 8);
    check(kept(32768) == 1);
    return unused;
}

static void magazine_bounds_what_threads_keep(void)
{
    check(kept(1024) > 100);
    read_entry("OWL_MAGAZINE=16K");
    check(kept(1024) > 100); /* this thread's magazine has grown already */
    pthread_t thread;
    check(pthread_create(&thread, NULL, keep_again, NULL) == 0);
    pthread_join(thread, NULL);
}

static void no_magazine_is_one_block(void)
{
    read_entry("OWL_MAGAZINE=0");
    check(kept(64) == 1 && kept(1024) == 1 && kept(32768) == 1);
    owl_trim(0);
    check(owl_pool_count().used == 0);
}

/* For the test below: another thread changes what this one reads. */
static void *flip(void *unused)
{
    for (int i = 0; i < ROUNDS(20000); i++)
        check(owl_option_set("dirty", i % 2 * 1000000) == 0);
    return unused;
}

static void options_change_while_threads_allocate(void)
{
    pthread_t thread;
    check(pthread_create(&thread, NULL, flip, NULL) == 0);
    for (int i = 0; i < ROUNDS(2000); i++)
        owl_free(owl_malloc(100000 + (size_t)i * 100));
    pthread_join(thread, NULL);
    check(owl_pool_is_valid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(names_are_listed),
        child_test(defaults_are_those_of_tune),
        child_test(values_can_be_set),
        child_test(refusals_change_nothing),
        child_test(the_environment_is_read),
        child_test(what_is_wrong_is_said_in_a_line),
        child_test(long_values_are_cut),
        child_test(other_entries_are_left_alone),
        child_test(dirty_bounds_what_stays),
        child_test(dirty_share_bounds_what_stays),
        child_test(without_a_share_dirty_holds_at_any_rate),
        child_test(magazine_bounds_what_threads_keep),
        child_test(no_magazine_is_one_block),
        child_test(options_change_while_threads_allocate),
    };
    return cmocka_run_group_tests_name("option", tests, NULL, NULL);
}
