/* Sums and maxima along the middle axis of (outer, length, inner). */
#include <string.h>

#include "kernels.h"
#include "pool.h"

typedef struct {
    dtype type;
    int64_t outer, length, inner, chunks;
    char *out;
    const char *in;
} reduction;

/* Numbers are added in blocks of this many, and the blocks' sums in double: the error stays near that of one block
 * for any length, and the compiler can use its vectors. */
enum { BLOCK = 512, LANES = 16, VECTORS = 4 /* in registers */, FEW = 16 /* rows */, COLUMNS = 512, FEWEST = 128 /* of a band */ };

#define SUM_ROW(T, WIDE, name)                                                                   \
    static WIDE name(const T *in, int64_t length) {                                              \
        WIDE total = 0;                                                                          \
        T few = 0;                                                                               \
        if (length < LANES) {                                                                    \
            for (int64_t i = 0; i < length; i++) few += in[i];                                   \
            return (WIDE)few;                                                                    \
        }                                                                                        \
        for (int64_t begin = 0; begin < length; begin += BLOCK) {                                \
            int64_t count = length - begin < BLOCK ? length - begin : BLOCK, i = 0;              \
            T lanes[LANES] = {0};                                                                \
            for (; i + LANES <= count; i += LANES)                                               \
                for (int lane = 0; lane < LANES; lane++) lanes[lane] += in[begin + i + lane];    \
            for (; i < count; i++) lanes[0] += in[begin + i];                                    \
            for (int lane = 0; lane < LANES; lane++) total += (WIDE)lanes[lane];                 \
        }                                                                                        \
        return total;                                                                            \
    }
SUM_ROW(float, double, sum_row_float32)
SUM_ROW(double, double, sum_row_float64)
SUM_ROW(int64_t, int64_t, sum_row_int64)

/* inner > LANES: rows are added up a few at a time, for as many columns as stay in registers, again in blocks. The last columns may
 * overlap those before, with the same sums. */
#define SUM_COLUMNS(T, WIDE, name)                                                                                      \
    typedef T row_##name __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));                \
    static inline __attribute__((always_inline)) void add_##name(T *sums, const T *in, int64_t rows, int64_t inner,     \
                                                                 int vectors) {                                         \
        row_##name total[VECTORS];                                                                                      \
        for (int k = 0; k < vectors; k++) total[k] = *(const row_##name *)(sums + k * LANES);                           \
        for (int64_t i = 0; i < rows; i++)                                                                              \
            for (int k = 0; k < vectors; k++) total[k] += *(const row_##name *)(in + i * inner + k * LANES);            \
        for (int k = 0; k < vectors; k++) *(row_##name *)(sums + k * LANES) = total[k];                                 \
    }                                                                                                                   \
    static void name(T *out, const T *in, int64_t length, int64_t inner, int64_t columns) {                             \
        const int64_t whole = columns / LANES * LANES, last = columns - LANES; /* the last begin there */               \
        WIDE total[COLUMNS + LANES];                                                                                    \
        for (int64_t j = 0; j < whole + LANES; j++) total[j] = 0;                                                       \
        for (int64_t begin = 0; begin < length; begin += BLOCK) {                                                       \
            int64_t end = begin + BLOCK < length ? begin + BLOCK : length;                                              \
            T sums[COLUMNS + LANES];                                                                                    \
            for (int64_t j = 0; j < whole + LANES; j++) sums[j] = 0;                                                    \
            for (int64_t i = begin; i < end; i += FEW) {                                                                \
                int64_t rows = end - i < FEW ? end - i : FEW, j = 0;                                                    \
                for (; j + VECTORS * LANES <= whole; j += VECTORS * LANES)                                              \
                    add_##name(sums + j, in + i * inner + j, rows, inner, VECTORS);                                     \
                for (; j < whole; j += LANES) add_##name(sums + j, in + i * inner + j, rows, inner, 1);                 \
                if (j < columns) add_##name(sums + j, in + i * inner + last, rows, inner, 1);                           \
            }                                                                                                           \
            for (int64_t j = 0; j < whole + LANES; j++) total[j] += (WIDE)sums[j];                                      \
        }                                                                                                               \
        for (int64_t j = 0; j < whole; j++) out[j] = (T)total[j];                                                       \
        for (int64_t j = 0; j < LANES && whole < columns; j++) out[last + j] = (T)total[whole + j];                     \
    }
SUM_COLUMNS(float, double, sum_columns_float32)
SUM_COLUMNS(double, double, sum_columns_float64)
SUM_COLUMNS(int64_t, int64_t, sum_columns_int64)

/* inner <= LANES: a vector holds a row and the beginning of the next, which is left out in the end. The last rows, beyond
 * which there is no memory, go number by number. */
#define SUM_NARROW(T, WIDE, name)                                                                           \
    static void name(T *out, const T *in, int64_t length, int64_t inner) {                                  \
        typedef T row __attribute__((vector_size(LANES * sizeof(T)), aligned(sizeof(T)), may_alias));       \
        WIDE total[LANES] = {0};                                                                            \
        for (int64_t begin = 0; begin < length; begin += BLOCK) {                                           \
            int64_t end = begin + BLOCK < length ? begin + BLOCK : length, i = begin;                       \
            row sums[4] = {{0}};                                                                            \
            for (; i + 4 <= end && (i + 3) * inner + LANES <= length * inner; i += 4)                       \
                for (int k = 0; k < 4; k++) sums[k] += *(const row *)(in + (i + k) * inner);                \
            sums[0] = (sums[0] + sums[1]) + (sums[2] + sums[3]);                                            \
            for (; i < end; i++)                                                                            \
                for (int64_t j = 0; j < inner; j++) sums[0][j] += in[i * inner + j];                        \
            for (int64_t j = 0; j < inner; j++) total[j] += (WIDE)sums[0][j];                               \
        }                                                                                                   \
        for (int64_t j = 0; j < inner; j++) out[j] = (T)total[j];                                           \
    }
SUM_NARROW(float, double, sum_narrow_float32)
SUM_NARROW(double, double, sum_narrow_float64)
SUM_NARROW(int64_t, int64_t, sum_narrow_int64)

#define SUM(T, name)                                                                                         \
    for (int64_t row = begin; row < end && r->inner == 1; row++)                                             \
        ((T *)r->out)[row] = (T)sum_row_##name((const T *)r->in + row * r->length, r->length);               \
    for (int64_t piece = begin; piece < end && r->inner > 1; piece++) {                                      \
        const int64_t o = piece / bands, band = piece % bands, first = pool_begin(r->inner, bands, band);    \
        const T *in = (const T *)r->in + o * r->length * r->inner;                                           \
        T *out = (T *)r->out + o * r->inner;                                                                 \
        if (r->inner <= LANES) sum_narrow_##name(out, in, r->length, r->inner);                              \
        else                                                                                                 \
            sum_columns_##name(out + first, in + first, r->length, r->inner, pool_begin(r->inner, bands, band + 1) - first); \
    }                                                                                                        \
    break

/* One for each thread, if columns are neither few nor many. */
static int64_t bands_of(int64_t columns) {
    int64_t fewest = (columns + COLUMNS - 1) / COLUMNS, most = (columns + FEWEST - 1) / FEWEST, threads = pool_threads();
    return threads < fewest ? fewest : threads > most ? most : threads;
}

static void sum_task(void *context, int64_t chunk) {
    const reduction *r = context;
    const int64_t bands = bands_of(r->inner), begin = pool_begin(r->outer * bands, r->chunks, chunk);
    const int64_t end = pool_begin(r->outer * bands, r->chunks, chunk + 1);
    switch (r->type) {
        case FLOAT32: SUM(float, float32);
        case FLOAT64: SUM(double, float64);
        default: SUM(int64_t, int64);
    }
}

/* One long sum is cut into parts of fixed length, whose sums are added in order. */
enum { PART = 65536, MAX_PARTS = 64 };

typedef struct {
    reduction whole;
    int64_t parts;
    double sums[MAX_PARTS];
} long_sum;

static void long_sum_task(void *context, int64_t part) {
    long_sum *l = context;
    int64_t begin = pool_begin(l->whole.length, l->parts, part), end = pool_begin(l->whole.length, l->parts, part + 1);
    l->sums[part] = l->whole.type == FLOAT32 ? sum_row_float32((const float *)l->whole.in + begin, end - begin)
                                             : sum_row_float64((const double *)l->whole.in + begin, end - begin);
}

/* A chunk is some of the pieces: rows, or matrices, or bands of their columns. */
static reduction reduction_of(dtype type, int64_t outer, int64_t length, int64_t inner, int64_t pieces, char *out, const char *in) {
    int64_t chunks = pool_chunks(outer * length * inner, 32768);
    return (reduction){type, outer, length, inner, chunks < pieces ? chunks : pieces, out, in};
}

void kernel_sum(dtype type, int64_t outer, int64_t length, int64_t inner, char *out, const char *in) {
    reduction r = reduction_of(type, outer, length, inner, outer * bands_of(inner), out, in);
    if (outer == 1 && inner == 1 && length > 2 * PART && dtype_is_float(type)) {
        long_sum l = {.whole = r, .parts = pool_chunks(length, PART)};
        double total = 0;
        pool_run(l.parts, long_sum_task, &l);
        for (int64_t part = 0; part < l.parts; part++) total += l.sums[part];
        kernel_fill(type, 1, out, total);
        return;
    }
    pool_run(r.chunks, sum_task, &r);
}

/* A NaN is larger than any number, so that it is not lost. */
#define LARGER(a, b) ((a) > (b) || (a) != (a))

/* In each of LANES lanes the largest number, and the step at which it came; of several equal ones the first. */
#define SCAN(T, name)                                                                                          \
    static inline __attribute__((always_inline)) void name(T *best, int64_t *place, const T *in, int64_t stride, int64_t step, \
                                                           int64_t steps) {                                    \
        for (int lane = 0; lane < LANES; lane++) best[lane] = in[lane * stride], place[lane] = 0;              \
        for (int64_t i = 1; i < steps; i++)                                                                    \
            for (int lane = 0; lane < LANES; lane++) {                                                         \
                T value = in[i * step + lane * stride];                                                        \
                bool take = LARGER(value, best[lane]) && best[lane] == best[lane];                             \
                best[lane] = take ? value : best[lane];                                                        \
                place[lane] = take ? i : place[lane];                                                          \
            }                                                                                                  \
    }

/* Of a row the largest number, and its place from 1. */
#define LARGEST_OF_ROW(T, name, scan)                                                                          \
    static void name(T *best, int64_t *place, const T *in, int64_t length) {                                   \
        int64_t done = length / LANES * LANES, places[LANES];                                                  \
        T lanes[LANES];                                                                                        \
        *best = in[0], *place = 1;                                                                             \
        if (done > 0) scan(lanes, places, in, 1, LANES, length / LANES);                                       \
        for (int lane = 0; lane < LANES && done > 0; lane++) {                                                 \
            int64_t at = places[lane] * LANES + lane + 1;                                                      \
            bool equal = lanes[lane] == *best || (lanes[lane] != lanes[lane] && *best != *best);               \
            if (equal ? at < *place : LARGER(lanes[lane], *best) && *best == *best) *best = lanes[lane], *place = at; \
        }                                                                                                      \
        for (int64_t i = done; i < length; i++)                                                                \
            if (LARGER(in[i], *best) && *best == *best) *best = in[i], *place = i + 1;                         \
    }

/* The same of many rows, to `largest` or `places`, whichever is given. inner == 1: short rows go beside each other. */
#define LARGEST_OF_ROWS(T, name, scan, largest_of_row)                                                         \
    static void name(T *largest, int64_t *places, const T *in, int64_t rows, int64_t length) {                 \
        T best[LANES];                                                                                         \
        int64_t place[LANES];                                                                                  \
        for (int64_t o = 0, count; o < rows; o += count, in += count * length) {                               \
            count = length < 2 * LANES && rows - o >= LANES ? LANES : 1;                                       \
            if (count == 1) largest_of_row(best, place, in, length);                                           \
            else scan(best, place, in, length, 1, length);                                                     \
            for (int lane = 0; lane < count && count > 1; lane++) place[lane]++;                               \
            if (largest != NULL) memcpy(largest + o, best, (size_t)count * sizeof *best);                      \
            if (places != NULL) memcpy(places + o, place, (size_t)count * sizeof *place);                      \
        }                                                                                                      \
    }
#define LARGEST_FUNCTIONS(T, name)                                                                             \
    SCAN(T, scan_##name)                                                                                       \
    LARGEST_OF_ROW(T, largest_of_row_##name, scan_##name)                                                      \
    LARGEST_OF_ROWS(T, largest_of_rows_##name, scan_##name, largest_of_row_##name)
LARGEST_FUNCTIONS(float, float32)
LARGEST_FUNCTIONS(double, float64)
LARGEST_FUNCTIONS(int64_t, int64)

/* The same of columns: maxima for whole rows at a time, places column by column. */
#define LARGEST_OF_COLUMNS(T, name)                                                              \
    static void name(T *largest, int64_t *places, const T *in, int64_t length, int64_t inner) {  \
        for (int64_t j = 0; j < inner && places != NULL; j++) {                                  \
            const T *column = in + j;                                                            \
            int64_t best = 0;                                                                    \
            for (int64_t i = 1; i < length && column[best * inner] == column[best * inner]; i++) \
                if (LARGER(column[i * inner], column[best * inner])) best = i;                   \
            places[j] = best + 1;                                                                \
        }                                                                                        \
        for (int64_t i = 0; i < length && largest != NULL; i++, in += inner)                     \
            for (int64_t j = 0; j < inner; j++)                                                  \
                if (i == 0 || LARGER(in[j], largest[j])) largest[j] = in[j];                     \
    }
LARGEST_OF_COLUMNS(float, largest_of_columns_float32)
LARGEST_OF_COLUMNS(double, largest_of_columns_float64)
LARGEST_OF_COLUMNS(int64_t, largest_of_columns_int64)

typedef struct {
    reduction r;
    bool places;
} search;

#define LARGEST(T, name)                                                                         \
    for (int64_t o = begin; o < end; o += r->inner == 1 ? end - begin : 1) {                     \
        const T *in = (const T *)r->in + o * r->length * r->inner;                               \
        T *largest = s->places ? NULL : (T *)r->out + o * r->inner;                              \
        int64_t *places = s->places ? (int64_t *)(void *)r->out + o * r->inner : NULL;           \
        if (r->inner == 1) largest_of_rows_##name(largest, places, in, end - begin, r->length);  \
        else largest_of_columns_##name(largest, places, in, r->length, r->inner);                \
    }                                                                                            \
    break

static void search_task(void *context, int64_t chunk) {
    const search *s = context;
    const reduction *r = &s->r;
    int64_t begin = pool_begin(r->outer, r->chunks, chunk), end = pool_begin(r->outer, r->chunks, chunk + 1);
    switch (r->type) {
        case FLOAT32: LARGEST(float, float32);
        case FLOAT64: LARGEST(double, float64);
        default: LARGEST(int64_t, int64);
    }
}

void kernel_max(dtype type, int64_t outer, int64_t length, int64_t inner, char *out, const char *in) {
    search s = {reduction_of(type, outer, length, inner, outer, out, in), false};
    pool_run(s.r.chunks, search_task, &s);
}

void kernel_argmax(dtype type, int64_t outer, int64_t length, int64_t inner, int64_t *out, const char *in) {
    search s = {reduction_of(type, outer, length, inner, outer, (char *)out, in), true};
    pool_run(s.r.chunks, search_task, &s);
}
