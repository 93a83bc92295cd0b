/* Products of float32 matrices by the tile registers of AMX. These multiply bfloat16, of 8 significant bits, 32 times as fast as
 * vector registers multiply float32, and add in float32. A float32 is the sum of three such numbers, x = x1 + x2 + x3, and
 *   x y = x1 y1 + (x1 y2 + x2 y1) + (x2 y2 + x1 y3 + x3 y1) + (x2 y3 + x3 y2 + x3 y3),
 * of which the last three are left out: they are below 2^-23 |x y|, of either sign, and less than what rounding costs a sum of
 * float32's own products (Henry, Tang and Heinecke 2019, Leveraging the bfloat16 artificial intelligence datatype for
 * higher-precision computations).
 *
 * One side of the product is packed as a whole, the other in bands of rows (or columns), a slice of k at a time, by the thread that
 * multiplies it. Each number of the result is one sum in a fixed order, whatever the threads. */
#include "kernel_split.h"

#if defined __AMX_TILE__ && defined __AMX_BF16__ && defined __AVX512F__ && defined __linux__
#include <immintrin.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pool.h"

#define T float
#define INTEGER int32_t
#define TYPED(name) name##_float32
#define VECTOR_BYTES 64
#include "kernel_vector.inc"

enum {
    SIDE = 16,                       /* rows of a tile, and columns of 32 bits */
    DEPTH = 2 * SIDE,                /* k of a tile: two numbers in each column */
    GROUP = 2 * SIDE,                /* rows, or columns, that are multiplied at a time */
    PARTS = 3,
    TILE_BYTES = SIDE * SIDE * 4,
    STEP_BYTES = 2 * PARTS * TILE_BYTES, /* GROUP x DEPTH numbers, packed */
    SLICE = 25,                      /* steps of DEPTH, at most, of which the sums stay in tiles */
    BLOCK = 200,                     /* steps of the shared side in the second-level cache */
    CHUNK = 1000000,                 /* multiplications that are worth another thread's attention */
    MOST_CHUNKS = 64
};

typedef struct {
    const float *data;
    int64_t count;     /* rows of x, or columns of y */
    int64_t stride;    /* from one to the next */
    int64_t depth;     /* k */
    int64_t step;      /* along it */
    bool pairs_across; /* tiles hold a row of x in a row, a column of y in a column, with two numbers in 32 bits along k */
} side;

typedef struct {
    int64_t n;
    int64_t steps, slice; /* of DEPTH: all, and those of a slice */
    side shared, band;
    bool band_is_rows;
    float *out; /* (m, n) */
    int64_t chunks;
    char *packed;                     /* the shared side */
    uint32_t largest[2][MOST_CHUNKS]; /* the upper halves of the largest |numbers| in the shared side and in the band */
} split;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t groups_of(int64_t count) { return (count + GROUP - 1) / GROUP; }

/* --- packing ----------------------------------------------------------------------------------------------------------- */

/* The upper half of a float32 is a bfloat16; this rounds to it, halves away from zero. What is left is exact. */
static inline PLACES rounded(VECTOR x) { return ((PLACES)x + 0x8000) & (int32_t)0xffff0000; }

/* The upper halves of two numbers in each 32 bits. */
static inline __m512i halves(__m512i lower, __m512i upper) {
    return _mm512_mask_mov_epi16(_mm512_srli_epi32(lower, 16), 0xaaaaaaaa, upper);
}

/* A pair of numbers in each column of 32 bits, in the row of a tile of each part. */
static inline __attribute__((always_inline)) void store_parts(VECTOR lower, VECTOR upper, char *row, __m512i *largest) {
    const __m512i magnitudes = _mm512_and_si512(halves((__m512i)lower, (__m512i)upper), _mm512_set1_epi16(0x7fff));
    *largest = _mm512_max_epu16(*largest, magnitudes);
#pragma GCC unroll 3
    for (int part = 0; part < PARTS; part++, row += TILE_BYTES) {
        const PLACES of_lower = rounded(lower), of_upper = rounded(upper);
        _mm512_store_si512(row, halves((__m512i)of_lower, (__m512i)of_upper));
        lower -= (VECTOR)of_lower;
        upper -= (VECTOR)of_upper;
    }
}

/* The first `count` numbers, which may be none, and zeros. */
static inline __attribute__((always_inline)) VECTOR load_first(const float *from, int64_t count) {
    if (count >= SIDE) return *(const UNALIGNED *)from;
    return count > 0 ? (VECTOR)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from) : (VECTOR){0};
}

/* SIDE rows of x (or columns of y) from `first` on, and DEPTH numbers from k on, to the tiles of their PARTS, with zeros beyond the
 * edges. They lie in order along k, or across it, and are turned where the tiles hold them the other way. */
static inline __attribute__((always_inline)) void pack_tiles(const side *s, int64_t first, int64_t k, int64_t count, int64_t depth,
                                                             bool along_k, bool turn, char *tiles, __m512i *largest) {
    const float *from = s->data + first * s->stride + k * s->step;
    VECTOR lower[SIDE], upper[SIDE];
#pragma GCC unroll 16
    for (int i = 0; i < SIDE; i++) {
        const float *row = from + i * (along_k ? s->stride : s->step), *after = row + SIDE * s->step;
        const bool inside = i < (along_k ? count : depth), after_inside = along_k ? inside : i + SIDE < depth;
        lower[i] = load_first(row, !inside ? 0 : along_k ? depth : count);
        upper[i] = load_first(after, !after_inside ? 0 : along_k ? depth - SIDE : count);
        if (!along_k) { /* rows that are far apart, which the processor does not guess */
            __builtin_prefetch(row + DEPTH * s->step);
            __builtin_prefetch(after + DEPTH * s->step);
        }
        if (!turn) store_parts(lower[i], upper[i], tiles + i * SIDE * 4, largest);
    }
    if (!turn) return;
    transpose_float32(lower);
    transpose_float32(upper);
#pragma GCC unroll 16
    for (int i = 0; i < SIDE; i++) store_parts(lower[i], upper[i], tiles + i * SIDE * 4, largest);
}

static inline __attribute__((always_inline)) void pack_steps(const side *s, int64_t first, int64_t begin, int64_t end, bool along_k,
                                                             bool turn, char *packed, __m512i *largest) {
    for (int64_t step = begin; step < end; step++)
        for (int64_t i = first; i < first + GROUP; i += SIDE, packed += PARTS * TILE_BYTES) {
            const int64_t k = step * DEPTH, count = s->count - i, depth = s->depth - k;
            if (count >= SIDE && depth >= DEPTH) pack_tiles(s, i, k, SIDE, DEPTH, along_k, turn, packed, largest);
            else pack_tiles(s, i, k, count, depth, along_k, turn, packed, largest);
        }
}

/* The steps begin .. end - 1 of GROUP rows from `first` on; `largest` becomes the larger of itself and the halves of their numbers. */
static void pack_group(const side *s, int64_t first, int64_t begin, int64_t end, char *packed, uint32_t *largest) {
    __m512i most = _mm512_setzero_si512();
    if (s->step == 1 && s->pairs_across) pack_steps(s, first, begin, end, true, false, packed, &most);
    else if (s->step == 1) pack_steps(s, first, begin, end, true, true, packed, &most);
    else if (s->pairs_across) pack_steps(s, first, begin, end, false, true, packed, &most);
    else pack_steps(s, first, begin, end, false, false, packed, &most);
    most = _mm512_max_epu16(most, _mm512_srli_epi32(most, 16));
    const uint32_t here = _mm512_reduce_max_epu32(_mm512_and_si512(most, _mm512_set1_epi32(0xffff)));
    if (here > *largest) *largest = here;
}

static int64_t chunk_begin(const split *p, int64_t count, int64_t chunk) { return pool_begin(count, p->chunks, chunk); }
static int64_t slice_end(const split *p, int64_t slice) { return smaller(slice + p->slice, p->steps); }

/* The shared side is packed slice by slice, (slices, groups, steps of a slice). */
static char *shared_place(const split *p, int64_t group, int64_t slice) {
    return p->packed + (slice * groups_of(p->shared.count) + group * (slice_end(p, slice) - slice)) * STEP_BYTES;
}

static void pack_shared_task(void *context, int64_t chunk) {
    split *p = context;
    const int64_t groups = groups_of(p->shared.count), end = chunk_begin(p, groups, chunk + 1);
    for (int64_t group = chunk_begin(p, groups, chunk); group < end && !pool_ends(); group++)
        for (int64_t slice = 0; slice < p->steps; slice += p->slice)
            pack_group(&p->shared, group * GROUP, slice, slice_end(p, slice), shared_place(p, group, slice), &p->largest[0][chunk]);
}

/* --- multiplying ------------------------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

static void take_tiles(void) {
    tile_shapes shapes = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) shapes.row_bytes[tile] = SIDE * 4, shapes.rows[tile] = SIDE;
    _tile_loadconfig(&shapes);
}

/* The instructions read and write memory behind the compiler's back. */
#define SETTLE_MEMORY() __asm__ volatile("" ::: "memory")

/* Sums are in tiles 0 to 3, of two tiles of rows, where the result is `tall`, by two of columns, where it is `wide`; x is in 4 and
 * 5, y in 6 and 7. */
#define EACH_SUM(operation)                                      \
    do {                                                         \
        operation(0, out, stride);                               \
        if (wide) operation(1, out + SIDE, stride);              \
        if (tall) operation(2, below, stride);                   \
        if (tall && wide) operation(3, below + SIDE, stride);    \
    } while (0)
#define LOAD_X(part)                                                           \
    do {                                                                       \
        _tile_loadd(4, x + (part) * TILE_BYTES, SIDE * 4);                     \
        if (tall) _tile_loadd(5, x + (PARTS + (part)) * TILE_BYTES, SIDE * 4); \
    } while (0)
#define LOAD_Y(part)                                                           \
    do {                                                                       \
        _tile_loadd(6, y + (part) * TILE_BYTES, SIDE * 4);                     \
        if (wide) _tile_loadd(7, y + (PARTS + (part)) * TILE_BYTES, SIDE * 4); \
    } while (0)
/* A product of two parts; meanwhile a tile of each side's next step is fetched. */
#define MULTIPLY(tile)                                  \
    do {                                                \
        fetch_tile(next_x + (tile) * TILE_BYTES);       \
        fetch_tile(next_y + (tile) * TILE_BYTES);       \
        _tile_dpbf16ps(0, 4, 6);                        \
        if (wide) _tile_dpbf16ps(1, 4, 7);              \
        if (tall) _tile_dpbf16ps(2, 5, 6);              \
        if (tall && wide) _tile_dpbf16ps(3, 5, 7);      \
    } while (0)

static inline __attribute__((always_inline)) void fetch_tile(const char *tile) {
#pragma GCC unroll 16
    for (int row = 0; row < SIDE; row++) __builtin_prefetch(tile + row * SIDE * 4);
}

/* Packed numbers to be multiplied, and those that come after them. */
typedef struct {
    const char *x, *y, *next_x, *next_y;
    int64_t steps;
} factors;

/* out (up to GROUP by GROUP) = or, with add, += the products of the steps. */
static inline __attribute__((always_inline)) void multiply_steps(const factors *f, float *out, int64_t out_stride, bool add, bool tall,
                                                                 bool wide) {
    const size_t stride = (size_t)out_stride * sizeof(float);
    const char *x = f->x, *y = f->y;
    float *below = out + SIDE * out_stride;
    SETTLE_MEMORY();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (add) EACH_SUM(_tile_loadd);
    for (int64_t step = 1; step <= f->steps; step++) {
        const char *next_x = step < f->steps ? x + STEP_BYTES : f->next_x, *next_y = step < f->steps ? y + STEP_BYTES : f->next_y;
        LOAD_X(0);
        LOAD_Y(0);
        MULTIPLY(0);
        LOAD_Y(1);
        MULTIPLY(1);
        LOAD_Y(2);
        MULTIPLY(2);
        LOAD_X(2);
        LOAD_Y(0);
        MULTIPLY(3);
        LOAD_X(1);
        MULTIPLY(4);
        LOAD_Y(1);
        MULTIPLY(5);
        x = next_x;
        y = next_y;
    }
    EACH_SUM(_tile_stored);
    SETTLE_MEMORY();
}

static void multiply_tiles(const factors *f, float *out, int64_t out_stride, bool add, bool tall, bool wide) {
    if (tall && wide) multiply_steps(f, out, out_stride, add, true, true);
    else if (tall) multiply_steps(f, out, out_stride, add, true, false);
    else if (wide) multiply_steps(f, out, out_stride, add, false, true);
    else multiply_steps(f, out, out_stride, add, false, false);
}

/* The same for any rows and columns up to GROUP: by way of a whole group, where they do not fill tiles. */
static void multiply_group(const factors *f, float *out, int64_t out_stride, int64_t rows, int64_t columns, bool add) {
    const bool tall = rows > SIDE, wide = columns > SIDE;
    if (rows % SIDE == 0 && columns % SIDE == 0) {
        multiply_tiles(f, out, out_stride, add, tall, wide);
        return;
    }
    _Alignas(64) float whole[GROUP][GROUP];
    for (int64_t i = 0; add && i < rows; i++) memcpy(whole[i], out + i * out_stride, (size_t)columns * sizeof(float));
    multiply_tiles(f, &whole[0][0], GROUP, add, tall, wide);
    for (int64_t i = 0; i < rows; i++) memcpy(out + i * out_stride, whole[i], (size_t)columns * sizeof(float));
}

/* Rows (or columns) first .. last - 1 of the band, at most a group, packed, with groups begin .. end - 1 of the shared side. */
static void multiply_slice(const split *p, const char *packed, int64_t first, int64_t last, int64_t slice, int64_t begin, int64_t end) {
    const int64_t here = smaller(GROUP, last - first), steps = slice_end(p, slice) - slice;
    for (int64_t group = begin; group < end; group++) {
        const char *shared = shared_place(p, group, slice), *next = shared + steps * STEP_BYTES;
        const int64_t at = group * GROUP, count = smaller(GROUP, p->shared.count - at);
        if (p->band_is_rows)
            multiply_group(&(factors){packed, shared, packed, next, steps}, p->out + first * p->n + at, p->n, here, count, slice > 0);
        else
            multiply_group(&(factors){shared, packed, next, packed, steps}, p->out + at * p->n + first, p->n, count, here, slice > 0);
    }
}

static void band_task(void *context, int64_t chunk) {
    split *p = context;
    _Alignas(64) char packed[SLICE * STEP_BYTES];
    const int64_t tiles = (p->band.count + SIDE - 1) / SIDE, groups = groups_of(p->shared.count), block_groups = BLOCK / p->slice;
    const int64_t begin = chunk_begin(p, tiles, chunk) * SIDE, end = smaller(chunk_begin(p, tiles, chunk + 1) * SIDE, p->band.count);
    take_tiles();
    for (int64_t block = 0; block < groups; block += block_groups)
        for (int64_t slice = 0; slice < p->steps; slice += p->slice)
            for (int64_t first = begin; first < end && !pool_ends(); first += GROUP) {
                pack_group(&p->band, first, slice, slice_end(p, slice), packed, &p->largest[1][chunk]);
                multiply_slice(p, packed, first, end, slice, block, smaller(block + block_groups, groups));
            }
    _tile_release();
}

/* --- which products ---------------------------------------------------------------------------------------------------- */

bool kernel_split_works(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    static atomic_int answer;                  /* 0: not asked yet */
    enum { YES = 1, NO };
    if (answer == 0) answer = syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? YES : NO;
    return answer == YES;
}

bool kernel_split_pays(int64_t m, int64_t n, int64_t k, matrix x, matrix y) {
    enum { FEW = 48, SHORT = 64, ENOUGH = 1000000 };
    return m >= FEW && n >= FEW && k >= SHORT && m * n * k >= ENOUGH && (x.column_stride == 1 || x.row_stride == 1) &&
           (y.column_stride == 1 || y.row_stride == 1) && kernel_split_works();
}

static size_t packed_bytes(int64_t count, int64_t k) { return (size_t)(groups_of(count) * ((k + DEPTH - 1) / DEPTH) * STEP_BYTES); }

size_t kernel_split_scratch(int64_t m, int64_t n, int64_t k) { return packed_bytes(smaller(m, n), k) + 64; }

/* All parts of numbers between these are as precise as they should be, unless they hardly count beside the largest. */
static bool fits(const uint32_t *largest, int64_t chunks) {
    enum { LEAST = (127 - 60) << 7, MOST = (127 + 100) << 7 }; /* 2^-60, 2^100 as bfloat16 */
    uint32_t most = 0;
    for (int64_t chunk = 0; chunk < chunks; chunk++) most = largest[chunk] > most ? largest[chunk] : most;
    return most == 0 || (most >= LEAST && most <= MOST);
}

bool kernel_split(int64_t m, int64_t n, int64_t k, float *out, matrix x, matrix y, char *scratch) {
    const float *x_data = (const float *)(const void *)x.data, *y_data = (const float *)(const void *)y.data;
    const side rows = {x_data, m, x.row_stride, k, x.column_stride, true};
    const side columns = {y_data, n, y.column_stride, k, y.row_stride, false};
    split p = {.n = n, .steps = (k + DEPTH - 1) / DEPTH, .band_is_rows = m >= n, .out = out};
    const int64_t slices = (p.steps + SLICE - 1) / SLICE;
    p.slice = (p.steps + slices - 1) / slices;
    p.band = p.band_is_rows ? rows : columns;
    p.shared = p.band_is_rows ? columns : rows;
    p.packed = scratch + (64 - (uintptr_t)scratch % 64) % 64;
    p.chunks = smaller(smaller(2 * pool_threads(), MOST_CHUNKS), smaller(groups_of(p.band.count), m * n * k / CHUNK));
    if (p.chunks < 1) p.chunks = 1;
    pool_run(p.chunks, pack_shared_task, &p);
    if (!fits(p.largest[0], p.chunks)) return false;
    pool_run(p.chunks, band_task, &p);
    return fits(p.largest[1], p.chunks);
}

#else

bool kernel_split_works(void) { return false; }

bool kernel_split_pays(int64_t m, int64_t n, int64_t k, matrix x, matrix y) {
    (void)m, (void)n, (void)k, (void)x, (void)y;
    return false;
}

size_t kernel_split_scratch(int64_t m, int64_t n, int64_t k) {
    (void)m, (void)n, (void)k;
    return 0;
}

bool kernel_split(int64_t m, int64_t n, int64_t k, float *out, matrix x, matrix y, char *scratch) {
    (void)m, (void)n, (void)k, (void)out, (void)x, (void)y, (void)scratch;
    return false;
}

#endif
