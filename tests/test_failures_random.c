/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System calls of all kinds fail at random, at several rates, while blocks of all sizes come, grow,
 * change and go, in a few threads that free each other's; arrays, forks, trims and the scavenger
 * between them. Each refusal is a NULL with ENOMEM; all blocks keep what they hold; the heap is
 * whole; and when no call fails any more all works, and no round leaves anything behind.
 */
#include "failures_work.h"

enum { THREADS = 3, SLOTS = 40, STEPS = 400 };

/* --- threads that take what others free -------------------------------------- */

static struct {
    pthread_mutex_t lock;
    struct held blocks[SLOTS];
} shelf = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Most are small, some large, few have a mapping of their own. */
static struct held take_any(uint64_t *random)
{
    static const size_t most[] = {200, 200, 4000, 4000, 30000, 200 * KIB, 900 * KIB, 2 * MIB};
    size_t bytes = 16 + next_random(random) % most[next_random(random) % 8];
    static const size_t alignments[] = {16, 16, 16, 16, 16, 64, 4096, MAPPED};
    size_t alignment = alignments[next_random(random) % 8];
    bool zero = alignment == 16 && next_random(random) % 2 == 0;
    return take(bytes, alignment, zero);
}

static void change_any(struct held *h, uint64_t *random)
{
    size_t bytes = 16 + next_random(random) % (2 * MIB);
    struct held d;
    switch (next_random(random) % 8) {
    case 0:
        resize(h, bytes);
        break;
    case 1:
        resize(h, h->bytes + h->bytes / 2);
        break;
    case 2:
        step(h, (int64_t)(bytes / 8 & ~(size_t)15) + 16);
        break;
    case 3:
        if (h->bytes > 64)
            step(h, -(int64_t)(h->bytes / 3 & ~(size_t)15));
        break;
    case 4:
        d = duplicate(h);
        change(h);
        release(&d);
        break;
    case 5:
        d = duplicate(h);
        change(&d);
        if (d.start != NULL)
            swap(h, &d);
        release(&d);
        break;
    case 6:
        export_block(h);
        break;
    default:
        change(h);
    }
}

static void *churn(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    errno = SOME_ERRNO;
    for (int i = 0; i < ROUNDS(STEPS); i++) {
        struct held h = take_any(&random);
        if (h.start != NULL && next_random(&random) % 3 == 0)
            change_any(&h, &random);
        pthread_mutex_lock(&shelf.lock);
        struct held *place = &shelf.blocks[next_random(&random) % SLOTS];
        struct held old = *place;
        *place = h;
        pthread_mutex_unlock(&shelf.lock);
        release(&old);
        if (i % 100 == 99) {
            owl_trim(next_random(&random) % MIB);
            check(errno == SOME_ERRNO);
        }
    }
    return NULL;
}

static void churn_together(uint64_t seed)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        check(pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(seed * 8 + i + 1)) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    errno = SOME_ERRNO;
    for (size_t i = 0; i < SLOTS; i++)
        release(&shelf.blocks[i]);
}

/* --- rounds ------------------------------------------------------------------ */

/* What fails may leave addresses behind that nobody uses; what would is left out where it is
 * counted what is left. */
static bool may_lose;

/* So many of 65,536 calls. */
static const unsigned rates[] = {300, 3000, 15000, 40000};
enum { RATES = sizeof rates / sizeof *rates };

static void one_round(unsigned number, bool with_fork)
{
    errno = SOME_ERRNO;
    churn_together(number + 1);
    work(with_fork);
    check_all_free(may_lose);
}

/* Whatever is left after a round without failures. The granules of a file may lie in any order by
 * then, and be a mapping each: so these are not counted as mappings that are left. */
static struct left {
    size_t used, mappings, granules;
} left_after_calm(unsigned number)
{
    faults_clear();
    atomic_store(&refusals, 0);
    one_round(number, false);
    check(atomic_load(&refusals) == 0);
    struct owl_pool_counts c = owl_pool_count();
    return (struct left){.used = c.used,
                         .mappings = faults.real.mapping_count(),
                         .granules = c.dirty + c.clean};
}

static void fail_at_random(unsigned number, bool with_fork)
{
    static const int errors[] = {ENOMEM, EPERM, ENOSYS, EAGAIN};
    faults_clear();
    faults.error = errors[number % 4];
    faults.strict = number % 5 == 0;
    faults.seed = number * 1000003ul;
    faults.rate = rates[number % RATES];
    one_round(number, with_fork);
}

static void begin(int backing)
{
    owl_free(owl_malloc(1));
    faults_install();
    check(owl_option_set("backing", backing) == 0);
}

/* Addresses that nobody uses keep a file's range from having another file after a fork, and there
 * are only so many ranges: so a process does no more rounds than this. */
enum { ROUNDS_OF_ONE = 48 };

static struct {
    int backing;
    unsigned from, to;
} part;

static void rounds_of_part(void)
{
    unsigned long all_failures = 0;
    begin(part.backing);
    may_lose = true;
    for (unsigned i = part.from; i < part.to; i++) {
        fail_at_random(i, i % 2 == 0);
        for (int k = 0; k < FAULT_CALLS; k++)
            all_failures += atomic_load(&faults.failed[k]);
        left_after_calm(i);
    }
    check(all_failures > (SANITIZED ? 5 : 100)); /* there are fewer rounds */
}

static void rounds_of(int backing)
{
    unsigned rounds = RANDOM_ROUNDS(12);
    part.backing = backing;
    for (part.from = 0; part.from < rounds; part.from = part.to) {
        part.to = part.from + ROUNDS_OF_ONE < rounds ? part.from + ROUNDS_OF_ONE : rounds;
        check(child_status(rounds_of_part) == 0);
    }
}

static void private_memory(void)
{
    rounds_of(OWL_BACKING_PRIVATE);
}

static void files(void)
{
    rounds_of(OWL_BACKING_MEMFD);
}

static void either(void)
{
    rounds_of(OWL_BACKING_AUTO);
}

static int real_unmap(void *start, size_t bytes)
{
    return faults.real.unmap(start, bytes);
}

static int real_reset(void *start, size_t bytes)
{
    return faults.real.reset(start, bytes);
}

static int real_fill(void *start, size_t bytes)
{
    return faults.real.fill(start, bytes);
}

static int real_file_map(const struct owl_file *file, size_t offset, void *start, size_t bytes,
                         bool shared)
{
    return faults.real.file_map(file, offset, start, bytes, shared);
}

/* Unless the system refuses to take memory back, nothing is left behind however often the rest
 * fails: neither granules in use, nor mappings, but for one that a room may be: the system does not
 * join what was first touched apart. */
static void nothing_is_left(int backing)
{
    begin(backing);
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    owl_os.unmap = real_unmap;
    owl_os.reset = real_reset;
    owl_os.fill = real_fill;
    owl_os.file_map = real_file_map;
    struct left first = left_after_calm(0);
    for (unsigned i = 0; i < RANDOM_ROUNDS(16); i++)
        fail_at_random(i, false);
    struct left last = left_after_calm(0);
    check(first.used == 0 && last.used == 0);
    size_t rooms = last.granules >> OWL_ROOM_ORDER;
    size_t more = backing == OWL_BACKING_MEMFD ? last.granules : 20 + rooms;
    if (!SANITIZED) /* these have mappings of their own */
        check(last.mappings <= first.mappings + more);
}

static void nothing_is_left_of_private_memory(void)
{
    nothing_is_left(OWL_BACKING_PRIVATE);
}

static void nothing_is_left_of_files(void)
{
    nothing_is_left(OWL_BACKING_MEMFD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(private_memory),
        child_test(files),
        child_test(either),
        child_test(nothing_is_left_of_private_memory),
        child_test(nothing_is_left_of_files),
    };
    return cmocka_run_group_tests_name("failures_random", tests, NULL, NULL);
}
