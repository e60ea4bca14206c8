/* SPDX-License-Identifier: BSD-2-Clause */
#include "range.h"

#include <string.h>

#include "option.h"
#include "os.h"
#include "tools.h"

struct owl_page_map owl_page_map = {.base = OWL_RANGE_NOWHERE};
struct owl_range owl_ranges[OWL_RANGES] OWL_START;
owl_u32 owl_range_count OWL_START;

enum { BITS_BYTES = OWL_SLAB_MAX_BLOCKS / 8 };

static bool dear; /* owl_range_is_dear; with the pool's lock */

static size_t map_bytes(size_t granules)
{
    return owl_round_up(granules * sizeof(struct owl_span), OWL_GRANULE);
}

static size_t bits_bytes(size_t granules)
{
    return owl_round_up(granules * BITS_BYTES, OWL_GRANULE);
}

static size_t reservation_bytes(size_t granules)
{
    return map_bytes(granules) + bits_bytes(granules) + OWL_RANGE_ALIGNMENT +
           (granules << OWL_GRANULE_SHIFT);
}

/* Down the ladder: Valgrind, RLIMIT_AS and small address spaces refuse the upper rungs. A limit
 * on the process is not ours to use up: its other mappings and stacks need room. */
static void *reserve(size_t least, size_t *granules, bool *apart)
{
    size_t limit = owl_os.address_limit();
    dear = limit != SIZE_MAX;
    for (int shift = OWL_RANGE_MAX_SHIFT; shift >= OWL_RANGE_MIN_SHIFT; shift--) {
        size_t n = (size_t)1 << (shift - OWL_GRANULE_SHIFT);
        if (n < least)
            break;
        size_t bytes = reservation_bytes(n);
        if (limit != SIZE_MAX && bytes > limit / OWL_RANGE_LIMIT_SHARE && n / 2 >= least &&
            shift > OWL_RANGE_MIN_SHIFT)
            continue;
        void *p = owl_os.reserve_apart(bytes, apart);
        if (p != NULL) {
            *granules = n;
            return p;
        }
    }
    return NULL;
}

static uintptr_t base_of(const char *reservation, size_t granules)
{
    return owl_round_up((uintptr_t)reservation + map_bytes(granules) + bits_bytes(granules),
                        OWL_RANGE_ALIGNMENT);
}

/* A file of its own, reserved from end to end: it is sparse, so that this costs nothing. */
static bool back_by_file(struct owl_range *r, char *reservation, size_t granules)
{
    size_t bytes = granules << OWL_GRANULE_SHIFT;
    if (owl_os.file_make(&r->file, bytes) != 0)
        return false;
    if (owl_os.file_reserve(&r->file, (void *)base_of(reservation, granules), bytes) == 0)
        return true;
    owl_os.file_close(&r->file);
    return false;
}

int owl_range_add(enum owl_backing backing, size_t least)
{
    uint32_t number = owl_u32_load_relaxed(&owl_range_count);
    size_t granules;
    bool apart;
    if (number == OWL_RANGES || (number == 0 && backing != OWL_PRIVATE))
        return -1;
    char *p = reserve(least, &granules, &apart);
    if (p == NULL)
        return -1;

    struct owl_range *r = &owl_ranges[number];
    if (backing == OWL_MEMFD && !back_by_file(r, p, granules)) {
        r->file = (struct owl_file){0}; /* it has not ended: the next range is here */
        owl_os.unmap(p, reservation_bytes(granules));
        return -1;
    }
    r->reservation = (uintptr_t)p;
    owl_word_store_relaxed(&r->reserved, reservation_bytes(granules));
    r->granules = granules;
    owl_u32_store_relaxed(&r->backing, backing);
    r->apart = apart;
    owl_u32_store_relaxed(&r->live, backing == OWL_MEMFD);
    r->map = (struct owl_span *)p;
    r->bits = (uint64_t *)(p + map_bytes(granules));
    r->base = base_of(p, granules);
    if (number == 0 && !owl_tools.memcheck) {
        owl_word_poke(&owl_page_map.base, r->base);
        owl_page_map.map = r->map;
    }
    owl_tools_begin_root((void *)r->base, granules << OWL_GRANULE_SHIFT);
    /* Pairs with the load in owl_span_of_further: who sees the number sees the range. */
    owl_u32_store_release(&owl_range_count, number + 1);
    return (int)number;
}

/* What is accessible for the system is so for tools, too, until they hear otherwise. */
static int commit(void *start, size_t bytes, bool file)
{
    int result = file ? owl_os.file_commit(start, bytes) : owl_os.commit(start, bytes);
    if (result == 0)
        owl_tools_hide(start, bytes);
    return result;
}

/* Commits the pages that hold bytes [from, to) of an array; what lies in a page with bytes below
 * `from` is committed already. */
static int commit_part(void *array, size_t from, size_t to)
{
    from = owl_round_up(from, owl_os.page);
    to = owl_round_up(to, owl_os.page);
    return from < to ? commit((char *)array + from, to - from, false) : 0;
}

void owl_range_advise(void *start, size_t bytes)
{
    if (owl_option(OWL_OPTION_HUGE) != 0)
        owl_os.huge(start, bytes, true);
}

int owl_range_reset(void *start, size_t bytes)
{
    if (owl_os.reset(start, bytes) != 0)
        return -1;
    owl_range_advise(start, bytes);
    return 0;
}

void owl_range_begin(void)
{
    for (uint32_t i = 0; i < owl_u32_load_acquire(&owl_range_count); i++) {
        const struct owl_range *r = &owl_ranges[i];
        if (owl_u32_load_relaxed(&r->backing) == OWL_PRIVATE)
            owl_range_advise((void *)r->base,
                             owl_word_load_relaxed(&r->committed) << OWL_GRANULE_SHIFT);
    }
}

/* Commits granules [from, to) of a range, and what describes them. */
static int commit_granules(struct owl_range *r, size_t from, size_t to)
{
    if (commit_part(r->map, from * sizeof(struct owl_span), to * sizeof(struct owl_span)) != 0 ||
        commit_part(r->bits, from * BITS_BYTES, to * BITS_BYTES) != 0)
        return -1;
    void *start = (void *)(r->base + (from << OWL_GRANULE_SHIFT));
    size_t bytes = (to - from) << OWL_GRANULE_SHIFT;
    bool file = owl_u32_load_relaxed(&r->backing) == OWL_MEMFD;
    if (commit(start, bytes, file) != 0)
        return -1;
    if (!file)
        owl_range_advise(start, bytes);
    return 0;
}

/* Limits may have been set since this was asked last. */
static bool look_whether_dear(void)
{
    dear = !owl_os.addresses_are_free() || owl_os.strict_overcommit();
    return dear;
}

bool owl_range_is_dear(void)
{
    return dear;
}

int owl_range_commit(unsigned number, size_t end)
{
    struct owl_range *r = &owl_ranges[number];
    size_t from = owl_word_load_relaxed(&r->committed);
    if (end <= from)
        return 0;
    size_t to = end;
    if (from > 0 && !look_whether_dear() && from + from / OWL_COMMIT_SHARE > end)
        to = from + from / OWL_COMMIT_SHARE;
    to = owl_round_up(to, OWL_COMMIT_STEP >> OWL_GRANULE_SHIFT);
    if (to > r->granules)
        to = r->granules;
    /* Near a limit the whole step may be too much. */
    if (commit_granules(r, from, to) != 0) {
        to = end;
        if (commit_granules(r, from, to) != 0)
            return -1;
    }
    /* Nobody looks up an address above the old bound before the pool has handed it out; what
     * carries the address from thread to thread carries the new bound along. */
    owl_word_store_release(&r->committed, to);
    if (number == 0 && !owl_tools.memcheck)
        owl_word_store_release(&owl_page_map.accessible, to << OWL_GRANULE_SHIFT);
    return 0;
}

/* The whole pages among bytes [from, to) of an array. */
static void purge_part(void *array, size_t from, size_t to)
{
    from = owl_round_up(from, owl_os.page);
    to &= ~(owl_os.page - 1);
    if (from < to)
        owl_os.purge((char *)array + from, to - from);
}

void owl_range_purge_metadata(unsigned number, size_t from, size_t to)
{
    const struct owl_range *r = &owl_ranges[number];
    purge_part(r->bits, from * BITS_BYTES, to * BITS_BYTES);
    purge_part(r->map, (from + 1) * sizeof(struct owl_span), (to - 1) * sizeof(struct owl_span));
}

/* The addresses from one on, up to another. A refusal keeps some that nobody uses. */
static void give_back(uintptr_t from, uintptr_t to)
{
    from = owl_round_up(from, owl_os.page);
    if (from < to)
        owl_os.unmap((void *)from, to - from);
}

/*
 *    | page map    | free bits    | granules       |
 *      used | back   used | back    used  |  back
 *
 * Only one caller does it: what has gone back may be anybody's mapping when a second comes, as a
 * fork in a handler over this does.
 */
void owl_range_end(unsigned number)
{
    struct owl_range *r = &owl_ranges[number];
    size_t used = owl_word_load_relaxed(&r->committed);
    uintptr_t top = r->base + (used << OWL_GRANULE_SHIFT);
    uintptr_t reserved = owl_word_swap(&r->reserved, 0);
    if (reserved == 0)
        return;
    give_back((uintptr_t)(r->map + used), (uintptr_t)r->bits);
    give_back((uintptr_t)r->bits + used * BITS_BYTES, r->base);
    give_back(top, r->reservation + reserved);
}

/* Nobody's granules are gone: what was accessible stays so. */
void owl_range_obey_limit(void)
{
    uint32_t count = owl_u32_load_relaxed(&owl_range_count);
    if (owl_os.may_map())
        return;
    for (uint32_t i = 0; i < count; i++) {
        struct owl_range *r = &owl_ranges[i];
        size_t used = owl_word_load_relaxed(&r->committed);
        owl_range_end(i);
        r->granules = r->granules < used ? r->granules : used;
    }
}

/* What was accessible stays so, and no more than that is the range's. */
static void begin_anew(struct owl_range *r, size_t granules)
{
    size_t bytes = owl_round_up(granules * sizeof(struct owl_span), owl_os.page);
    if (owl_os.purge(r->map, bytes) != 0)
        memset(r->map, 0, bytes);
    owl_u32_store_relaxed(&r->backing, OWL_MEMFD);
    owl_u32_store_release(&r->live, 1);
    r->granules = granules;
}

bool owl_range_has_ended(unsigned number)
{
    const struct owl_range *r = &owl_ranges[number];
    return owl_u32_load_relaxed(&r->backing) == OWL_PRIVATE && r->file.descriptor < 0;
}

enum owl_range_renewed owl_range_renew(unsigned number)
{
    struct owl_range *r = &owl_ranges[number];
    size_t granules = owl_word_load_relaxed(&r->committed);
    size_t bytes = granules << OWL_GRANULE_SHIFT;
    size_t had = r->granules;
    void *start = (void *)r->base;
    if (owl_os.file_make(&r->file, bytes) != 0) {
        r->file.descriptor = -1;
        return OWL_RANGE_AS_IT_WAS;
    }
    r->granules = 0; /* for a child that is copied in the middle */
    if (owl_os.file_reserve(&r->file, start, bytes) == 0 && commit(start, bytes, true) == 0) {
        begin_anew(r, granules);
        return OWL_RANGE_RENEWED;
    }
    owl_os.file_close(&r->file);
    if (owl_range_reset(start, bytes) != 0)
        return OWL_RANGE_GONE;
    r->granules = had;
    return OWL_RANGE_CLEAN;
}

struct owl_span *owl_span_of_further(uintptr_t p)
{
    uint32_t count = owl_u32_load_acquire(&owl_range_count);
    for (uint32_t i = 0; i < count; i++) {
        size_t index = (p - owl_ranges[i].base) >> OWL_GRANULE_SHIFT;
        if (p >= owl_ranges[i].base && index < owl_word_load_acquire(&owl_ranges[i].committed))
            return &owl_ranges[i].map[index];
    }
    return NULL;
}

int owl_range_purge(unsigned number, size_t from, size_t to, bool remapped)
{
    struct owl_range *r = &owl_ranges[number];
    void *start = (void *)(r->base + (from << OWL_GRANULE_SHIFT));
    size_t bytes = (to - from) << OWL_GRANULE_SHIFT;
    if (owl_u32_load_relaxed(&r->backing) == OWL_MEMFD)
        return owl_os.punch(start, bytes);
    int result = remapped ? owl_range_reset(start, bytes) : owl_os.purge(start, bytes);
    owl_tools_hide(start, bytes);
    return result;
}

/* The first range is not the fast paths' any more, and its base, the address of a block perhaps, is
 * in none of the words that memcheck searches. */
void owl_range_hide(void)
{
    uint32_t count = owl_u32_load_acquire(&owl_range_count);
    owl_word_poke(&owl_page_map.accessible, 0);
    owl_word_poke(&owl_page_map.base, OWL_RANGE_NOWHERE);
    for (uint32_t i = 0; i < count; i++) {
        const struct owl_range *r = &owl_ranges[i];
        owl_tools_hide((void *)r->reservation, r->base - r->reservation);
    }
    owl_tools_hide(owl_ranges, sizeof owl_ranges);
}
