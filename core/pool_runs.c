/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool_runs.h"

/* Bins are numbered as the lengths are, up to 2^(STEPS + 1) - 1; then 2^STEPS to a doubling. */
enum {
    STEPS = 3,
    LENGTHS = OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT + 1, /* of different powers of two */
    BINS = (LENGTHS - STEPS + 1) << STEPS,
    WORDS = (BINS + 63) / 64
};

_Static_assert(LENGTHS <= 32, "a length fits 32 bits");

struct list {
    struct owl_span *first, *last; /* newest, oldest */
};

struct lists {
    uint64_t filled[WORDS]; /* bit b: list b is not empty */
    struct list bins[BINS];
};

static struct lists all[OWL_BACKINGS][OWL_RUN_STATES];
static size_t granules_of[OWL_RUN_STATES];

static const uint8_t mark_of[OWL_RUN_STATES] = {
    [OWL_RUN_DIRTY] = OWL_FREE_DIRTY,
    [OWL_RUN_CLEAN] = OWL_FREE_CLEAN,
};

/* The bin of a length; in higher ones all runs are longer. */
static unsigned bin_of(size_t granules)
{
    if (granules < (size_t)2 << STEPS)
        return (unsigned)granules;
    unsigned shift = 63 - STEPS - (unsigned)__builtin_clzl(granules);
    return (shift << STEPS) + (unsigned)(granules >> shift);
}

/* The first bin from `bin` on that is not empty; BINS: there is none. */
static unsigned filled_from(const struct lists *l, unsigned bin)
{
    if (bin >= BINS)
        return BINS;
    unsigned word = bin / 64;
    uint64_t bits = l->filled[word] & ~(uint64_t)0 << bin % 64;
    while (bits == 0 && ++word < WORDS)
        bits = l->filled[word];
    return bits == 0 ? BINS : word * 64 + (unsigned)__builtin_ctzl(bits);
}

/* The last one below `bin`; BINS: there is none. */
static unsigned filled_below(const struct lists *l, unsigned bin)
{
    while (bin > 0) {
        unsigned word = (bin - 1) / 64;
        uint64_t bits = l->filled[word] & ~(uint64_t)0 >> (63 - (bin - 1) % 64);
        if (bits != 0)
            return word * 64 + 63 - (unsigned)__builtin_clzl(bits);
        bin = word * 64;
    }
    return BINS;
}

static struct lists *lists_of(const struct owl_span *s, enum owl_run_state state)
{
    return &all[owl_ranges[s->range].backing][state];
}

/* In the index, with tags, and without regard to neighbours. */
static void insert(struct owl_span *s, size_t granules, enum owl_run_state state, bool remapped)
{
    struct lists *l = lists_of(s, state);
    unsigned bin = bin_of(granules);
    struct list *list = &l->bins[bin];
    struct owl_span *last = s + granules - 1;
    last->run = s->run = (uint32_t)granules;
    last->free = s->free = mark_of[state];
    s->remapped = remapped;
    s->previous = NULL;
    s->next = list->first;
    if (list->first != NULL)
        list->first->previous = s;
    else
        list->last = s;
    list->first = s;
    l->filled[bin / 64] |= (uint64_t)1 << bin % 64;
    granules_of[state] += granules;
}

static void extract(struct owl_span *s, enum owl_run_state state)
{
    struct lists *l = lists_of(s, state);
    unsigned bin = bin_of(s->run);
    struct list *list = &l->bins[bin];
    if (s->previous != NULL)
        s->previous->next = s->next;
    else
        list->first = s->next;
    if (s->next != NULL)
        s->next->previous = s->previous;
    else
        list->last = s->previous;
    if (list->first == NULL)
        l->filled[bin / 64] &= ~((uint64_t)1 << bin % 64);
    granules_of[state] -= s->run;
    s[s->run - 1].free = OWL_FREE_NOT;
    s->free = OWL_FREE_NOT;
}

size_t owl_runs_granules(enum owl_run_state state)
{
    return granules_of[state];
}

void owl_runs_add(struct owl_span *s, size_t granules, enum owl_run_state state, bool remapped)
{
    const struct owl_range *r = &owl_ranges[s->range];
    struct owl_span *after = owl_run_at(r, owl_span_index(s) + granules);
    struct owl_span *before = owl_run_before(r, owl_span_index(s));
    if (after != NULL && after->free == mark_of[state]) {
        extract(after, state);
        granules += after->run;
        remapped |= after->remapped;
    }
    if (before != NULL && before->free == mark_of[state]) {
        extract(before, state);
        granules += before->run;
        remapped |= before->remapped;
        s = before;
    }
    insert(s, granules, state, remapped);
}

struct owl_span *owl_runs_carve(struct owl_span *run, size_t offset, size_t granules)
{
    enum owl_run_state state = owl_run_state(run);
    struct owl_span *s = run + offset;
    size_t rest = run->run - offset - granules;
    bool remapped = run->remapped;
    extract(run, state);
    if (offset > 0)
        insert(run, offset, state, remapped);
    if (rest > 0) {
        s[granules].range = run->range;
        insert(s + granules, rest, state, remapped);
    }
    s->range = run->range;
    s->remapped = remapped;
    return s;
}

size_t owl_run_offset(const struct owl_span *run, unsigned align_order)
{
    return -owl_span_index(run) & (((size_t)1 << align_order) - 1);
}

/* The shortest of the first `look` runs of a list in which so many granules can be had. */
static struct owl_span *shortest(const struct list *list, size_t granules, unsigned align_order,
                                 size_t look)
{
    struct owl_span *best = NULL;
    for (struct owl_span *s = list->first; s != NULL && look > 0; s = s->next, look--) {
        if (s->run < granules || (best != NULL && s->run >= best->run) ||
            (align_order > 0 && s->run - granules < owl_run_offset(s, align_order)))
            continue;
        best = s;
        if (s->run == granules)
            break;
    }
    return best;
}

struct owl_span *owl_runs_find(enum owl_backing backing, enum owl_run_state state, size_t granules,
                               unsigned align_order, size_t look)
{
    const struct lists *l = &all[backing][state];
    struct owl_span *s = NULL;
    for (unsigned bin = filled_from(l, bin_of(granules)); bin < BINS && s == NULL;
         bin = filled_from(l, bin + 1))
        s = shortest(&l->bins[bin], granules, align_order, look);
    return s;
}

struct owl_span *owl_runs_find_high(enum owl_backing backing, enum owl_run_state state,
                                    size_t granules, size_t look)
{
    const struct lists *l = &all[backing][state];
    struct owl_span *high = NULL;
    for (unsigned bin = filled_below(l, BINS); bin != BINS && bin >= bin_of(granules);
         bin = filled_below(l, bin))
        for (struct owl_span *s = l->bins[bin].first; s != NULL && look > 0; s = s->next, look--)
            if (s->run >= granules &&
                (high == NULL || owl_span_address(s) > owl_span_address(high)))
                high = s;
    return high;
}

struct owl_span *owl_runs_largest(enum owl_run_state state)
{
    struct owl_span *largest = NULL;
    for (unsigned backing = 0; backing < OWL_BACKINGS; backing++) {
        const struct lists *l = &all[backing][state];
        unsigned bin = filled_below(l, BINS);
        if (bin != BINS && (largest == NULL || bin > bin_of(largest->run)))
            largest = l->bins[bin].last;
    }
    return largest;
}

struct owl_span *owl_run_before(const struct owl_range *r, size_t index)
{
    if (index == 0 || r->map[index - 1].free == OWL_FREE_NOT)
        return NULL;
    return &r->map[index - r->map[index - 1].run];
}

struct owl_span *owl_run_at(const struct owl_range *r, size_t index)
{
    return index < r->top && r->map[index].free != OWL_FREE_NOT ? &r->map[index] : NULL;
}

size_t owl_runs_begin(const struct owl_range *r, size_t index, size_t least)
{
    const struct owl_span *s;
    while (index > least && (s = owl_run_before(r, index)) != NULL)
        index -= s->run;
    return index;
}

size_t owl_runs_end(const struct owl_range *r, size_t index, size_t most)
{
    const struct owl_span *s;
    while (index < most && (s = owl_run_at(r, index)) != NULL)
        index += s->run;
    return index;
}

bool owl_runs_carve_all(const struct owl_range *r, size_t run, size_t from, size_t to)
{
    bool remapped = false;
    while (from < to) {
        struct owl_span *s = &r->map[run];
        size_t end = run + s->run < to ? run + s->run : to;
        remapped |= owl_runs_carve(s, from - run, end - from)->remapped;
        run = from = end;
    }
    return remapped;
}

struct owl_span *owl_runs_remove_all(enum owl_backing backing)
{
    struct owl_span *chain = NULL;
    for (enum owl_run_state state = 0; state < OWL_RUN_STATES; state++) {
        const struct lists *l = &all[backing][state];
        for (unsigned bin = filled_from(l, 0); bin < BINS; bin = filled_from(l, bin)) {
            struct owl_span *s = l->bins[bin].first;
            extract(s, state);
            s->next = chain;
            chain = s;
        }
    }
    return chain;
}

static bool run_is_valid(const struct owl_span *s, enum owl_backing backing,
                         enum owl_run_state state, unsigned bin)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t index = owl_span_index(s);
    if (s->free != mark_of[state] || s->run == 0 || index + s->run > r->top)
        return false;
    const struct owl_span *last = s + s->run - 1;
    const struct owl_span *before = owl_run_before(r, index);
    const struct owl_span *after = owl_run_at(r, index + s->run);
    return bin_of(s->run) == bin && r->backing == backing && last->free == s->free &&
           last->run == s->run && (before == NULL || before->free != s->free) &&
           (after == NULL || after->free != s->free) &&
           (state == OWL_RUN_DIRTY || s->remapped == 0);
}

/* Adds up the granules and the tags of the list's runs. */
static bool list_is_valid(enum owl_backing backing, enum owl_run_state state, unsigned bin,
                          size_t *granules, size_t *tags)
{
    const struct lists *l = &all[backing][state];
    const struct owl_span *previous = NULL;
    for (const struct owl_span *s = l->bins[bin].first; s != NULL; s = s->next) {
        if (s->previous != previous || !run_is_valid(s, backing, state, bin))
            return false;
        *granules += s->run;
        *tags += s->run > 1 ? 2 : 1;
        previous = s;
    }
    return l->bins[bin].last == previous &&
           (previous != NULL) == (l->filled[bin / 64] >> bin % 64 & 1);
}

static bool lists_are_valid(size_t *tags)
{
    bool valid = true;
    for (enum owl_run_state state = 0; state < OWL_RUN_STATES; state++) {
        size_t found = 0;
        for (enum owl_backing backing = 0; backing < OWL_BACKINGS; backing++)
            for (unsigned bin = 0; bin < BINS; bin++)
                valid = valid && list_is_valid(backing, state, bin, &found, tags);
        valid = valid && found == granules_of[state];
    }
    return valid;
}

bool owl_runs_are_valid(void)
{
    size_t tags = 0;
    return lists_are_valid(&tags);
}

bool owl_runs_are_all(void)
{
    size_t tags = 0;
    size_t marked = 0;
    if (!lists_are_valid(&tags))
        return false;
    for (unsigned i = 0; i < owl_u32_load_relaxed(&owl_range_count); i++)
        for (size_t index = 0; index < owl_ranges[i].top; index++)
            marked += owl_ranges[i].map[index].free != OWL_FREE_NOT;
    return marked == tags;
}
