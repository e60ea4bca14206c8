/* SPDX-License-Identifier: BSD-2-Clause */
/* Arrays that grow at both ends. */
#include <owl/array.h>
#include <pthread.h>
#include <sys/mman.h>

#include "array.h"
#include "child.h"
#include "faults.h"
#include "tune.h"

#define MIB ((size_t)1 << 20)

OWL_ARRAY_OF(double, doubles);
OWL_ARRAY_OF(uint32_t, words);

static struct owl_array_body *body(struct owl_array *a)
{
    return (struct owl_array_body *)a;
}

/* With faults to be had: the page size has to be known before they are installed. */
static void set_up(void)
{
    owl_free(owl_malloc(1));
    faults_install();
}

/* How many pages between two addresses are resident. */
static size_t resident_pages(const void *from, size_t bytes)
{
    size_t page = owl_os.page, count = 0;
    char *start = (char *)((uintptr_t)from & ~(page - 1));
    size_t pages = ((uintptr_t)from + bytes - (uintptr_t)start + page - 1) / page;
    for (size_t done = 0; done < pages; done += 4096) {
        unsigned char in[4096];
        size_t some = pages - done < sizeof in ? pages - done : sizeof in;
        check(mincore(start + done * page, some * page, in) == 0);
        for (size_t i = 0; i < some; i++)
            count += in[i] & 1;
    }
    return count;
}

static bool counts_up(struct owl_array *a, size_t from, size_t count)
{
    const uint32_t *data = words_data(a);
    for (size_t i = 0; i < count; i++)
        if (data[i] != from + i)
            return false;
    return words_count(a) == count;
}

static struct owl_array *counted(size_t reserve, size_t count)
{
    struct owl_array *a = words_new(reserve);
    for (size_t i = 0; i < count; i++)
        check((a = words_append(a, (uint32_t)i)) != NULL);
    check(counts_up(a, 0, count) && owl_array_is_valid(body(a)));
    return a;
}

static void a_huge_reserve(void)
{
    struct owl_array *a = doubles_new((size_t)1 << 40);
    check(a != NULL && doubles_count(a) == 0);
    if (!SANITIZED)
        check(owl_array_capacity(a) >= (size_t)1 << 40 &&
              owl_array_capacity_front(a) >= (size_t)1 << 40);
    double *first = doubles_data(a);
    for (int i = 0; i < 1000000; i++) {
        check((a = doubles_append(a, i)) != NULL);
        check((a = doubles_prepend(a, -i)) != NULL);
    }
    check(doubles_count(a) == 2000000 && doubles_data(a) == first - 1000000);
    for (int i = 0; i < 1000000; i++)
        check(first[i] == i && first[-1 - i] == -i);
    check(owl_array_is_valid(body(a)));
    owl_array_release(a);
}

static void addresses_stay_within_the_capacity(void)
{
    set_up();
    struct owl_array *a = words_new(MIB);
    size_t capacity = owl_array_capacity(a), front = owl_array_capacity_front(a);
    check(capacity >= MIB && front >= MIB);
    uint32_t *first = words_data(a);
    for (size_t i = 0; i < capacity; i++)
        check((a = words_append(a, (uint32_t)i)) != NULL);
    check(words_data(a) == first && owl_array_capacity(a) == capacity);
    check((a = words_append(a, (uint32_t)capacity)) != NULL);
    check(words_data(a) != first && counts_up(a, 0, capacity + 1));
    check(owl_array_capacity(a) > capacity + capacity / 4 && owl_array_is_valid(body(a)));
    owl_array_release(a);

    a = words_new(MIB);
    uint32_t *end = words_data(a);
    for (size_t i = front; i > 0; i--)
        check((a = words_prepend(a, (uint32_t)i)) != NULL);
    check(words_data(a) + front == end);
    check((a = words_prepend(a, 0)) != NULL && counts_up(a, 0, front + 1));
    owl_array_release(a);
}

static int move_refused(void *from, void *to, size_t bytes)
{
    (void)from, (void)to, (void)bytes;
    errno = EFAULT;
    return -1;
}

static unsigned long moves;

static int move_counted(void *from, void *to, size_t bytes)
{
    moves++;
    return faults.real.move(from, to, bytes);
}

/* What the ladder gave is used up several times over. */
static void a_refused_reservation_is_smaller(void)
{
    for (int round = 0; round < 2; round++) {
        set_up();
        owl_os.move = round == 0 ? move_counted : move_refused;
        faults.reserve_most = 16 * MIB;
        struct owl_array *a = words_new((size_t)1 << 40);
        check(a != NULL);
        size_t capacity = owl_array_capacity(a);
        check(capacity >= MIB && capacity <= 4 * MIB);
        faults.reserve_most = SIZE_MAX;
        for (size_t i = 0; i < 12 * MIB; i++) {
            uint32_t *was = words_data(a);
            size_t has = owl_array_capacity(a);
            check((a = words_append(a, (uint32_t)i)) != NULL);
            check(words_data(a) == was || has == i);
        }
        check(counts_up(a, 0, 12 * MIB) && (moves > 0 || round == 1 || SANITIZED));
        owl_array_release(a);
        owl_os = faults.real;
    }
}

static void nothing_reserved_at_all(void)
{
    set_up();
    faults.reserve_most = 0;
    errno = 0;
    check(words_new((size_t)1 << 40) == NULL && errno == ENOMEM);
    struct owl_array *a = counted(0, 100000);
    check((a = owl_array_append(a, NULL, 1)) != NULL);
    errno = 0;
    check(owl_array_reserve(a, 0, MIB) == NULL && errno == ENOMEM);
    check(words_count(a) == 100001 && owl_array_is_valid(body(a)));
    owl_array_release(a);
}

static void failures_change_nothing(void)
{
    set_up();
    struct owl_array *a = counted(MIB, 1000);
    uint32_t *data = words_data(a);
    fault_always(FAULT_COMMIT);
    size_t count = 1000;
    struct owl_array *b;
    while ((b = words_append(a, (uint32_t)count)) != NULL) {
        check(b == a);
        count++;
    }
    check(errno == ENOMEM && counts_up(a, 0, count) && words_data(a) == data);
    check(owl_array_insert(a, 5, NULL, MIB) == NULL && counts_up(a, 0, count));
    check(owl_array_refs(a) == 1 && owl_array_is_valid(body(a)));
    owl_array_ref(a);
    check(words_append(a, 1) == NULL && errno == ENOMEM && owl_array_refs(a) == 2);
    check(owl_array_own(a) == NULL && owl_array_refs(a) == 2);
    check(owl_array_reserve(a, 1, 1) == NULL && owl_array_refs(a) == 2);
    check(owl_array_truncate(a, 1) == NULL && counts_up(a, 0, count));
    fault_never(FAULT_COMMIT);
    faults.commit_most = 256 << 10;
    owl_array_release(a);
    check((a = owl_array_truncate(a, 1)) != NULL && counts_up(a, 0, 1));
    owl_array_release(a);
}

/* A system that gives memory only in the smallest steps. */
static void small_steps_will_do(void)
{
    set_up();
    struct owl_array *a = words_new(MIB);
    for (size_t i = 0; i < MIB / 2; i++) {
        faults.commit_most = (i * 4 / owl_os.page + 2) * owl_os.page;
        check((a = words_append(a, (uint32_t)i)) != NULL);
    }
    check(counts_up(a, 0, MIB / 2));
    owl_array_release(a);
}

static void other_holders_see_what_they_saw(void)
{
    for (size_t reserve = 0; reserve <= MIB; reserve += MIB) {
        struct owl_array *a = counted(reserve, 100000);
        struct owl_array *same = owl_array_append(a, NULL, 0);
        check(same == a && words_append(a, 100000) == a);
        struct owl_array *old = owl_array_ref(a);
        check(old == a && owl_array_refs(a) == 2);
        struct owl_array *n = words_append(a, 7);
        check(n != NULL && n != old && owl_array_refs(old) == 1 && owl_array_refs(n) == 1);
        check(counts_up(old, 0, 100001) && words_count(n) == 100002);
        check(words_data(n) != words_data(old) && *words_at(n, 100001) == 7);
        words_data(n)[5] = 0;
        check(counts_up(old, 0, 100001));
        check(words_append(old, 100001) == old && counts_up(old, 0, 100002));
        owl_array_ref(old);
        struct owl_array *front = words_prepend(old, 1);
        check(front != old && *words_at(front, 0) == 1 && *words_at(front, 1) == 0);
        owl_array_ref(old);
        struct owl_array *part = owl_array_erase(old, 0, 100000);
        check(part != old && counts_up(part, 100000, 2) && counts_up(old, 0, 100002));
        struct owl_array *own = owl_array_own(old);
        check(own == old && !own->shared);
        owl_array_release(own);
        owl_array_release(n);
        owl_array_release(front);
        owl_array_release(part);
    }
}

/* Takes a reference of its own over, reads, changes, and gives back, as the other threads do. */
static void *holder(void *array)
{
    struct owl_array *a = array;
    for (size_t round = 0; round < 100; round++) {
        struct owl_array *mine = owl_array_ref(a);
        check(counts_up(mine, 0, 5000));
        check((mine = words_append(mine, 1)) != NULL && words_count(mine) == 5001);
        check((mine = owl_array_erase(mine, 0, 1)) != NULL && *words_at(mine, 4999) == 1);
        owl_array_release(mine);
    }
    check((a = words_append(a, 5000)) != NULL && counts_up(a, 0, 5001));
    owl_array_release(a);
    return NULL;
}

static void threads_hold_references(void)
{
    pthread_t threads[4];
    for (int round = 0; round < ROUNDS(40); round++) {
        struct owl_array *a = counted(round % 2 ? MIB : 0, 5000);
        for (int i = 0; i < 4; i++)
            check(pthread_create(&threads[i], NULL, holder, owl_array_ref(a)) == 0);
        owl_array_release(a);
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
    }
}

static void shrink_gives_pages_back(void)
{
    owl_free(owl_malloc(1));
    size_t count = 16 * MIB / sizeof(uint32_t);
    struct owl_array *a = counted(count, count);
    char *start = (char *)words_data(a);
    size_t page = owl_os.page, all = 16 * MIB / page;
    check(resident_pages(start, 16 * MIB) == all);
    check((a = owl_array_erase(a, 0, count / 4)) != NULL);
    check((a = owl_array_truncate(a, count / 2)) != NULL);
    check(resident_pages(start, 16 * MIB) > all / 2 + 2);
    check((a = owl_array_shrink(a)) != NULL);
    check(resident_pages(body(a)->commit_lo, (size_t)(body(a)->commit_hi - body(a)->commit_lo)) ==
          all / 2);
    check(counts_up(a, count / 4, count / 2) && (char *)words_data(a) == start + 4 * MIB);
    check(owl_array_capacity(a) >= count / 2);
    for (size_t i = count / 4 * 3; i < count; i++)
        check((a = words_append(a, (uint32_t)i)) != NULL);
    check(counts_up(a, count / 4, count / 4 * 3));
    owl_array_release(a);
}

static void blocks_shrink(void)
{
    struct owl_array *a = counted(0, 4 * MIB);
    check((a = owl_array_erase(a, 0, MIB)) != NULL);
    check((a = owl_array_truncate(a, 1000)) != NULL);
    check((a = owl_array_shrink(a)) != NULL && counts_up(a, MIB, 1000));
    check(owl_array_capacity(a) < 4000 && owl_array_is_valid(body(a)));
    check((a = owl_array_truncate(a, 0)) != NULL && (a = owl_array_shrink(a)) != NULL);
    check(owl_array_capacity(a) == 0);
    check((a = words_append(a, 1)) != NULL && *words_at(a, 0) == 1);
    owl_array_release(a);
}

/* Memory does not follow an array that is used as a queue. */
static void queues_leave_nothing_behind(void)
{
    for (size_t reserve = 0; reserve <= 64 * MIB; reserve += 64 * MIB) {
        struct owl_array *a = counted(reserve, 1000);
        for (size_t i = 1000; i < ROUNDS(8 * MIB); i++) {
            check((a = words_append(a, (uint32_t)i)) != NULL);
            check((a = owl_array_erase(a, 0, 1)) != NULL);
        }
        check(counts_up(a, ROUNDS(8 * MIB) - 1000, 1000));
        const struct owl_array_body *b = body(a);
        check((size_t)(b->open_hi - b->open_lo) < 2 * MIB);
        check(resident_pages(b->commit_lo, (size_t)(b->commit_hi - b->commit_lo)) <
              2 * MIB / owl_os.page);
        owl_array_release(a);
    }
}

static void zeros_take_no_memory(void)
{
    struct owl_array *a = counted(64 * MIB, 10);
    check((a = owl_array_append(a, NULL, 16 * MIB)) != NULL && words_count(a) == 16 * MIB + 10);
    size_t few = 2 * OWL_ARRAY_OPEN_MIN / owl_os.page + 4;
    check(resident_pages(words_data(a), 64 * MIB) <= few);
    check((a = owl_array_prepend(a, NULL, 16 * MIB)) != NULL);
    check(resident_pages(words_data(a), 128 * MIB) <= few);
    for (size_t i = 0; i < 32 * MIB + 10; i += i >= 16 * MIB && i < 16 * MIB + 10 ? 1 : 1001)
        check(*words_at(a, i) == (i > 16 * MIB && i < 16 * MIB + 10 ? i - 16 * MIB : 0));
    owl_array_release(a);
}

static void bad_arguments(void)
{
    struct owl_array *a = counted(0, 10);
    struct owl_array *result[] = {
        owl_array_new(0, 1),           owl_array_append(NULL, a, 1),  owl_array_prepend(NULL, a, 1),
        owl_array_insert(NULL, 0, a, 1), owl_array_erase(NULL, 0, 0), owl_array_truncate(NULL, 0),
        owl_array_reserve(NULL, 1, 1), owl_array_shrink(NULL),        owl_array_own(NULL),
        owl_array_insert(a, 11, a, 1), owl_array_erase(a, 11, 0),     owl_array_erase(a, 5, 6),
        owl_array_erase(a, 5, SIZE_MAX), owl_array_truncate(a, 11),   owl_array_insert(a, 11, a, 0),
    };
    check(errno == EINVAL);
    for (size_t i = 0; i < sizeof result / sizeof *result; i++)
        check(result[i] == NULL);
    check(owl_array_ref(NULL) == NULL && owl_array_refs(NULL) == 0);
    check(owl_array_capacity(NULL) == 0 && owl_array_capacity_front(NULL) == 0);
    owl_array_release(NULL);
    check(owl_array_at(a, 10) == NULL && owl_array_at(a, 9) == words_data(a) + 9);
    check(words_at(a, 10) == NULL && counts_up(a, 0, 10) && owl_array_refs(a) == 1);
    owl_array_release(a);
}

static void sizes_that_overflow(void)
{
    const size_t counts[] = {SIZE_MAX,     SIZE_MAX / 4,    SIZE_MAX / 4 + 2,
                             SIZE_MAX / 8, PTRDIFF_MAX / 4, PTRDIFF_MAX / 4 - 100,
                             (size_t)1 << 45};
    for (size_t reserve = 0; reserve <= MIB; reserve += MIB)
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            struct owl_array *a = counted(reserve, 1000);
            size_t n = opaque_size(counts[i]);
            check(owl_array_append(a, NULL, n) == NULL && errno == ENOMEM);
            check(owl_array_prepend(a, NULL, n) == NULL && errno == ENOMEM);
            check(owl_array_insert(a, 500, NULL, n) == NULL && errno == ENOMEM);
            check(owl_array_reserve(a, n, n) == NULL && errno == ENOMEM);
            check(counts_up(a, 0, 1000) && owl_array_is_valid(body(a)));
            check(words_append(a, 1000) == a);
            owl_array_release(a);
        }
    errno = 0;
    check(owl_array_new(opaque_size(SIZE_MAX), 1) == NULL && errno == ENOMEM);
    check(owl_array_new(3, opaque_size(SIZE_MAX / 2)) == NULL && errno == ENOMEM);
}

static void odd_sizes_of_elements(void)
{
    const size_t sizes[] = {1, 3, 7, 24, 100, 4095, 4097, 70000, 3 * MIB};
    for (size_t k = 0; k < 2 * sizeof sizes / sizeof *sizes; k++) {
        size_t size = sizes[k / 2], number = size > 5000 ? 20 : 2000;
        char *element = owl_malloc(size);
        struct owl_array *a = owl_array_new(size, k % 2 ? 100000 : 0);
        for (size_t i = 0; i < number; i++) {
            memset(element, (int)i, size);
            check((a = owl_array_append(a, element, 1)) != NULL);
            check((a = owl_array_prepend(a, element, 1)) != NULL);
        }
        check(owl_array_count(a) == 2 * number && owl_array_is_valid(body(a)));
        for (size_t i = 0; i < number; i++)
            for (size_t side = 0; side < 2; side++) {
                char *p = owl_array_at(a, side ? number + i : number - 1 - i);
                check(p[0] == (char)i && p[size - 1] == (char)i);
            }
        owl_array_release(a);
        owl_free(element);
    }
}

/* A success keeps errno, and so does giving back. */
static void errno_is_kept(void)
{
    errno = 4711;
    struct owl_array *a = counted(MIB, 100000);
    a = owl_array_shrink(owl_array_erase(a, 0, 5));
    a = owl_array_own(owl_array_ref(a));
    owl_array_release(a);
    check(errno == 4711);
}

/* A kernel that moves several mappings, but stops after the first for want of more. */
static int move_halfway(void *from, void *to, size_t bytes)
{
    size_t piece = faults.real.piece(from, bytes);
    moves++;
    if (piece == bytes)
        return faults.real.move(from, to, bytes);
    check(faults.real.move(from, to, piece) == 0);
    return -1;
}

static void moves_that_stop_halfway(void)
{
    set_up();
    owl_os.move = move_halfway;
    faults.reserve_most = 16 * MIB;
    struct owl_array *a = words_new((size_t)1 << 40);
    for (size_t i = 0; i < 12 * MIB; i++) {
        faults.reserve_most += owl_array_capacity(a) == i ? 16 * MIB : 0;
        check((a = words_append(a, (uint32_t)i)) != NULL);
    }
    check(counts_up(a, 0, 12 * MIB) && (moves > 1 || SANITIZED));
    owl_array_release(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        child_test(a_huge_reserve),
        child_test(addresses_stay_within_the_capacity),
        child_test(a_refused_reservation_is_smaller),
        child_test(nothing_reserved_at_all),
        child_test(failures_change_nothing),
        child_test(small_steps_will_do),
        child_test(other_holders_see_what_they_saw),
        child_test(threads_hold_references),
        child_test(shrink_gives_pages_back),
        child_test(blocks_shrink),
        child_test(queues_leave_nothing_behind),
        child_test(zeros_take_no_memory),
        child_test(bad_arguments),
        child_test(sizes_that_overflow),
        child_test(odd_sizes_of_elements),
        child_test(errno_is_kept),
        child_test(moves_that_stop_halfway),
    };
    return cmocka_run_group_tests_name("array", tests, NULL, NULL);
}
