/* SPDX-License-Identifier: BSD-2-Clause */
#include "watch.h"

#include <errno.h>

#include "check.h"
#include "lock.h"
#include "os.h"
#include "tune.h"

static struct {
    struct owl_lock control, table;
    struct owl_watch *watches[OWL_WATCHES]; /* by address */
    size_t count;
    owl_u32 begun;  /* watches */
    owl_u32 visits; /* handlers that have returned, and watches that have ended: sleepers wait for
                     * it */
    bool at_fork;   /* fork's handlers are registered */
} watching = {.control.rank = OWL_RANK_WATCH, .table.rank = OWL_RANK_WATCHES};

void owl_watch_lock(void)
{
    owl_lock(&watching.table);
}

void owl_watch_unlock(void)
{
    owl_unlock(&watching.table);
}

static void control(sigset_t *mask)
{
    owl_os.signals_block(mask);
    owl_lock(&watching.control);
    owl_lock(&watching.table);
}

static void release(const sigset_t *mask)
{
    owl_unlock(&watching.table);
    owl_unlock(&watching.control);
    owl_os.signals_restore(mask);
}

/* With the table's lock held; it is free meanwhile. */
static void wait_for_visit(void)
{
    uint32_t seen = owl_u32_load_relaxed(&watching.visits);
    owl_unlock(&watching.table);
    owl_os.wait(&watching.visits, seen);
    owl_lock(&watching.table);
}

static void tell_waiters(void)
{
    owl_u32_store_relaxed(&watching.visits, owl_u32_load_relaxed(&watching.visits) + 1);
    owl_os.wake_all(&watching.visits);
}

/* Number of the first watch that ends above an address. */
static size_t search(uintptr_t address)
{
    size_t low = 0, high = watching.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct owl_watch *w = watching.watches[middle];
        if ((uintptr_t)w->start + w->bytes <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct owl_watch *find(uintptr_t address)
{
    size_t i = search(address);
    if (i == watching.count || (uintptr_t)watching.watches[i]->start > address)
        return NULL;
    return watching.watches[i];
}

/* --- events --- */

/* Calls the handler, without the lock. */
static void visit(struct owl_watch *w, size_t page, bool hidden, bool write)
{
    size_t at = page * owl_os.page;
    struct owl_watch_event event = {
        .page = w->start + at,
        .bytes = owl_os.page,
        .write = write,
        .contents = hidden ? w->shadow + at : NULL,
    };
    if (w->by->nest != NULL && !w->leaf)
        w->by->nest();
    w->state[page] |= OWL_WATCH_BUSY;
    w->visits++;
    owl_unlock(&watching.table);
    w->handler(&event, w->context);
    owl_lock(&watching.table);
    w->visits--;
    w->state[page] &= (uint8_t)~OWL_WATCH_BUSY;
}

/* The page is not busy. */
static bool serve(struct owl_watch *w, size_t page, bool write)
{
    unsigned due = w->state[page] & OWL_WATCH_KINDS;
    bool hidden = (due & OWL_WATCH_ACCESS) != 0;
    if (!write)
        due &= OWL_WATCH_ACCESS;
    if (due == 0)
        return w->by->retry(w, page, (w->state[page] & OWL_WATCH_WRITE) == 0) == 0;
    if ((w->state[page] & OWL_WATCH_PREPARED) == 0)
        visit(w, page, hidden, write);
    unsigned left = w->state[page] & ~due & OWL_WATCH_KINDS;
    bool granted = w->by->grant(w, page, hidden, (left & OWL_WATCH_WRITE) == 0) == 0;
    if (granted)
        w->state[page] = (uint8_t)left;
    else
        w->state[page] |= OWL_WATCH_PREPARED;
    tell_waiters();
    return granted;
}

/* With userfaultfd a thread has nothing to wait for: those who fault are let go by whoever works on
 * the page, or ends the watch. */
bool owl_watch_fault(const struct owl_watch_mechanism *by, uintptr_t address, bool write)
{
    bool done = false;
    owl_lock(&watching.table);
    struct owl_watch *w;
    while ((w = find(address)) != NULL && w->by == by) {
        size_t page = (address - (uintptr_t)w->start) / owl_os.page;
        if (!w->ending && (w->state[page] & OWL_WATCH_BUSY) == 0) {
            done = serve(w, page, write);
            break;
        }
        if (by == &owl_watch_userfaultfd)
            break;
        wait_for_visit();
    }
    owl_unlock(&watching.table);
    return done;
}

uint32_t owl_watch_begun(void)
{
    return owl_u32_load_acquire(&watching.begun);
}

/* --- states --- */

size_t owl_watch_hidden_run(const struct owl_watch *w, size_t *first)
{
    size_t pages = w->bytes / owl_os.page, end;
    while (*first < pages && (w->state[*first] & OWL_WATCH_ACCESS) == 0)
        ++*first;
    for (end = *first; end < pages && (w->state[end] & OWL_WATCH_ACCESS) != 0;)
        end++;
    return end - *first;
}

/* A run of pages in one state. The new state is there before the first access can be told of. */
static int arm_run(struct owl_watch *w, size_t first, size_t pages, int mode)
{
    uint8_t old = w->state[first];
    uint8_t new = (uint8_t)(old | mode);
    bool hide = (new & ~old & OWL_WATCH_ACCESS) != 0;
    bool protect = (new & ~old & OWL_WATCH_WRITE) != 0 && (new & OWL_WATCH_ACCESS) == 0;
    for (size_t i = first; i < first + pages; i++)
        w->state[i] = new;
    if ((!hide || w->by->hide(w, first, pages) == 0) &&
        (!protect || w->by->protect(w, first, pages) == 0))
        return 0;
    for (size_t i = first; i < first + pages; i++)
        w->state[i] = old;
    return -1;
}

/* With the table's lock held. Passes over pages that are on their way, or stops there. How many
 * pages are done; -1: not all, for want of memory. */
static ptrdiff_t arm(struct owl_watch *w, size_t first, size_t pages, int mode, bool pass)
{
    for (size_t done = 0, run; done < pages; done += run) {
        uint8_t state = w->state[first + done];
        for (run = 1; done + run < pages && w->state[first + done + run] == state;)
            run++;
        if ((state & OWL_WATCH_UNDER_WAY) == 0) {
            /* An older kernel cannot move at once what are several mappings to it. */
            if (run > 1 && arm_run(w, first + done, run, mode) == 0)
                continue;
            run = 1;
            if (arm_run(w, first + done, run, mode) != 0)
                return -1;
        } else if (!pass) {
            return (ptrdiff_t)done;
        }
    }
    return (ptrdiff_t)pages;
}

size_t owl_watch_arm(struct owl_watch *w, size_t first, size_t pages, int mode)
{
    owl_lock(&watching.table);
    ptrdiff_t done = arm(w, first, pages, mode, false);
    owl_unlock(&watching.table);
    return done < 0 ? 0 : (size_t)done;
}

bool owl_watch_settle(struct owl_watch *w, size_t page)
{
    bool waited = false;
    owl_lock(&watching.table);
    for (; (w->state[page] & OWL_WATCH_UNDER_WAY) != 0; waited = true)
        wait_for_visit();
    owl_unlock(&watching.table);
    return waited;
}

/* --- fork --- */

static void drop_watch(struct owl_watch *w)
{
    if (w->shadow != NULL)
        owl_os.unmap(w->shadow, w->bytes);
    owl_os.unmap(w, w->mapped);
}

static void fork_prepare(void)
{
    owl_lock_begin_fork();
    owl_lock_before_fork(&watching.control);
    owl_lock_before_fork(&watching.table);
}

static void fork_parent(void)
{
    owl_lock_after_fork(&watching.table);
    owl_lock_after_fork(&watching.control);
    owl_lock_end_fork();
}

static void fork_child(void)
{
    owl_lock_in_child(&watching.control);
    owl_lock_in_child(&watching.table);
    for (size_t i = 0; i < watching.count; i++) {
        struct owl_watch *w = watching.watches[i];
        w->ending = true;
        if (!w->own) {
            w->by->end_in_child(w);
            drop_watch(w);
        }
    }
    watching.count = 0;
    owl_watch_userfaultfd.close(true);
    owl_watch_protection.close(true);
    owl_lock_end_fork();
}

/* --- begin and end --- */

static struct owl_watch *new_watch(char *start, size_t bytes, int mode)
{
    size_t mapped = owl_round_up(sizeof(struct owl_watch) + bytes / owl_os.page, owl_os.page);
    struct owl_watch *w = owl_os.map(mapped);
    if (w == NULL)
        return NULL;
    w->start = start;
    w->bytes = bytes;
    w->mode = mode;
    w->mapped = mapped;
    if ((mode & OWL_WATCH_ACCESS) != 0 && (w->shadow = owl_os.reserve(bytes)) == NULL) {
        owl_os.unmap(w, mapped);
        return NULL;
    }
    return w;
}

static void insert(struct owl_watch *w)
{
    size_t i = search((uintptr_t)w->start);
    for (size_t j = watching.count++; j > i; j--)
        watching.watches[j] = watching.watches[j - 1];
    watching.watches[i] = w;
    owl_u32_store_release(&watching.begun, owl_u32_load_relaxed(&watching.begun) + 1);
}

static void take_out(const struct owl_watch *w)
{
    size_t i = search((uintptr_t)w->start);
    for (watching.count--; i < watching.count; i++)
        watching.watches[i] = watching.watches[i + 1];
}

/* After a watch has ended, or was refused. With both locks held. */
static void close_unused(const struct owl_watch_mechanism *by)
{
    for (size_t i = 0; i < watching.count; i++)
        if (watching.watches[i]->by == by)
            return;
    owl_unlock(&watching.table);
    by->close(false);
    owl_lock(&watching.table);
}

/* Not in one piece: a mapping that is moved whole takes its numbers along, what comes in its place
 * gets others, and pages that are set aside later do not join with those that were now. */
static int arm_all(struct owl_watch *w)
{
    size_t pages = w->bytes / owl_os.page;
    int mode = w->mode & OWL_WATCH_KINDS;
    return arm(w, 0, 1, mode, true) < 0 || arm(w, 1, pages - 1, mode, true) < 0 ? -1 : 0;
}

/* The first mechanism that begins has it; what fails after that is want of memory. */
static int begin_by(struct owl_watch *w)
{
    static const struct owl_watch_mechanism *const all[] = {&owl_watch_userfaultfd,
                                                            &owl_watch_protection};
    int forced = w->mode & (OWL_WATCH_USERFAULTFD | OWL_WATCH_PROTECTION);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (forced != 0 && (forced & all[i]->name) == 0)
            continue;
        w->by = all[i];
        if (w->by->begin(w) == 0) {
            insert(w);
            if (arm_all(w) == 0)
                return 0;
            if (w->by->end(w) != 0) /* pages that were set aside cannot come back */
                owl_report_fatal(OWL_FAULT_REMAP, w->start, w->bytes);
            take_out(w);
            close_unused(w->by);
            errno = ENOMEM;
            return -1;
        }
        close_unused(w->by);
    }
    errno = ENOTSUP;
    return -1;
}

/* With both locks held. */
static struct owl_watch *begin(const struct owl_watch *wanted)
{
    uintptr_t start = (uintptr_t)wanted->start;
    size_t i = search(start);
    if (i < watching.count && (uintptr_t)watching.watches[i]->start < start + wanted->bytes) {
        errno = EBUSY;
        return NULL;
    }
    if (watching.count == OWL_WATCHES) {
        errno = ENOMEM;
        return NULL;
    }
    if (!watching.at_fork) {
        if (owl_os.at_fork(fork_prepare, fork_parent, fork_child) != 0)
            return NULL;
        watching.at_fork = true;
    }
    struct owl_watch *w = new_watch(wanted->start, wanted->bytes, wanted->mode);
    if (w == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    /* Mappings join, where pages have come and gone, if the system numbers their pages alike; but
     * when it moves a mapping that never had memory it numbers it afresh. So there is a page, as it
     * was. */
    if (w->shadow != NULL)
        owl_os.populate(w->start, owl_os.page);
    w->handler = wanted->handler;
    w->context = wanted->context;
    w->leaf = wanted->leaf;
    w->own = wanted->own;
    if (begin_by(w) == 0)
        return w;
    int saved = errno;
    drop_watch(w);
    errno = saved;
    return NULL;
}

/* With both locks held. */
static int end(struct owl_watch *w)
{
    w->ending = true;
    while (w->visits > 0)
        wait_for_visit();
    int result = w->by->end(w);
    if (result == 0) {
        take_out(w);
        close_unused(w->by);
        drop_watch(w);
    } else {
        w->ending = false;
        errno = ENOMEM;
    }
    tell_waiters();
    return result;
}

struct owl_watch *owl_watch_begin_own(void *start, size_t bytes, int mode,
                                      owl_watch_handler *handler, void *context)
{
    struct owl_watch wanted = {.start = start, .bytes = bytes, .mode = mode, .handler = handler,
                               .context = context, .leaf = true, .own = true};
    sigset_t mask;
    control(&mask);
    struct owl_watch *w = begin(&wanted);
    release(&mask);
    return w;
}

int owl_watch_end_own(struct owl_watch *w)
{
    sigset_t mask;
    control(&mask);
    int result = end(w);
    release(&mask);
    return result;
}

/* --- the public functions --- */

static bool are_pages(const void *start, size_t bytes)
{
    if (owl_os.page == 0)
        owl_os_init();
    size_t below = owl_os.page - 1;
    return bytes != 0 && ((uintptr_t)start & below) == 0 && (bytes & below) == 0 &&
           bytes <= PTRDIFF_MAX && (uintptr_t)start <= UINTPTR_MAX - bytes;
}

int owl_watch(void *start, size_t bytes, int mode, owl_watch_handler *handler, void *context)
{
    int all = OWL_WATCH_KINDS | OWL_WATCH_USERFAULTFD | OWL_WATCH_PROTECTION;
    if (!are_pages(start, bytes) || (mode & OWL_WATCH_KINDS) == 0 || (mode & ~all) != 0 ||
        start == NULL || handler == NULL) {
        errno = EINVAL;
        return -1;
    }
    struct owl_watch wanted = {.start = start, .bytes = bytes, .mode = mode, .handler = handler,
                               .context = context};
    sigset_t mask;
    control(&mask);
    int result = begin(&wanted) != NULL ? 0 : -1;
    release(&mask);
    return result;
}

int owl_watch_again(void *start, size_t bytes, int mode)
{
    sigset_t mask;
    int result = -1, error = EINVAL;
    bool right = are_pages(start, bytes) && (mode & OWL_WATCH_KINDS) != 0;
    owl_os.signals_block(&mask);
    owl_lock(&watching.table);
    struct owl_watch *w = right ? find((uintptr_t)start) : NULL;
    if (w != NULL && (mode & ~(w->mode & OWL_WATCH_KINDS)) == 0 &&
        bytes <= w->bytes - (size_t)((char *)start - w->start)) {
        size_t first = (size_t)((char *)start - w->start) / owl_os.page;
        result = arm(w, first, bytes / owl_os.page, mode, true) < 0 ? -1 : 0;
        error = ENOMEM;
    }
    owl_unlock(&watching.table);
    owl_os.signals_restore(&mask);
    if (result != 0)
        errno = error;
    return result;
}

int owl_unwatch(void *start)
{
    sigset_t mask;
    int result = -1;
    control(&mask);
    struct owl_watch *w = find((uintptr_t)start);
    if (w == NULL || w->start != start || w->own || w->ending)
        errno = EINVAL;
    else
        result = end(w);
    release(&mask);
    return result;
}

int owl_watch_mechanism(const void *address)
{
    sigset_t mask;
    owl_os.signals_block(&mask);
    owl_lock(&watching.table);
    const struct owl_watch *w = find((uintptr_t)address);
    int name = w == NULL ? 0 : w->by->name;
    owl_unlock(&watching.table);
    owl_os.signals_restore(&mask);
    return name;
}
