/* SPDX-License-Identifier: BSD-2-Clause */
/* What owner.pml has of core/slab.c. */
#define ALL 3                       /* the bits of a slab whose blocks are all at home */
bool locked[POOL];
byte home[2] = ALL;                 /* owl_span_bits */
byte class[2];
byte owner[2];                      /* the word as it was last written */
byte listed[2];                     /* in whose lists the slab is */
bool pooled[2] = true;              /* the span is the pool's */
bool keeps[POOL];                   /* by owner: slabs whose blocks are all at home stay with it */
#define BLOCK(b) (1 << (b) % 2)

#include "owner_view.pml"
hidden byte i;

inline put(b, p, w) { place[b] = p; whose[b] = w }
inline put_all(from, w, to, x) {
    for (i : 0 .. BLOCKS - 1) { if :: IN(i, from, w) -> put(i, to, x) :: else fi }
}

/* At the beginning and at the end of an atomic step. */
inline lock(l) { !locked[l]; locked[l] = true; learn(l) }
inline unlock(l) { leave(l); locked[l] = false }

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

/* owl_slab_end; which spans are this thread's to give to the pool. */
inline end_slab(n) {
    assert(home[n] == ALL && place[2 * n] == HOME && place[2 * n + 1] == HOME);
    listed[n] = NONE;
    write(n, NONE);
    spans = spans | 1 << n
}

inline to_pool() {
    learn(POOL);
    leave(POOL);
    pooled[0] = pooled[0] || spans & 1;
    pooled[1] = pooled[1] || spans & 2;
    spans = 0
}

/* give_one, with the lock of v, who owns the slab. */
inline give_one() {
    assert(owner[s] == v && listed[s] == v);
    assert(!(home[s] & BLOCK(b)));
    home[s] = home[s] + BLOCK(b);
    put(b, HOME, 0);
#ifdef END_EARLY
    if
    :: true -> end_slab(s)
#else
    if
    :: home[s] == ALL && !keeps[v] -> end_slab(s)
#endif
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
    :: atomic { spans -> to_pool() }
    od
}
