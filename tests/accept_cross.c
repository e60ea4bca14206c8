/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Acceptance for another architecture, under an emulator of programs: it has no fork while there
 * are threads, and takes its time.
 */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include <owl/owl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accept.h"

enum { THREADS = 4, STEPS = 20000, SLOTS = 64 };

/* A block of `bytes` has the number of its size at both ends. */
static _Atomic(unsigned char *) slots[SLOTS];
static atomic_bool broken;

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 8;
}

static unsigned char *filled(size_t bytes)
{
    unsigned char *p = malloc(bytes);
    if (p != NULL) {
        memcpy(p, &bytes, sizeof bytes);
        p[bytes - 1] = (unsigned char)bytes;
    }
    return p;
}

static void empty(unsigned char *p)
{
    size_t bytes;
    if (p == NULL)
        return;
    memcpy(&bytes, p, sizeof bytes);
    if (p[bytes - 1] != (unsigned char)bytes)
        atomic_store(&broken, true);
    free(p);
}

/* Small, medium and large blocks change hands. */
static void *exchange(void *seed)
{
    unsigned state = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < STEPS; i++) {
        unsigned kind = next_random(&state) % 512;
        size_t most = kind == 0 ? 2000000 : kind < 8 ? 200000 : 2000;
        unsigned char *p = filled(sizeof(size_t) + 1 + next_random(&state) % most);
        if (p == NULL)
            atomic_store(&broken, true);
        empty(atomic_exchange(&slots[next_random(&state) % SLOTS], p));
    }
    return NULL;
}

static bool threads_exchange_blocks(void)
{
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        require(pthread_create(&threads[i], NULL, exchange, (void *)(i + 1)) == 0);
    owl_trim(0);
    for (int i = 0; i < THREADS; i++)
        require(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < SLOTS; i++)
        empty(atomic_exchange(&slots[i], NULL));
    require(!atomic_load(&broken));
    return true;
}

static bool blocks_grow(void)
{
    unsigned char *p = NULL;
    for (size_t bytes = 16; bytes <= (size_t)16 << 20; bytes *= 2) {
        p = realloc(p, bytes);
        require(p != NULL);
        memset(p + bytes / 2, (int)(bytes >> 4 | 1) & 0xff, bytes / 2);
        require(bytes == 16 || p[bytes / 2 - 1] == ((bytes >> 5 | 1) & 0xff));
    }
    free(p);
    return true;
}

static bool a_double_free_aborts(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        void *p = malloc(64);
        close(STDERR_FILENO);
        free(opaque(p));
        free(opaque(p));
        _exit(0);
    }
    require(child > 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    return true;
}

static bool the_library_is_in_use(void)
{
    void *p = malloc(100);
    require(owl_malloc_usable_size(p) == 112);
    free(p);
    return true;
}

int main(void)
{
    run(the_library_is_in_use);
    run(a_double_free_aborts);
    run(blocks_grow);
    run(threads_exchange_blocks);
    return finish();
}
