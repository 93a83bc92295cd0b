/* Matrix products: the one file that calls OpenBLAS. */
#include <cblas.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

void kernel_matmul_start(void) { openblas_set_num_threads(1); }

const char *kernel_matmul_name(void) { return openblas_get_corename(); }

typedef struct {
    dtype type;
    int64_t m, n, k, chunks;
    char *out;
    matrix x, y;
} product;

static blasint leading(matrix a) {
    int64_t stride = a.row_stride == 1 ? a.column_stride : a.row_stride;
    return (blasint)(stride > 0 ? stride : 1);
}

void kernel_matmul_piece(dtype type, int64_t m, int64_t n, int64_t k, matrix x, matrix y, char *out, int64_t row_stride,
                         bool add) {
    CBLAS_TRANSPOSE flip_x = x.column_stride == 1 ? CblasNoTrans : CblasTrans;
    CBLAS_TRANSPOSE flip_y = y.column_stride == 1 ? CblasNoTrans : CblasTrans;
    if (type == FLOAT32)
        cblas_sgemm(CblasRowMajor, flip_x, flip_y, (blasint)m, (blasint)n, (blasint)k, 1, (const float *)x.data,
                    leading(x), (const float *)y.data, leading(y), add, (float *)out, (blasint)row_stride);
    else
        cblas_dgemm(CblasRowMajor, flip_x, flip_y, (blasint)m, (blasint)n, (blasint)k, 1, (const double *)x.data,
                    leading(x), (const double *)y.data, leading(y), add, (double *)out, (blasint)row_stride);
}

/* The product of a band of x's rows, or of y's columns where those are more. */
static void multiply(const product *p, int64_t m, int64_t n, char *out, const char *x, const char *y) {
    matrix x_band = {x, p->x.row_stride, p->x.column_stride}, y_band = {y, p->y.row_stride, p->y.column_stride};
    kernel_matmul_piece(p->type, m, n, p->k, x_band, y_band, out, p->n, false);
}

static void multiply_task(void *context, int64_t chunk) {
    const product *p = context;
    int64_t bytes = (int64_t)dtype_bytes(p->type);
    int64_t along = p->m >= p->n ? p->m : p->n;
    int64_t begin = pool_begin(along, p->chunks, chunk), end = pool_begin(along, p->chunks, chunk + 1);
    if (p->m >= p->n)
        multiply(p, end - begin, p->n, p->out + begin * p->n * bytes, p->x.data + begin * p->x.row_stride * bytes,
                 p->y.data);
    else
        multiply(p, p->m, end - begin, p->out + begin * bytes, p->x.data,
                 p->y.data + begin * p->y.column_stride * bytes);
}

/* Each band packs the other matrix anew, so bands are few: from 4 million multiply-adds on two, then four, and more only
 * where each is left with 100 million. */
static int64_t band_count(int64_t work, int64_t along) {
    static const int64_t SMALL = 2000000, LARGE = 100000000, MIN_ROWS = 16, MAX_BANDS = 16;
    int64_t bands = work / LARGE > 4 ? work / LARGE : work / SMALL > 4 ? 4 : work / SMALL;
    if (bands > MAX_BANDS) bands = MAX_BANDS;
    if (bands > along / MIN_ROWS) bands = along / MIN_ROWS;
    return bands < 1 ? 1 : bands;
}

void kernel_matmul(dtype type, int64_t m, int64_t n, int64_t k, char *out, matrix x, matrix y) {
    product p = {type, m, n, k, band_count(m * n * k, m >= n ? m : n), out, x, y};
    if (m == 0 || n == 0) return;
    if (k == 0) {
        memset(out, 0, (size_t)(m * n) * dtype_bytes(type));
        return;
    }
    pool_run(p.chunks, multiply_task, &p);
}
