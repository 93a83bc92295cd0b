/* Raw loops over memory. They know nothing of graphs, never allocate and never fail. */
#ifndef PLUMB_KERNELS_H
#define PLUMB_KERNELS_H

#include "array.h"

typedef struct {
    char *data;
    int64_t strides[MAX_RANK]; /* in elements */
} strided;

/* out (contiguous, of shape s) = in. */
void kernel_copy(dtype type, shape s, char *out, strided in);
/* out (strided, of shape s) = in (strided). */
void kernel_copy_strided(dtype type, shape s, strided out, strided in);
void kernel_cast(dtype from, dtype to, int64_t count, char *out, const char *in);
/* out = in / 255: images as numbers in [0, 1], float32 or float64. */
void kernel_from_image(dtype to, int64_t count, void *out, const void *in);
void kernel_fill(dtype type, int64_t count, char *out, double value);
void kernel_arange(dtype type, int64_t count, char *out, double start, double step);

/* Reductions of in (outer, length, inner), row-major, to out (outer, inner). An empty sum is 0. */
void kernel_sum(dtype type, int64_t outer, int64_t length, int64_t inner, char *out, const char *in);
void kernel_max(dtype type, int64_t outer, int64_t length, int64_t inner, char *out, const char *in);
void kernel_argmax(dtype type, int64_t outer, int64_t length, int64_t inner, int64_t *out, const char *in);

/* Matrix products out (m, n) = x (m, k) y (k, n), out row-major, x and y with any strides. They pack numbers in `scratch`,
 * of kernel_matmul_scratch bytes. */
typedef struct {
    const char *data;
    int64_t row_stride, column_stride; /* in elements */
} matrix;
size_t kernel_matmul_scratch(dtype type, int64_t m, int64_t n, int64_t k);
void kernel_matmul(dtype type, int64_t m, int64_t n, int64_t k, char *out, matrix x, matrix y, char *scratch);
/* The same in float32 where the rows (or columns) of x or y are images: bytes that stand for bytes / divisor. For sizes of which
 * kernel_split_pays. Chosen images have their pixels in order. */
typedef struct {
    enum { NO_IMAGES, X_IMAGES, Y_IMAGES } side;
    float divisor;
    const int64_t *chosen; /* which of the images at `data` these are, counted from 1; NULL: the first */
} images;
size_t kernel_matmul_images_scratch(int64_t m, int64_t n, int64_t k, images which);
void kernel_matmul_images(int64_t m, int64_t n, int64_t k, char *out, matrix x, matrix y, images which, char *scratch);
/* kernel_matmul on the calling thread alone, into rows of out row_stride elements apart; with `add` it is added to them. */
void kernel_matmul_piece(dtype type, int64_t m, int64_t n, int64_t k, matrix x, matrix y, char *out, int64_t row_stride,
                         bool add, char *scratch);
const char *kernel_matmul_name(void); /* the units of the processor that it uses, e.g. "AVX-512, AMX" */

#endif
