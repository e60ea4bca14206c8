/* SPDX-License-Identifier: BSD-2-Clause */
/* The severity of memory pressure, from files that say what the test wants. */
#include <owl/option.h>

#include "child.h"
#include "pool.h"
#include "pressure_files.h"
#include "pressure_read.h"
#include "tune.h"

static void set_up(void)
{
    owl_free(owl_malloc(1));
    files_install();
}

static double severity_now(void)
{
    struct owl_pressure_places places;
    struct owl_pressure_look look;
    owl_pressure_find(&places);
    owl_pressure_look(&places, &look);
    return look.severity;
}

static bool is_about(double severity, double wanted)
{
    return severity > wanted - 0.001 && severity < wanted + 0.001;
}

static bool finds(const char *v1, const char *v2)
{
    struct owl_pressure_places p;
    owl_pressure_find(&p);
    return strcmp(p.v1.path, v1) == 0 && strcmp(p.v2.path, v2) == 0;
}

static void groups_are_found(void)
{
    set_up();
    check(finds("", ""));
    files_of_v2();
    check(finds("", "/cg/a/b"));
    file_says(SELF_CGROUP, "0::/\n");
    check(finds("", "/cg"));
    /* both versions; the memory controller together with another */
    file_says(SELF_CGROUP, "12:pids:/p\n5:cpuset,memory:/m/n\n1:name=systemd:/s\n0::/u\n");
    file_says(SELF_MOUNTS, "30 22 0:26 / /sys/unified rw - cgroup2 cgroup rw\n"
                           "31 22 0:27 / /sys/pids rw - cgroup cgroup rw,pids\n"
                           "32 22 0:28 / /sys/memory rw shared:7 - cgroup cgroup rw,cpuset,memory\n"
                           "33 22 0:29 / /memory rw - tmpfs memory rw,memory\n");
    check(finds("/sys/memory/m/n", "/sys/unified/u"));
    /* a container that sees its own group as the top, or one that it is not in */
    file_says(SELF_CGROUP, "0::/docker/x/y\n");
    file_says(SELF_MOUNTS, "30 22 0:26 /docker/x /cg rw - cgroup2 cgroup rw\n");
    check(finds("", "/cg/y"));
    file_says(SELF_CGROUP, "0::/docker/xy\n");
    check(finds("", "/cg"));
    file_says(SELF_CGROUP, "0::/../other\n");
    file_says(SELF_MOUNTS, "30 22 0:26 / /cg rw - cgroup2 cgroup rw\n");
    check(finds("", "/cg"));
    /* what nobody should write */
    file_says(SELF_CGROUP, "0\n0:\n:::\n0::/a\n");
    file_says(SELF_MOUNTS, "\n1\n - cgroup2 \n1 2 3 4 - cgroup2\n1 2 3 / /cg - cgroup2 x y\n");
    check(finds("", "/cg/a"));
    char path[OWL_PRESSURE_PATH + 20] = "0::/";
    memset(path + 4, 'x', OWL_PRESSURE_PATH + 9);
    file_says(SELF_CGROUP, path);
    file_says(SELF_MOUNTS, "30 22 0:26 / /cgroup rw - cgroup2 cgroup rw\n");
    check(finds("", ""));
    path[OWL_PRESSURE_PATH - 1] = '\0'; /* by itself it is not too long, but at its place */
    file_says(SELF_CGROUP, path);
    check(finds("", ""));
}

static void stalls_make_severity(void)
{
    set_up();
    check(severity_now() == 0.0);
    file_says(PSI, "some avg10=0.00 avg60=9.00 avg300=0.00 total=5\nfull avg10=90.00 total=1\n");
    check(severity_now() == 0.0);
    file_says(PSI, "some avg10=1.00 avg60=0.00 avg300=0.00 total=5\n"); /* too little */
    check(severity_now() == 0.0);
    file_says(PSI, "some avg10=10.50 avg60=0.00 avg300=0.00 total=5\n");
    check(is_about(severity_now(), 10.5 / OWL_PRESSURE_STALLS));
    file_says(PSI, "some avg10=77.00 avg60=0.00 avg300=0.00 total=5\n");
    check(severity_now() == 1.0);
    file_says(PSI, "some avg10=2.00 avg60=0.00\n");
    files_of_v2();
    file_says("/cg/a/b/memory.pressure", "some avg10=20.00 avg60=0.00\n");
    check(is_about(severity_now(), 20 / OWL_PRESSURE_STALLS));
}

static void limits_of_groups_do(void)
{
    struct owl_pressure_places p;
    struct owl_pressure_look l;
    set_up();
    files_of_v2();
    owl_pressure_find(&p);
    file_says("/cg/a/b/memory.current", "900\n");
    file_says("/cg/a/b/memory.max", "max\n");
    file_says("/cg/a/b/memory.high", "max\n");
    owl_pressure_look(&p, &l);
    check(l.severity == 0.0 && !l.limited);
    file_says("/cg/a/b/memory.max", "1000\n");
    owl_pressure_look(&p, &l);
    check(is_about(l.severity, (0.9 - OWL_PRESSURE_NEAR) / (1 - OWL_PRESSURE_NEAR)) && l.limited);
    file_says("/cg/a/b/memory.high", "800\n");
    owl_pressure_look(&p, &l);
    check(l.severity == 1.0);
    file_says("/cg/a/b/memory.stat", "anon 100\nfile 300\ninactive_file 220\nactive_file 80\n");
    owl_pressure_look(&p, &l);
    check(is_about(l.severity, (0.85 - OWL_PRESSURE_NEAR) / (1 - OWL_PRESSURE_NEAR)));
    file_says("/cg/a/b/memory.stat", "inactive_file 5000\n"); /* more than there is: all of it */
    owl_pressure_look(&p, &l);
    check(l.severity == 0.0);
    file_says("/cg/a/b/memory.stat", NULL);
    file_says("/cg/a/b/memory.current", "500\n");
    owl_pressure_look(&p, &l);
    check(l.severity == 0.0 && l.limited && l.events == 0);
    /* those above */
    file_says("/cg/a/memory.max", "1000\n");
    file_says("/cg/a/memory.current", "950\n");
    owl_pressure_look(&p, &l);
    check(is_about(l.severity, (0.95 - OWL_PRESSURE_NEAR) / (1 - OWL_PRESSURE_NEAR)));
    file_says("/cg/a/memory.events", "low 100\nhigh 2\nmax 30\noom 400\noom_kill 5000\n");
    file_says("/cg/a/b/memory.events", "high 1\n");
    file_says("/cg/memory.events", "max 1000\n");
    owl_pressure_look(&p, &l);
    check(l.events == 1433);
    file_says("/cg/a/memory.events.local", "high 3\nmax 0\noom 0\n");
    owl_pressure_look(&p, &l); /* the others were those of groups beside ours */
    check(l.events == 1004);
    file_says("/cg/a/memory.max", "0\n"); /* nothing is allowed */
    owl_pressure_look(&p, &l);
    check(l.severity == 1.0);
}

static void limits_of_version_1_do(void)
{
    set_up();
    file_says(SELF_CGROUP, "5:memory:/m\n0::/\n");
    file_says(SELF_MOUNTS, "30 22 0:26 / /un rw - cgroup2 cgroup rw\n"
                           "32 22 0:28 / /mem rw - cgroup cgroup rw,memory\n");
    file_says("/mem/m/memory.usage_in_bytes", "950\n");
    file_says("/mem/m/memory.limit_in_bytes", "9223372036854771712\n");
    check(severity_now() == 0.0);
    file_says("/mem/m/memory.limit_in_bytes", "1000\n");
    check(is_about(severity_now(), (0.95 - OWL_PRESSURE_NEAR) / (1 - OWL_PRESSURE_NEAR)));
    file_says("/mem/m/memory.stat", "inactive_file 900\ntotal_inactive_file 300\n");
    check(severity_now() == 0.0);
}

static void our_own_limit_does(void)
{
    set_up();
    check(owl_option_set("limit", 64 << 20) == 0);
    check(severity_now() == 0.0);
    void *p = opaque(owl_malloc(56 << 20));
    double used = (double)owl_pool_count().in_use / (64 << 20);
    check(is_about(severity_now(), (used - OWL_PRESSURE_NEAR) / (1 - OWL_PRESSURE_NEAR)));
    owl_free(p); /* free memory that is resident is no pressure */
    check(severity_now() == 0.0);
}

static void shares_grow_with_the_fourth_power(void)
{
    double nothing = 0.0;
    check(owl_pressure_share(-1.0) == 0.0 && owl_pressure_share(0.0) == 0.0);
    check(owl_pressure_share(nothing / nothing) == 0.0);
    check(is_about(owl_pressure_share(0.5), 0.125) && owl_pressure_share(0.85) == 1.0);
    check(owl_pressure_share(1.0) == 1.0 && owl_pressure_share(9.0) == 1.0);
}

/* The real system's files, whatever they say. */
static void here_it_is_a_severity(void)
{
    owl_free(owl_malloc(1));
    for (int i = 0; i < 100; i++) {
        double severity = severity_now();
        check(severity >= 0.0 && severity <= 1.0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(groups_are_found),
        child_test(stalls_make_severity),
        child_test(limits_of_groups_do),
        child_test(limits_of_version_1_do),
        child_test(our_own_limit_does),
        child_test(shares_grow_with_the_fourth_power),
        child_test(here_it_is_a_severity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
