/* Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). Element i of a stream depends on (seed, stream, i) and on nothing else, so results are the
 * same for any number of threads and whatever ran before. */
#ifndef PLUMB_RNG_H
#define PLUMB_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t seed;
    uint64_t stream;
} rng_key;

/* Block number `block` of the stream: four 32-bit words, for the key `seed` and the counter (block, stream). */
void rng_block(rng_key key, uint64_t block, uint32_t out[4]);

/* Elements begin .. begin + count - 1 of the stream: uniform in [0, 1), or standard normal (Box-Muller). */
void rng_uniform_float32(rng_key key, int64_t begin, int64_t count, float *out);
void rng_uniform_float64(rng_key key, int64_t begin, int64_t count, double *out);
void rng_normal_float32(rng_key key, int64_t begin, int64_t count, float *out);
void rng_normal_float64(rng_key key, int64_t begin, int64_t count, double *out);

/* A uniformly random order of first .. first + count - 1 (Fisher-Yates, with unbiased bounded draws). Unlike the rest it may
 * take seconds: it fails when it is interrupted (fail.h). */
void rng_permutation(rng_key key, int64_t first, int64_t count, int64_t *out);

#endif
