/* SPDX-License-Identifier: BSD-2-Clause */
#include "pagebench_results.h"

#include "figures_stats.h"

enum { ROUNDS_MOST = 1000 };

struct pagebench_record *pagebench_at(const struct pagebench_results *r, unsigned series,
                                      unsigned allocator, unsigned round)
{
    size_t row = (size_t)series * r->allocators.count + allocator;

    return &r->records[row * r->options->rounds + round];
}

bool pagebench_takes_part(const struct pagebench_results *r, unsigned series, unsigned allocator)
{
    const struct pagebench_special *special = r->special[allocator];

    if (r->allocators.choice[allocator].missing[0] != '\0')
        return false;
    if (special == NULL)
        return true;
    return r->series[series].test == TEST_RING ? special->rings : special->grows;
}

/* One figure of a record; negative: it has none. */
static double part_time(const struct pagebench_record *record, int part, unsigned bin,
                        enum pagebench_kind kind)
{
    const struct pagebench_figure *f = &record->part[part][bin];

    if (f->count == 0)
        return -1.0;
    return kind == KIND_MEAN ? f->mean_ns : f->p50_ns;
}

static double record_time(const struct pagebench_record *record, int part, unsigned bin,
                          enum pagebench_kind kind)
{
    double first;
    double second;

    if (part != PAGEBENCH_PARTS)
        return part_time(record, part, bin, kind);
    first = part_time(record, PAGEBENCH_FIRST, bin, kind);
    second = part_time(record, PAGEBENCH_SECOND, bin, kind);
    return first < 0.0 || second < 0.0 ? -1.0 : first + second;
}

double pagebench_time(const struct pagebench_results *r, unsigned series, unsigned allocator,
                      int part, unsigned bin, enum pagebench_kind kind)
{
    double values[ROUNDS_MOST];
    unsigned count = 0;

    if (!pagebench_takes_part(r, series, allocator))
        return -1.0;
    for (unsigned round = 0; round < r->options->rounds; round++) {
        const struct pagebench_record *record = pagebench_at(r, series, allocator, round);
        double time = record_time(record, part, bin, kind);

        if (record->error[0] == '\0' && time >= 0.0)
            values[count++] = time;
    }
    return count > 0 ? figures_median(values, count) : -1.0;
}

static double whole(const struct pagebench_results *r, unsigned series, unsigned allocator,
                    bool peak)
{
    double values[ROUNDS_MOST];
    unsigned count = 0;

    if (!pagebench_takes_part(r, series, allocator))
        return -1.0;
    for (unsigned round = 0; round < r->options->rounds; round++) {
        const struct pagebench_record *record = pagebench_at(r, series, allocator, round);

        if (record->error[0] == '\0')
            values[count++] = (double)(peak ? record->rss_peak : record->faults);
    }
    return count > 0 ? figures_median(values, count) : -1.0;
}

double pagebench_faults(const struct pagebench_results *r, unsigned series, unsigned allocator)
{
    return whole(r, series, allocator, false);
}

double pagebench_peak(const struct pagebench_results *r, unsigned series, unsigned allocator)
{
    return whole(r, series, allocator, true);
}

unsigned pagebench_failures(const struct pagebench_results *r)
{
    unsigned failures = 0;

    for (unsigned a = 0; a < r->allocators.count; a++) {
        if (r->allocators.choice[a].missing[0] != '\0' && !r->allocators.choice[a].optional)
            failures++;
        for (unsigned s = 0; s < r->series_count; s++)
            for (unsigned round = 0; round < r->options->rounds; round++)
                if (pagebench_takes_part(r, s, a)
                    && pagebench_at(r, s, a, round)->error[0] != '\0')
                    failures++;
    }
    return failures;
}
