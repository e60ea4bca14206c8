/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that look at the whole heap, give memory back, set options, and fork. */
#include <errno.h>
#include <owl/option.h>
#include <owl/owl.h>
#include <owl/pressure.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "scavenger.h"
#include "stats.h"

/* A fork freezes the files that blocks lie in, and with them a range of addresses, of which there
 * are 64: so not more forks than this in a process, and one in an input. */
#define FORKS 24

static unsigned forks;
static const uint8_t *forked_in;

static void look_at_counts(void)
{
    struct owl_stats s;
    size_t held = 0;
    errno = FUZZ_ERRNO;
    owl_stats(&s);
    struct mallinfo2 m = owl_mallinfo2();
    fuzz_check(errno == FUZZ_ERRNO);
    for (unsigned i = 0; i < FUZZ_BLOCKS; i++)
        if (fuzz.blocks[i].p != NULL)
            held += fuzz.blocks[i].ring ? fuzz.blocks[i].span : fuzz.blocks[i].usable;
    fuzz_check(s.live_bytes == s.small_bytes + s.large_bytes + s.mapping_bytes);
    fuzz_check(s.live_bytes >= held && s.peak_bytes >= held);
    fuzz_check(s.remote_bytes <= s.cached_bytes);
    fuzz_check(s.small_bytes <= s.slab_bytes);
    fuzz_check(m.uordblks == s.live_bytes - s.mapping_bytes && m.hblkhd == s.mapping_bytes);
}

static void add_thread(const struct owl_stats_thread *row, void *context)
{
    size_t *out = context;
    *out += row->out_bytes;
}

static void add_class(const struct owl_stats_class *row, void *context)
{
    size_t *out = context;
    *out += row->block_bytes * (row->blocks + row->cached);
}

static void look_at_rows(void)
{
    struct owl_stats s;
    size_t by_thread = 0, by_class = 0;
    owl_stats(&s);
    owl_stats_threads(add_thread, &by_thread);
    owl_stats_classes(add_class, &by_class);
    /* What is cached besides are medium blocks, of whole granules. */
    size_t medium = s.small_bytes + s.cached_bytes - by_thread;
    fuzz_check(medium <= s.cached_bytes && medium % (64 << 10) == 0);
    fuzz_check(by_class == by_thread && by_thread <= s.slab_bytes);
}

static void set_option(void)
{
    static const long long values[][5] = {{0, 64 << 10, 1 << 20, 6 << 20, 64 << 20},
                                          {0, 1, 8, 100, 1 << 20},
                                          {0, 1, 2, 2, 0},
                                          {0, 0, 1, 50, 1000},
                                          {0, 1 << 20, 16 << 20, 40 << 20, 100 << 20}};
    static const char *const names[] = {"dirty", "dirty_share", "backing", "decay_ms", "limit"};
    unsigned which = fuzz_byte() % 5;
    long long value = values[which][fuzz_byte() % 5], got;
    fuzz_check(owl_option_set(names[which], value) == 0);
    fuzz_check(owl_option_get(names[which], &got) == 0 && got == value);
    if (which == 2)
        fuzz.no_file = value == 1;
    if (which == 4)
        fuzz.limited = value != 0;
    fuzz_check(owl_option_set(names[which], -1) == -1 && errno == EINVAL);
    fuzz_check(owl_option_set("magazine", 0) == -1 && errno == EPERM);
    fuzz_check(owl_option_set("nothing", 0) == -1 && errno == ENOENT);
}

void fuzz_reset_options(void)
{
    fuzz_check(owl_option_set("dirty", 6 << 20) == 0 && owl_option_set("dirty_share", 8) == 0);
    fuzz_check(owl_option_set("backing", 0) == 0 && owl_option_set("decay_ms", 1000) == 0);
    fuzz_check(owl_option_set("limit", 0) == 0);
    fuzz.limited = fuzz.no_file = false;
}

/* The child finds all contents as they were, may change what it does not share, and can use the
 * heap; nothing of that reaches the parent. */
static void do_in_child(void)
{
    fuzz_compare_all();
    fuzz_compare_arrays();
    fuzz_check(owl_stats_heap_is_valid());
    for (unsigned i = 0; i < FUZZ_BLOCKS; i++)
        if (fuzz.blocks[i].p != NULL)
            owl_free(fuzz.blocks[i].p);
    owl_free(owl_malloc(1000));
    fuzz_check(owl_stats_heap_is_valid());
}

static void have_child(void)
{
    if (forked_in == fuzz.end || forks == FORKS)
        return;
    forked_in = fuzz.end;
    forks++;
    int status;
    pid_t pid = fork();
    fuzz_check(pid >= 0);
    if (pid == 0) {
        do_in_child();
        _exit(0);
    }
    fuzz_check(waitpid(pid, &status, 0) == pid && status == 0);
    fuzz_compare_all();
    fuzz_compare_arrays();
}

void fuzz_heap(unsigned which)
{
    size_t size;
    switch (which) {
    case 0:
        have_child();
        break;
    case 1:
        look_at_counts();
        break;
    case 2:
        look_at_rows();
        break;
    case 3:
        set_option();
        break;
    case 4:
        errno = FUZZ_ERRNO;
        owl_trim(fuzz_size());
        fuzz_check(errno == FUZZ_ERRNO);
        break;
    case 5:
        errno = FUZZ_ERRNO;
        owl_relieve(fuzz_byte() / 255.0);
        fuzz_check(errno == FUZZ_ERRNO);
        break;
    case 6:
        owl_scavenger_look();
        break;
    case 7:
        fuzz_check(owl_stats_heap_is_valid());
        break;
    case 8:
        size = fuzz_size();
        fuzz_check(owl_good_size(size) >= size || size > PTRDIFF_MAX);
        fuzz_check(size <= PTRDIFF_MAX || owl_good_size(size) == 0);
        break;
    case 9:
        fuzz.turn = fuzz_byte() % (FUZZ_WORKERS + 1);
        fuzz.turns = 1 + fuzz_byte() % 32;
        break;
    default:
        fuzz.leaving = 1 + fuzz_byte() % FUZZ_WORKERS;
        break;
    }
}
