/* Winograd's convolution. In one dimension four results of three weights g over six numbers d are
 *   A^T [(G g) . (B^T d)]
 * with six products where there were twelve; in two dimensions each transform is applied to columns and then to rows, and 36
 * products take the place of 144. Products of many channels, filters and tiles are, for each of the 36 points, a matrix product:
 *   y_point (filters, tiles) = w_point (filters, channels) x_point (channels, tiles).
 * The adjoint in the weights is G^T [(A g) . (B^T d)], summed over tiles:
 *   w_point (channels, filters) = x_point (channels, tiles) g_point (tiles, filters).
 * Transforms work on LANES tiles (or filters) at a time: their pieces of images are read into rows and turned into columns. */
#include "kernel_winograd.h"

#include <stdatomic.h>
#include <string.h>

#include "kernel_matmul.h"
#include "pool.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define VECTOR_BYTES MATMUL_VECTOR_BYTES
#define T float
#define INTEGER int32_t
#define TYPED(name) name##_winograd
#include "kernel_vector.inc"

enum {
    SIDE = 4,           /* of a tile of results */
    TAPS = 3,
    PATCH = SIDE + TAPS - 1, /* side of the piece of an image that a tile sees */
    POINTS = PATCH * PATCH,
    ROWS = MATMUL_ROWS,
    VECTORS = MATMUL_VECTORS,
    LOT = VECTORS * VECTOR_BYTES / (int)sizeof(float), /* tiles that are worked on together */
    MAX_ROOMS = 32,
    MAX_SUMS = 8,
    MOST_SUMS = 16 << 20, /* numbers in all of them */
    TILES_PER_SUM = 2 * LOT
};

typedef struct {
    const convolution *c;
    int64_t high, wide;       /* tiles of an image */
    int64_t tiles, vectors;   /* of all images, and how many vectors hold them */
    int64_t chunks, room_count;
    int64_t filter_vectors, panels; /* of the gradient: vectors of filters, in panels of up to VECTORS */
    int64_t room;             /* numbers that a chunk works with */
    const float *x, *g;
    const float *weights;     /* (blocks of ROWS filters, POINTS, channels, ROWS) */
    float *y, *rooms, *sums;  /* sums (chunks, POINTS, channels, filter_vectors * LANES) */
    atomic_bool *taken;       /* [room_count] */
} winograd;

/* Where the pieces of an image lie that some tiles see, or fill. Columns beyond the image are masked, and so are whole rows. */
typedef struct {
    int64_t count;           /* tiles; what stands behind them repeats the last one */
    int64_t place[LOT];      /* of a piece's first number, in the first channel; perhaps before the image */
    uint8_t mask[LOT][PATCH]; /* which of its columns there are, by row */
} patches;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* --- the transforms in one dimension ------------------------------------------------------------------------------------ */

/* The four of `to` behind the first: a polynomial at 1, -1, 2 and -2, whose even and odd part at 1 and at 2 are given. Numbers are
 * `step` apart, here as in all of these. */
static inline __attribute__((always_inline)) void at_points(VECTOR even, VECTOR odd, VECTOR even_2, VECTOR odd_2, VECTOR *to,
                                                            int step) {
    to[step] = even + odd;
    to[2 * step] = even - odd;
    to[3 * step] = even_2 + odd_2;
    to[4 * step] = even_2 - odd_2;
}

/* B^T d for the points 0, 1, -1, 2, -2 and infinity, in place or not. */
static inline __attribute__((always_inline)) void transform_piece(const VECTOR *d, int step, VECTOR *to) {
    VECTOR even = d[4 * step] - 4 * d[2 * step], odd = d[3 * step] - 4 * d[step];
    VECTOR even_2 = d[4 * step] - d[2 * step], odd_2 = 2 * (d[3 * step] - d[step]);
    VECTOR first = 4 * d[0] - 5 * d[2 * step] + d[4 * step], last = 4 * d[step] - 5 * d[3 * step] + d[5 * step];
    to[0] = first;
    at_points(even, odd, even_2, odd_2, to, step);
    to[5 * step] = last;
}

/* A^T m */
static inline __attribute__((always_inline)) void transform_result(const VECTOR *m, int step, VECTOR *to, int to_step) {
    VECTOR sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    VECTOR sum_2 = m[3 * step] + m[4 * step], difference_2 = m[3 * step] - m[4 * step];
    to[0] = m[0] + sum + sum_2;
    to[to_step] = difference + 2 * difference_2;
    to[2 * to_step] = sum + 4 * sum_2;
    to[3 * to_step] = difference + 8 * difference_2 + m[5 * step];
}

/* A g */
static inline __attribute__((always_inline)) void transform_gradient(const VECTOR *g, int step, VECTOR *to, int to_step) {
    VECTOR even = g[0] + g[2 * step], odd = g[step] + g[3 * step];
    VECTOR even_2 = g[0] + 4 * g[2 * step], odd_2 = 2 * g[step] + 8 * g[3 * step];
    to[0] = g[0];
    at_points(even, odd, even_2, odd_2, to, to_step);
    to[5 * to_step] = g[3 * step];
}

/* G g */
static inline void transform_weights(const VECTOR *g, int step, VECTOR *to, int to_step) {
    VECTOR even = (g[0] + g[2 * step]) * (-1.0f / 6), odd = g[step] * (-1.0f / 6);
    VECTOR even_2 = g[0] * (1.0f / 24) + g[2 * step] * (1.0f / 6), odd_2 = g[step] * (1.0f / 12);
    to[0] = g[0] * 0.25f;
    at_points(even, odd, even_2, odd_2, to, to_step);
    to[5 * to_step] = g[2 * step];
}

/* G^T u */
static inline void transform_weights_back(const VECTOR *u, int step, VECTOR *to, int to_step) {
    VECTOR sum = u[step] + u[2 * step], difference = u[step] - u[2 * step];
    VECTOR sum_2 = u[3 * step] + u[4 * step], difference_2 = u[3 * step] - u[4 * step];
    to[0] = u[0] * 0.25f - sum * (1.0f / 6) + sum_2 * (1.0f / 24);
    to[to_step] = difference_2 * (1.0f / 12) - difference * (1.0f / 6);
    to[2 * to_step] = (sum_2 - sum) * (1.0f / 6) + u[5 * step];
}

/* --- pieces of images ----------------------------------------------------------------------------------------------------- */

/* Parts of a vector, `size` numbers each (4 or 8), from memory and to it: part number i. Numbers that are masked are neither read
 * nor written; read, they are zero. */
#ifdef __AVX512F__
static inline __attribute__((always_inline)) VECTOR join_part(VECTOR to, int i, int size, const float *from, uint8_t mask) {
    return (VECTOR)_mm512_mask_loadu_ps((__m512)to, (__mmask16)(mask << i * size), from - i * size);
}

static inline __attribute__((always_inline)) void store_part(VECTOR from, int i, int size, float *to, uint8_t mask) {
    _mm512_mask_storeu_ps(to - i * size, (__mmask16)(mask << i * size), (__m512)from);
}
#elif defined __AVX2__
static inline __m256i lanes_of(int mask) {
    const __m256i bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(mask), bits), bits);
}

static inline __attribute__((always_inline)) VECTOR join_part(VECTOR to, int i, int size, const float *from, uint8_t mask) {
    return to + (VECTOR)_mm256_maskload_ps(from - i * size, lanes_of(mask << i * size));
}

static inline __attribute__((always_inline)) void store_part(VECTOR from, int i, int size, float *to, uint8_t mask) {
    _mm256_maskstore_ps(to - i * size, lanes_of(mask << i * size), (__m256)from);
}
#else
static inline VECTOR join_part(VECTOR to, int i, int size, const float *from, uint8_t mask) {
    for (int k = 0; k < size; k++)
        if (mask >> k & 1) to[i * size + k] = from[k];
    return to;
}

static inline void store_part(VECTOR from, int i, int size, float *to, uint8_t mask) {
    for (int k = 0; k < size; k++)
        if (mask >> k & 1) to[k] = from[i * size + k];
}
#endif

static const int64_t at_tile[2] = {0, 0};

/* The tiles first ... first + count - 1, as pieces of `size` a side that begin `before` the tile, of an image (height, width) of
 * which there are `planes` to a sample. */
static void find_patches(const winograd *k, int64_t first, int64_t count, int size, const int64_t *before, const int64_t *image,
                         int64_t planes, patches *p) {
    p->count = count;
    for (int64_t t = 0; t < LOT; t++) {
        int64_t tile = first + smaller(t, count - 1), sample = tile / (k->high * k->wide), in = tile % (k->high * k->wide);
        int64_t row = in / k->wide * SIDE - before[0], column = in % k->wide * SIDE - before[1];
        int64_t left = smaller(larger(-column, 0), size), right = larger(smaller(image[1] - column, size), left);
        uint8_t columns = (uint8_t)((1u << right) - (1u << left));
        p->place[t] = (sample * planes * image[0] + row) * image[1] + column;
        for (int i = 0; i < PATCH; i++) p->mask[t][i] = i < size && row + i >= 0 && row + i < image[0] ? columns : 0;
    }
}

/* x_point (POINTS, `stride` apart) of one channel for the LANES tiles from number t on: B^T d B. */
static void transform_pieces(const float *channel, int64_t width, const patches *p, int64_t t, float *to, int64_t stride) {
    enum { TOGETHER = VECTOR_BYTES / 32 }; /* rows of pieces in a vector */
    VECTOR d[POINTS], rows[LANES];
#pragma GCC unroll 6
    for (int row = 0; row < PATCH; row += TOGETHER) {
#pragma GCC unroll 16
        for (int64_t lane = 0; lane < LANES; lane++) {
            rows[lane] = (VECTOR){0};
            for (int i = 0; i < TOGETHER; i++)
                rows[lane] = join_part(rows[lane], i, 8, channel + p->place[t + lane] + (row + i) * width, p->mask[t + lane][row + i]);
        }
        TYPED(transpose)(rows);
        for (int i = 0; i < TOGETHER; i++)
            for (int j = 0; j < PATCH; j++) d[(row + i) * PATCH + j] = rows[i * 8 + j];
    }
#pragma GCC unroll 6
    for (int j = 0; j < PATCH; j++) transform_piece(d + j, PATCH, d + j);
#pragma GCC unroll 6
    for (int i = 0; i < PATCH; i++) {
        VECTOR points[PATCH];
        transform_piece(d + i * PATCH, 1, points);
#pragma GCC unroll 6
        for (int j = 0; j < PATCH; j++) *(UNALIGNED *)(to + (i * PATCH + j) * stride) = points[j];
    }
}

/* to (POINTS, channels, lot): all channels of some tiles. */
static void transform_channels(const winograd *k, const patches *p, int64_t lot, float *to) {
    const convolution *c = k->c;
    for (int64_t channel = 0; channel < c->channels; channel++)
        for (int64_t t = 0; t < lot; t += LANES)
            transform_pieces(k->x + channel * c->size[0] * c->size[1], c->size[1], p, t, to + channel * lot + t, c->channels * lot);
}

/* --- y ---------------------------------------------------------------------------------------------------------------------- */

/* weights of filters first ... first + LANES - 1, w[f][c][tap] where these lie so far apart; zero for filters beyond the last. */
static void transform_filters(const convolution *c, int64_t first, const float *w, int64_t filter_step, int64_t channel_step,
                              bool turned, float *to) {
    int64_t block = POINTS * c->channels * ROWS;
    for (int64_t channel = 0; channel < c->channels; channel++) {
        VECTOR g[TAPS * TAPS] = {{0}}, columns[PATCH * TAPS], u[POINTS];
        for (int64_t f = 0; f < smaller(c->filters - first, LANES); f++) {
            const float *taps = w + (first + f) * filter_step + channel * channel_step;
            for (int tap = 0; tap < TAPS * TAPS; tap++) g[tap][f] = taps[turned ? TAPS * TAPS - 1 - tap : tap];
        }
        for (int j = 0; j < TAPS; j++) transform_weights(g + j, TAPS, columns + j, TAPS);
        for (int i = 0; i < PATCH; i++) transform_weights(columns + i * TAPS, 1, u + i * PATCH, 1);
        for (int64_t part = 0; part < LANES / ROWS; part++)
            for (int point = 0; point < POINTS; point++)
                memcpy(to + (first / ROWS + part) * block + (point * c->channels + channel) * ROWS, (float *)&u[point] + part * ROWS,
                       ROWS * sizeof(float));
    }
}

/* A^T m A of one filter, whose first plane is y, for the LANES tiles from number t on, of which there are `count`. */
static void take_tiles(float *y, int64_t width, const patches *p, int64_t t, int64_t count, const float *m, int64_t stride) {
    enum { TOGETHER = VECTOR_BYTES / 16 }; /* rows of a tile in a vector */
    VECTOR columns[SIDE * PATCH], tiles[SIDE * SIDE];
#pragma GCC unroll 6
    for (int j = 0; j < PATCH; j++) {
        VECTOR column[PATCH];
#pragma GCC unroll 6
        for (int i = 0; i < PATCH; i++) column[i] = *(const UNALIGNED *)(m + (i * PATCH + j) * stride);
        transform_result(column, 1, columns + j, PATCH);
    }
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i++) transform_result(columns + i * PATCH, 1, tiles + i * SIDE, 1);
#pragma GCC unroll 2
    for (int part = 0; part < SIDE / TOGETHER; part++) TYPED(transpose)(tiles + part * LANES);
    for (int64_t lane = 0; lane < count; lane++)
#pragma GCC unroll 4
        for (int i = 0; i < SIDE; i++)
            store_part(tiles[i / TOGETHER * LANES + lane], i % TOGETHER, SIDE, y + p->place[t + lane] + i * width, p->mask[t + lane][i]);
}

/* Some tiles of y, in `room`: x_point (POINTS, channels, lot), then y_point (POINTS, ROWS, lot) of a block of filters. */
static void convolve_lot(const winograd *k, int64_t first, int64_t count, float *room) {
    const convolution *c = k->c;
    int64_t lot = (count + LANES - 1) / LANES * LANES, products = ROWS * lot;
    float *x_point = room, *y_point = room + POINTS * c->channels * LOT;
    patches p;
    find_patches(k, first, count, PATCH, c->padding, c->size, c->channels, &p);
    transform_channels(k, &p, lot, x_point);
    find_patches(k, first, count, SIDE, at_tile, c->result, c->filters, &p);
    for (int64_t filter = 0; filter < c->filters; filter += ROWS) {
        const float *weights = k->weights + filter * POINTS * c->channels;
        for (int point = 0; point < POINTS; point++)
            kernel_matmul_panel(ROWS, c->channels, weights + point * c->channels * ROWS, 1, ROWS,
                                x_point + point * c->channels * lot, (int)(lot / LANES), y_point + point * products, lot, false);
        for (int64_t f = 0; f < smaller(c->filters - filter, ROWS); f++)
            for (int64_t t = 0; t < count; t += LANES)
                take_tiles(k->y + (filter + f) * c->result[0] * c->result[1], c->result[1], &p, t, smaller(count - t, LANES),
                           y_point + f * lot + t, products);
    }
}

/* The first tile of a chunk. */
static int64_t chunk_begin(const winograd *k, int64_t chunk) {
    return smaller(pool_begin(k->vectors, k->chunks, chunk) * LANES, k->tiles);
}

static void convolve_task(void *context, int64_t chunk) {
    const winograd *k = context;
    int64_t begin = chunk_begin(k, chunk), end = chunk_begin(k, chunk + 1), number = pool_take_room(k->taken, k->room_count);
    convolve_lot(k, begin, end - begin, k->rooms + number * k->room);
    atomic_store(&k->taken[number], false);
}

typedef struct {
    const convolution *c;
    const float *w;
    bool adjoint;
    float *to;
} filters_job;

/* The weights of the adjoint are those of c with filters and channels exchanged, and turned round. */
static void filters_task(void *context, int64_t number) {
    const filters_job *job = context;
    const int64_t taps = TAPS * TAPS, filter_step = job->adjoint ? taps : job->c->channels * taps;
    const int64_t channel_step = job->adjoint ? job->c->filters * taps : taps;
    transform_filters(job->c, number * LANES, job->w, filter_step, channel_step, job->adjoint, job->to);
}

static winograd winograd_of(const convolution *c) {
    winograd k = {.c = c, .high = (c->result[0] + SIDE - 1) / SIDE, .wide = (c->result[1] + SIDE - 1) / SIDE};
    k.tiles = c->samples * k.high * k.wide;
    k.vectors = (k.tiles + LANES - 1) / LANES;
    k.filter_vectors = (c->filters + LANES - 1) / LANES;
    k.panels = (k.filter_vectors + VECTORS - 1) / VECTORS;
    return k;
}

/* A chunk is a lot. A tile's result is the same in any, so there may be as many more as give each thread the same number. */
static void plan_results(winograd *k, int64_t threads) {
    int64_t lots = (k->vectors + VECTORS - 1) / VECTORS;
    k->room_count = smaller(k->vectors, MAX_ROOMS);
    k->chunks = smaller((lots + threads - 1) / threads * threads, k->vectors);
    k->room = POINTS * LOT * (k->c->channels + ROWS);
}

void kernel_winograd(const convolution *c, float *y, const float *x, const float *w, bool adjoint, char *scratch) {
    atomic_bool taken[MAX_ROOMS] = {false};
    winograd k = winograd_of(c);
    plan_results(&k, pool_threads());
    float *weights = (float *)(void *)scratch;
    k.x = x, k.y = y, k.weights = weights, k.taken = taken;
    k.rooms = weights + k.filter_vectors * LANES * c->channels * POINTS;
    filters_job job = {c, w, adjoint, weights};
    pool_run(k.filter_vectors, filters_task, &job);
    pool_run(k.chunks, convolve_task, &k);
}

/* --- the adjoint in the weights ------------------------------------------------------------------------------------------------- */

static int64_t panel_begin(const winograd *k, int64_t panel) { return pool_begin(k->filter_vectors, k->panels, panel); }

/* A g A^T of one tile for `filters` filters, a vector of them with zeros, whose planes are `area` apart. */
static inline __attribute__((always_inline)) void transform_tile(const float *g, int64_t filters, int64_t area, int64_t width,
                                                                 const uint8_t *mask, float *to, int64_t stride) {
    enum { TOGETHER = VECTOR_BYTES / 16 };
    VECTOR rows[SIDE * SIDE], columns[PATCH * SIDE];
#pragma GCC unroll 2
    for (int part = 0; part < SIDE / TOGETHER; part++) {
#pragma GCC unroll 16
        for (int64_t lane = 0; lane < LANES; lane++) {
            VECTOR row = {0};
            for (int i = 0; i < TOGETHER && lane < filters; i++)
                row = join_part(row, i, SIDE, g + lane * area + (part * TOGETHER + i) * width, mask[part * TOGETHER + i]);
            rows[part * LANES + lane] = row;
        }
        TYPED(transpose)(rows + part * LANES);
    }
#pragma GCC unroll 4
    for (int j = 0; j < SIDE; j++) transform_gradient(rows + j, SIDE, columns + j, SIDE);
#pragma GCC unroll 6
    for (int i = 0; i < PATCH; i++) {
        VECTOR points[PATCH];
        transform_gradient(columns + i * SIDE, 1, points, 1);
#pragma GCC unroll 6
        for (int j = 0; j < PATCH; j++) *(UNALIGNED *)(to + (i * PATCH + j) * stride) = points[j];
    }
}

/* to (POINTS, panels, lot, filters of the panel) */
static void transform_gradients(const winograd *k, const patches *p, int64_t lot, float *to) {
    static const uint8_t nothing[PATCH] = {0};
    const convolution *c = k->c;
    const int64_t area = c->result[0] * c->result[1], stride = k->filter_vectors * LANES * lot;
    for (int64_t panel = 0; panel < k->panels; panel++) {
        int64_t begin = panel_begin(k, panel), vectors = panel_begin(k, panel + 1) - begin;
        for (int64_t v = 0; v < vectors; v++)
            for (int64_t t = 0; t < lot; t++) { /* all of a few planes, one behind the other in memory */
                int64_t filter = (begin + v) * LANES;
                const float *g = k->g + p->place[t] + filter * area;
                const uint8_t *mask = t < p->count ? p->mask[t] : nothing;
                float *tile = to + begin * LANES * lot + (t * vectors + v) * LANES;
                if (c->filters - filter >= LANES) transform_tile(g, LANES, area, c->result[1], mask, tile, stride);
                else transform_tile(g, c->filters - filter, area, c->result[1], mask, tile, stride);
            }
    }
}

/* Adds some tiles to the sums (POINTS, channels, filter_vectors * LANES). room: x_point as in convolve_lot, and g_point. */
static void weigh_lot(const winograd *k, int64_t first, int64_t count, float *room, float *sums) {
    const convolution *c = k->c;
    int64_t lot = (count + LANES - 1) / LANES * LANES, filters = k->filter_vectors * LANES;
    float *x_point = room, *g_point = room + POINTS * c->channels * LOT;
    patches p;
    find_patches(k, first, count, PATCH, c->padding, c->size, c->channels, &p);
    transform_channels(k, &p, lot, x_point);
    find_patches(k, first, count, SIDE, at_tile, c->result, c->filters, &p);
    transform_gradients(k, &p, lot, g_point);
    for (int point = 0; point < POINTS; point++)
        for (int64_t panel = 0; panel < k->panels; panel++) {
            int64_t begin = panel_begin(k, panel), vectors = panel_begin(k, panel + 1) - begin;
            kernel_matmul_panel(c->channels, lot, x_point + point * c->channels * lot, lot, 1,
                                g_point + (point * filters + begin * LANES) * lot, (int)vectors,
                                sums + point * c->channels * filters + begin * LANES, filters, true);
        }
}

static void weigh_task(void *context, int64_t chunk) {
    const winograd *k = context;
    const int64_t count = POINTS * k->c->channels * k->filter_vectors * LANES;
    int64_t begin = chunk_begin(k, chunk), end = chunk_begin(k, chunk + 1), number = pool_take_room(k->taken, k->room_count);
    float *sums = k->sums + chunk * count;
    memset(sums, 0, (size_t)count * sizeof *sums);
    for (int64_t first = begin; first < end && !pool_ends(); first += LOT)
        weigh_lot(k, first, smaller(end - first, LOT), k->rooms + number * k->room, sums);
    atomic_store(&k->taken[number], false);
}

/* The weights (filters, channels, taps) of one channel: the chunks' sums, in order, transformed back. */
static void weights_task(void *context, int64_t channel) {
    const winograd *k = context;
    const int64_t filters = k->filter_vectors * LANES, channels = k->c->channels, count = POINTS * channels * filters;
    for (int64_t first = 0; first < k->c->filters; first += LANES) {
        VECTOR u[POINTS], columns[TAPS * PATCH], w[TAPS * TAPS];
        for (int point = 0; point < POINTS; point++) {
            u[point] = (VECTOR){0};
            for (int64_t chunk = 0; chunk < k->chunks; chunk++)
                u[point] += *(const UNALIGNED *)(k->sums + chunk * count + (point * channels + channel) * filters + first);
        }
        for (int j = 0; j < PATCH; j++) transform_weights_back(u + j, PATCH, columns + j, PATCH);
        for (int i = 0; i < TAPS; i++) transform_weights_back(columns + i * PATCH, 1, w + i * TAPS, 1);
        for (int64_t f = 0; f < smaller(k->c->filters - first, LANES); f++)
            for (int tap = 0; tap < TAPS * TAPS; tap++) k->y[((first + f) * channels + channel) * TAPS * TAPS + tap] = w[tap][f];
    }
}

/* The number of sums depends on the data alone; powers of two mostly give each thread the same number. */
static void plan_weights(winograd *k) {
    const int64_t sum = POINTS * k->c->channels * k->filter_vectors * LANES;
    k->chunks = 1;
    while (k->chunks < MAX_SUMS && k->tiles >= 2 * k->chunks * TILES_PER_SUM && 2 * k->chunks * sum <= MOST_SUMS) k->chunks *= 2;
    k->room_count = k->chunks;
    k->room = POINTS * LOT * (k->c->channels + k->filter_vectors * LANES);
}

void kernel_winograd_weight(const convolution *c, float *w, const float *x, const float *g, char *scratch) {
    atomic_bool taken[MAX_SUMS] = {false};
    winograd k = winograd_of(c);
    plan_weights(&k);
    k.x = x, k.g = g, k.y = w, k.taken = taken;
    k.sums = (float *)(void *)scratch;
    k.rooms = k.sums + k.chunks * POINTS * c->channels * k.filter_vectors * LANES;
    pool_run(k.chunks, weigh_task, &k);
    pool_run(c->channels, weights_task, &k);
}

/* --- for which convolutions --------------------------------------------------------------------------------------------------------- */

size_t kernel_winograd_scratch(const convolution *c) {
    winograd results = winograd_of(c), weights = results;
    int64_t filters = results.filter_vectors * LANES;
    plan_results(&results, 1);
    plan_weights(&weights);
    return sizeof(float) * (size_t)larger(filters * c->channels * POINTS + results.room_count * results.room,
                                          weights.chunks * (POINTS * c->channels * filters + weights.room));
}

bool kernel_winograd_fits(dtype type, const convolution *c) {
    static const int64_t FEWEST = 16; /* channels and filters, for which the transforms are repaid */
    for (int i = 0; i < 2; i++)
        if (c->kernel[i] != TAPS || c->stride[i] != 1 || c->dilation[i] != 1 || c->padding[i] < 0) return false;
    if (type != FLOAT32 || c->groups != 1 || c->channels < FEWEST || c->filters < FEWEST) return false;
    winograd k = winograd_of(c);
    return c->result[0] * c->result[1] * 2 >= k.high * k.wide * SIDE * SIDE; /* tiles are at least half full */
}
