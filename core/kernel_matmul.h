/* The inner kernel of matrix products, for kernels that lay out their numbers for it. */
#ifndef PLUMB_KERNEL_MATMUL_H
#define PLUMB_KERNEL_MATMUL_H

#include "kernels.h"

#ifdef __AVX512F__
enum { MATMUL_VECTOR_BYTES = 64, MATMUL_ROWS = 8, MATMUL_VECTORS = 3 }; /* 8 x 3 sums in 32 registers */
#else
enum { MATMUL_VECTOR_BYTES = 32, MATMUL_ROWS = 4, MATMUL_VECTORS = 3 }; /* 4 x 3 sums in 16 */
#endif

/* out (m, vectors) = x (m, k) panel (k, vectors) in float32, or added to what is there. The panel's rows are whole vectors, one
 * behind the other; those of out are out_stride numbers apart. Best with m a multiple of MATMUL_ROWS. */
void kernel_matmul_panel(int64_t m, int64_t k, const float *x, int64_t row_stride, int64_t column_stride, const float *panel,
                         int vectors, float *out, int64_t out_stride, bool add);

#endif
