/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_shapes: patterns in which what is left of much memory lies in the way, and one in which
 * nothing is left. One thread, but for the last.
 */
#include <string.h>

#include "soak_crew.h"
#include "soak_work.h"

enum {
    SPARSE_BLOCKS = 2000000, SPARSE_LEFT = 1000,
    SMALL_BLOCKS = 4000000, SMALL_LEFT = 10,
    STRINGS = 20000, STRING_MOST = 64 << 10, STRING_FIRST = 24, GENERATIONS = 4,
    PEAK_MIB = 1024, PEAK_THREADS = 4
};

static void fill(struct soak_block *b, size_t count, size_t least, size_t most, uint64_t *random)
{
    for (size_t i = 0; i < count; i++)
        b[i] = soak_new(least + work_below(work_random(random), (uint32_t)(most - least + 1)));
}

/* Frees all but one in so many, at random. Returns the bytes that were freed. */
static size_t thin_out(struct soak_block *b, size_t count, unsigned left, uint64_t *random)
{
    size_t freed = 0;

    for (size_t i = 0; i < count; i++)
        if (work_below(work_random(random), left) != 0) {
            freed += b[i].size;
            soak_end(&b[i]);
        }
    return freed;
}

/* Uniform sizes of 16 to 1,024 bytes, of which one in a thousand stays. */
void soak_sparse(void)
{
    size_t count = soak_scaled(SPARSE_BLOCKS);
    struct soak_block *b = soak_map(count * sizeof(*b));
    uint64_t random = work_mix(soak_run_state.options.seed);

    soak_begin();
    fill(b, count, 16, 1024, &random);
    soak_sample(0.0, 0, "filled");
    thin_out(b, count, SPARSE_LEFT, &random);
    soak_sample(0.0, 0, "1 in 1000 left");
    soak_idle(soak_run_state.options.idle);
}

/* Nine in ten blocks of 16 to 128 bytes go; what was free then serves, or not, larger blocks. */
void soak_sizes(void)
{
    size_t count = soak_scaled(SMALL_BLOCKS);
    struct soak_block *small = soak_map(count * sizeof(*small));
    struct soak_block *large = soak_map(count * sizeof(*large));
    uint64_t random = work_mix(soak_run_state.options.seed);
    size_t freed;
    size_t taken = 0;

    soak_begin();
    fill(small, count, 16, 128, &random);
    soak_sample(0.0, 0, "16 to 128 bytes");
    freed = thin_out(small, count, SMALL_LEFT, &random);
    soak_sample(0.0, 0, "1 in 10 left");
    for (size_t i = 0; taken < freed; i++) {
        large[i] = soak_new(256 + work_below(work_random(&random), 1793));
        taken += large[i].size;
    }
    soak_sample(0.0, 0, "256 to 2048 bytes");
    soak_idle(soak_run_state.options.idle);
}

/*
 * A string is made in one go or, as most are, by appending: its buffer doubles. Then it is cut to
 * its length. Strings grow in turn, so that one's old buffers lie between the others' new ones.
 */
static void make_strings(struct soak_block *b, size_t count, uint64_t *random, uint32_t *length)
{
    bool growing = true;

    for (size_t i = 0; i < count; i++)
        if (b[i].p == NULL) {
            length[i] = (uint32_t)soak_size(work_random(random), STRING_FIRST, STRING_MOST);
            b[i] = soak_new(work_random(random) % 4 == 0 ? length[i] : STRING_FIRST);
        }
    while (growing) {
        growing = false;
        for (size_t i = 0; i < count; i++)
            if (b[i].size < length[i]) {
                soak_grow(&b[i], 2 * b[i].size);
                growing = true;
            }
    }
}

static void cut_strings(struct soak_block *b, size_t count, const uint32_t *length)
{
    for (size_t i = 0; i < count; i++)
        if (b[i].size > length[i])
            soak_grow(&b[i], length[i]);
}

/* Half of the strings, at random, make way for new ones, over and over. */
void soak_strings(void)
{
    size_t count = soak_scaled(STRINGS);
    struct soak_block *b = soak_map(count * sizeof(*b));
    uint32_t *length = soak_map(count * sizeof(*length));
    uint64_t random = work_mix(soak_run_state.options.seed);

    soak_begin();
    for (unsigned generation = 1; generation <= GENERATIONS; generation++) {
        make_strings(b, count, &random, length);
        soak_sample(0.0, 0, "grown %u", generation);
        cut_strings(b, count, length);
        soak_sample(0.0, 0, "cut %u", generation);
        thin_out(b, count, 2, &random);
        soak_sample(0.0, 0, "half left %u", generation);
    }
    soak_idle(soak_run_state.options.idle);
}

struct peak {
    size_t bytes;               /* for each thread */
    size_t room;
    struct soak_block *block[PEAK_THREADS];
    size_t count[PEAK_THREADS];
};

static bool peak_up(void *arg, unsigned member)
{
    struct peak *peak = arg;
    uint64_t random = work_mix(work_mix(soak_run_state.options.seed) + member);
    size_t bytes = 0;

    while (bytes < peak->bytes && peak->count[member] < peak->room) {
        struct soak_block b = soak_new(soak_size(work_random(&random), 16, 64 << 10));

        peak->block[member][peak->count[member]++] = b;
        bytes += b.size;
    }
    return true;
}

static bool peak_down(void *arg, unsigned member)
{
    struct peak *peak = arg;

    soak_end_all(peak->block[member], peak->count[member]);
    return true;
}

/* Threads take a GiB in blocks of 16 bytes to 64 KiB, free it, and live on. */
void soak_idle_peak(void)
{
    static struct peak peak;
    static struct soak_crew crew;
    static const double parts[] = { 0.1, 0.2, 0.5 };
    double idle = soak_run_state.options.idle;
    double freed;

    peak.bytes = soak_scaled((size_t)PEAK_MIB << 20) / PEAK_THREADS;
    peak.room = peak.bytes / 1024 + 1; /* the mean is eight times that */
    for (unsigned i = 0; i < PEAK_THREADS; i++)
        peak.block[i] = soak_map(peak.room * sizeof(*peak.block[i]));
    soak_begin();
    soak_crew_start(&crew, PEAK_THREADS);
    soak_crew_run(&crew, soak_crew_first(PEAK_THREADS), peak_up, &peak);
    soak_sample(0.0, 0, "peak");
    soak_crew_run(&crew, soak_crew_first(PEAK_THREADS), peak_down, &peak);
    soak_sample(0.0, 0, "freed");
    freed = soak_now();
    for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        soak_sleep_until(freed + parts[i] * idle);
        soak_sample(0.0, 0, "idle %g s", parts[i] * idle);
    }
    soak_sleep_until(freed + idle);
    soak_sample(0.0, 0, "idle");
}
