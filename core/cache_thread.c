/* SPDX-License-Identifier: BSD-2-Clause */
/* The first call of all, and the start and end of threads. */
#include "cache_inside.h"

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>

#include "cache_list.h"
#include "careful.h"
#include "fault.h"
#include "guard.h"
#include "mapping.h"
#include "memfd.h"
#include "option.h"
#include "os.h"
#include "pool.h"
#include "tools.h"

/* With hardened calls owl_cache_self stays at &owl_cache_none, so that each call finds no block and
 * no room and comes to a slow door; this has the thread's cache in its place, for claims too. */
static __thread owl_word veiled_self __attribute__((tls_model("initial-exec"))) =
    (uintptr_t)&owl_cache_none;
static bool hardened OWL_START; /* written once, before there are threads */

/* Set with the lock of the list of caches held. */
static bool ready OWL_START;        /* the allocator is set up */
static bool keyed OWL_START;        /* there is a key; without one, a cache could not be ended */
static pthread_key_t key OWL_START; /* its destructor ends a thread's cache */

/* The cache of this thread, though it may be claimed. */
static __thread struct owl_cache *own __attribute__((tls_model("initial-exec")));

static void fork_prepare(void)
{
    OWL_TOOLS_INSIDE;
    owl_caches_fork_prepare();
}

static void fork_parent(void)
{
    OWL_TOOLS_INSIDE;
    owl_caches_fork_parent();
}

static void fork_child(void)
{
    OWL_TOOLS_INSIDE;
    owl_caches_fork_child(own);
}

static void thread_ends(void *cache);

/* The very first call, from whichever thread, maybe before any constructor. The handlers for
 * fork are registered here, before those of others, which may allocate: then those run while no
 * lock is held. The handlers of fork's beginning run in reverse, so locks are taken in the order
 * of ranks. */
static void set_up(void)
{
    pthread_atfork(owl_guard_fork_prepare, owl_guard_fork_parent, owl_guard_fork_child);
    pthread_atfork(owl_careful_fork_prepare, owl_careful_fork_parent, owl_careful_fork_child);
    pthread_atfork(owl_memfd_fork_prepare, owl_memfd_fork_parent, owl_memfd_fork_child);
    pthread_atfork(owl_mapping_fork_prepare, owl_mapping_fork_parent, owl_mapping_fork_child);
    pthread_atfork(fork_prepare, fork_parent, fork_child);
    owl_os_init();
    owl_page_map.secret = owl_os.secret();
    keyed = pthread_key_create(&key, thread_ends) == 0;
    ready = true;
}

/* A thread is or is not the one that has the cache. */
static void make_own(struct owl_cache *c)
{
    owl_lock(&c->claim);
    own = c;
    c->self = hardened ? &veiled_self : &owl_cache_self;
    owl_barrier_compiler();
    c->hand = 0;
    c->system = owl_os.thread_self();
    owl_word_store_relaxed(c->self, (uintptr_t)c);
    owl_unlock(&c->claim);
}

static void disown(struct owl_cache *c, const struct owl_cache *next)
{
    owl_lock(&c->claim);
    c->hand = owl_lock_self();
    owl_barrier_compiler();
    own = NULL;
    c->self = NULL;
    owl_word_store_relaxed(&owl_cache_self, (uintptr_t)next);
    owl_word_store_relaxed(&veiled_self, (uintptr_t)&owl_cache_none);
    owl_unlock(&c->claim);
}

/* The destructor of the thread's key. Those of other keys run before and after it, in an order that
 * nobody knows, and may allocate; so the first time it only asks to be called again, after all that
 * there are now. What calls even later is served without a cache. */
static void thread_ends(void *cache)
{
    OWL_TOOLS_INSIDE;
    struct owl_cache *c = cache;
    if (!c->ending && pthread_setspecific(key, c) == 0) {
        c->ending = true;
        return;
    }
    disown(c, &owl_cache_gone);
    if (!owl_cache_park(c))
        owl_cache_end(c, true);
    owl_pool_settle();
}

static struct owl_cache *find_cache(void)
{
    owl_caches_lock();
    if (!ready)
        set_up();
    struct owl_cache *c = owl_caches_take(keyed);
    owl_caches_unlock();
    return c;
}

static inline struct owl_cache *mine(void)
{
    struct owl_cache *c = owl_cache_mine();
    return hardened && c == &owl_cache_none ? (struct owl_cache *)owl_word_once(&veiled_self) : c;
}

struct owl_cache *owl_cache_get(void)
{
    OWL_TOOLS_INSIDE;
    struct owl_cache *c = mine();
    while (c == &owl_cache_none && own != NULL) { /* it is claimed */
        owl_lock(&own->claim);
        owl_unlock(&own->claim);
        c = mine();
    }
    if (c != &owl_cache_none)
        return c != &owl_cache_gone ? c : NULL;

    int saved = errno;
    c = find_cache();
    if (c != NULL) {
        owl_inbox_open(&c->inbox, true);
        if (!hardened)
            owl_stock_open(c);
        make_own(c);
        c->ending = false;
        /* With the cache in place, for this may allocate. */
        if (pthread_setspecific(key, c) != 0) {
            disown(c, &owl_cache_none);
            owl_cache_end(c, false);
            c = NULL;
        }
    }
    errno = saved;
    return c;
}

static unsigned long thread_of(const void *owner)
{
    if (owner == &owl_orphans)
        return 0;
    return owl_cache_thread(owner);
}

/* What memcheck is not to see: what the allocator has until now. The hidden thread is none that it
 * would know. */
static void hide(void)
{
    if (!owl_tools.memcheck)
        return;
    owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    owl_range_hide();
    owl_caches_hide();
}

void owl_cache_harden(void)
{
    bool secure = owl_option(OWL_OPTION_SECURE) != 0;
    uint32_t rate = (uint32_t)owl_option(OWL_OPTION_GUARD);
    owl_fault_begin(thread_of);
    owl_tools_begin();
    OWL_TOOLS_INSIDE;
    hide();
    owl_careful_begin();
    if (owl_tools.on)
        rate = 0;
    hardened = owl_careful.on || owl_tools.on || rate != 0;
    if (own != NULL && hardened) {
        owl_word_store_relaxed(&owl_cache_self, (uintptr_t)&owl_cache_none);
        own->stock_most = 0;
        make_own(own);
    }
    if (secure)
        owl_check_close();
    if (secure && rate == 0 && !owl_tools.on)
        rate = OWL_GUARD_SECURE;
    if (rate != 0)
        owl_guard_begin(rate, hardened);
}

/* Before all other constructors (the library is linked with -z initfirst): see set_up. glibc hands
 * constructors the arguments of main; at this point its own `environ` may not be set yet. A program
 * with other rights than its caller's does not let that one choose. */
__attribute__((constructor(101))) static void start(int count, char **arguments, char **environment)
{
    (void)count;
    (void)arguments;
    if (getauxval(AT_SECURE) != 0)
        owl_option_force(OWL_OPTION_SCAVENGER, OWL_SCAVENGER_INLINE);
    else if (environment != NULL)
        owl_option_read(environment);
    owl_caches_lock();
    if (!ready)
        set_up();
    owl_caches_unlock();
    owl_range_begin();
    owl_cache_harden();
}

