/* A column holds what one place of the result sees: columns (channels * taps, places) for a band of result rows.
 *   y = w columns;   columns' gradient = w^T g, added back to where they were taken from;   w's gradient = g columns^T */
#include "kernel_columns.h"

#include <string.h>

#include "kernels.h"
#include "pool.h"

enum { PIECE = 65536, MAX_CHUNKS = 32, SAMPLES_PER_CHUNK = 8 }; /* elements of a piece of columns */

typedef struct {
    dtype type;
    const convolution *c;
    int64_t items, chunks, depth; /* depth: channels * taps, the length of a column */
    int64_t band;                 /* result rows in a piece */
    int64_t room, packing;        /* bytes of a piece and what its products pack, and where the latter begins */
    const char *x, *w, *g;
    char *out, *rooms, *sums;
} columns_job;

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Of the three products between filters, columns' depth and places. */
static int64_t packing_bytes(dtype type, int64_t filters, int64_t depth, int64_t places) {
    size_t forward = kernel_matmul_scratch(type, filters, places, depth), input = kernel_matmul_scratch(type, depth, places, filters);
    size_t weight = kernel_matmul_scratch(type, filters, depth, places);
    size_t most = forward > input ? forward : input;
    return (int64_t)(most > weight ? most : weight);
}

static columns_job job_of(dtype type, const convolution *c, int64_t items, int64_t per_chunk, char *scratch) {
    columns_job j = {.type = type, .c = c, .items = items, .depth = c->channels * c->kernel[0] * c->kernel[1]};
    int64_t line = j.depth * c->result[1];
    j.chunks = items / per_chunk < 1 ? 1 : items / per_chunk > MAX_CHUNKS ? MAX_CHUNKS : items / per_chunk;
    j.band = line == 0 || PIECE / line < 1 ? 1 : PIECE / line > c->result[0] ? c->result[0] : PIECE / line;
    j.packing = round_up(line * j.band * (int64_t)dtype_bytes(type), 64);
    j.room = j.packing + packing_bytes(type, c->filters, j.depth, j.band * c->result[1]);
    j.rooms = scratch;
    j.sums = scratch + j.chunks * j.room;
    return j;
}

static int64_t sums_stride(const columns_job *j) {
    return round_up(j->c->groups * j->c->filters * j->depth * (int64_t)dtype_bytes(j->type), 64);
}

size_t kernel_columns_scratch(dtype type, const convolution *c) {
    columns_job one = job_of(type, c, c->samples * c->groups, 1, NULL), weight = job_of(type, c, c->samples, SAMPLES_PER_CHUNK, NULL);
    int64_t weight_room = weight.chunks * (weight.room + sums_stride(&weight)), plain = one.chunks * one.room;
    return (size_t)(weight_room > plain ? weight_room : plain);
}

/* Calls are made for each line of the kernel's taps: where it meets row `i` of the result in the image, if it does. */
#define EACH_TAP_LINE(T, STATEMENT)                                                                             \
    for (int64_t d = 0; d < j->depth; d++) {                                                                    \
        int64_t taps = c->kernel[0] * c->kernel[1], p = d % taps / c->kernel[1], q = d % c->kernel[1];          \
        for (int64_t i = first; i < last; i++) {                                                                \
            int64_t row = i * c->stride[0] + p * c->dilation[0] - c->padding[0];                                \
            bool inside = row >= 0 && row < c->size[0];                                                         \
            T *column = columns + (d * (last - first) + i - first) * c->result[1];                              \
            int64_t line = (d / taps * c->size[0] + (inside ? row : 0)) * c->size[1];                           \
            for (int64_t l = 0; l < c->result[1]; l++) {                                                        \
                int64_t at = l * c->stride[1] + q * c->dilation[1] - c->padding[1];                             \
                bool here = inside && at >= 0 && at < c->size[1];                                               \
                STATEMENT;                                                                                      \
            }                                                                                                   \
        }                                                                                                       \
    }

#define COLUMNS(T, name)                                                                                        \
    static void take_##name(const columns_job *j, T *columns, const T *x, int64_t first, int64_t last) {        \
        const convolution *c = j->c;                                                                            \
        EACH_TAP_LINE(T, column[l] = here ? x[line + at] : 0)                                                   \
    }                                                                                                           \
    static void put_##name(const columns_job *j, T *columns, T *x, int64_t first, int64_t last) {               \
        const convolution *c = j->c;                                                                            \
        EACH_TAP_LINE(T, if (here) x[line + at] += column[l])                                                   \
    }
COLUMNS(float, float32)
COLUMNS(double, float64)

static void take(const columns_job *j, char *columns, const char *x, int64_t first, int64_t last) {
    if (j->type == FLOAT32) take_float32(j, (float *)(void *)columns, (const float *)(const void *)x, first, last);
    else take_float64(j, (double *)(void *)columns, (const double *)(const void *)x, first, last);
}

static void put(const columns_job *j, char *columns, char *x, int64_t first, int64_t last) {
    if (j->type == FLOAT32) put_float32(j, (float *)(void *)columns, (float *)(void *)x, first, last);
    else put_float64(j, (double *)(void *)columns, (double *)(void *)x, first, last);
}

/* Where sample and group number `item` begins, and its group's weights. */
typedef struct {
    int64_t x, y, w;
} places;

static places places_of(const columns_job *j, int64_t item) {
    const convolution *c = j->c;
    int64_t bytes = (int64_t)dtype_bytes(j->type);
    return (places){item * c->channels * c->size[0] * c->size[1] * bytes,
                    item * c->filters * c->result[0] * c->result[1] * bytes, item % c->groups * c->filters * j->depth * bytes};
}

static void forward_task(void *context, int64_t chunk) {
    const columns_job *j = context;
    const convolution *c = j->c;
    int64_t area = c->result[0] * c->result[1], bytes = (int64_t)dtype_bytes(j->type);
    char *columns = j->rooms + chunk * j->room;
    for (int64_t item = pool_begin(j->items, j->chunks, chunk); item < pool_begin(j->items, j->chunks, chunk + 1); item++) {
        places at = places_of(j, item);
        for (int64_t first = 0; first < c->result[0]; first += j->band) {
            int64_t last = first + j->band < c->result[0] ? first + j->band : c->result[0], count = (last - first) * c->result[1];
            take(j, columns, j->x + at.x, first, last);
            kernel_matmul_piece(j->type, c->filters, count, j->depth, (matrix){j->w + at.w, j->depth, 1},
                                (matrix){columns, count, 1}, j->out + at.y + first * c->result[1] * bytes, area, false, columns + j->packing);
        }
    }
}

static void input_task(void *context, int64_t chunk) {
    const columns_job *j = context;
    const convolution *c = j->c;
    int64_t area = c->result[0] * c->result[1], bytes = (int64_t)dtype_bytes(j->type);
    char *columns = j->rooms + chunk * j->room;
    for (int64_t item = pool_begin(j->items, j->chunks, chunk); item < pool_begin(j->items, j->chunks, chunk + 1); item++) {
        places at = places_of(j, item);
        memset(j->out + at.x, 0, (size_t)(c->channels * c->size[0] * c->size[1] * bytes));
        for (int64_t first = 0; first < c->result[0]; first += j->band) {
            int64_t last = first + j->band < c->result[0] ? first + j->band : c->result[0], count = (last - first) * c->result[1];
            kernel_matmul_piece(j->type, j->depth, count, c->filters, (matrix){j->w + at.w, 1, j->depth},
                                (matrix){j->g + at.y + first * c->result[1] * bytes, area, 1}, columns, count, false, columns + j->packing);
            put(j, columns, j->out + at.x, first, last);
        }
    }
}

static void weight_task(void *context, int64_t chunk) {
    const columns_job *j = context;
    const convolution *c = j->c;
    int64_t area = c->result[0] * c->result[1], bytes = (int64_t)dtype_bytes(j->type);
    char *columns = j->rooms + chunk * j->room, *sums = j->sums + chunk * sums_stride(j);
    memset(sums, 0, (size_t)sums_stride(j));
    int64_t begin = pool_begin(j->items, j->chunks, chunk), end = pool_begin(j->items, j->chunks, chunk + 1);
    for (int64_t item = begin * c->groups; item < end * c->groups; item++) {
        places at = places_of(j, item);
        for (int64_t first = 0; first < c->result[0]; first += j->band) {
            int64_t last = first + j->band < c->result[0] ? first + j->band : c->result[0], count = (last - first) * c->result[1];
            take(j, columns, j->x + at.x, first, last);
            kernel_matmul_piece(j->type, c->filters, j->depth, count,
                                (matrix){j->g + at.y + first * c->result[1] * bytes, area, 1}, (matrix){columns, 1, count},
                                sums + at.w, j->depth, true, columns + j->packing);
        }
    }
}

void kernel_columns(dtype type, const convolution *c, char *y, const char *x, const char *w, char *scratch) {
    columns_job j = job_of(type, c, c->samples * c->groups, 1, scratch);
    j.x = x, j.w = w, j.out = y;
    pool_run(j.chunks, forward_task, &j);
}

void kernel_columns_input(dtype type, const convolution *c, char *x, const char *g, const char *w, char *scratch) {
    columns_job j = job_of(type, c, c->samples * c->groups, 1, scratch);
    j.g = g, j.w = w, j.out = x;
    pool_run(j.chunks, input_task, &j);
}

void kernel_columns_weight(dtype type, const convolution *c, char *w, const char *x, const char *g, char *scratch) {
    columns_job j = job_of(type, c, c->samples, SAMPLES_PER_CHUNK, scratch);
    j.x = x, j.g = g;
    pool_run(j.chunks, weight_task, &j);
    kernel_columns_add(type, c->groups * c->filters * j.depth, j.chunks, sums_stride(&j), w, j.sums);
}

#define ADD(T)                                                                                           \
    for (int64_t part = 0; part < parts; part++) {                                                       \
        const T *from = (const T *)(const void *)(in + part * stride);                                   \
        T *to = (T *)(void *)out;                                                                        \
        for (int64_t i = 0; i < count; i++) to[i] = part == 0 ? from[i] : to[i] + from[i];               \
    }

void kernel_columns_add(dtype type, int64_t count, int64_t parts, int64_t stride, char *out, const char *in) {
    if (type == FLOAT32) ADD(float)
    else ADD(double)
}
