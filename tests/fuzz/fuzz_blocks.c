/* SPDX-License-Identifier: BSD-2-Clause */
/* Instructions that make blocks, and those that change, move and free one. */
#include <errno.h>
#include <owl/large.h>
#include <owl/owl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"

/* Keeps the compiler from reasoning about blocks by the attributes of the functions under test. */
static void *opaque(void *p)
{
    __asm__ volatile("" : "+r"(p));
    return p;
}

/* A call asked for so many bytes: there is a block, or a reason why not. */
static bool had(const void *p, size_t asked, size_t alignment)
{
    if (p != NULL) {
        fuzz_check(errno == FUZZ_ERRNO && !fuzz_is_absurd(asked));
        return true;
    }
    fuzz_check(errno == ENOMEM);
    fuzz_check(fuzz_is_absurd(asked) || fuzz.limited || alignment > FUZZ_BUDGET);
    return false;
}

static void keep(void *p, size_t asked, size_t alignment)
{
    /* The slot is chosen only now: what was freed for it would have made room. */
    if (!had(p, asked, alignment))
        return;
    struct fuzz_block *b = fuzz_free_slot();
    fuzz_born(b, p, asked, alignment);
}

void fuzz_be_zero(const unsigned char *p, size_t bytes)
{
    size_t step = bytes <= 64 * FUZZ_KIB ? 1 : (bytes / 4096 + 4096) / 4096 * 4096;
    for (size_t i = 0; i < bytes; i += step)
        for (size_t k = i; k < bytes && k < i + FUZZ_CHUNK; k++)
            fuzz_check(p[k] == 0);
}

static void make_zero(void)
{
    static const size_t units[] = {1, 3, 16, 4096, SIZE_MAX / 2};
    size_t unit = units[fuzz_byte() % 5], size = fuzz_bounded(fuzz_size()), bytes;
    size_t count = unit < SIZE_MAX / 2 ? size / unit : size;
    errno = FUZZ_ERRNO;
    unsigned char *p = opaque(owl_calloc(count, unit));
    bool overflows = __builtin_mul_overflow(count, unit, &bytes);
    if (overflows)
        bytes = SIZE_MAX;
    if (p != NULL)
        fuzz_be_zero(p, bytes);
    keep(p, bytes, 16);
}

static void make_posix(size_t size)
{
    size_t alignment = (size_t)1 << fuzz_byte() % 32;
    void *p = &fuzz;
    errno = FUZZ_ERRNO;
    int error = owl_posix_memalign(&p, alignment, size);
    fuzz_check(errno == FUZZ_ERRNO && (error == 0 || p == &fuzz));
    if (alignment < sizeof(void *)) {
        fuzz_check(error == EINVAL);
        return;
    }
    errno = error != 0 ? error : FUZZ_ERRNO;
    keep(error != 0 ? NULL : p, size, alignment);
}

static void make_aligned(size_t size)
{
    size_t alignment = (size_t)1 << fuzz_byte() % 32;
    errno = FUZZ_ERRNO;
    keep(opaque(owl_aligned_alloc(alignment, size)), size, alignment);
}

static void make_misaligned(void)
{
    size_t alignment = fuzz_word();
    if ((alignment & (alignment - 1)) == 0 && alignment != 0)
        alignment = 0;
    errno = FUZZ_ERRNO;
    fuzz_check(opaque(owl_aligned_alloc(alignment, 100)) == NULL && errno == EINVAL);
    size_t rounded = 16;
    while (rounded < alignment)
        rounded *= 2;
    errno = FUZZ_ERRNO;
    keep(opaque(owl_memalign(alignment, 100)), 100, rounded);
}

static void make_ring(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (1 + fuzz_word() % 512) * page;
    if (2 * bytes > FUZZ_BUDGET - fuzz.live)
        bytes = page;
    errno = FUZZ_ERRNO;
    fuzz_check(owl_ring(bytes + 8) == NULL && errno == EINVAL);
    unsigned char *p = owl_ring(bytes);
    fuzz_check(p != NULL || (errno == ENOMEM && (fuzz.limited || fuzz.no_file)));
    if (p == NULL)
        return;
    struct fuzz_block *b = fuzz_free_slot();
    fuzz_born(b, p, 2 * bytes, page);
    fuzz_check(b->usable == 2 * bytes);
    b->ring = true;
    fuzz_fill(b);
}

void fuzz_alloc(unsigned which)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (which == 1) {
        make_zero();
        return;
    }
    if (which == 2) {
        make_misaligned();
        return;
    }
    if (which == 3) {
        make_ring();
        return;
    }
    size_t size = fuzz_bounded(fuzz_size());
    errno = FUZZ_ERRNO;
    switch (which) {
    case 4:
        make_posix(size);
        break;
    case 5:
        make_aligned(size);
        break;
    case 6:
        keep(opaque(owl_valloc(size)), size, page);
        break;
    case 7:
        keep(opaque(owl_pvalloc(size)), size, page);
        break;
    case 8:
        keep(opaque(owl_realloc(NULL, size)), size, 16);
        break;
    default: {
        size_t good = owl_good_size(size);
        void *p = opaque(owl_malloc(size));
        fuzz_check(p == NULL || owl_malloc_usable_size(p) == good);
        keep(p, size, 16);
        break;
    }
    }
}

/* Block b has become q, of so many bytes, which begins with the bytes from..to of its contents at
 * `to_at`. NULL: it has not. */
static void become(struct fuzz_block *b, unsigned char *q, size_t asked, size_t at, size_t from,
                   size_t to)
{
    if (q == NULL) {
        fuzz_compare_block(b);
        return;
    }
    struct fuzz_block was = *b;
    fuzz_gone(b);
    fuzz_compare(&was, q + at, from, to);
    fuzz_born(b, q, asked, 16);
}

static void resize(struct fuzz_block *b, bool array)
{
    size_t size = fuzz_bounded(fuzz_size()), unit = array ? 1 + fuzz_byte() % 32 : 1;
    errno = FUZZ_ERRNO;
    unsigned char *q = opaque(array ? owl_reallocarray(b->p, size / unit, unit)
                                    : owl_realloc(b->p, size));
    size = size / unit * unit;
    if (size == 0) {
        fuzz_check(q == NULL && errno == FUZZ_ERRNO);
        fuzz_gone(b);
        return;
    }
    fuzz_check(had(q, size, 16) || size > b->usable || b->ring);
    become(b, q, size, 0, 0, size < b->usable ? size : b->usable);
}

static void overflow(struct fuzz_block *b)
{
    size_t count = SIZE_MAX / 2 + 2 + fuzz_word();
    errno = FUZZ_ERRNO;
    fuzz_check(opaque(owl_reallocarray(b->p, count, 2 + fuzz_byte())) == NULL && errno == ENOMEM);
    fuzz_compare_block(b);
}

static void grow_front(struct fuzz_block *b)
{
    size_t bytes = fuzz_size() % (64 * FUZZ_MIB);
    if (b->usable > FUZZ_GIB)
        bytes = bytes / 4096 * 4096;
    else if (bytes > FUZZ_BUDGET - fuzz.live)
        bytes %= 4096;
    errno = FUZZ_ERRNO;
    unsigned char *q = owl_grow_front(b->p, bytes);
    if (bytes % 16 != 0)
        fuzz_check(q == NULL && errno == EINVAL);
    else
        had(q, bytes, 16);
    become(b, q, b->usable + bytes, bytes, 0, b->usable);
}

static void shrink_front(struct fuzz_block *b)
{
    size_t bytes = fuzz_size();
    if (b->usable > FUZZ_GIB)
        bytes = bytes % (b->usable - FUZZ_GIB) / 4096 * 4096;
    else if (fuzz_byte() % 8 != 0)
        bytes = bytes % b->usable / 16 * 16;
    errno = FUZZ_ERRNO;
    unsigned char *q = owl_shrink_front(b->p, bytes);
    if (bytes % 16 != 0 || bytes >= b->usable)
        fuzz_check(q == NULL && errno == EINVAL);
    else
        had(q, 0, 16);
    if (q == NULL)
        fuzz_compare_block(b);
    else
        become(b, q, b->usable - bytes, 0, bytes, b->usable);
}

/* Bytes of a block that may be written without another byte of it changing. */
static size_t writable(const struct fuzz_block *b)
{
    return b->ring ? b->span : b->usable;
}

static void swap(struct fuzz_block *b)
{
    struct fuzz_block *o = fuzz_live_slot();
    size_t least = writable(b) < writable(o) ? writable(b) : writable(o);
    size_t most = least < 64 * FUZZ_MIB ? least : 64 * FUZZ_MIB;
    size_t bytes = fuzz_size();
    bytes = bytes % 2 == 0 ? most - most % (bytes + 1) : bytes % (most + 1);
    errno = FUZZ_ERRNO;
    if (b == o) {
        fuzz_check(owl_swap(b->p, o->p, bytes) == -1 && errno == EINVAL);
        return;
    }
    fuzz_check(owl_swap(b->p, o->p, SIZE_MAX) == -1 && errno == EINVAL);
    errno = FUZZ_ERRNO;
    fuzz_check(owl_swap(b->p, o->p, bytes) == 0 && errno == FUZZ_ERRNO);
    fuzz_compare(b, o->p, 0, bytes);
    fuzz_compare(o, b->p, 0, bytes);
    fuzz_compare(b, b->p + bytes, bytes, writable(b));
    fuzz_compare(o, o->p + bytes, bytes, writable(o));
    fuzz_fill(b);
    fuzz_fill(o);
}

static void duplicate(struct fuzz_block *b)
{
    if (b->usable > FUZZ_BUDGET - fuzz.live)
        return;
    errno = FUZZ_ERRNO;
    void *q = owl_dup(b->p);
    fuzz_compare_block(b);
    if (!had(q, b->usable, 16))
        return;
    for (unsigned i = 0; i < FUZZ_BLOCKS; i++)
        if (fuzz.blocks[i].p == NULL) {
            fuzz_born_twin(&fuzz.blocks[i], q, b);
            return;
        }
    owl_free(q);
}

static void export_block(struct fuzz_block *b)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), offset = 1;
    int fd = owl_export(b->p, &offset);
    if (fd < 0) {
        fuzz_check(errno == ENOTSUP || errno == EINVAL || (errno == ENOMEM && fuzz.limited));
        fuzz_compare_block(b);
        return;
    }
    fuzz_check(offset % page == 0);
    size_t bytes = (writable(b) + page - 1) / page * page;
    bytes = bytes < FUZZ_MIB ? bytes : FUZZ_MIB;
    unsigned char *view = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, (off_t)offset);
    fuzz_check(view != MAP_FAILED);
    fuzz_compare(b, view, 0, bytes);
    fuzz_fill(b);
    fuzz_compare(b, view, 0, bytes);
    fuzz_check(munmap(view, bytes) == 0 && close(fd) == 0);
}

static void end(struct fuzz_block *b, unsigned which)
{
    errno = FUZZ_ERRNO;
    if (which == 0)
        owl_free_sized(b->p, b->asked);
    else if (which == 1)
        owl_free_aligned_sized(b->p, 16, b->asked);
    else
        owl_free(b->p);
    fuzz_check(errno == FUZZ_ERRNO);
    fuzz_gone(b);
}

void fuzz_change(unsigned which)
{
    struct fuzz_block *b = fuzz_live_slot();
    if (b == NULL)
        return;
    switch (which) {
    case 0:
    case 1:
    case 2:
        end(b, which);
        break;
    case 3:
        overflow(b);
        break;
    case 4:
        grow_front(b);
        break;
    case 5:
        shrink_front(b);
        break;
    case 6:
        swap(b);
        break;
    case 7:
        duplicate(b);
        break;
    case 8:
        export_block(b);
        break;
    case 9:
        fuzz_fill(b);
        break;
    default:
        resize(b, which == 10);
        break;
    }
}
