#include "rng.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif
#include <math.h>
#include <stdbool.h>

#include "fail.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* Philox 4x32-10 (rng.h): the factors of the two products of a round, and what the two words of the key grow by. */
static const uint32_t FACTOR_0 = 0xD2511F53, FACTOR_1 = 0xCD9E8D57, GROWTH_0 = 0x9E3779B9, GROWTH_1 = 0xBB67AE85;
enum { ROUNDS = 10 };

void rng_block(rng_key key, uint64_t block, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32), c2 = (uint32_t)key.stream, c3 = (uint32_t)(key.stream >> 32);
    uint32_t k0 = (uint32_t)key.seed, k1 = (uint32_t)(key.seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t product0 = (uint64_t)FACTOR_0 * c0, product1 = (uint64_t)FACTOR_1 * c2;
        c0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)product1;
        c3 = (uint32_t)product0;
        k0 += GROWTH_0;
        k1 += GROWTH_1;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* BLOCKS of them from `first` on, one behind the other. */
enum { BLOCKS = 16 };

#ifdef __AVX512F__
/* out (LANES, 4): the same rounds for a block in each 64 bits, of which products take the lower half; what stands in the upper one
 * does not matter. */
enum { LANES = 8 };

static inline void make_lanes(rng_key key, uint64_t first, uint32_t *out) {
    const __m512i factor0 = _mm512_set1_epi64(FACTOR_0), factor1 = _mm512_set1_epi64(FACTOR_1);
    const __m512i growth0 = _mm512_set1_epi64(GROWTH_0), growth1 = _mm512_set1_epi64(GROWTH_1);
    __m512i c0 = _mm512_add_epi64(_mm512_set1_epi64((int64_t)first), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    __m512i c1 = _mm512_srli_epi64(c0, 32), c2 = _mm512_set1_epi64((int64_t)key.stream), c3 = _mm512_srli_epi64(c2, 32);
    __m512i k0 = _mm512_set1_epi64((int64_t)key.seed), k1 = _mm512_srli_epi64(k0, 32);
#pragma GCC unroll 10
    for (int round = 0; round < ROUNDS; round++) {
        const __m512i product0 = _mm512_mul_epu32(c0, factor0), product1 = _mm512_mul_epu32(c2, factor1);
        c0 = _mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(product1, 32), c1), k0);
        c2 = _mm512_xor_si512(_mm512_xor_si512(_mm512_srli_epi64(product0, 32), c3), k1);
        c1 = product1;
        c3 = product0;
        k0 = _mm512_add_epi64(k0, growth0);
        k1 = _mm512_add_epi64(k1, growth1);
    }
    const __m512i halves0 = _mm512_mask_shuffle_epi32(c0, 0xaaaa, c1, 0xa0); /* words 0 and 1 of each block */
    const __m512i halves1 = _mm512_mask_shuffle_epi32(c2, 0xaaaa, c3, 0xa0); /* and 2 and 3 */
    const __m512i lower = _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), upper = _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi64(halves0, lower, halves1));
    _mm512_storeu_si512(out + 2 * LANES, _mm512_permutex2var_epi64(halves0, upper, halves1));
}

static void make_blocks(rng_key key, uint64_t first, uint32_t out[4 * BLOCKS]) {
    for (int k = 0; k < BLOCKS; k += LANES) make_lanes(key, first + (uint64_t)k, out + 4 * k);
}
#else
static void make_blocks(rng_key key, uint64_t first, uint32_t out[4 * BLOCKS]) {
    for (int k = 0; k < BLOCKS; k++) rng_block(key, first + (uint64_t)k, out + 4 * k);
}
#endif

static double unit_float64(uint32_t high, uint32_t low) {
    return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

/* Elements come 4 (or 2) to a block; those of many whole blocks are made together. */
void rng_uniform_float32(rng_key key, int64_t begin, int64_t count, float *out) {
    uint32_t words[4 * BLOCKS];
    for (int64_t i = 0, made; i < count; i += made) {
        int64_t at = begin + i;
        bool many = at % 4 == 0 && count - i >= 4 * BLOCKS;
        made = many ? 4 * BLOCKS : smaller(4 - at % 4, count - i);
        if (many) make_blocks(key, (uint64_t)at / 4, words);
        else rng_block(key, (uint64_t)at / 4, words);
        for (int64_t k = 0; k < made; k++) out[i + k] = (float)(words[at % 4 + k] >> 8) * 0x1p-24f;
    }
}

void rng_uniform_float64(rng_key key, int64_t begin, int64_t count, double *out) {
    uint32_t words[4 * BLOCKS];
    for (int64_t i = 0, made; i < count; i += made) {
        int64_t at = begin + i, first = at % 2;
        bool many = first == 0 && count - i >= 2 * BLOCKS;
        made = many ? 2 * BLOCKS : smaller(2 - first, count - i);
        if (many) make_blocks(key, (uint64_t)at / 2, words);
        else rng_block(key, (uint64_t)at / 2, words);
        for (int64_t k = 0; k < made; k++) out[i + k] = unit_float64(words[2 * (first + k)], words[2 * (first + k) + 1]);
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

/* Fisher and Yates, each draw without bias: numbers from the last multiple of the range on, which are rare, are drawn again. */
void rng_permutation(rng_key key, int64_t first, int64_t count, int64_t *out) {
    enum { PIECE = 1 << 16 };
    uint64_t block = 0;
    uint32_t words[4 * BLOCKS];
    for (int64_t begin = 0; begin < count; begin += PIECE) {
        interrupt_check();
        for (int64_t i = begin, end = smaller(begin + PIECE, count); i < end; i++) out[i] = first + i;
    }
    for (int64_t i = count - 1; i > 0; i--) {
        uint64_t range = (uint64_t)i + 1, draw;
        do {
            if (block % BLOCKS == 0) {
                interrupt_check();
                make_blocks(key, block, words);
            }
            const uint32_t *own = words + block++ % BLOCKS * 4;
            draw = (uint64_t)own[0] << 32 | own[1];
        } while (draw > UINT64_MAX - range && draw >= UINT64_MAX - UINT64_MAX % range);
        int64_t j = (int64_t)(draw % range), kept = out[i];
        out[i] = out[j];
        out[j] = kept;
    }
}
