/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A claim on a thread's cache: the protocol of core/cache_inside.h, cache.c and cache_claim.c. One
 * thread pops and pushes blocks of one magazine, goes into its slow paths, and ends; another claims
 * the cache, more than once.
 *
 * What the two see of each other's stores, and when: see claim_stores.pml. The marks in blocks are
 * left out.
 *
 * CALLS says how many calls the thread makes, CLAIMS how often the cache is claimed. With one of
 * these defined, something is left out or wrong, and an assertion fails:
 *   NO_BARRIER     a claim makes no barrier
 *   NO_BUSY        it does not look at `busy`
 *   NEWEST_TOO     it takes the newest block too
 *   NO_CLAIMED     slow paths do not look at `claimed`
 *   LOOK_ONCE      a slow path that has waited does not look again
 *   END=false      the stores which end a claim are no releases (with WEAK)
 *   LEAVE=false    the store which ends a slow path is none (with WEAK)
 */
#ifndef END
#define END true
#endif
#ifndef LEAVE
#define LEAVE true
#endif
#define ROOM 2                      /* blocks that fill the magazine */
#define BLOCKS 3
mtype = { HOME, HELD, MAGAZINE };
mtype place[BLOCKS + 1] = HOME;
bool has_thread = true;             /* c->self is not NULL */
bool slow, claim;                   /* a slow path runs; a claim holds */

#define FIRST(p) (place[1] == p -> 1 : (place[2] == p -> 2 : (place[3] == p -> 3 : 0)))
#define ANY(p) (FIRST(p) > 0)
#define CLEAR r = 0; b = 0; j = 0; n = 0; base = 0; top = 0

#include "claim_stores.pml"

/* owl_cache_enter and owl_cache_await, owl_cache_leave */
inline enter() {
    do
    :: store(BUSY, 1, false);
       atomic {
           load(CLAIMED, r);
#ifdef NO_CLAIMED
           r = 0;
#endif
#ifdef LOOK_ONCE
           if :: waited -> r = 0 :: else fi;
#endif
           if :: r == 0 -> assert(!claim); slow = true; break :: else fi
       }
       store(BUSY, 0, true);
       wait();
       waited = true
    od;
    waited = false
}
inline leave() { slow = false; store(BUSY, 0, LEAVE) }

/* settle: the blocks go to the bottom. Their number is in n. */
inline settle() {
    atomic { load(BASE, base); load(TOP, top); assert(top > base); n = top - base - 1 }
    if
    :: base > 0 ->
       for (j : 1 .. n) { atomic { load(SLOT + base + j, r) } store(SLOT + j, r, false) }
       store(BASE, 0, false);
       store(TOP, n + 1, false)
    :: else
    fi
}

/* The block in the j-th slot goes home. */
inline go_home() {
    atomic { load(SLOT + j, r); assert(r > 0 && place[r] == MAGAZINE); place[r] = HOME }
}

/* owl_cache_refill, with one block or two, the newest of which is popped. */
inline refill() {
    enter();
    settle();
    do
    :: n < ROOM && ANY(HOME) ->
       atomic { b = FIRST(HOME); place[b] = MAGAZINE; n++ }
       store(SLOT + n, b, false)
    :: n > 0 -> break
    od;
    store(TOP, n + 1, false);
    place[b] = HELD;
    store(TOP, n, false);
    leave()
}

/* owl_cache_push_full: the older half goes home if the magazine is full. */
inline push_full() {
    enter();
    settle();
    if
    :: n == ROOM ->
       j = 1;
       go_home();
       atomic { load(SLOT + 2, r) }
       store(SLOT + 1, r, false);
       n = 1;
       store(TOP, 2, false)
    :: else
    fi;
    place[b] = MAGAZINE;
    store(SLOT + n + 1, b, false);
    store(TOP, n + 2, false);
    leave()
}

/* owl_cache_mine; owl_cache_get waits as long as the cache is claimed. */
inline mine() {
    do :: atomic { load(SELF, r); if :: r == 1 -> break :: else fi } wait() od
}

active proctype thread() {
    byte calls, r, b, j, n, base, top;
    bool waited;
    do
    :: calls < CALLS && (ANY(HOME) || ANY(MAGAZINE)) -> /* malloc */
       mine();
       atomic { load(TOP, top); assert(top > 0) }
       atomic {
           load(SLOT + top - 1, b);
           if :: b > 0 -> assert(place[b] == MAGAZINE); place[b] = HELD :: else fi
       }
       if :: b > 0 -> store(TOP, top - 1, false) :: else -> refill() fi;
       atomic { calls++; CLEAR }
    :: calls < CALLS && ANY(HELD) -> /* free */
       mine();
       atomic { load(TOP, top); b = FIRST(HELD) }
       if
       :: top <= ROOM ->
          store(SLOT + top, b, false);
          place[b] = MAGAZINE;
          store(TOP, top + 1, false)
       :: else -> push_full()
       fi;
       atomic { calls++; CLEAR }
    :: calls == CALLS -> break
    od;
    /* thread_ends: disown, owl_cache_flush. No block is lost. */
    take_lock();
    has_thread = false;
    store(SELF, 2, false);
    let_go();
    enter();
    settle();
    for (j : 1 .. n) { go_home() }
    leave();
    assert(!ANY(MAGAZINE))
}

/* All but the newest; `top` is read once, and never written. */
inline take_magazine() {
    atomic { load(TOP, top) }
    atomic { load(BASE, base); assert(top > base) }
#ifdef NEWEST_TOO
    top++;
#endif
    if
    :: top > base + 2 ->
       for (j : base + 1 .. top - 2) { go_home() }
       store(SLOT + top - 2, 0, false);
       store(BASE, top - 2, false)
    :: else
    fi
}

/* flush_other */
active proctype claimer() {
    byte claims, r, j, base, top;
    do
    :: claims < CLAIMS ->
       claims++;
       take_lock();
       if :: !has_thread -> let_go(); break :: else fi;
       store(CLAIMED, 1, false);
       store(SELF, 0, false);
#ifndef NO_BARRIER
       barrier();
#endif
       atomic {
           load(BUSY, r);
#ifdef NO_BUSY
           r = 0;
#endif
           if :: r == 0 -> assert(!slow); claim = true :: else fi
       }
       if :: claim -> take_magazine(); claim = false :: else fi;
       store(SELF, 1, END);
       store(CLAIMED, 0, END);
       let_go()
    :: else -> break
    od
}
