/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fuzzer's parts. An input is a program: each instruction is a byte, which says what to call,
 * and operands. Any bytes are a program: operands past the end are 0, and the program ends where
 * the input does.
 *
 * Beside the heap stands a model, in memory that is not the heap's: of each live block its address,
 * sizes and contents. What a call does to the heap is compared with what it does to the model, and
 * the first difference ends the process.
 *
 * One thread works at a time, by turns that the program says, so the state below needs no lock, and
 * the same input does the same each time.
 */
#ifndef OWL_TESTS_FUZZ_H
#define OWL_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_KIB ((size_t)1 << 10)
#define FUZZ_MIB ((size_t)1 << 20)
#define FUZZ_GIB ((size_t)1 << 30)

/* Blocks of more than 1 GiB are only touched in places, so two of them do no harm; all others
 * together take at most so many bytes. */
#define FUZZ_BUDGET (128 * FUZZ_MIB)
#define FUZZ_HUGE 2

enum {
    FUZZ_BLOCKS = 64,
    FUZZ_ARRAYS = 8,
    FUZZ_WORKERS = 3,
    FUZZ_STEPS = 1000, /* instructions of an input; more are not done */
    FUZZ_ERRNO = 77,   /* what errno is before each call */
    FUZZ_CHUNK = 8     /* bytes of a pattern in a row */
};

/*
 * A live block. Its contents are known in chunks: byte i of a chunk is made from the seed and
 * i % span. Bytes outside of chunks may have any value. `twice`: the first `span` bytes are there
 * once more behind themselves, as in a ring, and in what is made of one.
 */
struct fuzz_block {
    unsigned char *p; /* NULL: there is no block here */
    size_t asked;
    size_t usable;
    uint64_t seed;
    size_t span;
    bool twice;
    bool ring; /* a write to one half is a write to the other */
};

struct fuzz {
    const uint8_t *at, *end;
    struct fuzz_block blocks[FUZZ_BLOCKS];
    size_t live;      /* usable bytes of all blocks but huge ones */
    unsigned huge;    /* blocks above 1 GiB */
    uint64_t seeds;   /* patterns handed out */
    bool limited;     /* the option `limit` is set: calls may find no memory */
    bool no_file;     /* the option `backing` says private: there are no rings and exports */
    unsigned turn;    /* who does the next instructions; 0: the main thread */
    unsigned turns;   /* how many */
    unsigned leaving; /* the worker that is to end; 0: none */
};

extern struct fuzz fuzz;

#define fuzz_check(holds) ((holds) ? (void)0 : fuzz_failed(#holds, __FILE__, __LINE__))
_Noreturn void fuzz_failed(const char *what, const char *file, int line);

/* Operands. */
unsigned fuzz_byte(void);
size_t fuzz_word(void);
size_t fuzz_size(void);

/* Whether no machine has so much, so that a call must find no memory. */
static inline bool fuzz_is_absurd(size_t bytes)
{
    return bytes > (size_t)1 << 60;
}

/* The same size, or a small one if there may not be so much more; absurd sizes stay. */
size_t fuzz_bounded(size_t bytes);

/* The model of blocks. A slot by an operand: one that is free, whose block was freed if there was
 * one; or one with a block, NULL if there is none at all. The block's contents were compared. */
struct fuzz_block *fuzz_free_slot(void);
struct fuzz_block *fuzz_live_slot(void);

/* Memory that has to be zero: all of it is looked at, or, if it is much, what patterns are in. */
void fuzz_be_zero(const unsigned char *p, size_t bytes);

/* Compares the bytes from..to of b's contents with those at `at`. */
void fuzz_compare(const struct fuzz_block *b, const unsigned char *at, size_t from, size_t to);
void fuzz_compare_block(const struct fuzz_block *b);
void fuzz_compare_all(void);

/* A new block is in the slot, with any contents: its address, sizes and place are compared, and
 * it gets a pattern. */
void fuzz_born(struct fuzz_block *b, void *p, size_t asked, size_t alignment);
/* The same, but the contents are those of another. */
void fuzz_born_twin(struct fuzz_block *b, void *p, const struct fuzz_block *of);
/* New contents. */
void fuzz_fill(struct fuzz_block *b);
/* The block is gone from the slot; the heap was told by the caller. */
void fuzz_gone(struct fuzz_block *b);

/* Instructions, by subject; each takes a number that says which. */
void fuzz_alloc(unsigned which);
void fuzz_change(unsigned which);
void fuzz_heap(unsigned which);
void fuzz_array(unsigned which);
void fuzz_pages(unsigned which);
enum { FUZZ_ALLOC = 10, FUZZ_CHANGE = 14, FUZZ_HEAP = 11, FUZZ_ARRAY = 13, FUZZ_PAGES = 9 };

/* One instruction, by the calling thread. */
void fuzz_step(void);
/* The same by a worker, which is started if it is not there, and its end. */
void fuzz_worker_step(unsigned number);
void fuzz_worker_end(unsigned number);

void fuzz_free_blocks(void);
void fuzz_release_arrays(void);
void fuzz_compare_arrays(void);
void fuzz_reset_options(void);

int LLVMFuzzerInitialize(int *count, char ***arguments);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
