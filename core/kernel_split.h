/* Products of float32 matrices from numbers that are split into shorter ones, for which some processors have far faster units. */
#ifndef PLUMB_KERNEL_SPLIT_H
#define PLUMB_KERNEL_SPLIT_H

#include "kernels.h"

/* Can this processor do it? Asks the system for it the first time. */
bool kernel_split_works(void);

/* Is it worth while for out (m, n) = x (m, k) y (k, n)? Then kernel_matmul's scratch must hold kernel_split_scratch bytes. */
bool kernel_split_pays(int64_t m, int64_t n, int64_t k, matrix x, matrix y);
size_t kernel_split_scratch(int64_t m, int64_t n, int64_t k);

/* out (m, n) = x (m, k) y (k, n), as accurate as sums of float32's own products. False, and nothing of use in out, where numbers are
 * not finite, or all so large or so small that their parts would not be. */
bool kernel_split(int64_t m, int64_t n, int64_t k, float *out, matrix x, matrix y, char *scratch);

#endif
