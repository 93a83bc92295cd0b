/* Matrix products out (m, n) = x (m, k) y (k, n). Panels of a few vectors of y's columns are packed, so that they are read in
 * order; x is read a number at a time, for a few rows of the result that stay in registers, where it lies or, when the
 * numbers of a row are far apart, from a copy in groups of ROWS rows:
 *   out[i ... i + ROWS - 1][panel] += x[i ...][k] * packed[k][panel]
 * which is the inner kernel of Goto and van de Geijn (2008). Where y would be costlier to pack than x, or wastes vectors,
 * out^T = y^T x^T is computed instead. Each number is a sum over k in one fixed order, whatever the threads. */
#include <math.h>
#include <string.h>

#include "kernel_matmul.h"
#include "kernel_split.h"
#include "kernels.h"
#include "pool.h"

#define VECTOR_BYTES MATMUL_VECTOR_BYTES
#define VECTORS MATMUL_VECTORS
#ifdef __AVX512F__
#include <immintrin.h>
#define ROWS 8       /* for the preprocessor: MATMUL_ROWS */
#define MOST_ROWS 12 /* 12 x 2 */
#define HAS_MASKS true
#define DOTS 5       /* 5 x 5 sums, 5 numbers of x and 1 of y in 32 */
#define IN_REGISTER(v) __asm__("" : "+v"(v)) /* it is loaded once, and not again for each use */
#else
#define ROWS 4
#define MOST_ROWS 4
#define HAS_MASKS false
#define DOTS 3       /* 3 x 3 sums, 3 numbers of x and 1 of y in 16 */
#define IN_REGISTER(v) (void)(v)
#endif

/* Loops over a tile are unrolled, so that its sums stay in registers; with a sanitizer's checks that would be too much code. */
#ifdef __SANITIZE_ADDRESS__
#define UNROLL(times)
#else
#define PRAGMA(text) _Pragma(#text)
#define UNROLL(times) PRAGMA(GCC unroll times)
#endif

enum {
    DEEPEST = 2048,   /* k of a panel, which shares the second-level cache with rows of x */
    ENOUGH = 1000000, /* multiplications of float32 that are worth another thread's attention, and waiting for what it has written */
    NUMBERS = 250000, /* of an outer product, that are */
    MAX_CHUNKS = 32,
    AHEAD = 8,        /* rows of y that are fetched early: they are too far apart for the processor to guess */
    LANES_AND_ROWS = 16 /* a multiple of both */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t chunks_of(dtype type, int64_t multiplications) {
    return smaller(pool_chunks(multiplications * (int64_t)dtype_bytes(type), ENOUGH * (int64_t)dtype_bytes(FLOAT32)), MAX_CHUNKS);
}

/* Rows or columns of a tile of sums of products: DOTS of them, or 2, or 1. */
static int dot_side(int64_t size) { return size >= DOTS ? DOTS : size >= 2 ? 2 : 1; }

typedef struct {
    dtype type;
    int64_t m, n, k;
    matrix x, y;
    char *out;
    int64_t out_stride; /* elements from row to row of the result as it lies in memory */
    bool transposed;    /* the result lies in memory as out^T */
    bool add;
    int64_t rest;       /* of the columns, for which tiles of dot products take less than vectors that they do not fill */
    int64_t vectors, panels, chunks;
    int64_t least;      /* vectors of a panel; the first panels have one more, as far as there are more */
    bool direct;        /* y is read where it lies: its rows are in order, and few rows of x would not repay packing */
    bool by_panels;     /* chunks are bands of panels; else of rows */
    bool packs_rows;
    matrix rows;        /* x as it is given, where it is packed */
    char *packed, *packed_rows;
} product;

#define T float
#define INTEGER int32_t
#define TYPED(name) name##_float32
#ifdef __AVX512F__
#define STORE_FIRST(to, v, count) _mm512_mask_storeu_ps(to, (__mmask16)((1u << (count)) - 1), (__m512)(v))
#define LOAD_FIRST(v, from, count) v = (VECTOR)_mm512_maskz_loadu_ps((__mmask16)((1u << (count)) - 1), from)
#else
#define STORE_FIRST(to, v, count) memcpy(to, &(v), (size_t)(count) * sizeof(T))
#define LOAD_FIRST(v, from, count) memcpy(&(v), from, (size_t)(count) * sizeof(T))
#endif
#include "kernel_matmul.inc"
#undef T
#undef INTEGER
#undef TYPED
#undef STORE_FIRST
#undef LOAD_FIRST
#define T double
#define INTEGER int64_t
#define TYPED(name) name##_float64
#ifdef __AVX512F__
#define STORE_FIRST(to, v, count) _mm512_mask_storeu_pd(to, (__mmask8)((1u << (count)) - 1), (__m512d)(v))
#define LOAD_FIRST(v, from, count) v = (VECTOR)_mm512_maskz_loadu_pd((__mmask8)((1u << (count)) - 1), from)
#else
#define STORE_FIRST(to, v, count) memcpy(to, &(v), (size_t)(count) * sizeof(T))
#define LOAD_FIRST(v, from, count) memcpy(&(v), from, (size_t)(count) * sizeof(T))
#endif
#include "kernel_matmul.inc"

static int64_t lanes_of(dtype type) { return VECTOR_BYTES / (int64_t)dtype_bytes(type); }

/* --- panels ------------------------------------------------------------------------------------------------------------ */

static int64_t panel_begin(const product *p, int64_t panel) {
    return panel * p->least + smaller(panel, p->vectors - p->panels * p->least);
}

typedef struct {
    int64_t column; /* the first */
    int vectors;
    void *packed;
} panel_place;

static panel_place place_of(const product *p, int64_t panel) {
    int64_t first = panel_begin(p, panel);
    return (panel_place){first * lanes_of(p->type), (int)(panel_begin(p, panel + 1) - first), p->packed + first * VECTOR_BYTES * p->k};
}

static void pack_rows_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t groups = (p->m + ROWS - 1) / ROWS, begin = pool_begin(groups, p->chunks, chunk);
    int64_t end = pool_begin(groups, p->chunks, chunk + 1);
    if (p->type == FLOAT32) pack_rows_float32(p, begin, end);
    else pack_rows_float64(p, begin, end);
}

/* Rows row_begin ... row_end - 1 for a panel that is packed. */
static void multiply(const product *p, int64_t row_begin, int64_t row_end, int64_t panel) {
    panel_place place = place_of(p, panel);
    if (p->type == FLOAT32) product_rows_float32(p, row_begin, row_end, place.column, place.vectors, place.packed);
    else product_rows_float64(p, row_begin, row_end, place.column, place.vectors, place.packed);
}

static void multiply_panel(const product *p, int64_t panel) {
    panel_place place = place_of(p, panel);
    if (p->type == FLOAT32) product_panel_float32(p, place.column, place.vectors, place.packed);
    else product_panel_float64(p, place.column, place.vectors, place.packed);
}

static void dot_area(const product *p, int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
    if (row == row_end || column == column_end) return;
    if (p->type == FLOAT32) dot_area_float32(p, row, row_end, column, column_end);
    else dot_area_float64(p, row, row_end, column, column_end);
}

static void pack_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t begin = pool_begin(p->panels, p->chunks, chunk), end = pool_begin(p->panels, p->chunks, chunk + 1);
    for (int64_t panel = begin; panel < end; panel++) {
        panel_place place = place_of(p, panel);
        if (p->type == FLOAT32) pack_panel_float32(p, place.column, place.vectors, place.packed);
        else pack_panel_float64(p, place.column, place.vectors, place.packed);
    }
}

static void rows_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t tiles = (p->m + ROWS - 1) / ROWS, begin = pool_begin(tiles, p->chunks, chunk) * ROWS;
    int64_t end = smaller(pool_begin(tiles, p->chunks, chunk + 1) * ROWS, p->m);
    for (int64_t panel = 0; panel < p->panels && !pool_ends(); panel++) multiply(p, begin, end, panel);
    dot_area(p, begin, end, p->n - p->rest, p->n);
}

static void panels_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t end = pool_begin(p->panels, p->chunks, chunk + 1);
    for (int64_t panel = pool_begin(p->panels, p->chunks, chunk); panel < end && !pool_ends(); panel++) multiply_panel(p, panel);
    if (chunk == p->chunks - 1) dot_area(p, 0, p->m, p->n - p->rest, p->n);
}

static void dots_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t begin = pool_begin(p->m, p->chunks, chunk), end = pool_begin(p->m, p->chunks, chunk + 1);
    if (p->type == FLOAT32) dot_rows_float32(p, begin, end);
    else dot_rows_float64(p, begin, end);
}

static void outer_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t begin = pool_begin(p->m, p->chunks, chunk), end = pool_begin(p->m, p->chunks, chunk + 1);
    if (p->type == FLOAT32) outer_rows_float32(p, begin, end, (const float *)(void *)p->packed);
    else outer_rows_float64(p, begin, end, (const double *)(void *)p->packed);
}

/* A column times a row: nothing is summed. */
static void outer_product(product *p) {
    if (p->type == FLOAT32) outer_prepare_float32(p, (float *)(void *)p->packed);
    else outer_prepare_float64(p, (double *)(void *)p->packed);
    p->chunks = smaller(pool_chunks(p->m * p->n, NUMBERS), p->m);
    pool_run(p->chunks, outer_task, p);
}

static int64_t dot_bands(const product *p) { return (p->m + dot_side(p->m) - 1) / dot_side(p->m); }

static void dot_bands_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t tall = dot_side(p->m), bands = dot_bands(p), begin = pool_begin(bands, p->chunks, chunk) * tall;
    int64_t end = smaller(pool_begin(bands, p->chunks, chunk + 1) * tall, p->m);
    dot_area(p, smaller(begin, p->m - tall), end, 0, p->n); /* the last band may overlap its neighbour, with the same numbers */
}

/* --- the two ways round ------------------------------------------------------------------------------------------------ */

/* Columns that are best left to dot products, where their numbers lie in order on both sides. */
static int64_t rest_of(const product *p) {
    enum { LONG = 8 }; /* vectors: sums over lanes cost little then */
    int64_t lanes = lanes_of(p->type), rest = p->n % lanes;
    bool in_order = p->x.column_stride == 1 && p->y.row_stride == 1;
    return in_order && p->k >= LONG * lanes && p->k <= DEEPEST && rest <= lanes / 2 ? rest : 0;
}

/* Roughly the cycles for each k when vectors run along n: multiplications, packing and storing. */
static double cost(const product *p) {
    double lanes = (double)lanes_of(p->type), rows = (double)p->m, n = (double)(p->n - p->rest), vectors = ceil(n / lanes);
    double least = vectors > 0 ? 8 / (vectors < VECTORS ? vectors : VECTORS) : 0; /* fewer sums than this wait for each other */
    double packing = p->y.column_stride == 1 ? vectors : n;
    return vectors * (rows < least ? least : rows) + (double)p->rest / lanes * 1.3 * rows + packing +
           (p->x.column_stride == 1 ? 0 : rows / ROWS) + (p->transposed ? (double)(p->m * p->n) : vectors * rows) / (double)p->k;
}

static matrix flipped(matrix a) { return (matrix){a.data, a.column_stride, a.row_stride}; }

/* out^T = y^T x^T */
static void turn(product *p) {
    const matrix x = p->x;
    const int64_t m = p->m;
    p->m = p->n, p->n = m, p->x = flipped(p->y), p->y = flipped(x), p->transposed = !p->transposed;
}

/* Products with a vector, where the numbers to be multiplied lie in order on both sides. */
static bool becomes_dots(product *p) {
    static const int64_t SHORT = 16;
    if (p->k < SHORT || p->x.column_stride != 1 || p->y.row_stride != 1 || (p->m > 1 && p->n > 1)) return false;
    if (p->n > 1) turn(p);
    return true;
}

/* Products of few rows and columns, both in order and long: the weight gradients of thin layers. */
static bool is_small_of_long(const product *p) {
    return p->m <= 32 && p->n <= 32 && p->k >= 4 * lanes_of(p->type) && p->x.column_stride == 1 && p->y.row_stride == 1;
}

/* piece: of a result that has other rows or columns, or to be added to it. */
static void choose_way(product *p, bool piece) {
    const int64_t rest = piece ? 0 : rest_of(p);
    p->rest = rest;
    const double as_it_is = cost(p);
    p->rest = 0;
    turn(p);
    if (cost(p) >= as_it_is) turn(p), p->rest = rest;
    p->vectors = (p->n - p->rest + lanes_of(p->type) - 1) / lanes_of(p->type);
    const int64_t width = p->m > ROWS && p->m <= MOST_ROWS ? VECTORS - 1 : VECTORS; /* of panels: one tile does for all rows */
    p->panels = (p->vectors + width - 1) / width;
    p->direct = HAS_MASKS && p->y.column_stride == 1 && p->m <= 2 * ROWS;
    p->packs_rows = !piece && p->x.column_stride != 1 && !p->direct && p->panels > 1;
}

/* The bytes that `count` columns of y or rows of x take when they are packed: whole vectors, to a whole number of ROWS. */
static int64_t packed_bytes(dtype type, int64_t count, int64_t k) {
    return (count + LANES_AND_ROWS - 1) / LANES_AND_ROWS * LANES_AND_ROWS * (int64_t)dtype_bytes(type) * smaller(k, DEEPEST);
}

size_t kernel_matmul_scratch(dtype type, int64_t m, int64_t n, int64_t k) {
    return (size_t)(packed_bytes(type, m, k) + packed_bytes(type, n, k)); /* more than kernel_split_scratch */
}

/* A number of the result is the same sum however rows and panels are shared out, so the threads may count here: each has the same
 * number of panels, or long bands of rows, for which a panel stays in the cache. Many panels of a wide y are each used up
 * while they are in the cache, where bands would read all of packed y from memory. */
static void share_out(product *p) {
    enum { MANY = 8 }; /* panels for each thread: one more or less is little */
    int64_t threads = pool_threads();
    p->chunks = chunks_of(p->type, p->m * p->n * p->k);
    p->by_panels = p->panels >= 2 * p->chunks || p->m / (2 * ROWS) < p->chunks || (p->n > p->m && p->panels >= MANY * threads);
    if (p->by_panels && p->chunks > 1) p->panels = smaller((p->panels + threads - 1) / threads * threads, p->vectors);
    p->chunks = smaller(p->chunks, p->by_panels ? p->panels : smaller(2 * threads, p->m / (2 * ROWS)));
    if (p->chunks < 2) p->chunks = 1, p->by_panels = true;
}

/* Panel by panel, in slices of k that are not too deep. */
static void multiply_slices(product *p, bool add) {
    int64_t bytes = (int64_t)dtype_bytes(p->type), depth = p->k;
    p->least = p->panels > 0 ? p->vectors / p->panels : 0;
    for (int64_t done = 0; done < depth; done += p->k) {
        p->k = smaller(depth - done, DEEPEST);
        p->add = add || done > 0;
        if (p->packs_rows) pool_run(p->chunks, pack_rows_task, p);
        if (!p->by_panels) pool_run(p->chunks, pack_task, p);
        pool_run(p->chunks, p->by_panels ? panels_task : rows_task, p);
        if (p->packs_rows) p->rows.data += p->k * p->rows.column_stride * bytes;
        else p->x.data += p->k * p->x.column_stride * bytes;
        p->y.data += p->k * p->y.row_stride * bytes;
    }
}

void kernel_matmul(dtype type, int64_t m, int64_t n, int64_t k, char *out, matrix x, matrix y, char *scratch) {
    if (m == 0 || n == 0) return;
    if (k == 0) {
        memset(out, 0, (size_t)(m * n) * dtype_bytes(type));
        return;
    }
    const bool split = type == FLOAT32 && kernel_split_pays(m, n, k);
    if (split && kernel_split(m, n, k, (float *)(void *)out, x, y, (images){.side = NO_IMAGES}, scratch)) return;
    product p = {.type = type, .m = m, .n = n, .k = k, .x = x, .y = y, .out = out, .packed = scratch};
    if (n == 1) { /* a column lies in memory as a row does */
        turn(&p);
        p.transposed = false;
    }
    if (k == 1 && p.n >= lanes_of(type)) {
        outer_product(&p);
        return;
    }
    if (becomes_dots(&p)) {
        p.chunks = smaller(chunks_of(type, m * n * k), p.m);
        pool_run(p.chunks, dots_task, &p);
        return;
    }
    if (is_small_of_long(&p)) {
        p.chunks = smaller(chunks_of(type, m * n * k), dot_bands(&p));
        pool_run(p.chunks, dot_bands_task, &p);
        return;
    }
    p.out_stride = p.n;
    choose_way(&p, false);
    if (p.packs_rows) {
        p.packed_rows = scratch + packed_bytes(type, p.n, k);
        p.rows = p.x;
        p.x = (matrix){p.packed_rows, 1, ROWS};
    }
    share_out(&p);
    multiply_slices(&p, false);
}

/* Images that are not multiplied as they are become numbers a band at a time. */
enum { BAND = 64 };

size_t kernel_matmul_images_scratch(int64_t m, int64_t n, int64_t k, images which) {
    const int64_t rows = which.side == X_IMAGES ? BAND : m, columns = which.side == Y_IMAGES ? BAND : n;
    const size_t bands = kernel_matmul_scratch(FLOAT32, rows, columns, k) + (size_t)(BAND * k) * sizeof(float);
    const size_t split = kernel_split_scratch(m, n, k);
    return bands > split ? bands : split;
}

/* numbers (rows, columns), row-major = the bytes' rows from `first` on, divided. */
static void numbers_of(float *numbers, int64_t first, int64_t rows, int64_t columns, matrix bytes, images which) {
    const bool images_are_rows = bytes.column_stride == 1;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            int64_t row = first + i, column = j;
            if (which.chosen != NULL && images_are_rows) row = which.chosen[row] - 1;
            if (which.chosen != NULL && !images_are_rows) column = which.chosen[column] - 1;
            numbers[i * columns + j] = (float)(uint8_t)bytes.data[row * bytes.row_stride + column * bytes.column_stride] / which.divisor;
        }
}

void kernel_matmul_images(int64_t m, int64_t n, int64_t k, char *out, matrix x, matrix y, images which, char *scratch) {
    if (kernel_split(m, n, k, (float *)(void *)out, x, y, which, scratch)) return;
    const bool of_x = which.side == X_IMAGES;
    const matrix bytes = of_x ? x : flipped(y);
    const int64_t count = of_x ? m : n, element = (int64_t)sizeof(float);
    const matrix band = {scratch, k, 1}; /* rows of x, or columns of y */
    for (int64_t i = 0; i < count && !pool_ends(); i += BAND) {
        const int64_t some = smaller(BAND, count - i);
        char *room = scratch + BAND * k * element;
        numbers_of((float *)(void *)scratch, i, some, k, bytes, which);
        if (of_x) kernel_matmul_piece(FLOAT32, some, n, k, band, y, out + i * n * element, n, false, room);
        else kernel_matmul_piece(FLOAT32, m, some, k, x, flipped(band), out + i * element, n, false, room);
    }
}

void kernel_matmul_piece(dtype type, int64_t m, int64_t n, int64_t k, matrix x, matrix y, char *out, int64_t row_stride,
                         bool add, char *scratch) {
    for (int64_t i = 0; k == 0 && !add && i < m; i++) /* empty sums */
        memset(out + i * row_stride * (int64_t)dtype_bytes(type), 0, (size_t)n * dtype_bytes(type));
    product p = {.type = type, .m = m, .n = n, .k = k, .x = x, .y = y, .out = out, .out_stride = row_stride, .packed = scratch,
                 .chunks = 1, .by_panels = true};
    choose_way(&p, true);
    multiply_slices(&p, add);
}

void kernel_matmul_panel(int64_t m, int64_t k, const float *x, int64_t row_stride, int64_t column_stride, const float *panel,
                         int vectors, float *out, int64_t out_stride, bool add) {
    product p = {.type = FLOAT32, .m = m, .n = vectors * lanes_of(FLOAT32), .k = k,
                 .x = {(const char *)x, row_stride, column_stride}, .out = (char *)out, .out_stride = out_stride, .add = add};
    product_rows_float32(&p, 0, m, 0, vectors, panel);
}

const char *kernel_matmul_name(void) {
#if defined __AVX512F__
    return kernel_split_works() ? "AVX-512, AMX" : "AVX-512";
#elif defined __AVX2__
    return "AVX2";
#else
    return "plain";
#endif
}
