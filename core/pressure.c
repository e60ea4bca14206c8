/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory pressure: the handlers, and the thread that watches and calls them.
 *
 * The thread begins with the first handler and ends when there is none left:
 *
 *     running   there is a thread, which will look at the handlers before it ends
 *     joinable  there is, or was, one that nobody has joined
 *
 * A handler is called without the lock. One that is taken away while it is being called, by itself
 * or from another thread, is `gone`, and freed by the watching thread after the call.
 */
#include <errno.h>
#include <owl/pressure.h>

#include "lock.h"
#include "option.h"
#include "os.h"
#include "pressure_read.h"
#include "scavenger.h"

struct entry {
    owl_pressure_handler *handler;
    void *context;
    struct entry *next;
    bool gone;
};

/* Guarded by the lock, but for the word that is waited for. */
static struct {
    struct owl_lock lock;
    struct entry *first, *calling;
    size_t live; /* entries that are not gone */
    bool running, joinable;
    bool at_fork; /* fork's handlers are registered */
    pthread_t thread;
    struct owl_file bell[2];
    uint32_t calls;  /* that have ended */
    uint32_t forks;  /* how many parents back the first process is */
    owl_u32 changes; /* calls that ended, threads that did, handlers that came; changes wake */
} state = {.lock.rank = OWL_RANK_PRESSURE, .bell = {{.descriptor = -1}, {.descriptor = -1}}};

/* The thread's own. */
static struct {
    struct owl_pressure_places places;
    struct owl_file files[OWL_PRESSURE_FILES];
    size_t stalls, count; /* the first ones tell of stalls, the others of limits that were hit */
    bool incomplete;      /* some could not be opened, but maybe later */
    uint64_t events;
    double told;          /* the severity that the handlers know, or less */
} watch;

static void note_change(void)
{
    owl_u32_store_relaxed(&state.changes, owl_u32_load_relaxed(&state.changes) + 1);
    owl_os.wake_all(&state.changes);
}

/* With the lock held, which is let go meanwhile. */
static void await_change(void)
{
    uint32_t seen = owl_u32_load_relaxed(&state.changes);
    owl_unlock(&state.lock);
    owl_os.wait(&state.changes, seen);
    owl_lock(&state.lock);
}

/* --- files ------------------------------------------------------------------------ */

static void keep(int result, struct owl_file file)
{
    if (result == 0)
        watch.files[watch.count++] = file;
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
        watch.incomplete = true;
}

static void open_stalls(const char *path)
{
    struct owl_file file;
    int result = owl_os.pressure_open(&file, path, OWL_PRESSURE_TRIGGER);
    if (result != 0)
        result = owl_os.pressure_open(&file, path, OWL_PRESSURE_TRIGGER_2S);
    keep(result, file);
}

static void open_events(const struct owl_pressure_group *g)
{
    char path[OWL_PRESSURE_PATH];
    struct owl_file file;
    if (!owl_pressure_file(g, OWL_PRESSURE_EVENTS, path))
        return;
    int result = owl_os.pressure_open(&file, path, NULL);
    if (result != 0 && owl_pressure_file(g, OWL_PRESSURE_EVENTS_OLD, path))
        result = owl_os.pressure_open(&file, path, NULL);
    keep(result, file);
}

static void close_files(void)
{
    for (size_t i = 0; i < watch.count; i++)
        owl_os.file_close(&watch.files[i]);
    watch.count = watch.stalls = 0;
}

static void open_files(void)
{
    char path[OWL_PRESSURE_PATH];
    watch.incomplete = false;
    owl_pressure_find(&watch.places);
    open_stalls("/proc/pressure/memory");
    if (owl_pressure_file(&watch.places.v2, "memory.pressure", path))
        open_stalls(path);
    watch.stalls = watch.count;
    struct owl_pressure_group g = watch.places.v2;
    do {
        open_events(&g);
    } while (watch.count < OWL_PRESSURE_FILES && owl_pressure_up(&g));
}

/* The bell, whose place another thread may look at to ring it. */
static void change_bell(bool make)
{
    owl_os.file_close(&state.bell[0]);
    owl_os.file_close(&state.bell[1]);
    if (make && owl_os.pressure_bell(state.bell) != 0)
        watch.incomplete = true;
}

static void ring(void)
{
    owl_lock(&state.lock);
    owl_os.pressure_ring(&state.bell[1]);
    owl_unlock(&state.lock);
}

/* --- the thread --------------------------------------------------------------------- */

/* Takes an entry out of the list. */
static void drop(struct entry *e)
{
    struct entry **at = &state.first;
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    owl_free(e);
}

/* Calls the handlers. In a child of a fork by one of them it stops. */
static void tell(double severity)
{
    owl_lock(&state.lock);
    uint32_t forks = state.forks;
    for (struct entry *e = state.first, *next; e != NULL; e = next) {
        if (!e->gone) {
            state.calling = e;
            owl_unlock(&state.lock);
            e->handler(severity, e->context);
            owl_lock(&state.lock);
            if (state.forks != forks)
                break;
            state.calling = NULL;
            state.calls++;
            note_change();
        }
        next = e->next;
        if (e->gone)
            drop(e);
    }
    owl_unlock(&state.lock);
}

/* Looks, and decides whether the handlers are to know. */
static bool look(unsigned news, struct owl_pressure_look *l)
{
    bool stalled = (news & ((1u << watch.stalls) - 1)) != 0;
    owl_pressure_look(&watch.places, l);
    bool hit = l->events > watch.events;
    watch.events = l->events;
    if (hit)
        l->severity = 1.0;
    else if (stalled && l->severity < OWL_PRESSURE_TRIGGERED)
        l->severity = OWL_PRESSURE_TRIGGERED;
    bool risen = l->severity >= watch.told + OWL_PRESSURE_STEP ||
                 (watch.told == 0.0 && l->severity > 0.0);
    if (l->severity < watch.told)
        watch.told = l->severity;
    return stalled || hit || risen;
}

/* One wait, without the files after handlers were called, or descriptors lost: these come at most
 * once in a pause. */
static unsigned await(bool pause, bool timed)
{
    owl_lock(&state.lock);
    struct owl_file bell = state.bell[0];
    owl_unlock(&state.lock);
    bool by_time = pause || timed || watch.incomplete || bell.descriptor < 0;
    return owl_os.pressure_wait(watch.files, pause ? 0 : watch.count, &bell,
                                by_time ? OWL_PRESSURE_PAUSE : -1);
}

/* Opens what is lost, or could not be opened before. */
static void reopen(void)
{
    close_files();
    open_files();
    owl_lock(&state.lock);
    if (!owl_os.file_is_open(&state.bell[0]) || !owl_os.file_is_open(&state.bell[1]))
        change_bell(true);
    owl_unlock(&state.lock);
}

static void begin(void)
{
    struct owl_pressure_look l;
    watch.told = 0.0;
    watch.count = 0;
    open_files();
    owl_pressure_look(&watch.places, &l);
    watch.events = l.events; /* what happened before is no news */
}

/* With the lock held: whether the thread, which began in that process, is to go on. */
static bool goes_on(uint32_t forks)
{
    return state.live > 0 && state.forks == forks;
}

static void *serve(void *nothing)
{
    bool lost = false;
    unsigned news = 0;
    owl_os.thread_name("owl-pressure");
    begin();
    owl_lock(&state.lock);
    uint32_t forks = state.forks;
    while (goes_on(forks)) {
        struct owl_pressure_look l;
        owl_unlock(&state.lock);
        bool told = look(news, &l);
        if (told) {
            watch.told = l.severity;
            tell(l.severity);
            owl_relieve(l.severity);
        }
        owl_lock(&state.lock);
        if (!goes_on(forks))
            break;
        owl_unlock(&state.lock);
        news = await(told || lost, l.limited || l.severity > 0.0);
        if (lost || watch.incomplete)
            reopen();
        lost = (news & OWL_PRESSURE_LOST) != 0;
        owl_lock(&state.lock);
    }
    if (state.forks == forks) {
        close_files();
        change_bell(false);
        state.running = false;
        note_change();
    }
    owl_unlock(&state.lock);
    return nothing;
}

/* --- fork ----------------------------------------------------------------------------- */

static void fork_prepare(void)
{
    owl_lock_begin_fork();
    owl_lock_before_fork(&state.lock);
}

static void fork_parent(void)
{
    owl_lock_after_fork(&state.lock);
    owl_lock_end_fork();
}

/* The descriptors are the parent's as well. */
static void fork_child(void)
{
    owl_lock_in_child(&state.lock);
    state.running = state.joinable = false;
    state.calling = NULL;
    state.forks++;
    close_files();
    change_bell(false);
    owl_lock_end_fork();
}

/* --- beginning and end ------------------------------------------------------------------ */

/* With the lock held. One that has ended does not need it any more, and is joined. */
static int start(void)
{
    if (state.running)
        return 0;
    if (!state.at_fork && owl_os.at_fork(fork_prepare, fork_parent, fork_child) != 0)
        return -1;
    state.at_fork = true;
    if (state.joinable)
        owl_os.thread_join(state.thread);
    state.joinable = false;
    if (owl_os.pressure_bell(state.bell) != 0)
        return -1;
    if (owl_os.thread_start(&state.thread, serve) != 0) {
        int error = errno;
        change_bell(false);
        errno = error;
        return -1;
    }
    state.running = state.joinable = true;
    owl_word_store_release(&owl_option_listener, (uintptr_t)ring);
    return 0;
}

static struct entry *find(owl_pressure_handler *handler, const void *context)
{
    struct entry *e = state.first;
    while (e != NULL && (e->gone || e->handler != handler || e->context != context))
        e = e->next;
    return e;
}

/* With the lock held. -1, and errno. */
static int enter(struct entry *e)
{
    struct entry **last = &state.first;
    if (find(e->handler, e->context) != NULL) {
        errno = EEXIST;
        return -1;
    }
    if (start() != 0)
        return -1;
    while (*last != NULL)
        last = &(*last)->next;
    *last = e;
    state.live++;
    note_change();
    return 0;
}

int owl_on_pressure(owl_pressure_handler *handler, void *context)
{
    int saved = errno;
    if (handler == NULL) {
        errno = EINVAL;
        return -1;
    }
    struct entry *e = owl_malloc(sizeof *e);
    if (e == NULL)
        return -1;
    *e = (struct entry){.handler = handler, .context = context};
    owl_lock(&state.lock);
    int result = enter(e);
    int error = result == 0 ? saved : errno;
    owl_unlock(&state.lock);
    if (result != 0)
        owl_free(e);
    errno = error;
    return result;
}

/* With the lock held: waits, unless in a handler, until the entry's call has ended, and the thread
 * if it has no handlers left. In a child of a fork a thread begins if there are some. */
static void settle(const struct entry *called)
{
    bool inside = state.running && pthread_equal(state.thread, pthread_self());
    uint32_t calls = state.calls;
    if (state.live == 0 && state.running)
        owl_os.pressure_ring(&state.bell[1]);
    if (!inside) {
        while (called != NULL && state.calling == called && state.calls == calls)
            await_change();
        while (state.live == 0 && state.running)
            await_change();
    }
    if (!state.running && state.joinable) {
        owl_os.thread_join(state.thread);
        state.joinable = false;
    }
    if (state.live > 0)
        start(); /* which does nothing if there is a thread */
}

int owl_off_pressure(owl_pressure_handler *handler, void *context)
{
    int saved = errno;
    owl_lock(&state.lock);
    struct entry *e = find(handler, context);
    if (e == NULL) {
        settle(NULL);
        owl_unlock(&state.lock);
        errno = ENOENT;
        return -1;
    }
    bool called = state.calling == e;
    e->gone = true;
    state.live--;
    if (!called)
        drop(e);
    settle(called ? e : NULL);
    owl_unlock(&state.lock);
    errno = saved;
    return 0;
}

size_t owl_relieve(double severity)
{
    int saved = errno;
    size_t purged = owl_scavenger_relieve(severity);
    errno = saved;
    return purged;
}
