/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * soak_day: the days of a server, in quick motion.
 *
 * The simulated clock goes in steps. What is done in a step depends on the seed and the number of
 * the step alone, and a step begins when the one before is done; so every allocator gets the same
 * calls, and has the same blocks live at each sample. A step that is done early waits for its time,
 * and a step that takes longer delays the rest.
 *
 * Days go from 6:00 to 6:00. From 2:00 to 5:00 and from 13:00 to 14:00, once what was handed over
 * is freed, nobody calls the allocator.
 */
#include "figures_latency.h"
#include "soak_crew.h"
#include "soak_requests.h"

enum {
    BURST_ONE_IN = 24, BURST_PERCENT = 300,     /* steps with many requests */
    USUAL_LEAST = 50, USUAL_MORE = 101,         /* percent, in the others */
    TURNOVER_MINUTES = 6 * 60                   /* after which as many sessions have come anew */
};

/* Percent of --requests, from midnight on; 0: idle. And percent of --sessions. */
static const unsigned char load[24] = {
    20, 10, 0, 0, 0, 5, 10, 30, 60, 90, 100, 100, 60, 0, 70, 90, 100, 90, 70, 60, 60, 50, 40, 30
};
static const unsigned char sessions[24] = {
    25, 12, 5, 5, 5, 5, 8, 15, 30, 50, 70, 85, 90, 80, 90, 100, 100, 90, 80, 75, 70, 60, 50, 40
};

struct place {
    struct soak_slot slot;
    uint64_t quota, done;       /* requests in this step */
    uint64_t add, added, expire, expired; /* sessions in this step */
    uint64_t age;               /* requests that the present thread has answered */
    bool at_it;                 /* the step has begun for this place */
};

struct day {
    const struct soak_options *options;
    struct soak_crew crew;
    struct soak_mix mix;
    unsigned turn;              /* the number of jobs handed out */
    bool settled;               /* nothing is under way between places */
    double hour;                /* at which this step begins */
    uint64_t quota, sessions;   /* of each place, in this step */
    struct place *place;
};

/* Requests of a place in step number `step`, which begins at d->hour. */
static uint64_t quota_of(const struct day *d, uint64_t step)
{
    const struct soak_options *o = d->options;
    uint64_t random = work_mix(o->seed * 0x9E3779B97F4A7C15u + step);
    uint64_t percent = USUAL_LEAST + work_below(random, USUAL_MORE);
    uint64_t full = o->requests * load[(unsigned)d->hour % 24] / 100 * o->step / 60;

    if (random % BURST_ONE_IN == 0)
        percent = BURST_PERCENT;
    return 1 + full * percent / 100 / o->threads;
}

/* Sessions of a place at the hour, on a line between the whole hours. */
static uint64_t sessions_at(const struct day *d)
{
    unsigned h = (unsigned)d->hour;
    double part = d->hour - h;
    double percent = sessions[h % 24] * (1.0 - part) + sessions[(h + 1) % 24] * part;

    return 1 + (uint64_t)((double)d->options->sessions * percent / 100.0)
             / d->options->threads;
}

static void place_begin(const struct day *d, unsigned member)
{
    struct place *p = &d->place[member];
    uint64_t count = p->slot.sessions.count;
    uint64_t turnover = count * d->options->step / TURNOVER_MINUTES;

    p->at_it = true;
    p->quota = d->quota;
    p->done = p->added = p->expired = 0;
    p->add = turnover + (d->sessions > count ? d->sessions - count : 0);
    p->expire = turnover + (d->sessions < count ? count - d->sessions : 0);
    soak_take_over(&d->place[(member + 1) % d->options->threads].slot, d->turn);
}

/* Sessions come and go all through the step. */
static void place_sessions(const struct day *d, struct place *p)
{
    struct soak_slot *s = &p->slot;

    for (; p->added < p->add * p->done / p->quota; p->added++)
        soak_sessions_add(&s->sessions, &s->random, d->mix.least, d->mix.most);
    for (; p->expired < p->expire * p->done / p->quota; p->expired++)
        soak_sessions_expire(&s->sessions, &s->random);
}

static bool place_step(void *arg, unsigned member)
{
    const struct day *d = arg;
    struct place *p = &d->place[member];

    if (!p->at_it)
        place_begin(d, member);
    while (p->done < p->quota) {
        if (p->age == d->options->recycle) {
            p->age = 0;
            return false;
        }
        soak_request(&p->slot, &d->mix, d->turn);
        p->age++;
        p->done++;
        place_sessions(d, p);
    }
    p->at_it = false;
    return true;
}

/* The last before an idle phase: so nothing large is left lying there, or is, by chance. */
static bool place_settle(void *arg, unsigned member)
{
    const struct day *d = arg;

    soak_take_over(&d->place[(member + 1) % d->options->threads].slot, d->turn);
    return true;
}

static uint64_t requests_of(const struct day *d)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < d->options->threads; i++)
        sum += d->place[i].slot.requests;
    return sum;
}

static void day_step(struct day *d, uint64_t step)
{
    struct soak_summary *summary = &soak_run_state.record->summary;
    uint64_t all = soak_crew_first((unsigned)d->options->threads);
    uint64_t before = figures_now_ns();
    bool idle;

    d->hour = SOAK_START_HOUR + (double)(step * d->options->step) / 60.0;
    d->mix = soak_mix_at(d->hour);
    idle = load[(unsigned)d->hour % 24] == 0;
    if (idle && d->settled)
        return;
    d->settled = idle;
    d->turn++;
    d->quota = quota_of(d, step);
    d->sessions = sessions_at(d);
    soak_crew_run(&d->crew, all, idle ? place_settle : place_step, d);
    summary->busy_ns += figures_now_ns() - before;
}

void soak_day(void)
{
    static struct day d;
    const struct soak_options *o = &soak_run_state.options;
    uint64_t steps = soak_steps(o);

    d.options = o;
    d.place = soak_map(o->threads * sizeof(d.place[0]));
    for (unsigned i = 0; i < o->threads; i++)
        d.place[i].slot.random = work_mix(work_mix(o->seed + 1) + i);
    soak_begin();
    soak_crew_start(&d.crew, (unsigned)o->threads);
    for (uint64_t step = 0; step < steps; step++) {
        day_step(&d, step);
        soak_sleep_until(o->seconds * (double)(step + 1) / (double)steps);
        soak_sample(d.hour + (double)o->step / 60.0, requests_of(&d), "%s",
                    load[(unsigned)d.hour % 24] == 0 ? "idle" : "busy");
    }
    soak_run_state.record->summary.requests = requests_of(&d);
}
