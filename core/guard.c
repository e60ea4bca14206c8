/* SPDX-License-Identifier: BSD-2-Clause */
#include "guard.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lock.h"
#include "os.h"

/* What a slot is. A lost one is not used again: its pages could not be protected, or the program
 * uses them after a report. */
enum state { EMPTY, MAKING, USED, FREEING, FREED, LOST };

struct slot {
    owl_u32 state;
    owl_u32 usable;  /* bytes of the block: what was asked for, and at least 1 */
    uintptr_t start; /* of the block */
    struct owl_trace allocated, freed;
};

struct owl_guard owl_guard OWL_START;

/* The slots are numbers in `free`, a ring: those from `first` on, in the order in which they became
 * free. */
static struct {
    struct owl_lock lock;
    struct slot *slots;
    uint32_t first, count;
    uint64_t seed; /* of all threads' random numbers */
    uint16_t free[OWL_GUARD_SLOTS];
} pool = {.lock.rank = OWL_RANK_GUARD};

/* Of each thread: how many allocations are left until the next one to be guarded (0: not known),
 * and the state of its random numbers. */
static __thread struct {
    uint32_t left : 31, busy : 1;
    uint32_t random;
} sampling __attribute__((tls_model("initial-exec")));

/* Of a slot's data, whole pages; and of it all. */
static size_t data_bytes(void)
{
    return owl_round_up(OWL_GUARD_BYTES, owl_os.page);
}

static size_t slot_bytes(void)
{
    return data_bytes() + owl_os.page;
}

/* --- sampling --- */

/* G. Marsaglia, "Xorshift RNGs" (2003), of 32 bits: thread-local memory may be scarce. */
static uint64_t next_random(void)
{
    uint32_t x = sampling.random;
    if (x == 0)
        x = (uint32_t)((pool.seed ^ (uintptr_t)&sampling) * 0x9e3779b97f4a7c15u >> 32) | 1;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    sampling.random = x;
    return x;
}

/* From 1 to twice the rate less 1, so that the mean is the rate; 31 bits at most. */
static uint32_t next_interval(void)
{
    return 1 + (uint32_t)(next_random() % (2 * (uint64_t)owl_guard.rate - 1));
}

bool owl_guard_is_due(uint32_t calls)
{
    if (sampling.left == 0)
        sampling.left = next_interval();
    if (sampling.left > calls) {
        sampling.left -= calls;
        return false;
    }
    sampling.left = next_interval();
    return !sampling.busy;
}

/* --- slots --- */

/* The slot that an address is in, or the guard page before it; the last one for what is behind. */
static struct slot *slot_of(uintptr_t address)
{
    size_t i = (address - owl_guard.base) / slot_bytes();
    return &pool.slots[i < OWL_GUARD_SLOTS ? i : OWL_GUARD_SLOTS - 1];
}

static uintptr_t data_of(const struct slot *s)
{
    return owl_guard.base + owl_os.page + (size_t)(s - pool.slots) * slot_bytes();
}

/* The pages of the slot's block, of which it uses some bytes. */
static uintptr_t pages_of(const struct slot *s, size_t *bytes)
{
    uintptr_t from = s->start & ~(owl_os.page - 1);
    uintptr_t to = owl_round_up(s->start + owl_u32_load_relaxed(&s->usable), owl_os.page);
    *bytes = to - from;
    return from;
}

static struct slot *take_slot(void)
{
    struct slot *s = NULL;
    owl_lock(&pool.lock);
    while (s == NULL && pool.count > 0) {
        s = &pool.slots[pool.free[pool.first]];
        pool.first = (pool.first + 1) % OWL_GUARD_SLOTS;
        pool.count--;
        if (owl_u32_load_relaxed(&s->state) == LOST)
            s = NULL;
    }
    if (s != NULL)
        owl_u32_store_relaxed(&s->state, MAKING);
    owl_unlock(&pool.lock);
    return s;
}

static void give_slot(const struct slot *s)
{
    owl_lock(&pool.lock);
    pool.free[(pool.first + pool.count++) % OWL_GUARD_SLOTS] = (uint16_t)(s - pool.slots);
    owl_unlock(&pool.lock);
}

static void note_caller(struct owl_trace *t)
{
    t->thread = (unsigned long)pthread_self();
    t->count = owl_os.trace(t->frames, OWL_TRACE_FRAMES);
}

/* The address of the first byte beside the block that is not as it was filled; 0: all are. With
 * `fill` they are. */
static uintptr_t go_beside(const struct slot *s, bool fill)
{
    size_t bytes;
    uintptr_t from = pages_of(s, &bytes), end = s->start + owl_u32_load_relaxed(&s->usable);
    if (fill) {
        memset((void *)from, OWL_JUNK_BESIDE, s->start - from);
        memset((void *)end, OWL_JUNK_BESIDE, from + bytes - end);
    }
    for (uintptr_t at = from; at < from + bytes; at = at + 1 == s->start ? end : at + 1)
        if ((at < s->start || at >= end) && *(const unsigned char *)at != OWL_JUNK_BESIDE)
            return at;
    return 0;
}

/* At the right end there are fewer than `alignment` bytes between the block and the guard page. */
static bool make_block(struct slot *s, size_t size, size_t alignment)
{
    size_t usable = size > 0 ? size : 1;
    size_t bytes = owl_round_up(usable, owl_os.page);
    bool right = next_random() % 2 != 0;
    uintptr_t from = data_of(s) + (right ? data_bytes() - bytes : 0);
    if (owl_os.commit((void *)from, bytes) != 0)
        return false;
    s->start = right ? (from + bytes - usable) & ~(alignment - 1) : from;
    owl_u32_store_relaxed(&s->usable, (uint32_t)usable);
    go_beside(s, true);
    note_caller(&s->allocated);
    owl_u32_store_release(&s->state, USED);
    return true;
}

void *owl_guard_alloc(size_t size, size_t alignment)
{
    if (size > OWL_GUARD_BYTES || alignment > owl_os.page)
        return NULL;
    int saved = errno;
    struct slot *s = take_slot();
    void *p = NULL;
    sampling.busy = true;
    if (s != NULL && make_block(s, size, alignment)) {
        p = (void *)s->start;
    } else if (s != NULL) {
        owl_u32_store_relaxed(&s->state, EMPTY);
        give_slot(s);
    }
    sampling.busy = false;
    errno = saved;
    return p;
}

/* --- reports --- */

static void report(enum owl_fault fault, const struct slot *s, const void *p,
                   const struct owl_trace *accessed)
{
    uint32_t state = owl_u32_load_acquire(&s->state);
    struct owl_corruption c = {.pointer = p, .size_class = -1, .accessed = accessed};
    if (state == USED || state == FREEING || state == FREED) {
        c.block = (const void *)s->start;
        c.bytes = owl_u32_load_relaxed(&s->usable);
        c.allocated = &s->allocated;
        c.freed = state == FREED ? &s->freed : NULL;
    }
    owl_report(fault, &c);
}

/* No block that is in use starts at p. */
static void report_call(const struct slot *s, const void *p)
{
    uint32_t state = owl_u32_load_acquire(&s->state);
    bool inside = (uintptr_t)p - s->start < owl_u32_load_relaxed(&s->usable);
    if ((state == FREEING || state == FREED) && (uintptr_t)p == s->start)
        report(OWL_FAULT_DOUBLE, s, p, NULL);
    else if (state == USED && inside)
        report(OWL_FAULT_INTERIOR, s, p, NULL);
    else
        report(OWL_FAULT_INVALID, s, p, NULL);
}

static uintptr_t distance_to(const struct slot *s, uintptr_t address)
{
    uintptr_t end = s->start + owl_u32_load_relaxed(&s->usable);
    if (owl_u32_load_acquire(&s->state) != USED)
        return UINTPTR_MAX;
    return address >= end ? address - end : s->start - address;
}

/* Whose block was meant: a guard page has a slot on either side. */
static struct slot *slot_meant(uintptr_t address)
{
    struct slot *s = slot_of(address);
    if (s > pool.slots && address < data_of(s) &&
        distance_to(s - 1, address) <= distance_to(s, address))
        s--;
    return s;
}

/* A handler of signals. If the program is to go on, it gets the page. */
static bool on_access(uintptr_t address)
{
    struct owl_trace caller;
    if (!owl_guard_contains((const void *)address))
        return false;
    struct slot *s = slot_meant(address);
    note_caller(&caller);
    bool freed = owl_u32_load_acquire(&s->state) == FREED;
    report(freed ? OWL_FAULT_FREED : OWL_FAULT_OUTSIDE, s, (const void *)address, &caller);
    if (freed)
        owl_u32_cas(&s->state, FREED, LOST);
    return owl_os.commit((void *)(address & ~(owl_os.page - 1)), owl_os.page) == 0;
}

/* --- calls --- */

size_t owl_guard_peek(const void *p)
{
    const struct slot *s = slot_of((uintptr_t)p);
    bool used = owl_u32_load_acquire(&s->state) == USED && s->start == (uintptr_t)p;
    return used ? owl_u32_load_relaxed(&s->usable) : 0;
}

size_t owl_guard_bytes(const void *p)
{
    size_t bytes = owl_guard_peek(p);
    if (bytes == 0)
        report_call(slot_of((uintptr_t)p), p);
    return bytes;
}

void owl_guard_fault(enum owl_fault fault, const void *p)
{
    report(fault, slot_of((uintptr_t)p), p, NULL);
}

/* One thread alone makes the block free, however many call. */
void owl_guard_free(void *p)
{
    struct slot *s = slot_of((uintptr_t)p);
    size_t bytes;
    if (s->start != (uintptr_t)p || !owl_u32_cas(&s->state, USED, FREEING)) {
        report_call(s, p);
        return;
    }
    int saved = errno;
    uintptr_t beside = go_beside(s, false);
    if (beside != 0)
        report(OWL_FAULT_BESIDE, s, (const void *)beside, NULL);
    note_caller(&s->freed);
    owl_u32_store_release(&s->state, FREED);
    void *from = (void *)pages_of(s, &bytes);
    if (owl_os.purge(from, bytes) == 0 && owl_os.protect(from, bytes, false, false) == 0)
        give_slot(s);
    else
        owl_u32_store_relaxed(&s->state, LOST);
    errno = saved;
}

/* --- start, fork --- */

void owl_guard_begin(uint32_t rate, bool exact)
{
    size_t bytes = OWL_GUARD_SLOTS * slot_bytes() + owl_os.page;
    void *base = owl_os.reserve(bytes);
    pool.slots = owl_os.map(owl_round_up(OWL_GUARD_SLOTS * sizeof *pool.slots, owl_os.page));
    if (base == NULL || pool.slots == NULL)
        return;
    for (uint16_t i = 0; i < OWL_GUARD_SLOTS; i++)
        pool.free[i] = i;
    pool.count = OWL_GUARD_SLOTS;
    pool.seed = owl_os.secret();
    owl_guard = (struct owl_guard){
        .base = (uintptr_t)base, .bytes = bytes, .rate = rate, .exact = exact};
    owl_os.catch_guard(on_access);
}

void owl_guard_fork_prepare(void)
{
    owl_lock_before_fork(&pool.lock);
}

void owl_guard_fork_parent(void)
{
    owl_lock_after_fork(&pool.lock);
}

void owl_guard_fork_child(void)
{
    owl_lock_in_child(&pool.lock);
}
