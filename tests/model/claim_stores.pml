/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory as claim.pml reads and writes it. Stores reach it some time, by a buffer of each side's;
 * each load is one step. They leave the buffer in order, as on x86-64; with WEAK, as on aarch64, in
 * any order, but for those to one address and for a release, which stays behind all before it.
 *
 * Loads are made in the order of the program. On aarch64 this rests on what is not checked here: in
 * the fast paths each address depends on the load before, and the loads of `busy` and `claimed` are
 * acquires. Nor are stores that go ahead of loads before them.
 */
/* Addresses. SELF is the thread's owl_cache_self: 1 its cache, 0 owl_cache_none. BASE and TOP are
 * numbers of slots; slot 0 always holds NULL, which is 0. Blocks are 1 to BLOCKS. */
#define SELF 0
#define CLAIMED 1
#define BUSY 2
#define BASE 3
#define TOP 4
#define SLOT 5
byte memory[SLOT + ROOM + 1] = { 1, 0, 0, 0, 1, 0, 0, 0 };

#ifndef DEPTH
#define DEPTH 3                     /* entries of a buffer */
#endif
typedef entry { byte address, value; bool release };
typedef buffer { entry e[DEPTH]; byte n };
buffer stores[2];
#define THREAD 0
#define CLAIMER 1
#define MINE stores[_pid - 1]       /* process 0 is `caches`, below */
bool locked;                        /* the lock `claim` */
hidden entry nothing;
hidden byte i;

inline store(where, what, kind) {
    atomic {
        MINE.n < DEPTH;
        MINE.e[MINE.n].address = where;
        MINE.e[MINE.n].value = what;
        MINE.e[MINE.n].release = kind;
        MINE.n++
    }
}

/* In an atomic step. A side sees its own stores at once. */
inline load(where, to) {
    to = memory[where];
    for (i : 0 .. DEPTH - 1) {
        if
        :: i < MINE.n && MINE.e[i].address == where -> to = MINE.e[i].value
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

/* membarrier(2), by the claimer */
inline barrier() {
    atomic {
        stores[CLAIMER].n == 0;
        do :: stores[THREAD].n > 0 -> drain(THREAD, 0) :: else -> break od
    }
}

/* A lock is taken and let go with an empty buffer, as its operations order what precedes them. */
inline take_lock() { atomic { !locked && MINE.n == 0 -> locked = true } }
inline let_go() { atomic { MINE.n == 0 -> locked = false } }
inline wait() { !locked && MINE.n == 0 }

/* Entry k may do so before those that are older. */
#define FREE_OF(p, k, j) (E(p, k).address != E(p, j).address)
#define MAY_PASS(p, k) (stores[p].n > k && !E(p, k).release && FREE_OF(p, k, 0) && \
                        (k == 1 || FREE_OF(p, k, 1)))

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
