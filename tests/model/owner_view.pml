/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Owner words as owner.pml reads and writes them. Without STALE a read gives what was written last.
 *
 * With STALE it is as weak as a relaxed read in C11. `view` holds, for each thread and for each
 * lock, the values that a read of each word may give: the last that is known there, and all that
 * were written since. Who takes a lock learns what its last holder knew; who is handed a block,
 * what the other thread knew. (One read may even give an older value than that before it, which C11
 * forbids. Reads that are made before what precedes them in the program are not covered.)
 */
#ifdef STALE

#define VALUES (ORPHANS + 1)
#define BIT(s, v) (1 << ((s) * VALUES + (v)))
#define LOCK(l) (THREADS - 1 + l)
#define VIEWS (THREADS + INBOXES + THREADS)
short view[VIEWS] = BIT(0, NONE) | BIT(1, NONE);
hidden byte j;

inline learn_from(t, from) { view[t] = view[t] & view[from] }
inline learn(l) { learn_from(me, LOCK(l)) }
inline leave(l) { view[LOCK(l)] = view[me] }

/* set_owner */
inline write(s, v) {
    for (j : 0 .. VIEWS - 1) { view[j] = view[j] | BIT(s, v) }
    view[me] = view[me] & ~(((1 << VALUES) - 1) << (s) * VALUES) | BIT(s, v);
    owner[s] = v
}

/* owl_word_load_relaxed(&s->owner) */
#define MAY_READ(s, v) (v <= ORPHANS && (view[me] & BIT(s, v)))
inline read(s, v) {
    if
    :: MAY_READ(s, 0) -> v = 0
    :: MAY_READ(s, 1) -> v = 1
    :: MAY_READ(s, 2) -> v = 2
    :: MAY_READ(s, 3) -> v = 3
    :: MAY_READ(s, 4) -> v = 4
    fi
}

#else

#define learn_from(t, from) skip
#define learn(l) skip
#define leave(l) skip
#define write(s, v) owner[s] = v
#define read(s, v) v = owner[s]

#endif
