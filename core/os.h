/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every system call of owlalloc, behind one table of functions, so that a test can make any of
 * them fail. Nothing else in core/ talks to the kernel.
 *
 * All addresses and lengths are multiples of owl_os.page. Where a call can fail it says so by its
 * result and in errno; callers that must keep errno save it themselves.
 */
#ifndef OWL_CORE_OS_H
#define OWL_CORE_OS_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "atomic.h"

/* A file in memory. The descriptor may be closed behind our back, and its number be another file's
 * by now: device and inode tell. */
struct owl_file {
    int descriptor;
    uint64_t device, inode;
};

/* Memory that one of several calls in one is about. */
struct owl_piece {
    void *start;
    size_t bytes;
};

/* From so many places at most the pages of one write come. */
#define OWL_PAGEFILE_PLACES 64

/* So many files tell of memory pressure, at most; and what else a wait for them may say: the bell
 * rang; a descriptor is not what it was, or will tell no more. */
#define OWL_PRESSURE_FILES 8
#define OWL_PRESSURE_BELL (1u << 30)
#define OWL_PRESSURE_LOST (1u << 31)

/* A thread, as the system numbers it. */
struct owl_os_thread {
    pid_t process, number;
};

/* An access that userfaultfd tells of. */
struct owl_os_fault {
    uintptr_t address; /* of the page or inside it */
    bool write;
};

struct owl_os {
    size_t page;   /* bytes; set by owl_os_init */
    pid_t process; /* this one's number; set by owl_os_init, and by owl_os_note_process */

    /* Address space without memory: touching it faults. NULL: none to be had. */
    void *(*reserve)(size_t bytes);
    /* As reserve; if possible, which *apart tells, where the system does not put mappings by itself
     * as long as there is room elsewhere: nobody's comes into a hole that is there for a moment. */
    void *(*reserve_apart)(size_t bytes, bool *apart);
    /* Make part of a reservation readable and writable; it reads as zero. 0, or -1. */
    int (*commit)(void *start, size_t bytes);
    /* Give the pages back; the addresses stay usable and read as zero. 0, or -1: unchanged. */
    int (*purge)(void *start, size_t bytes);
    /* Readable, writable, zeroed memory of its own. NULL: none to be had. */
    void *(*map)(size_t bytes);
    /* Move or resize what map gave. NULL: unchanged. */
    void *(*remap)(void *start, size_t bytes, size_t new_bytes);
    /* End a reservation or mapping, whole or in part. 0, or -1: unchanged. */
    int (*unmap)(void *start, size_t bytes);

    /* How many of the bytes lie in the mapping that the first of them lies in. */
    size_t (*piece)(void *start, size_t bytes);
    /* Moves pages of one mapping to other addresses, in place of what is mapped there. What is left
     * behind is still mapped: private memory reads as zero, a file shows the same bytes at both
     * places. 0; or -1: nothing has moved, but at `to` there may be fresh private memory now,
     * because the kernel ends what is there before it looks whether it can move. */
    int (*move)(void *from, void *to, size_t bytes);
    /* As move, but at `from` nothing is mapped afterwards, and anybody's mapping may come there. At
     * `to` the mapping is longer, if to_bytes is more than bytes: by memory that reads as zero; or,
     * of a file, by what follows in it. */
    int (*carry)(void *from, size_t bytes, void *to, size_t to_bytes);
    /* Puts fresh private memory where nothing is mapped. 0; or -1: something is, or refused. */
    int (*fill)(void *start, size_t bytes);
    /* Put fresh private memory, which reads as zero, in place of whatever is mapped. 0, or -1. */
    int (*reset)(void *start, size_t bytes);
    /* Fault all pages in for writing, in one call. 0; or -1: there may not be enough memory, and a
     * touch of a file in memory would raise SIGBUS. */
    int (*populate)(void *start, size_t bytes);
    /* purge, and populate, for many pieces of memory in one call: how many of the first ones are
     * done. Fewer than all: the next failed, or is one too many, or (0) there is no such call. */
    size_t (*purge_many)(const struct owl_piece *pieces, size_t count);
    size_t (*populate_many)(const struct owl_piece *pieces, size_t count);
    /* How many of the bytes are resident: at most OWL_COPY_MOST, whole pages. None: the system may
     * not have told. */
    size_t (*resident_of)(void *start, size_t bytes);
    /* Let huge pages be used, or not. 0, or -1: the kernel has none. */
    int (*huge)(void *start, size_t bytes, bool use);

    /* Makes a sparse file in memory, of so many bytes. 0, or -1. */
    int (*file_make)(struct owl_file *file, size_t bytes);
    /* Whether the descriptor is still that file's. */
    bool (*file_is_open)(const struct owl_file *file);
    /* Maps part of the file, readable and writable, in place of what is mapped at start: shared
     * with all who map it, or with changes kept for oneself. 0, or -1: unchanged, or the file is
     * lost. */
    int (*file_map)(const struct owl_file *file, size_t offset, void *start, size_t bytes,
                    bool shared);
    /* Puts the file from its beginning, shared, in place of what is mapped at start, but as a
     * reservation, of which file_commit makes parts accessible. 0, or -1. */
    int (*file_reserve)(const struct owl_file *file, void *start, size_t bytes);
    int (*file_commit)(void *start, size_t bytes);
    /* Another descriptor of the file, for the caller. -1, and errno. */
    int (*file_open)(const struct owl_file *file);
    /* Closes the descriptor, if it is still the file's. The mappings stay. */
    void (*file_close)(struct owl_file *file);
    /* Gives back the memory of mapped shared pages of a file; they read as zero. 0, or -1. */
    int (*punch)(void *start, size_t bytes);
    /* Which pages of a private mapping of a file were written to: sets a byte each, to 0 or 1. One
     * call at a time. 0, or -1: the system does not tell. */
    int (*changed)(const void *start, size_t pages, uint8_t *changed);

    /* Whether the system refuses to promise more memory than it has, as it did when it was asked
     * first. */
    bool (*strict_overcommit)(void);
    /* How many mappings the process may have, and how many it has. The latter takes as long as
     * a look at each. 0: the system does not tell. */
    size_t (*mapping_limit)(void);
    size_t (*mapping_count)(void);

    /* Sleep while *word == value; may wake early. Keeps errno, as free does, which takes locks. */
    void (*wait)(owl_u32 *word, uint32_t value);
    /* Wake one sleeper of word. Keeps errno. */
    void (*wake)(owl_u32 *word);

    /* Sleep while *word == value, at most so long; may wake early. */
    void (*sleep)(owl_u32 *word, uint32_t value, unsigned milliseconds);
    /* Before the first hidden_start, and in each child of fork, where there is no such thread. */
    void (*hidden_begin)(void);
    /* Runs body in a thread of which libc knows nothing, and which gets no signals, and has no
     * capabilities and no open files. There is one at a time: the last must have ended, or be about
     * to. body may use this table, and of thread-local memory errno, *local, a variable of the
     * caller that has `value` there, and the other variables of this library, which lie near that
     * and are zero there; `alone` says that what it opens takes no descriptor of the program's. 0,
     * or -1. EBUSY: not now: the last has not ended, or this is not the process that called
     * hidden_begin last, but a child of its that shares its memory (vfork). */
    int (*hidden_start)(void (*body)(bool alone), owl_word *local, uintptr_t value);

    /* All threads of the process that are running pass a full memory barrier; of the others it
     * is as if they had. 0; or -1: the system has no such call. */
    int (*barrier)(void);

    /* The time, from any moment on. It goes in steps of some milliseconds. */
    uint64_t (*milliseconds)(void);

    /* Bytes of address space this process may have in all; SIZE_MAX: no limit. */
    size_t (*address_limit)(void);
    /* Whether no limit counts what is mapped and not touched: neither that nor RLIMIT_DATA. */
    bool (*addresses_are_free)(void);
    /* Whether what is mapped is within that limit, as it is now: else the system refuses to map
     * anything, and so to map again what was just unmapped. */
    bool (*may_map)(void);
    /* Bytes of memory that this process has now. 0: the system does not tell. */
    size_t (*resident)(void);
    /* A number that an attacker does not know. */
    uint64_t (*secret)(void);
    /* Text for people, to file descriptor 2. */
    void (*message)(const char *text, size_t bytes);

    /* --- watches on pages, os_watch.c --- */

    /* A descriptor of userfaultfd for accesses in user mode. *unpopulated: pages that are not there
     * can be write-protected as they are. -1: refused. */
    int (*watch_open)(bool *unpopulated);
    /* Tell of accesses to missing pages, of writes to protected ones, or both; to part of one
     * private anonymous mapping. 0, or -1. */
    int (*watch_register)(int descriptor, void *start, size_t bytes, bool missing, bool write);
    /* No more of that; no page is protected, and all who wait go on. 0, or -1. */
    int (*watch_unregister)(int descriptor, void *start, size_t bytes);
    /* Waits for an access. 1; or 0: `bell` rings; or -1: an error that will stay. */
    int (*watch_next)(int descriptor, int bell, struct owl_os_fault *fault);
    /* Puts a copy of `from` in place of missing pages, write-protected or not, and lets those who
     * wait for them go on. 0; or -1: EEXIST: a page is there. */
    int (*watch_copy)(int descriptor, void *to, const void *from, size_t bytes, bool protect);
    /* As watch_copy, with zeros, unprotected. */
    int (*watch_zero)(int descriptor, void *start, size_t bytes);
    /* Protects pages from writes; or ends that and lets those who wait go on. 0, or -1. */
    int (*watch_protect)(int descriptor, void *start, size_t bytes, bool protect);
    /* Lets those who wait for the pages go on, to try again. */
    void (*watch_wake)(int descriptor, void *start, size_t bytes);
    /* A bell: a descriptor that is silent until rung, and then rings for ever. -1: none. */
    int (*bell_make)(void);
    void (*bell_ring)(int bell);
    void (*close)(int descriptor);

    /* Makes pages readable, or not even that, or writable too. 0, or -1. */
    int (*protect)(void *start, size_t bytes, bool read, bool write);
    /* Reads every page, so that pages that are not there show zeros. 0, or -1. */
    int (*populate_read)(void *start, size_t bytes);
    /* Pages that were moved out of watched ones, after each move: they become one mapping with
     * their neighbours of which the same was said, as they were before. */
    void (*join)(void *start, size_t bytes);
    /* A child of fork does not have these pages. 0, or -1. */
    int (*no_fork)(void *start, size_t bytes);
    /* From now on `fault` is called, in the thread concerned, with accesses that mappings forbid.
     * It says whether to try again; if not, the handler of SIGSEGV that was there before gets it.
     * 0, or -1. */
    int (*catch)(bool (*fault)(uintptr_t address, bool write));
    /* Whether the mapping at an address, if there is one, permits an access. Takes as long as a
     * look at each mapping. */
    bool (*permits)(uintptr_t address, bool write);
    /* No signals to this thread until the mask is restored. */
    void (*signals_block)(sigset_t *mask);
    void (*signals_restore)(const sigset_t *mask);
    /* As signals_block, but for those that accesses to memory raise. */
    void (*signals_hold)(sigset_t *mask);
    /* Starts a thread that gets no signals: 0, or -1. What the calling thread is called. Waits for
     * the end of one. */
    int (*thread_start)(pthread_t *thread, void *(*body)(void *));
    void (*thread_name)(const char *name);
    void (*thread_join)(pthread_t thread);
    /* Before and after each fork, and in each child, from now on. 0, or -1. */
    int (*at_fork)(void (*prepare)(void), void (*parent)(void), void (*child)(void));
    /* Wake all sleepers of word. */
    void (*wake_all)(owl_u32 *word);
    /* The calling thread, without a system call; and whether a thread has not ended, which one that
     * is about to end has not. */
    struct owl_os_thread (*thread_self)(void);
    bool (*thread_lives)(const struct owl_os_thread *thread);

    /* --- guarded blocks, os_guard.c --- */

    /* Who calls: return addresses from the inside out, at most so many. Their number. */
    size_t (*trace)(const void **frames, size_t most);
    /* The file that an address of code is of, and where in it, as addr2line(1) wants it. False: it
     * is not known. */
    bool (*where)(const void *address, const char **file, uintptr_t *offset);
    /* From now on `fault` is called with accesses to pages that are not accessible. It says whether
     * to try again; if not, the handler of SIGSEGV that was there before gets it. 0, or -1. */
    int (*catch_guard)(bool (*fault)(uintptr_t address));

    /* --- memory pressure, os_pressure.c --- */

    /* Calls line with each line of a small file, without its end, while that says true. 0; or
     * -1: it cannot be read. */
    int (*lines)(const char *path, bool (*line)(char *text, void *context), void *context);
    /* Opens a file that tells of news: of stalls, as the trigger says, or (NULL) of changes. 0, or
     * -1. */
    int (*pressure_open)(struct owl_file *file, const char *path, const char *trigger);
    /* Makes a bell with two ends, of which the second rings the first. 0, or -1. */
    int (*pressure_bell)(struct owl_file ends[2]);
    void (*pressure_ring)(const struct owl_file *end);
    /* Waits for news from at most OWL_PRESSURE_FILES files and from the bell, but no longer than
     * so many milliseconds, if these are not negative. Bit i: file number i has news; and the bits
     * below. May return 0 early. A bell without a descriptor is silent. */
    unsigned (*pressure_wait)(const struct owl_file *files, size_t count,
                              const struct owl_file *bell, int milliseconds);

    /* --- files of pages, os_pagefile.c --- */

    /* Opens or makes a file, which no one else may have open this way; NULL: one without a name, in
     * the directory TMPDIR or else /var/tmp. 0, or -1; EBUSY: somebody has. */
    int (*pagefile_open)(struct owl_file *file, const char *path);
    /* Reads one run of bytes; zeros beyond the file's end. 0, or -1. */
    int (*pagefile_read)(const struct owl_file *file, void *to, size_t bytes, size_t offset);
    /* Writes a run of bytes from up to OWL_PAGEFILE_PLACES places. 0; or -1: some may be written.
     * EFBIG, without a signal, past RLIMIT_FSIZE. */
    int (*pagefile_write)(const struct owl_file *file, const struct iovec *from, int count,
                       size_t offset);
    /* What was written outlives the machine. 0, or -1. */
    int (*pagefile_flush)(const struct owl_file *file);
};

extern struct owl_os owl_os;

/* Reads what the machine is like. Called once, before anything else of the table. */
void owl_os_init(void);

/* In a child of fork: it has another number. */
void owl_os_note_process(void);

static inline size_t owl_round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) & ~(unit - 1);
}

#endif
