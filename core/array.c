/* SPDX-License-Identifier: BSD-2-Clause */
#include "array.h"

#include <errno.h>
#include <owl/large.h>
#include <owl/owl.h>
#include <string.h>

#include "check.h"
#include "os.h"
#include "tools.h"
#include "tune.h"

static struct owl_array_body *body_of(const struct owl_array *a)
{
    return (struct owl_array_body *)(uintptr_t)a;
}

static struct owl_array *failed(int error)
{
    errno = error;
    return NULL;
}

/* --- references ------------------------------------------------------------- */

/* Acquires: whoever sees that it is the only holder sees what the others did before they let go. */
static bool is_only(const struct owl_array_body *b)
{
    return owl_word_load_acquire(&b->refs) == 1;
}

static size_t add_to_refs(struct owl_array_body *b, size_t difference)
{
    uintptr_t old;
    do
        old = owl_word_load_relaxed(&b->refs);
    while (!owl_word_cas(&b->refs, old, old + difference));
    return old + difference;
}

/* Lets the fast paths use all that is open: as many whole elements as there is room for. Where a
 * tool watches, none: it has to hear of each. */
static void open_window(struct owl_array_body *b)
{
    if (owl_tools.on) {
        b->face.floor = b->face.first;
        b->face.limit = b->face.end;
        b->face.shared = 0;
        return;
    }
    size_t unit = b->face.element_bytes;
    size_t front = (size_t)(owl_array_first(b) - b->open_lo);
    size_t back = (size_t)(b->open_hi - owl_array_end(b));
    b->face.floor = owl_array_first(b) - front / unit * unit;
    b->face.limit = owl_array_end(b) + back / unit * unit;
    b->face.shared = 0;
}

/* Only who has the one reference can write these: as long as there are more, they stay. */
static void close_window(struct owl_array_body *b)
{
    b->face.floor = b->face.first;
    b->face.limit = b->face.end;
    b->face.shared = 1;
}

struct owl_array *owl_array_ref(struct owl_array *a)
{
    if (a == NULL)
        return NULL;
    struct owl_array_body *b = body_of(a);
    if (is_only(b))
        close_window(b);
    add_to_refs(b, 1);
    return a;
}

void owl_array_release(struct owl_array *a)
{
    if (a == NULL || add_to_refs(body_of(a), (size_t)-1) > 0)
        return;
    int saved = errno;
    owl_array_drop(body_of(a));
    owl_free(a);
    errno = saved;
}

size_t owl_array_refs(const struct owl_array *a)
{
    return a != NULL ? owl_word_load_relaxed(&body_of(a)->refs) : 0;
}

/* --- making arrays ---------------------------------------------------------- */

static struct owl_array_body *make(size_t element_bytes, size_t wish)
{
    struct owl_array_body *b = owl_malloc(sizeof *b);
    if (b == NULL)
        return NULL;
    *b = (struct owl_array_body){.wish = wish};
    b->face.element_bytes = element_bytes;
    owl_word_store_relaxed(&b->refs, 1);
    return b;
}

struct owl_array *owl_array_new(size_t element_bytes, size_t reserve)
{
    size_t bytes;
    if (element_bytes == 0)
        return failed(EINVAL);
    if (__builtin_mul_overflow(element_bytes, reserve, &bytes) || bytes > PTRDIFF_MAX ||
        element_bytes > PTRDIFF_MAX)
        return failed(ENOMEM);
    int saved = errno;
    struct owl_array_body *b = make(element_bytes, bytes);
    if (b == NULL)
        return failed(ENOMEM);
    if (!owl_array_place(b, 0, 0, bytes < OWL_ARRAY_SPACE_MIN ? bytes : 0)) {
        owl_free(b);
        return failed(ENOMEM);
    }
    open_window(b);
    errno = saved;
    return &b->face;
}

/* A new array of the bytes from..to of another, with room around them. */
static struct owl_array_body *copy_part(const struct owl_array_body *b, size_t from, size_t to,
                                        size_t front, size_t back)
{
    struct owl_array_body *n = make(b->face.element_bytes, b->wish);
    if (n == NULL)
        return NULL;
    if (owl_array_copy(n, b, from, to, front, back))
        return n;
    owl_free(n);
    return NULL;
}

/* The reference to b becomes one to an array that has no other: of b's bytes from..to if it has
 * to be a new one, with all of them otherwise. It has room as asked for. NULL, errno set:
 * nothing has changed. */
static struct owl_array_body *take(struct owl_array_body *b, size_t from, size_t to, size_t front,
                                   size_t back, bool grows)
{
    int saved = errno;
    struct owl_array_body *n = b;
    if (is_only(b)) {
        bool made = owl_array_room(b, front, back, grows);
        open_window(b);
        n = made ? b : NULL;
    } else {
        n = copy_part(b, from, to, front, back);
        if (n != NULL) {
            open_window(n);
            owl_array_release(&b->face);
        }
    }
    errno = n != NULL ? saved : ENOMEM;
    return n;
}

/* --- adding ----------------------------------------------------------------- */

/* New elements: where from. They may be in the array that is about to move. */
struct source {
    const char *from; /* NULL: zeros */
    size_t offset;
    bool inside;
};

static struct source source_of(const struct owl_array_body *b, const void *elements)
{
    uintptr_t at = (uintptr_t)elements, first = (uintptr_t)b->face.first;
    struct source s = {.from = elements};
    s.inside = elements != NULL && at >= first && at < (uintptr_t)b->face.end;
    s.offset = s.inside ? at - first : 0;
    return s;
}

static const char *found(const struct source *s, const struct owl_array_body *b)
{
    return s->inside ? owl_array_first(b) + s->offset : s->from;
}

static void put(char *to, const char *from, size_t bytes)
{
    if (from != NULL)
        memmove(to, from, bytes);
    else
        memset(to, 0, bytes);
}

/* What add wants of an array; false: errno says why not. */
static bool can_add(const struct owl_array *a, size_t count, size_t *bytes)
{
    bool good = a != NULL && !__builtin_mul_overflow(a->element_bytes, count, bytes) &&
                *bytes <= PTRDIFF_MAX;
    if (!good)
        errno = a == NULL ? EINVAL : ENOMEM;
    return good;
}

struct owl_array *owl_array_append(struct owl_array *a, const void *elements, size_t count)
{
    size_t bytes;
    if (!can_add(a, count, &bytes))
        return NULL;
    if (count == 0)
        return a;
    struct owl_array_body *b = body_of(a);
    struct source s = source_of(b, elements);
    struct owl_array_open before = owl_array_opened(b);
    b = take(b, 0, owl_array_bytes(b), 0, bytes, elements != NULL);
    if (b == NULL)
        return NULL;
    char *to = owl_array_end(b);
    if (elements != NULL)
        put(to, found(&s, b), bytes);
    else
        owl_array_zero(b, &before, to, bytes);
    b->face.end = to + bytes;
    return &b->face;
}

struct owl_array *owl_array_prepend(struct owl_array *a, const void *elements, size_t count)
{
    size_t bytes;
    if (!can_add(a, count, &bytes))
        return NULL;
    if (count == 0)
        return a;
    struct owl_array_body *b = body_of(a);
    struct source s = source_of(b, elements);
    struct owl_array_open before = owl_array_opened(b);
    b = take(b, 0, owl_array_bytes(b), bytes, 0, elements != NULL);
    if (b == NULL)
        return NULL;
    char *to = owl_array_first(b) - bytes;
    if (elements != NULL)
        put(to, found(&s, b), bytes);
    else
        owl_array_zero(b, &before, to, bytes);
    b->face.first = to;
    return &b->face;
}

/* Where a gap of so many bytes opens: at the side with fewer bytes to move, unless only the
 * other has addresses left for it, so that what need not move does not. */
static bool gap_at_front(const struct owl_array_body *b, size_t offset, size_t bytes)
{
    size_t front = (size_t)(owl_array_first(b) - b->base);
    size_t back = (size_t)(b->base + b->bytes - owl_array_end(b));
    bool is_shorter = offset < owl_array_bytes(b) - offset;
    return is_shorter ? front >= bytes || back < bytes : front >= bytes && back < bytes;
}

static struct owl_array *insert(struct owl_array_body *b, size_t offset, const char *from,
                                size_t bytes)
{
    bool at_front = gap_at_front(b, offset, bytes);
    size_t length = owl_array_bytes(b);
    b = take(b, 0, length, at_front ? bytes : 0, at_front ? 0 : bytes, true);
    if (b == NULL)
        return NULL;
    char *first = owl_array_first(b);
    if (at_front) {
        memmove(first - bytes, first, offset);
        first -= bytes;
        b->face.first = first;
    } else {
        memmove(first + offset + bytes, first + offset, length - offset);
        b->face.end = first + length + bytes;
    }
    put(first + offset, from, bytes);
    return &b->face;
}

struct owl_array *owl_array_insert(struct owl_array *a, size_t at, const void *elements,
                                   size_t count)
{
    size_t bytes;
    if (!can_add(a, count, &bytes))
        return NULL;
    size_t number = owl_array_count(a);
    if (at > number)
        return failed(EINVAL);
    if (at == number)
        return owl_array_append(a, elements, count);
    if (at == 0 || count == 0)
        return owl_array_prepend(a, elements, count);
    struct owl_array_body *b = body_of(a);
    if (!source_of(b, elements).inside)
        return insert(b, at * a->element_bytes, elements, bytes);
    /* They would move while they are copied. */
    char *aside = owl_malloc(bytes);
    if (aside == NULL)
        return failed(ENOMEM);
    memcpy(aside, elements, bytes);
    a = insert(b, at * a->element_bytes, aside, bytes);
    owl_free(aside);
    return a;
}

/* --- taking out, and room --------------------------------------------------- */

/* What is left is one end of the elements: only that is copied if they are shared. */
static struct owl_array *keep_part(struct owl_array_body *b, size_t from, size_t to)
{
    struct owl_array_body *n = take(b, from, to, 0, 0, false);
    if (n == b) {
        char *first = owl_array_first(b), *end = owl_array_end(b);
        b->face.end = first + to;
        b->face.first = first + from;
        owl_array_close_left(b, first, end);
        owl_array_give_back_front(b);
        open_window(b);
    }
    return n != NULL ? &n->face : NULL;
}

struct owl_array *owl_array_erase(struct owl_array *a, size_t at, size_t count)
{
    if (a == NULL)
        return failed(EINVAL);
    size_t number = owl_array_count(a);
    if (at > number || count > number - at)
        return failed(EINVAL);
    struct owl_array_body *b = body_of(a);
    size_t offset = at * a->element_bytes, bytes = count * a->element_bytes;
    size_t length = owl_array_bytes(b);
    if (count == 0)
        return a;
    if (offset + bytes == length)
        return keep_part(b, 0, offset);
    if (at == 0)
        return keep_part(b, bytes, length);
    b = take(b, 0, length, 0, 0, false);
    if (b == NULL)
        return NULL;
    char *first = owl_array_first(b), *end = owl_array_end(b);
    if (offset < length - offset - bytes) {
        memmove(first + bytes, first, offset);
        b->face.first = first + bytes;
        owl_array_give_back_front(b);
    } else {
        memmove(first + offset, first + offset + bytes, length - offset - bytes);
        b->face.end = first + length - bytes;
    }
    owl_array_close_left(b, first, end);
    open_window(b);
    return &b->face;
}

struct owl_array *owl_array_truncate(struct owl_array *a, size_t count)
{
    size_t number = a != NULL ? owl_array_count(a) : 0;
    if (a == NULL || count > number)
        return failed(EINVAL);
    return owl_array_erase(a, count, number - count);
}

struct owl_array *owl_array_own(struct owl_array *a)
{
    if (a == NULL)
        return failed(EINVAL);
    struct owl_array_body *b = take(body_of(a), 0, owl_array_bytes(body_of(a)), 0, 0, false);
    return b != NULL ? &b->face : NULL;
}

struct owl_array *owl_array_reserve(struct owl_array *a, size_t front, size_t back)
{
    size_t front_bytes, back_bytes;
    if (!can_add(a, front, &front_bytes) || !can_add(a, back, &back_bytes))
        return NULL;
    /* A copy that nobody wanted yet is lost if there is no room; the old array is not. */
    bool alone = is_only(body_of(a));
    struct owl_array *own = alone ? a : owl_array_own(owl_array_ref(a));
    if (own == NULL) {
        owl_array_release(a);
        return failed(ENOMEM);
    }
    int saved = errno;
    struct owl_array_body *b = body_of(own);
    bool made = owl_array_stretch(b, front_bytes, back_bytes);
    open_window(b);
    errno = made ? saved : ENOMEM;
    if (!alone)
        owl_array_release(made ? a : own);
    return made ? own : NULL;
}

struct owl_array *owl_array_shrink(struct owl_array *a)
{
    if (a == NULL)
        return failed(EINVAL);
    struct owl_array_body *b = body_of(a);
    if (is_only(b)) {
        int saved = errno;
        owl_array_give_back(b);
        open_window(b);
        errno = saved;
    }
    return a;
}

/* --- looking ---------------------------------------------------------------- */

size_t owl_array_capacity(const struct owl_array *a)
{
    const struct owl_array_body *b = body_of(a);
    if (a == NULL)
        return 0;
    return (size_t)(b->base + b->bytes - owl_array_first(b)) / a->element_bytes;
}

size_t owl_array_capacity_front(const struct owl_array *a)
{
    const struct owl_array_body *b = body_of(a);
    return a != NULL ? (size_t)(owl_array_end(b) - b->base) / a->element_bytes : 0;
}

void *owl_array_data(const struct owl_array *a)
{
    return a->first;
}

size_t owl_array_count(const struct owl_array *a)
{
    return owl_array_bytes(body_of(a)) / a->element_bytes;
}

void *owl_array_at(const struct owl_array *a, size_t at)
{
    return at < owl_array_count(a) ? (char *)a->first + at * a->element_bytes : NULL;
}
