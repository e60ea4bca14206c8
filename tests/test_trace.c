/* SPDX-License-Identifier: BSD-2-Clause */
/* The trace module: what is written comes back, what is damaged does not, and replay is safe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "trace.h"
#include "trace_format.h"
#include "trace_write.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char file[64];
static char err[256];

static int make_name(void **state)
{
    (void)state;
    snprintf(file, sizeof file, "test_trace.%ld.trace", (long)getpid());
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    unlink(file);
    return 0;
}

static void load(struct trace *t)
{
    if (trace_load(file, t, err, sizeof err) != 0)
        fail_msg("%s", err);
}

static void refuse(const char *why)
{
    struct trace t;
    memset(&t, 0xff, sizeof t);
    assert_int_equal(trace_load(file, &t, err, sizeof err), -1);
    if (!strstr(err, why))
        fail_msg("\"%s\" instead of \"%s\"", err, why);
    assert_null(t.memory);
    assert_null(t.thread);
    assert_int_equal(t.ops, 0);
}

static size_t slurp(unsigned char **bytes)
{
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    size_t n = (size_t)ftell(f);
    rewind(f);
    *bytes = malloc(n);
    assert_int_equal(fread(*bytes, 1, n, f), n);
    fclose(f);
    return n;
}

static void spill(const unsigned char *bytes, size_t n)
{
    unlink(file);       /* some file systems wait for the disk when a file is written over */
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void put_le(unsigned char *to, uint64_t value, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

/* A file by hand: any body under a header with right checksums. */
static void spill_body(const unsigned char *body, size_t n, uint32_t threads, uint64_t ops,
                       uint64_t allocations)
{
    unsigned char *bytes = malloc(TRACE_HEADER_BYTES + n);
    memcpy(bytes, TRACE_MAGIC, 8);
    put_le(bytes + 8, TRACE_VERSION, 4);
    put_le(bytes + 12, threads, 4);
    put_le(bytes + 16, ops, 8);
    put_le(bytes + 24, allocations, 8);
    put_le(bytes + 32, n, 8);
    put_le(bytes + 40, trace_checksum(TRACE_CHECKSUM_START, body, n), 8);
    put_le(bytes + 48, trace_checksum(TRACE_CHECKSUM_START, bytes, 48), 8);
    memcpy(bytes + TRACE_HEADER_BYTES, body, n);
    spill(bytes, TRACE_HEADER_BYTES + n);
    free(bytes);
}

static void assert_op(const struct trace_op *op, int call, uint64_t size, uint32_t seq, int flags)
{
    assert_int_equal(op->call, call);
    assert_int_equal(op->size, size);
    assert_int_equal(op->seq, seq);
    assert_int_equal(op->flags, flags);
}

/* Every call, two threads named by odd numbers, one block handed over, one left. */
static void test_round_trip(void **state)
{
    (void)state;
    struct trace t;
    struct trace_writer *w = trace_writer_open(file);
    assert_non_null(w);
    uint32_t a = trace_write_alloc(w, 7, TRACE_MALLOC, 24, 0);
    uint32_t b = trace_write_alloc(w, 7, TRACE_CALLOC, 1000000, 0);
    uint32_t c = trace_write_alloc(w, 3, TRACE_ALIGNED, 0, 12);
    trace_write_free(w, 3, a);
    uint32_t d = trace_write_realloc(w, 7, b, (uint64_t)5 << 40);
    trace_write_free(w, 7, d);
    trace_write_end(w, 3);
    uint32_t e = trace_write_alloc(w, 7, TRACE_MALLOC, 31, 0);
    assert_int_equal(trace_writer_calls(w), 7);
    assert_int_equal(trace_writer_threads(w), 2);
    assert_int_equal(trace_writer_close(w), 0);
    assert_true(a == 0 && b == 1 && c == 2 && d == 3 && e == 4);

    load(&t);
    assert_int_equal(t.threads, 2);
    assert_int_equal(t.ops, 7);
    assert_int_equal(t.allocations, 5);
    assert_int_equal(t.left, 2);
    assert_int_equal(t.peak_bytes, (uint64_t)5 << 40);
    assert_int_equal(t.peak_blocks, 3);
    const struct trace_thread *one = &t.thread[0], *two = &t.thread[1];
    assert_int_equal(one->count, 5);
    assert_int_equal(two->count, 2);
    assert_op(&one->ops[0], TRACE_MALLOC, 24, 0, TRACE_TO_OTHER);
    assert_op(&one->ops[1], TRACE_CALLOC, 1000000, 1, 0);
    assert_op(&one->ops[2], TRACE_REALLOC, (uint64_t)5 << 40, 4, 0);
    assert_op(&one->ops[3], TRACE_FREE, 0, 5, 0);
    assert_op(&one->ops[4], TRACE_MALLOC, 31, 6, 0);
    assert_op(&two->ops[0], TRACE_ALIGNED, 0, 2, 0);
    assert_op(&two->ops[1], TRACE_FREE, 0, 3, TRACE_FROM_OTHER);
    assert_int_equal(two->ops[0].align_log2, 12);
    assert_int_equal(two->ops[1].block, one->ops[0].block);
    assert_int_equal(one->ops[2].old_block, one->ops[1].block);
    assert_int_equal(one->ops[3].block, one->ops[2].block);
    assert_true(one->birth == 0 && one->end == 7);
    assert_true(two->birth == 2 && two->end == 6);
    assert_true(two->starter == 0 && two->starter_ops == 2);
    trace_unload(&t);
    assert_null(t.memory);
}

static void test_missing(void **state)
{
    (void)state;
    unlink(file);
    refuse("No such file");
    assert_null(trace_writer_open("no/such/directory/trace"));
}

static void test_abandon(void **state)
{
    (void)state;
    unlink(file);
    struct trace_writer *w = trace_writer_open(file);
    trace_write_alloc(w, 0, TRACE_MALLOC, 1, 0);
    trace_writer_abandon(w);
    refuse("No such file");
}

/* Some thousand calls of several threads, drawn at random but valid. */
static void write_random(unsigned threads, unsigned calls, unsigned seed)
{
    uint32_t *live = malloc(calls * sizeof *live);
    size_t n = 0;
    struct trace_writer *w = trace_writer_open(file);
    assert_non_null(w);
    srand(seed);
    for (unsigned i = 0; i < calls; i++) {
        uint32_t thread = (uint32_t)rand() % threads;
        size_t at = n ? (size_t)rand() % n : 0;
        int what = rand() % 10;
        if (n == 0 || what < 5) {
            live[n++] = trace_write_alloc(w, thread, TRACE_MALLOC, (uint64_t)rand() % 5000, 0);
        } else if (what == 5) {
            live[at] = trace_write_realloc(w, thread, live[at], (uint64_t)rand() % 5000);
        } else {
            trace_write_free(w, thread, live[at]);
            live[at] = live[--n];
        }
    }
    assert_int_equal(trace_writer_close(w), 0);
    free(live);
}

/*
 * A replay that takes the threads in an order of its own: each thread runs until it has to wait.
 * It must get to the end, and every entry must be empty before it is filled and full before it is
 * emptied, by the thread that may.
 */
static void replay(const struct trace *t, bool backwards, unsigned burst)
{
    uint32_t *owner = calloc(t->blocks, sizeof *owner);
    bool *full = calloc(t->blocks, sizeof *full), *handed = calloc(t->blocks, sizeof *handed);
    size_t *at = calloc(t->threads, sizeof *at), done = 0, left = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (unsigned k = 0; k < t->threads; k++) {
            unsigned i = backwards ? t->threads - 1 - k : k;
            for (unsigned n = 0; n < burst && at[i] < t->thread[i].count; n++) {
                const struct trace_op *op = &t->thread[i].ops[at[i]];
                uint32_t gone = op->call == TRACE_REALLOC ? op->old_block : op->block;
                bool gives_up = op->call == TRACE_FREE || op->call == TRACE_REALLOC;
                if (gives_up && (op->flags & TRACE_FROM_OTHER) && !full[gone])
                    break;
                if (gives_up) {
                    assert_true(full[gone]);
                    assert_true((op->flags & TRACE_FROM_OTHER) ? handed[gone] && owner[gone] != i
                                : !handed[gone] && owner[gone] == i);
                    full[gone] = false;
                }
                if (op->call != TRACE_FREE) {
                    assert_in_range(op->block, 0, t->blocks - 1);
                    assert_false(full[op->block]);
                    assert_false(handed[op->block]);
                    full[op->block] = true;
                    owner[op->block] = i;
                    handed[op->block] = (op->flags & TRACE_TO_OTHER) != 0;
                }
                at[i]++;
                done++;
                moved = true;
            }
        }
    }
    assert_int_equal(done, t->ops);
    for (uint32_t i = 0; i < t->blocks; i++)
        left += full[i];
    assert_int_equal(left, t->left);
    free(at);
    free(handed);
    free(full);
    free(owner);
}

static void test_any_order(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        struct trace t;
        write_random(1 + seed % 7, 3000, seed);
        load(&t);
        for (unsigned burst = 1; burst < 5000; burst = burst * 3 + 1) {
            replay(&t, false, burst);
            replay(&t, true, burst);
        }
        trace_unload(&t);
    }
}

/* A thread's own blocks take turns on few numbers; a block handed over keeps its number. */
static void test_numbers(void **state)
{
    (void)state;
    struct trace t;
    struct trace_writer *w = trace_writer_open(file);
    for (int i = 0; i < 1000; i++)
        trace_write_free(w, 0, trace_write_alloc(w, 0, TRACE_MALLOC, 8, 0));
    for (int i = 0; i < 10; i++)
        trace_write_free(w, 1, trace_write_alloc(w, 0, TRACE_MALLOC, 8, 0));
    assert_int_equal(trace_writer_close(w), 0);
    load(&t);
    assert_int_equal(t.blocks, 1 + 10);
    assert_int_equal(t.peak_bytes, 8);
    trace_unload(&t);
}

static void test_truncation(void **state)
{
    (void)state;
    unsigned char *bytes;
    write_random(3, 200, 1);
    size_t n = slurp(&bytes);
    for (size_t keep = 0; keep < n; keep++) {
        spill(bytes, keep);
        refuse(keep < TRACE_HEADER_BYTES ? "not a trace" : "cut short");
    }
    bytes = realloc(bytes, n + 1);
    bytes[n] = 0;
    spill(bytes, n + 1);
    refuse("more in it");
    free(bytes);
}

static void test_corruption(void **state)
{
    (void)state;
    unsigned char *bytes;
    write_random(3, 200, 2);
    size_t n = slurp(&bytes);
    for (size_t i = 0; i < n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (unsigned char)(1 << bit);
            spill(bytes, n);
            refuse(i < 8 ? "not a trace" : i < 12 ? "another version"
                   : i < TRACE_HEADER_BYTES ? "the header is damaged" : "the file is damaged");
            bytes[i] ^= (unsigned char)(1 << bit);
        }
    }
    free(bytes);
}

/* Damage under a right checksum: nothing may crash, and what loads must be replayable. */
static void test_forgery(void **state)
{
    (void)state;
    struct trace t;
    unsigned char *bytes;
    unsigned loaded = 0;
    write_random(3, 100, 3);
    size_t n = slurp(&bytes) - TRACE_HEADER_BYTES;
    load(&t);
    uint64_t ops = t.ops, allocations = t.allocations;
    trace_unload(&t);
    srand(4);
    for (int i = 0; i < 20000; i++) {
        unsigned char *forged = malloc(n);
        memcpy(forged, bytes + TRACE_HEADER_BYTES, n);
        for (int k = rand() % 3; k >= 0; k--)
            forged[(size_t)rand() % n] = (unsigned char)rand();
        spill_body(forged, n, 3, ops, allocations);
        if (trace_load(file, &t, err, sizeof err) == 0) {
            loaded++;
            replay(&t, i & 1, 10);
            trace_unload(&t);
        }
        free(forged);
    }
    assert_true(loaded > 0);
    free(bytes);
}

#define EVENT(kind, value) ((value) << TRACE_KIND_BITS | (kind))

static void test_streams(void **state)
{
    (void)state;
    static const struct {
        const char *why;
        uint32_t threads;
        uint64_t ops, allocations;
        size_t n;
        unsigned char body[16];
    } bad[] = {
        { "without calls", 0, 0, 0, 0, { 0 } },
        { "makes no sense", 1, 9, 1, 1, { EVENT(1, 8) } },
        { "makes no sense", 9, 1, 1, 1, { EVENT(1, 8) } },
        { "makes no sense", 1, 1, 9, 1, { EVENT(1, 8) } },
        { "unknown kind", 1, 1, 1, 1, { EVENT(0, 8) } },
        { "before it is allocated", 1, 1, 0, 1, { EVENT(4, 0) } },
        { "before it is allocated", 1, 2, 1, 2, { EVENT(1, 8), EVENT(4, 1) } },
        { "given up twice", 1, 3, 1, 3, { EVENT(1, 8), EVENT(4, 0), EVENT(4, 0) } },
        { "given up twice", 1, 3, 2, 4, { EVENT(1, 8), EVENT(3, 0), 16, EVENT(4, 1) } },
        { "before it is allocated", 1, 1, 1, 2, { EVENT(3, 0), 16 } },
        { "more calls", 1, 1, 1, 2, { EVENT(1, 8), EVENT(4, 0) } },
        { "more allocations", 1, 2, 1, 2, { EVENT(1, 8), EVENT(1, 8) } },
        { "less in it", 1, 2, 2, 2, { EVENT(1, 8), EVENT(6, 0) } },
        { "less in it", 2, 2, 2, 2, { EVENT(1, 8), EVENT(1, 8) } },
        { "out of order", 2, 2, 1, 2, { EVENT(6, 1), EVENT(1, 8) } },
        { "out of order", 1, 2, 2, 3, { EVENT(1, 8), EVENT(6, 1), EVENT(1, 8) } },
        { "ends that does not run", 1, 1, 1, 2, { EVENT(7, 0), EVENT(1, 8) } },
        { "ends that does not run", 1, 1, 1, 3, { EVENT(1, 8), EVENT(7, 0), EVENT(7, 0) } },
        { "after its end", 1, 2, 2, 3, { EVENT(1, 8), EVENT(7, 0), EVENT(1, 8) } },
        { "cut short", 1, 1, 1, 1, { EVENT(1, 31) } },
        { "cut short", 1, 1, 1, 3, { EVENT(1, 31), 0x80, 0x80 } },
        { "cut short", 1, 1, 1, 1, { EVENT(5, 4) } },
        { "impossible", 1, 1, 1, 3, { EVENT(5, 31), 20, 0 } },
        { "impossible", 1, 1, 1, 11, { EVENT(1, 31), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                       0xff, 0 } },
        { "too long", 1, 1, 1, 11, { EVENT(1, 31), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xff, 1 } },
        { "too long", 1, 1, 1, 12, { EVENT(1, 31), 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
                                     0x80, 0x80, 0 } },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        spill_body(bad[i].body, bad[i].n, bad[i].threads, bad[i].ops, bad[i].allocations);
        refuse(bad[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_missing),
        cmocka_unit_test(test_abandon), cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_corruption), cmocka_unit_test(test_forgery),
        cmocka_unit_test(test_streams),
    };
    return cmocka_run_group_tests(tests, make_name, remove_file);
}
