/* Convolutions of any stride as matrix products: a piece of columns at a time, small enough for the cache. See
 * kernel_conv.h, which chooses. */
#ifndef PLUMB_KERNEL_COLUMNS_H
#define PLUMB_KERNEL_COLUMNS_H

#include "kernel_conv.h"

size_t kernel_columns_scratch(dtype type, const convolution *c);
void kernel_columns(dtype type, const convolution *c, char *y, const char *x, const char *w, char *scratch);
void kernel_columns_input(dtype type, const convolution *c, char *x, const char *g, const char *w, char *scratch);
void kernel_columns_weight(dtype type, const convolution *c, char *w, const char *x, const char *g, char *scratch);

/* out (count) = the sum of `parts` arrays `stride` bytes apart, in order. */
void kernel_columns_add(dtype type, int64_t count, int64_t parts, int64_t stride, char *out, const char *in);

#endif
