#include "rng.h"

#include <math.h>

void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t product0 = (uint64_t)0xD2511F53u * c0;
        uint64_t product1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product1;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

void rng_block(rng_key key, uint64_t block, uint32_t out[4]) {
    uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)key.stream,
                           (uint32_t)(key.stream >> 32)};
    uint32_t words[2] = {(uint32_t)key.seed, (uint32_t)(key.seed >> 32)};
    rng_philox(counter, words, out);
}

static double unit_float64(uint32_t high, uint32_t low) {
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

/* Calls for each element: the block it stands in is made once for its 4 (or 2) neighbours. */
void rng_uniform_float32(rng_key key, int64_t begin, int64_t count, float *out) {
    uint32_t words[4];
    for (int64_t i = 0; i < count; i++) {
        int64_t at = begin + i;
        if (i == 0 || at % 4 == 0) rng_block(key, (uint64_t)at / 4, words);
        out[i] = (float)(words[at % 4] >> 8) * 0x1p-24f;
    }
}

void rng_uniform_float64(rng_key key, int64_t begin, int64_t count, double *out) {
    uint32_t words[4];
    for (int64_t i = 0; i < count; i++) {
        int64_t at = begin + i;
        if (i == 0 || at % 2 == 0) rng_block(key, (uint64_t)at / 2, words);
        out[i] = unit_float64(words[at % 2 * 2], words[at % 2 * 2 + 1]);
    }
}

/* Both normals of a Box-Muller pair come from one block; 1 - u keeps the logarithm's argument above zero. */
void rng_normal_float64(rng_key key, int64_t begin, int64_t count, double *out) {
    uint32_t words[4];
    double radius = 0, angle = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = begin + i;
        if (i == 0 || at % 2 == 0) {
            rng_block(key, (uint64_t)at / 2, words);
            radius = sqrt(-2 * log(1 - unit_float64(words[0], words[1])));
            angle = 2 * 3.14159265358979323846 * unit_float64(words[2], words[3]);
        }
        out[i] = radius * (at % 2 == 0 ? cos(angle) : sin(angle));
    }
}

/* The float64 numbers rounded: a float32 network starts at the rounded weights of its float64 twin. */
void rng_normal_float32(rng_key key, int64_t begin, int64_t count, float *out) {
    double pair[2];
    for (int64_t i = 0; i < count; i++) {
        int64_t at = begin + i;
        if (i == 0 || at % 2 == 0) rng_normal_float64(key, at / 2 * 2, 2, pair);
        out[i] = (float)pair[at % 2];
    }
}

/* The first halves of `count` blocks, as one number each. None waits for another, as the draws of a shuffle do. */
static void first_halves(rng_key key, uint64_t block, int64_t count, uint64_t *out) {
    for (int64_t i = 0; i < count; i++) {
        uint32_t words[4];
        rng_block(key, block + (uint64_t)i, words);
        out[i] = ((uint64_t)words[0] << 32) | words[1];
    }
}

/* Fisher and Yates, each draw without bias: numbers from the last multiple of the range on, which are rare, are drawn again. */
void rng_permutation(rng_key key, int64_t count, int64_t *out) {
    enum { DRAWS = 32 };
    uint64_t block = 0, draws[DRAWS];
    for (int64_t i = 0; i < count; i++) out[i] = i;
    for (int64_t i = count - 1; i > 0; i--) {
        uint64_t range = (uint64_t)i + 1, draw;
        do {
            if (block % DRAWS == 0) first_halves(key, block, DRAWS, draws);
            draw = draws[block++ % DRAWS];
        } while (draw > UINT64_MAX - range && draw >= UINT64_MAX - UINT64_MAX % range);
        int64_t j = (int64_t)(draw % range), kept = out[i];
        out[i] = out[j];
        out[j] = kept;
    }
}
