/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A main for the fuzzer's entry. With libFuzzer it is not linked; AFL++'s compiler defines the
 * macros by which it hands over inputs in memory.
 *
 *   test_fuzz FILE...                      runs files
 *   test_fuzz --random N --seed S [FILE]   runs N inputs of a generator, the same for the same
 *                                          seed; FILE gets each before it is run
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#ifdef __AFL_FUZZ_TESTCASE_LEN
#include <unistd.h>

__AFL_FUZZ_INIT();

int main(int count, char **arguments)
{
    LLVMFuzzerInitialize(&count, &arguments);
    __AFL_INIT();
    const unsigned char *input = __AFL_FUZZ_TESTCASE_BUF;
    while (__AFL_LOOP(2000))
        LLVMFuzzerTestOneInput(input, (size_t)__AFL_FUZZ_TESTCASE_LEN);
    return 0;
}

#else

static uint8_t input[4096];

/* A generator of random numbers (G. Marsaglia, "Xorshift RNGs", 2003). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    return x * 0x2545f4914f6cdd1du >> 16;
}

/* False: it cannot be written. */
static bool save(const char *path, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        perror(path);
        return false;
    }
    bool written = fwrite(input, 1, size, file) == size;
    return fclose(file) == 0 && written;
}

static int run_random(unsigned long number, unsigned long seed, const char *path)
{
    for (unsigned long i = 0; i < number; i++) {
        uint64_t state = (seed * 0x9e3779b97f4a7c15u + i) | (uint64_t)1 << 63;
        next_random(&state);
        size_t size = next_random(&state) % (next_random(&state) % 32 == 0 ? 1024 : 128);
        for (size_t k = 0; k < size; k++)
            input[k] = (uint8_t)next_random(&state);
        if (path != NULL && !save(path, size))
            return 1;
        LLVMFuzzerTestOneInput(input, size);
    }
    printf("%lu random inputs from seed %lu\n", number, seed);
    return 0;
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t size = fread(input, 1, sizeof input, file);
    fclose(file);
    LLVMFuzzerTestOneInput(input, size);
    printf("%s\n", path);
    return 0;
}

int main(int count, char **arguments)
{
    LLVMFuzzerInitialize(&count, &arguments);
    if (count >= 5 && strcmp(arguments[1], "--random") == 0 && strcmp(arguments[3], "--seed") == 0)
        return run_random(strtoul(arguments[2], NULL, 10), strtoul(arguments[4], NULL, 10),
                          arguments[5]);
    int failures = 0;
    for (int i = 1; i < count; i++)
        failures += run_file(arguments[i]);
    return failures > 0;
}

#endif
