/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who owns a slab: the protocol of core/slab.h and slab.c, as cache.c and alloc.c use it. Threads
 * take blocks, hand them to each other and free them; they end, and their slabs are adopted; a
 * slab whose blocks are all at home goes to the pool and comes back as another's, of another class.
 *
 * Between two steps any thread may run. What is one step here is done under a lock in C, or touches
 * nothing that is shared.
 *
 * With STALE, reads of owner words may be stale: see owner_view.pml. The slabs are those of
 * owner_slab.pml.
 *
 * CALLS says how many calls all threads make. With PARK, caches of ended threads may be parked;
 * with KEEP, slabs that have all blocks at home may be left to the orphans, and wait there. With
 * one of these defined, something is left out or wrong, and an assertion fails:
 *   NO_RECHECK       the word is not read again under the owner's lock
 *   STEAL            a thread takes a slab of another one, which lives
 *   END_EARLY        a slab ends when the first block comes home
 *   NO_ORPHANS_LOCK  orphans are adopted without their lock
 *   READ_FIRST       the first call of a thread is free, and reads the word before it has a cache
 *   NO_CLOSE         an inbox stays open when its thread ends
 *   NO_ENDED_LOCK    orphans that wait are ended without their lock (with KEEP)
 *   NO_UNPARK        a parked cache that is reclaimed may get a thread meanwhile (with PARK)
 *   TRUST            the word is not read when a block is taken out of the inbox
 *   BARE_HAND        a pointer is handed over, but not what was written before (with STALE)
 */
#define THREADS 3
#define BLOCKS 4                    /* b is a block of slab b / 2; there are two */

/* Values of an owner word: none, or a cache, 1 to THREADS, or the orphans. Locks have the same
 * numbers. */
#define NONE 0
#define ORPHANS (THREADS + 1)
#define GONE ORPHANS                /* owl_cache_self when the thread has ended */
#define POOL (ORPHANS + 1)          /* two locks more, held for one step: pool.c's, */
#define LIST (POOL + 1)             /* and that of the list of caches; */
#define INBOXES LIST                /* those of the caches' inboxes come after it */

mtype = { HOME, HELD, WAY, BUFFER, INBOX, MAGAZINE };
mtype place[BLOCKS] = HOME;         /* where a block is; and whose: the thread's that holds */
byte whose[BLOCKS];                 /* it, or has it in owl_slab_give (WAY); or a cache's */
byte buffered[ORPHANS];             /* by cache: the owner of what is in its remote buffer */
bool used[ORPHANS + 1];             /* by cache: a thread has it */
bool open[ORPHANS + 1];             /* by cache: its inbox is */
bool parked[ORPHANS + 1];           /* by cache: it has no thread, but blocks and slabs */
byte calls, ended;

#define me _pid
#define CALL(when) calls < CALLS && (when) -> calls++
#define SLAB(b) ((b) / 2)
#define IN(b, p, w) (place[b] == p && whose[b] == w)
#define FIRST(p, w) \
    (IN(0, p, w) -> 0 : (IN(1, p, w) -> 1 : (IN(2, p, w) -> 2 : (IN(3, p, w) -> 3 : BLOCKS))))
#define CACHED(b) (IN(b, MAGAZINE, mine) && class[SLAB(b)] == k)
#define ANY(p, w) (FIRST(p, w) < BLOCKS)

#include "owner_slab.pml"

/* find_cache; who left the cache has held the list's lock since. */
inline get_cache() {
    learn(LIST);
    mine = 1;
    do :: used[mine] -> mine++ :: else -> break od;
    used[mine] = true;
    parked[mine] = false;
    leave(LIST);
    open[mine] = true
}

/* take_class: owl_cache_pop; owl_slab_take, with adopt in two steps; owl_cache_take_uncached. */
inline alloc() {
    atomic {
        CALL(true);
        if :: mine == NONE -> get_cache() :: else fi;
        b = (CACHED(0) -> 0 : (CACHED(1) -> 1 : (CACHED(2) -> 2 : (CACHED(3) -> 3 : BLOCKS))));
        if
        :: b < BLOCKS ->
           assert(owner[SLAB(b)] == mine);
           put(b, HELD, me);
           goto done
        :: else -> lock(mine); s = FIND(mine)
        fi;
        if :: s < 2 || mine == ORPHANS -> goto found :: else fi;
#ifdef STEAL
        if :: owner[0] != NONE && !locked[owner[0]] -> move_slab(owner[0], mine, 0) :: else fi;
#endif
    }
    atomic {
#ifndef NO_ORPHANS_LOCK
        lock(ORPHANS);
#endif
        s = FIND(ORPHANS)
    }
    atomic {
        if :: s < 2 -> move_slab(ORPHANS, mine, s) :: else fi;
#ifndef NO_ORPHANS_LOCK
        unlock(ORPHANS);
#endif
found:  if :: s == 2 -> make_slab() :: else fi;
        take_bits();
        unlock(mine);
done:   b = 0;
        s = 0
    }
}

/* Where the blocks of a buffer go: to their owner's inbox, if it has room, or home. */
inline send() {
    if
    :: buffered[mine] != NONE && open[buffered[mine]] ->
       learn(INBOXES + buffered[mine]);
       leave(INBOXES + buffered[mine]);
       put_all(BUFFER, mine, INBOX, buffered[mine])
    :: put_all(BUFFER, mine, WAY, me)
    fi
}

/* owl_free, of a block that is held. A magazine is full with one block, a buffer with any number. */
inline free() {
    atomic {
        CALL(ANY(HELD, me));
        b = FIRST(HELD, me);
        s = SLAB(b);
#ifdef READ_FIRST
        if :: mine == NONE -> read(s, v); goto get :: else fi;
#else
        if :: mine == NONE -> goto get :: else fi;
#endif
        read(s, v);
        goto decide
    }
get:
    atomic {
        get_cache();
#ifndef READ_FIRST
        read(s, v)
#endif
    }
decide:
    atomic {
        if
        :: mine == GONE -> put(b, WAY, me)
        :: mine != GONE && v == mine -> /* owl_cache_push, owl_cache_push_full */
           assert(owner[s] == mine);
           put_all(MAGAZINE, mine, WAY, me);
           put(b, MAGAZINE, mine)
        :: mine != GONE && v != mine -> /* owl_cache_push_remote */
           assert(owner[s] != mine);
           if :: buffered[mine] != v -> send() :: else fi;
           put(b, BUFFER, mine);
           buffered[mine] = v;
           if :: send(); buffered[mine] = NONE :: true fi
        fi;
        b = 0; s = 0; v = 0; o = 0
    }
    give()
}

/* unpack, of cache.c: whose a block is, is read as in a free. Not counted as a call. */
inline unpack() {
    atomic {
        mine != NONE && mine != GONE && ANY(INBOX, mine);
        learn(INBOXES + mine);
        leave(INBOXES + mine);
        for (b : 0 .. BLOCKS - 1) {
            s = SLAB(b);
            if
            :: IN(b, INBOX, mine) ->
               read(s, v);
#ifdef TRUST
               v = mine;
#endif
               if
               :: v == mine ->
                  assert(owner[s] == mine);
                  put_all(MAGAZINE, mine, WAY, me);
                  put(b, MAGAZINE, mine)
               :: else -> assert(owner[s] != mine); put(b, WAY, me)
               fi
            :: else
            fi
        }
        b = 0; s = 0; v = 0
    }
    give()
}

/* The next thread gets the block. This is no call. */
inline hand() {
    atomic {
        calls < CALLS && ANY(HELD, me) && me + 1 < THREADS;
        b = FIRST(HELD, me);
        put(b, HELD, me + 1);
        b = 0;
#ifndef BARE_HAND
        learn_from(me + 1, me)
#endif
    }
}

/* thread_ends: disown, owl_inbox_open; then either the cache is parked, and keeps its magazines and
 * slabs, or owl_cache_flush, owl_slab_abandon, and it is idle. */
inline end() {
    atomic {
        mine != NONE && mine != GONE ->
        c = mine;
        mine = GONE;
#ifndef NO_CLOSE
        learn(INBOXES + c);
        leave(INBOXES + c);
        open[c] = false;
        put_all(INBOX, c, WAY, me);
#endif
        put_all(BUFFER, c, WAY, me);
        if
#ifdef PARK
        :: park = true
#endif
        :: put_all(MAGAZINE, c, WAY, me)
        fi;
        buffered[c] = NONE
    }
#ifdef KEEP
    if :: !park -> keep() :: else fi;
#endif
    give();
    if :: !park -> abandon() :: else fi;
    atomic { learn(LIST); used[c] = false; parked[c] = park; leave(LIST); c = 0; park = false }
}

/* owl_slab_keep, or not. */
inline keep() {
    if
    :: atomic { lock(c); keeps[c] = true; unlock(c) }
    :: true
    fi
}

/* Of slabs that have all blocks at home not all may wait. */
inline leave_slab(n) {
    if
    :: listed[n] == c -> move_slab(c, ORPHANS, n)
#ifdef KEEP
    :: listed[n] == c && home[n] == ALL -> end_slab(n)
#endif
    :: listed[n] != c
    fi
}

inline abandon() {
    atomic {
        lock(c);
        lock(ORPHANS);
        keeps[c] = false;
        leave_slab(0);
        leave_slab(1);
        unlock(ORPHANS);
        unlock(c)
    }
#ifdef KEEP
    if :: atomic { spans -> to_pool() } :: else fi
#endif
}

#define WAITS(n) (listed[n] == ORPHANS && home[n] == ALL)

/* owl_slab_purge_idle, of any thread, of the orphans that wait. This is no call. */
inline end_waiting() {
    atomic {
        (WAITS(0) || WAITS(1)) && !locked[ORPHANS] -> b = (WAITS(0) -> 0 : 1)
#ifdef NO_ENDED_LOCK
    }
    atomic {
#endif
        lock(ORPHANS);
        end_slab(b);
        unlock(ORPHANS);
        b = 0
    }
    atomic { to_pool() }
}

/* owl_cache_reclaim, of any thread: a parked cache is this thread's until it is idle. This is no
 * call. */
inline reclaim() {
    atomic {
        parked[1] || parked[2] || parked[3] ->
        learn(LIST);
        c = (parked[1] -> 1 : (parked[2] -> 2 : 3));
        parked[c] = false;
#ifndef NO_UNPARK
        used[c] = true;
#endif
        leave(LIST);
        put_all(MAGAZINE, c, WAY, me)
    }
    give();
    abandon();
    atomic { learn(LIST); used[c] = false; leave(LIST); c = 0 }
}

active [THREADS] proctype thread() {
    byte mine = NONE;               /* owl_cache_self */
    byte b, s, v, o, c, spans;
    bool park;
    byte k = me / 2;                /* the class that it asks for */
    do
    :: alloc()
    :: free()
    :: unpack()
    :: hand()
    :: end()
#ifdef PARK
    :: reclaim()
#endif
#ifdef KEEP
    :: end_waiting()
#endif
    :: atomic { calls == CALLS && (mine == NONE || mine == GONE) -> ended++; break }
    od
}

/* In the end no block is lost. */
active proctype finally() {
    atomic {
        ended == THREADS;
        for (i : 0 .. BLOCKS - 1) {
            assert((place[i] == HOME) == ((home[SLAB(i)] & BLOCK(i)) != 0));
            assert(place[i] == HOME || place[i] == HELD ||
                   place[i] == MAGAZINE && parked[whose[i]] && whose[i] == listed[SLAB(i)])
        }
        for (i : 0 .. 1) {
            assert(owner[i] == listed[i]);
            assert((home[i] == ALL) == (pooled[i] || WAITS(i)));
            assert((listed[i] == NONE) == pooled[i]);
            assert(listed[i] == NONE || listed[i] == ORPHANS || parked[listed[i]])
        }
    }
}
