/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who owns a slab: the protocol of core/slab.h and slab.c, as cache.c and alloc.c use it. Threads
 * take blocks, hand them to each other and free them; they end, and their slabs are adopted; a
 * slab whose blocks are all at home goes to the pool and comes back as another's, of another class.
 *
 * Between two steps any thread may run. What is one step here is done under a lock in C, or touches
 * nothing that is shared.
 *
 * With STALE, reads of owner words may be stale: see view.pml. So a word that is written in one step
 * with another is seen before or after it.
 *
 * With one of these defined, something is left out or wrong, and an assertion fails:
 *   NO_RECHECK       the word is not read again under the owner's lock
 *   STEAL            a thread takes a slab of another one, which lives
 *   END_EARLY        a slab ends when the first block comes home
 *   NO_ORPHANS_LOCK  orphans are adopted without their lock
 *   READ_FIRST       the first call of a thread is free, and reads the word before it has a cache
 *   BARE_HAND        a pointer is handed over, but not what was written before (with STALE)
 */
#ifndef THREADS
#define THREADS 3
#endif
#ifndef CALLS
#define CALLS 5                     /* of all threads */
#endif
#define BLOCKS 4                    /* b is a block of slab b / 2; there are two */
#define ALL 3                       /* the bits of a slab whose blocks are all at home */

/* Values of an owner word: none, or a cache, 1 to THREADS, or the orphans. Locks have the same
 * numbers. */
#define NONE 0
#define ORPHANS (THREADS + 1)
#define GONE ORPHANS                /* owl_cache_self when the thread has ended */
#define POOL (ORPHANS + 1)          /* two locks more, held for one step: pool.c's, */
#define LIST (POOL + 1)             /* and that of the list of caches */

mtype = { HOME, HELD, WAY, BUFFER, MAGAZINE };
mtype place[BLOCKS] = HOME;         /* where a block is: at home, or of `whose`: held by a thread, in */
byte whose[BLOCKS];                 /* its array in owl_slab_give; in a cache's buffer or magazine */
byte home[2] = ALL;                 /* owl_span_bits */
byte class[2];
byte owner[2];                      /* the word as it was last written */
byte listed[2];                     /* in whose lists the slab is */
bool pooled[2] = true;              /* the span is the pool's */
byte buffered[ORPHANS];             /* by cache: the owner of what is in its remote buffer */
bool used[ORPHANS + 1];             /* by cache: a thread has it */
bool locked[POOL];
byte calls, ended;

#define me _pid
#define CALL(when) calls < CALLS && (when) -> calls++
#define SLAB(b) ((b) / 2)
#define BLOCK(b) (1 << (b) % 2)
#define IN(b, p, w) (place[b] == p && whose[b] == w)
#define FIRST(p, w) \
    (IN(0, p, w) -> 0 : (IN(1, p, w) -> 1 : (IN(2, p, w) -> 2 : (IN(3, p, w) -> 3 : BLOCKS))))
#define ANY(p, w) (FIRST(p, w) < BLOCKS)

#include "view.pml"
hidden byte i;

inline put(b, p, w) { place[b] = p; whose[b] = w }
inline put_all(from, w, to, x) {
    for (i : 0 .. BLOCKS - 1) { if :: IN(i, from, w) -> put(i, to, x) :: else fi }
}

/* At the beginning and at the end of an atomic step. */
inline lock(l) { !locked[l]; locked[l] = true; learn(l) }
inline unlock(l) { leave(l); locked[l] = false }

/* find_cache; who left the cache has held the list's lock since. */
inline get_cache() {
    learn(LIST);
    mine = 1;
    do :: used[mine] -> mine++ :: else -> break od;
    used[mine] = true;
    leave(LIST)
}

#define FITS(o, s) (listed[s] == o && class[s] == k && home[s] != 0)
#define FIND(o) (FITS(o, 0) -> 0 : (FITS(o, 1) -> 1 : 2))
inline move_slab(from, to, s) { assert(listed[s] == from); write(s, to); listed[s] = to }

/* make_slab */
inline make_slab() {
    learn(POOL);
    leave(POOL);
    if
    :: pooled[0] || pooled[1] ->
       s = (pooled[0] -> 0 : 1);
       assert(home[s] == ALL && listed[s] == NONE);
       pooled[s] = false;
       class[s] = k;
       write(s, mine);
       listed[s] = mine
    :: else
    fi
}

inline take_bit(b, p, w) {
    assert(place[b] == HOME && home[s] & BLOCK(b));
    home[s] = home[s] - BLOCK(b);
    put(b, p, w)
}

/* take_bits: one block, which is handed out, or one more, for the magazine. */
inline take_bits() {
    if
    :: s < 2 ->
       assert(listed[s] == mine && owner[s] == mine);
       b = 2 * s + (home[s] & 1 -> 0 : 1);
       take_bit(b, HELD, me);
       if
       :: home[s] != 0 && mine != ORPHANS -> b++; take_bit(b, MAGAZINE, mine)
       :: true
       fi
    :: else
    fi
}

/* take_class: owl_cache_pop; owl_slab_take, with adopt in two steps; owl_cache_take_uncached. */
inline alloc() {
    atomic {
        CALL(true);
        if :: mine == NONE -> get_cache() :: else fi;
        b = FIRST(MAGAZINE, mine);
        if
        :: b < BLOCKS ->
           assert(owner[SLAB(b)] == mine && class[SLAB(b)] == k);
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

/* give_one and end_slab, with the lock of v, who owns the slab. */
inline give_one() {
    assert(owner[s] == v && listed[s] == v);
    assert(!(home[s] & BLOCK(b)));
    home[s] = home[s] + BLOCK(b);
    put(b, HOME, 0);
#ifdef END_EARLY
    if
    :: true ->
#else
    if
    :: home[s] == ALL ->
#endif
       assert(place[2 * s] == HOME && place[2 * s + 1] == HOME);
       listed[s] = NONE;
       write(s, NONE);
       spans = spans | 1 << s
    :: else
    fi
}

/* owl_slab_give, of what is on the way: the word is read, then give_to; then owl_pool_give. */
inline give() {
    do
    :: !ANY(WAY, me) && !spans -> break
    :: atomic { ANY(WAY, me) && !spans -> s = SLAB(FIRST(WAY, me)); read(s, v); assert(v != NONE) }
       atomic {
           lock(v);
           for (b : 0 .. BLOCKS - 1) {
               s = SLAB(b);
               if
               :: IN(b, WAY, me) ->
                  read(s, o);
#ifdef NO_RECHECK
                  o = v;
#endif
                  if :: o == v -> give_one() :: else fi
               :: else
               fi
           }
           unlock(v);
           b = 0; s = 0; v = 0; o = 0
       }
    :: atomic {
           spans ->
           learn(POOL);
           leave(POOL);
           pooled[0] = pooled[0] || spans & 1;
           pooled[1] = pooled[1] || spans & 2;
           spans = 0
       }
    od
}

/* owl_free, of a block that the thread holds. A magazine is full with one block, a buffer with two. */
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
           if :: buffered[mine] != v -> put_all(BUFFER, mine, WAY, me) :: else fi;
           o = ANY(BUFFER, mine);
           put(b, BUFFER, mine);
           buffered[mine] = v;
           if :: o -> put_all(BUFFER, mine, WAY, me); buffered[mine] = NONE :: else fi
        fi;
        b = 0; s = 0; v = 0; o = 0
    }
    give()
}

/* Another thread gets the block. */
inline hand() {
    atomic {
        CALL(ANY(HELD, me));
        b = FIRST(HELD, me);
        put(b, HELD, (me + 1) % THREADS);
        b = 0;
#ifndef BARE_HAND
        learn_from((me + 1) % THREADS, me)
#endif
    }
}

/* thread_ends: disown, owl_cache_flush, owl_slab_abandon, which takes both locks; the cache is idle. */
inline end() {
    atomic {
        mine != NONE && mine != GONE ->
        c = mine;
        mine = GONE;
        put_all(BUFFER, c, WAY, me);
        put_all(MAGAZINE, c, WAY, me);
        buffered[c] = NONE
    }
    give();
    atomic {
        lock(c);
        lock(ORPHANS);
        if :: listed[0] == c -> move_slab(c, ORPHANS, 0) :: else fi;
        if :: listed[1] == c -> move_slab(c, ORPHANS, 1) :: else fi;
        unlock(ORPHANS);
        unlock(c)
    }
    atomic { learn(LIST); used[c] = false; leave(LIST); c = 0 }
}

active [THREADS] proctype thread() {
    byte mine = NONE;               /* owl_cache_self */
    byte b, s, v, o, c, spans, k = me / 2;
    do
    :: alloc()
    :: free()
    :: hand()
    :: end()
    :: atomic { calls == CALLS && (mine == NONE || mine == GONE) -> ended++; break }
    od
}

/* In the end no block is lost. */
active proctype finally() {
    ended == THREADS;
    for (i : 0 .. BLOCKS - 1) {
        assert(place[i] == (home[SLAB(i)] & BLOCK(i) -> HOME : HELD))
    }
    for (i : 0 .. 1) {
        assert(owner[i] == listed[i] && listed[i] == (home[i] == ALL -> NONE : ORPHANS));
        assert(pooled[i] == (home[i] == ALL))
    }
}
