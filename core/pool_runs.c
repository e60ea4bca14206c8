/* SPDX-License-Identifier: BSD-2-Clause */
#include "pool_runs.h"

/* Bins are numbered as the lengths are, up to 2^(STEPS + 1) - 1; then 2^STEPS to a doubling. The
 * lists of a backing and state are a set, numbered one after the other. */
enum {
    STEPS = 3,
    LENGTHS = OWL_RANGE_MAX_SHIFT - OWL_GRANULE_SHIFT + 1, /* of different powers of two */
    BINS = (((LENGTHS - STEPS + 1) << STEPS) + 63) / 64 * 64,
    STATES = 2,
    LISTS = OWL_BACKINGS * STATES * BINS
};

_Static_assert(LENGTHS <= 32, "a length fits 32 bits");
_Static_assert(LISTS <= UINT16_MAX, "so does a list 16");
_Static_assert(OWL_FREE_CLEAN == OWL_FREE_DIRTY + STATES - 1, "two states");

struct list {
    struct owl_span *first, *last; /* newest, oldest */
};

static struct {
    size_t granules[OWL_FREE_CLEAN + 1]; /* of all runs of the state */
    uint64_t filled[LISTS / 64];         /* bit l: list l is not empty */
    struct list lists[LISTS];
} runs OWL_START;

/* The bin of a length; in higher ones all runs are longer. */
static unsigned bin_of(size_t granules)
{
    if (granules < (size_t)2 << STEPS)
        return (unsigned)granules;
    unsigned shift = 63 - STEPS - (unsigned)__builtin_clzl(granules);
    return (shift << STEPS) + (unsigned)(granules >> shift);
}

static unsigned set_of(enum owl_backing backing, enum owl_free state)
{
    return (backing * STATES + (state - OWL_FREE_DIRTY)) * BINS;
}

/* The first list from `list` on that is not empty; `end`, where the set ends: there is none. */
static unsigned filled_from(unsigned list, unsigned end)
{
    while (list < end) {
        uint64_t bits = runs.filled[list / 64] >> list % 64;
        if (bits != 0)
            return list + (unsigned)__builtin_ctzl(bits);
        list = (list | 63) + 1;
    }
    return end;
}

/* The last one below `list`, and not below `least`; LISTS: there is none. */
static unsigned filled_below(unsigned list, unsigned least)
{
    while (list > least) {
        uint64_t bits = runs.filled[(list - 1) / 64] << (63 - (list - 1) % 64);
        if (bits != 0) {
            list -= 1 + (unsigned)__builtin_clzl(bits);
            return list >= least ? list : LISTS;
        }
        list = (list - 1) & ~63u;
    }
    return LISTS;
}

/* In the index, with tags, and without regard to neighbours. */
static inline __attribute__((always_inline)) void insert(struct owl_span *s, size_t granules,
                                                         enum owl_free state, bool remapped)
{
    unsigned number = set_of(owl_backing_of(s->range), state) + bin_of(granules);
    struct list *list = &runs.lists[number];
    struct owl_span *last = s + granules - 1;
    last->run = s->run = (uint32_t)granules;
    last->free = s->free = (uint8_t)state;
    last->range = s->range;
    s->remapped = remapped;
    s->list = (uint16_t)number;
    s->previous = NULL;
    s->next = list->first;
    if (list->first != NULL) {
        list->first->previous = s;
    } else {
        list->last = s;
        runs.filled[number / 64] |= (uint64_t)1 << number % 64;
    }
    list->first = s;
    runs.granules[state] += granules;
}

static inline __attribute__((always_inline)) void extract(struct owl_span *s)
{
    struct list *list = &runs.lists[s->list];
    struct owl_span *next = s->next, *previous = s->previous;
    if (next != NULL)
        next->previous = previous;
    else
        list->last = previous;
    if (previous != NULL)
        previous->next = next;
    else
        list->first = next;
    if (list->first == NULL)
        runs.filled[s->list / 64] &= ~((uint64_t)1 << s->list % 64);
    runs.granules[s->free] -= s->run;
    s[s->run - 1].free = OWL_FREE_NOT;
    s->free = OWL_FREE_NOT;
}

size_t owl_runs_granules(enum owl_free state)
{
    return runs.granules[state];
}

void owl_runs_add(struct owl_span *s, size_t granules, enum owl_free state, bool remapped)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t index = (size_t)(s - r->map);
    struct owl_span *after = s + granules;
    if (index + granules < r->top && after->free == state) {
        extract(after);
        granules += after->run;
        remapped |= after->remapped;
    }
    if (index > 0 && s[-1].free == state) {
        s -= s[-1].run;
        extract(s);
        granules += s->run;
        remapped |= s->remapped;
    }
    insert(s, granules, state, remapped);
}

struct owl_span *owl_runs_carve(struct owl_span *run, size_t offset, size_t granules)
{
    enum owl_free state = run->free;
    struct owl_span *s = run + offset;
    size_t rest = run->run - offset - granules;
    bool remapped = run->remapped;
    extract(run);
    if (offset > 0) {
        insert(run, offset, state, remapped);
        s->range = run->range;
        s->remapped = remapped;
    }
    if (rest > 0) {
        s[granules].range = run->range;
        insert(s + granules, rest, state, remapped);
    }
    return s;
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

struct owl_span *owl_runs_find(enum owl_backing backing, enum owl_free state, size_t granules,
                               unsigned align_order, size_t look)
{
    unsigned set = set_of(backing, state);
    unsigned list = set + bin_of(granules);
    struct owl_span *s = runs.lists[list].first;
    if (s != NULL && s->run == granules && owl_run_offset(s, align_order) == 0)
        return s;
    s = NULL;
    while (s == NULL && (list = filled_from(list, set + BINS)) < set + BINS)
        s = shortest(&runs.lists[list++], granules, align_order, look);
    return s;
}

struct owl_span *owl_runs_find_high(enum owl_backing backing, enum owl_free state,
                                    size_t granules, size_t look)
{
    unsigned set = set_of(backing, state);
    unsigned least = set + bin_of(granules);
    struct owl_span *high = NULL;
    for (unsigned list = filled_below(set + BINS, least); list != LISTS;
         list = filled_below(list, least))
        for (struct owl_span *s = runs.lists[list].first; s != NULL && look > 0; s = s->next) {
            look--;
            if (s->run >= granules &&
                (high == NULL || owl_span_address(s) > owl_span_address(high)))
                high = s;
        }
    return high;
}

struct owl_span *owl_runs_largest(enum owl_backing backing, enum owl_free state)
{
    unsigned set = set_of(backing, state);
    unsigned list = filled_below(set + BINS, set);
    return list != LISTS ? runs.lists[list].last : NULL;
}

void owl_runs_each(enum owl_backing backing, enum owl_free state, size_t granules,
                   void (*visit)(const struct owl_span *run))
{
    unsigned set = set_of(backing, state);
    unsigned list = filled_from(set + bin_of(granules), set + BINS);
    for (; list < set + BINS; list = filled_from(list + 1, set + BINS))
        for (const struct owl_span *s = runs.lists[list].first; s != NULL; s = s->next)
            if (s->run >= granules)
                visit(s);
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
    unsigned set = set_of(backing, OWL_FREE_DIRTY);
    unsigned end = set + STATES * BINS;
    struct owl_span *chain = NULL;
    for (unsigned list = filled_from(set, end); list < end; list = filled_from(list, end)) {
        struct owl_span *s = runs.lists[list].first;
        extract(s);
        s->next = chain;
        chain = s;
    }
    return chain;
}

static bool run_is_valid(const struct owl_span *s, unsigned list, enum owl_free state)
{
    const struct owl_range *r = &owl_ranges[s->range];
    size_t index = owl_span_index(s);
    if (s->free != state || s->list != list || s->run == 0 || index + s->run > r->top)
        return false;
    const struct owl_span *last = s + s->run - 1;
    const struct owl_span *before = owl_run_before(r, index);
    const struct owl_span *after = owl_run_at(r, index + s->run);
    unsigned set = set_of(owl_backing_of(s->range), state);
    return list == set + bin_of(s->run) && last->free == state && last->run == s->run &&
           last->range == s->range &&
           (before == NULL || before->free != state) &&
           (after == NULL || after->free != state) &&
           (state == OWL_FREE_DIRTY || s->remapped == 0);
}

/* Adds up the granules and the tags of the list's runs. */
static bool list_is_valid(unsigned list, enum owl_free state, size_t *granules, size_t *tags)
{
    const struct owl_span *previous = NULL;
    for (const struct owl_span *s = runs.lists[list].first; s != NULL; s = s->next) {
        if (s->previous != previous || !run_is_valid(s, list, state))
            return false;
        *granules += s->run;
        *tags += s->run > 1 ? 2 : 1;
        previous = s;
    }
    return runs.lists[list].last == previous &&
           (previous != NULL) == (runs.filled[list / 64] >> list % 64 & 1);
}

static bool lists_are_valid(size_t *tags)
{
    bool valid = true;
    for (enum owl_free state = OWL_FREE_DIRTY; state <= OWL_FREE_CLEAN; state++) {
        size_t granules = 0;
        for (enum owl_backing backing = 0; backing < OWL_BACKINGS; backing++)
            for (unsigned bin = 0; bin < BINS; bin++)
                valid = valid &&
                        list_is_valid(set_of(backing, state) + bin, state, &granules, tags);
        valid = valid && granules == runs.granules[state];
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

/* A dirty run that is small, but worth a system call. NULL: there is none. */
static struct owl_span *find_small(size_t most)
{
    size_t least = most / OWL_STORM_RUNS;
    return owl_runs_find(OWL_PRIVATE, OWL_FREE_DIRTY, least > 0 ? least : 1, 0, OWL_RUN_LOOK);
}

struct owl_span *owl_runs_cut_dirty(size_t most, enum owl_runs_which which, size_t *granules)
{
    struct owl_span *run = which == OWL_RUNS_SMALL ? find_small(most) : NULL;
    if (run == NULL)
        run = owl_runs_largest(OWL_PRIVATE, OWL_FREE_DIRTY);
    struct owl_span *other = owl_runs_largest(OWL_MEMFD, OWL_FREE_DIRTY);
    if (run == NULL || (other != NULL && other->run > run->run))
        run = other;
    if (run == NULL)
        return NULL;
    const struct owl_range *r = &owl_ranges[run->range];
    size_t index = owl_span_index(run);
    size_t length = run->run;
    *granules = length < most ? length : most;
    bool begins_room = index % ((size_t)1 << OWL_ROOM_ORDER) == 0;
    bool in_front = !begins_room && owl_run_before(r, index) != NULL &&
                    owl_run_at(r, index + length) == NULL;
    return owl_runs_carve(run, in_front ? 0 : length - *granules, *granules);
}

struct owl_span *owl_runs_find_top(size_t granules)
{
    for (unsigned i = owl_u32_load_relaxed(&owl_range_count); i-- > 0;) {
        struct owl_span *s = owl_run_before(&owl_ranges[i], owl_ranges[i].top);
        if (s != NULL && s->run >= granules && owl_backing_of(i) == OWL_PRIVATE)
            return s;
    }
    struct owl_span *dirty =
        owl_runs_find_high(OWL_PRIVATE, OWL_FREE_DIRTY, granules, OWL_RUN_LOOK);
    struct owl_span *clean =
        owl_runs_find_high(OWL_PRIVATE, OWL_FREE_CLEAN, granules, OWL_RUN_LOOK);
    if (dirty == NULL || clean == NULL)
        return dirty != NULL ? dirty : clean;
    return owl_span_address(dirty) > owl_span_address(clean) ? dirty : clean;
}
