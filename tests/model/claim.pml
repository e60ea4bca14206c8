/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A claim on a thread's cache: the protocol of core/cache_inside.h, cache.c and cache_claim.c. One
 * thread pops and pushes blocks of one magazine, goes into its slow paths, and ends; another claims
 * the cache, more than once.
 *
 * Stores go to memory through a buffer of each side's, and each load is a step. They leave it in
 * order, as on x86-64; with WEAK in any order but for those to one address and those of release, which
 * stay behind all before them, as on aarch64. Loads are made in the order of the program. (aarch64
 * keeps those of the fast paths in order because each address depends on the load before; that those
 * of a claim stay behind the load of `busy`, and those of a slow path behind that of `claimed`, is
 * what acquire means. Neither is checked here.) The marks in blocks are left out.
 *
 * With one of these defined, something is left out or wrong, and an assertion fails:
 *   NO_BARRIER     a claim makes no barrier
 *   NO_BUSY        it does not look at `busy`
 *   NEWEST_TOO     it takes the newest block too
 *   NO_CLAIMED     slow paths do not look at `claimed`
 *   LOOK_ONCE      a slow path that has waited does not look again
 *   BARE_END       the stores which end a claim are no releases (with WEAK)
 *   BARE_LEAVE     the store which ends a slow path is none (with WEAK)
 */
#ifndef CALLS
#define CALLS 3
#endif
#ifndef CLAIMS
#define CLAIMS 2
#endif
#ifndef DEPTH
#define DEPTH 3                     /* entries of a buffer */
#endif
#ifdef BARE_END
#define END false
#else
#define END true
#endif
#ifdef BARE_LEAVE
#define LEAVE false
#else
#define LEAVE true
#endif
#define ROOM 2                      /* blocks that fill the magazine */
#define BLOCKS 3

/* Addresses. SELF is the thread's owl_cache_self: 1 its cache, 0 owl_cache_none. BASE and TOP are
 * numbers of slots; slot 0 always holds NULL, which is 0. Blocks are 1 to BLOCKS. */
#define SELF 0
#define CLAIMED 1
#define BUSY 2
#define BASE 3
#define TOP 4
#define SLOT 5
byte memory[SLOT + ROOM + 1] = { 1, 0, 0, 0, 1, 0, 0, 0 };

#define THREAD 0                    /* the two sides, which are processes too */
#define CLAIMER 1
typedef entry { byte address, value; bool release };
typedef buffer { entry e[DEPTH]; byte n };
buffer stores[2];
hidden entry nothing;

mtype = { HOME, HELD, MAGAZINE };
mtype place[BLOCKS + 1] = HOME;
bool locked;                        /* the lock `claim` */
bool has_thread = true;             /* c->self is not NULL */
bool slow, claim;                   /* a slow path runs; a claim holds */
hidden byte i;

#define FIRST(p) (place[1] == p -> 1 : (place[2] == p -> 2 : (place[3] == p -> 3 : 0)))
#define ANY(p) (FIRST(p) > 0)
#define CLEAR r = 0; b = 0; j = 0; n = 0; base = 0; top = 0

inline store(where, what, kind) {
    atomic {
        stores[_pid].n < DEPTH;
        stores[_pid].e[stores[_pid].n].address = where;
        stores[_pid].e[stores[_pid].n].value = what;
        stores[_pid].e[stores[_pid].n].release = kind;
        stores[_pid].n++
    }
}

/* In an atomic step. A side sees its own stores at once. */
inline load(where, to) {
    to = memory[where];
    for (i : 0 .. DEPTH - 1) {
        if
        :: i < stores[_pid].n && stores[_pid].e[i].address == where -> to = stores[_pid].e[i].value
        :: else
        fi
    }
}

/* Entry k of p's buffer reaches memory. */
#define E(p, k) stores[p].e[k]
#define COPY(j, k) j.address = k.address; j.value = k.value; j.release = k.release
inline drain(p, k) {
    memory[E(p, k).address] = E(p, k).value;
    for (i : k .. DEPTH - 2) { COPY(E(p, i), E(p, i + 1)) }
    COPY(E(p, DEPTH - 1), nothing);
    stores[p].n--
}

/* Entry k may do so before those that are older. */
#define FREE_OF(p, k, j) (E(p, k).address != E(p, j).address)
#define MAY_PASS(p, k) (stores[p].n > k && !E(p, k).release && FREE_OF(p, k, 0) && \
                        (k == 1 || FREE_OF(p, k, 1)))

/* A lock is taken and let go with an empty buffer, as its operations order what precedes them. */
inline take_lock() { atomic { !locked && stores[_pid].n == 0 -> locked = true } }
inline let_go() { atomic { stores[_pid].n == 0 -> locked = false } }
inline wait() { !locked && stores[_pid].n == 0 }

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
    atomic { load(BASE, base); load(TOP, top); n = top - base - 1 }
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
       atomic { load(TOP, top) }
       atomic {
           load(SLOT + top - 1, b);
           if :: b > 0 -> assert(place[b] == MAGAZINE); place[b] = HELD :: else fi
       }
       if
       :: b > 0 -> store(TOP, top - 1, false)
       :: else -> refill()
       fi;
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
    atomic { load(BASE, base) }
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
       if :: !has_thread -> let_go(); break :: else fi; /* has_thread */
       store(CLAIMED, 1, false);
       store(SELF, 0, false);
#ifndef NO_BARRIER
       atomic { stores[CLAIMER].n == 0 -> do :: stores[THREAD].n > 0 -> drain(THREAD, 0) :: else -> break od }
#endif
       atomic {
           load(BUSY, r);
#ifdef NO_BUSY
           r = 0;
#endif
           if :: r == 0 -> assert(!slow); claim = true :: else fi
       }
       if
       :: claim -> take_magazine(); claim = false
       :: else
       fi;
       store(SELF, 1, END);
       store(CLAIMED, 0, END);
       let_go()
    :: else -> break
    od
}

/* The stores of both sides reach memory, some time. */
active proctype caches() {
end:
    do
    :: atomic { stores[THREAD].n > 0 -> drain(THREAD, 0) }
    :: atomic { stores[CLAIMER].n > 0 -> drain(CLAIMER, 0) }
#ifdef WEAK
    :: atomic { MAY_PASS(THREAD, 1) -> drain(THREAD, 1) }
    :: atomic { MAY_PASS(THREAD, 2) -> drain(THREAD, 2) }
    :: atomic { MAY_PASS(CLAIMER, 1) -> drain(CLAIMER, 1) }
    :: atomic { MAY_PASS(CLAIMER, 2) -> drain(CLAIMER, 2) }
#endif
    od
}
