/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Acceptance: several hundred libraries that allocate come and go, in threads too; and the
 * allocator itself is one that comes late, when hardly any static thread-local memory is left.
 * Compiled with -DUSER as a library that allocates; with -DFILLER=n as one that takes n bytes of
 * that memory; without either as the program:
 *
 *     accept_dl users DIRECTORY           loads DIRECTORY/user-0.so, ... as many as there are
 *     accept_dl late FILLERS DIRECTORY    DIRECTORY/filler-0.so, ... until none can be loaded; ends
 *                                         all but FILLERS of that many; then DIRECTORY/user-0.so
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(USER)

#include <string.h>

#ifdef LATE
#include <owl/owl.h>
#define malloc owl_malloc
#define free owl_free
#endif

static __thread char *mine;
static char *kept;

__attribute__((constructor)) static void start(void)
{
    kept = malloc(3000);
    memset(kept, 5, 3000);
}

__attribute__((destructor)) static void end(void)
{
    free(kept);
}

/* 0: all is well. Leaves a block in each thread, which the next call frees. */
int use(void);
int use(void)
{
    static const size_t sizes[] = {10, 700, 9000, 300000};
    for (int i = 0; i < 4; i++) {
        char *p = malloc(sizes[i]);
        if (p == NULL)
            return 1;
        memset(p, 1, sizes[i]);
        free(p);
    }
    free(mine);
    mine = malloc(64);
    return mine == NULL || kept[0] != 5 || kept[2999] != 5;
}

#elif defined(FILLER)

__thread char filler[FILLER] __attribute__((tls_model("initial-exec")));

char *use(void);
char *use(void)
{
    return filler;
}

#else

#include "accept.h"

enum { MOST = 1000 };

static void *libraries[MOST];
static int count;

static void *load(const char *directory, const char *kind, int i)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-%d.so", directory, kind, i);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static int use(void *library)
{
    int (*of_library)(void) = (int (*)(void))(uintptr_t)dlsym(library, "use");
    return of_library == NULL || of_library();
}

static void *use_all(void *unused)
{
    for (int i = 0; i < count; i++)
        if (use(libraries[i]) != 0)
            return &count;
    return unused;
}

static bool in_threads(void)
{
    pthread_t threads[4];
    bool all = true;
    for (int i = 0; i < 4; i++)
        require(pthread_create(&threads[i], NULL, use_all, NULL) == 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        all &= pthread_join(threads[i], &result) == 0 && result == NULL;
    }
    return all;
}

/* Half of them go, the others are used on; all go. */
static bool users(const char *directory)
{
    for (int round = 0; round < 3; round++) {
        count = 0;
        while (count < MOST && (libraries[count] = load(directory, "user", count)) != NULL)
            count++;
        require(count >= 300);
        require(use_all(NULL) == NULL && in_threads());
        for (int i = count / 2; i < count; i++)
            require(dlclose(libraries[i]) == 0);
        count /= 2;
        require(use_all(NULL) == NULL && in_threads());
        while (count > 0)
            require(dlclose(libraries[--count]) == 0);
    }
    return true;
}

static bool late(int fillers, const char *directory)
{
    while (count < MOST && (libraries[count] = load(directory, "filler", count)) != NULL)
        count++;
    require(count > fillers && count < MOST); /* there is an end */
    printf("# %d fillers\n", count);
    for (int i = 0; i < fillers; i++)
        dlclose(libraries[--count]);
    void *library = load(directory, "user", 0);
    if (library == NULL)
        printf("# %s\n", dlerror());
    require(library != NULL && use(library) == 0);
    libraries[0] = library;
    count = 1;
    return in_threads();
}

int main(int argc, char **argv)
{
    alarm(100);
    if (argc == 3)
        report("users", users(argv[2]));
    else if (argc == 4)
        report("late", late(atoi(argv[2]), argv[3]));
    return finish();
}

#endif
