/* SPDX-License-Identifier: BSD-2-Clause */
#include "array_space.h"

#include <stdint.h>

#include "os.h"
#include "tools.h"
#include "tune.h"

/* The elements are placed by whole units, so that pages can be moved as they are. */
static size_t unit_of(size_t bytes)
{
    return bytes >= 8 * OWL_RANGE_ALIGNMENT ? OWL_RANGE_ALIGNMENT : owl_os.page;
}

/* What placing may take. */
#define SLACK (OWL_RANGE_ALIGNMENT + owl_os.page)

bool owl_array_space_fit(struct owl_array_space *s, size_t front, size_t length, size_t back,
                         const char *old)
{
    size_t unit = unit_of(s->bytes), need;
    if (__builtin_add_overflow(front, length, &need) || __builtin_add_overflow(need, back, &need) ||
        __builtin_add_overflow(need, unit, &need) || need > s->bytes)
        return false;
    size_t spare = s->bytes - need;
    size_t quarters = front == 0 && back > 0 ? 1 : back == 0 && front > 0 ? 3 : 2;
    uintptr_t at = (uintptr_t)s->base + front + spare / 4 * quarters;
    /* The first address from there on that lies in its unit as the old one does in its. */
    at += ((uintptr_t)old - at) & (unit - 1);
    s->first = (char *)at;
    return true;
}

/* The rungs of the ladder, from the wish down by halves; then what is needed and an eighth more,
 * so that this does not come back at once; then what is needed. Returns false below that. */
static bool next_rung(size_t *bytes, size_t least)
{
    size_t comfortable = owl_round_up(least + least / 8, owl_os.page);
    size_t half = owl_round_up(*bytes / 2, owl_os.page);
    if (half > comfortable)
        *bytes = half;
    else if (*bytes > comfortable)
        *bytes = comfortable;
    else if (*bytes > least)
        *bytes = least;
    else
        return false;
    return true;
}

bool owl_array_space_make(struct owl_array_space *s, size_t front, size_t length, size_t back,
                          size_t wish, const char *old)
{
    size_t least;
    if (__builtin_add_overflow(front, length, &least) ||
        __builtin_add_overflow(least, back, &least) ||
        __builtin_add_overflow(least, SLACK, &least) ||
        least > OWL_ARRAY_SPACE_MAX)
        return false;
    least = owl_round_up(least, owl_os.page);
    size_t most = owl_os.address_limit();
    if (most != SIZE_MAX)
        most /= OWL_ARRAY_LIMIT_SHARE;
    size_t bytes = OWL_ARRAY_SPACE_MAX;
    if (wish < OWL_ARRAY_SPACE_MAX - SLACK)
        bytes = owl_round_up(wish + SLACK, owl_os.page);
    if (bytes < least)
        bytes = least;
    do {
        if (bytes > most && bytes > least)
            continue;
        s->base = owl_os.reserve(bytes);
        if (s->base == NULL)
            continue;
        s->bytes = bytes;
        owl_tools_begin_root(s->base, bytes);
        return owl_array_space_fit(s, front, length, back, old);
    } while (next_rung(&bytes, least));
    return false;
}

int owl_array_space_end(char *base, size_t bytes)
{
    owl_tools_end_root(base, bytes);
    return owl_os.unmap(base, bytes);
}
