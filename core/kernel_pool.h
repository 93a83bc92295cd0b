/* Maximum pooling of images: which element of each window is the largest, and what stands there elsewhere. */
#ifndef PLUMB_KERNEL_POOL_H
#define PLUMB_KERNEL_POOL_H

#include "array.h"

/* Planes (height, width) and windows over them, of which the last may reach beyond; pairs are (height, width). */
typedef struct {
    int64_t planes, size[2], kernel[2], stride[2], padding[2], dilation[2], result[2];
} pooling;

/* out (planes, result): from each window the element of v (planes, size) that stands where x (planes, size) is largest.
 * The first of equals counts; NaN counts as largest.
 * A window that lies in the padding gives 0, or -infinity where v is x itself. */
void kernel_max_pick(dtype type, const pooling *p, char *out, const char *x, const char *v);
/* Its adjoint in v: out (planes, size) is zero but for what g (planes, result) adds at those places. */
void kernel_max_put(dtype type, const pooling *p, char *out, const char *x, const char *g);

#endif
