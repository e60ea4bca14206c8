/* SPDX-License-Identifier: BSD-2-Clause */
/* What the counting build has beside the others; in these there is nothing. */
#include "count.h"

#ifdef OWL_COUNT

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* So many threads at once. */
#define RECORDS 4096

/* A thread's, and that of threads before it: it is handed on with what it has, so that the sum over
 * all records is always that over all threads. Nobody reads one before the process ends. */
struct record {
    uint64_t counts[OWL_COUNTS];
    struct record **owner; /* the `mine` of the thread that has it; NULL: nobody has */
} __attribute__((aligned(128)));

static struct record records[RECORDS];
static __thread struct record *mine __attribute__((tls_model("initial-exec")));

/* Guards the owners; taken when a thread counts for the first time and when it ends. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool keyed;
static pthread_key_t key; /* its destructor takes a thread's record */

static char file[4096]; /* a copy, for programs write over their environment */
static pid_t process;   /* the one that has read the name */

/* Destructors of other keys, and that of the thread's cache, may count after this. Then the thread
 * gets a record again and, as the key has a value again, this is called once more. */
static void end(void *record)
{
    struct record *r = record;
    mine = NULL;
    pthread_mutex_lock(&lock);
    r->owner = NULL;
    pthread_mutex_unlock(&lock);
}

/* A record that nobody has; or one of a thread that counted after all destructors, and whose memory
 * is this thread's by now. */
static struct record *find(void)
{
    for (unsigned i = 0; i < RECORDS; i++)
        if (records[i].owner == NULL || records[i].owner == &mine)
            return &records[i];
    abort();
}

static struct record *begin(void)
{
    int saved = errno;
    pthread_mutex_lock(&lock);
    struct record *r = find();
    r->owner = &mine;
    if (!keyed && pthread_key_create(&key, end) != 0)
        abort();
    keyed = true;
    pthread_mutex_unlock(&lock);
    mine = r; /* before what follows, which may allocate */
    pthread_setspecific(key, r);
    errno = saved;
    return r;
}

void owl_count(unsigned what)
{
    struct record *r = mine != NULL ? mine : begin();
    r->counts[what]++;
}

static uint64_t sum(unsigned what)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < RECORDS; i++)
        all += records[i].counts[what];
    return all;
}

static void write_all(void)
{
    static const char *const names[] = {"calls", "cas", "swaps", "adds", "barriers", "sleeps"};
    if (file[0] == '\0' || process != getpid())
        return;
    int out = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    for (unsigned i = 0; i < OWL_COUNT_LOCKS; i++)
        dprintf(out, "%d,%s,,%" PRIu64 "\n", (int)process, names[i], sum(i));
    for (unsigned i = 0; i < OWL_COUNT_RANKS; i++)
        if (owl_lock_names[i] != NULL)
            dprintf(out, "%d,locks,%s,%" PRIu64 "\n%d,waits,%s,%" PRIu64 "\n", (int)process,
                    owl_lock_names[i], sum(OWL_COUNT_LOCKS + i), (int)process, owl_lock_names[i],
                    sum(OWL_COUNT_WAITS + i));
    close(out);
    file[0] = '\0';
}

/* What measures others ends its processes without their handlers. */
__attribute__((visibility("default"))) void _exit(int status)
{
    write_all();
    _Exit(status);
}

__attribute__((destructor)) static void ends(void)
{
    write_all();
}

/* The library is set up before libc: there is no getenv yet. */
__attribute__((constructor)) static void start(int count, char **arguments, char **environment)
{
    static const char name[] = "OWL_COUNT_FILE=";
    (void)count;
    (void)arguments;
    process = getpid();
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, name, sizeof name - 1) == 0)
            snprintf(file, sizeof file, "%s", *environment + sizeof name - 1);
}

#endif
