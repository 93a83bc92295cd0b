/* Products of float32 matrices from numbers that are split into shorter ones, for which some processors have far faster units. */
#ifndef PLUMB_KERNEL_SPLIT_H
#define PLUMB_KERNEL_SPLIT_H

#include "kernels.h"

/* Can this processor do it? Asks the system for it the first time. */
bool kernel_split_works(void);

/* Is it faster for out (m, n) = x (m, k) y (k, n), as a whole, than other ways on blocks of it? */
bool kernel_split_pays(int64_t m, int64_t n, int64_t k);

/* The bytes that it works in. */
size_t kernel_split_scratch(int64_t m, int64_t n, int64_t k);

/* out (m, n) = x (m, k) y (k, n), as precise as sums of float32's own products, but for what is below k 2^-96. Returns false, with
 * nothing of use in out, where neither rows nor columns lie in order, or a side's numbers are not finite, very large or all very
 * small. */
bool kernel_split(int64_t m, int64_t n, int64_t k, float *out, matrix x, matrix y, images which, char *scratch);

#endif
