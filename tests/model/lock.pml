/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lock of core/lock.h: threads that take it and let it go, and sleep for it by a futex. Each
 * statement is one access, and what one stores all see at once, since there is one word and atomic
 * operations change it. To the futex, which has half of the word, all holders look alike here, which
 * is the worst that can be.
 *
 * CALLS says how often each thread takes the lock. No thread has it beside another, and none sleeps
 * for ever: Spin finds a state in which nobody can go on. With one of these defined, something is
 * left out, and it does:
 *   NO_MARK      who has slept takes the lock as if nobody else did
 *   NO_COMPARE   the futex does not compare before it sleeps
 *   NO_WAKE      who lets it go does not look at the mark
 *   EARLY_END    a fork gives up though it could not set the mark
 *
 * With FORK one of the threads forks once instead, in a handler that does not wait without end.
 */
#define THREADS 3
#define AWAITED 8
#define HOLDER(state) (state & 7)
#define SEEN_AS(state) (state == 0 -> 0 : (state & AWAITED) + 1)

byte state;           /* 0, or the number of its holder, and the mark */
byte inside;          /* threads that have it */
bool asleep[THREADS + 1];

/* owl_os.wake: one of those who sleep, any. */
inline wake() {
    if
    :: asleep[1] -> asleep[1] = false
    :: asleep[2] -> asleep[2] = false
    :: asleep[3] -> asleep[3] = false
    :: !asleep[1] && !asleep[2] && !asleep[3] -> skip
    fi
}

/* owl_os.wait. That it may end early is left out: it would hide a wake that is lost. */
inline sleep() {
    atomic {
        if
#ifndef NO_COMPARE
        :: SEEN_AS(state) != SEEN_AS(awaited) -> skip
#endif
        :: else -> asleep[_pid] = true
        fi
    }
    if :: !asleep[_pid] fi
}

/* owl_lock, owl_lock_wait. The spins are the loop's chance to find it free. */
inline take() {
    atomic { if :: state == 0 -> state = _pid; taken = true :: else -> taken = false fi }
    do
    :: taken -> break
    :: else ->
       seen = state;
       awaited = (seen != 0 -> seen : _pid) | AWAITED;
#ifdef NO_MARK
       if :: seen == 0 -> awaited = _pid :: else fi;
#endif
       atomic {
           if
           :: seen == awaited -> moved = true
           :: seen != awaited && state == seen -> state = awaited; moved = true
           :: seen != awaited && state != seen -> moved = false
           fi
       }
       if
       :: moved && seen == 0 -> taken = true
       :: moved && seen != 0 -> sleep()
       :: !moved -> skip
       fi
    od
}

/* owl_unlock */
inline let_go() {
    atomic { seen = state; state = 0 }
#ifndef NO_WAKE
    if :: seen & AWAITED -> wake() :: else fi
#endif
}

/* take_soon, lock_fork.c: each look at the clock may be the last, and sleeps end by themselves. */
inline take_soon() {
    do
    :: seen = state;
       awaited = (seen != 0 -> seen : _pid) | AWAITED;
       atomic {
           if
           :: seen == awaited -> moved = true
           :: seen != awaited && state == seen -> state = awaited; moved = true
           :: seen != awaited && state != seen -> moved = false
           fi
       }
       if
       :: moved && seen == 0 -> taken = true; break
#ifdef EARLY_END
       :: !moved -> if :: true -> taken = false; break :: true -> skip fi
#else
       :: !moved -> skip
#endif
       :: moved && seen != 0 ->
          if
          :: true -> taken = false; break
          :: true ->
             atomic {
                 if
                 :: SEEN_AS(state) != SEEN_AS(awaited) -> skip
                 :: else -> asleep[_pid] = true
                 fi
             }
             if :: !asleep[_pid] :: atomic { asleep[_pid] -> asleep[_pid] = false } fi
          fi
       fi
    od
}

proctype forker() {
    byte seen, awaited;
    bool taken, moved;
    take_soon();
    if
    :: taken ->
       inside++;
       assert(inside == 1);
       assert(HOLDER(state) == _pid);
       inside--;
       let_go()
    :: else -> skip
    fi
}

proctype thread() {
    byte calls, seen, awaited;
    bool taken, moved;
    do
    :: calls < CALLS ->
       take();
       inside++;
       assert(inside == 1);
       assert(HOLDER(state) == _pid);
       inside--;
       let_go();
       calls++
    :: else -> break
    od
}

init {
    atomic { run thread(); run thread();
#ifdef FORK
        run forker()
#else
        run thread()
#endif
    }
}
