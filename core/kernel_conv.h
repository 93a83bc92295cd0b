/* Convolutions of images and their two adjoints. Like all kernels they never allocate and never fail: they compute in
 * `scratch`, of kernel_conv_scratch bytes. */
#ifndef PLUMB_KERNEL_CONV_H
#define PLUMB_KERNEL_CONV_H

#include "array.h"

/* y (samples, groups * filters, result) = x (samples, groups * channels, size) * w (groups * filters, channels, kernel):
 *   y[s, f, i, j] = sum over c, p, q of w[f, c, p, q] x[s, c, i * stride + p * dilation - padding, j ...]
 * with zeros outside of x. Pairs are (height, width). */
typedef struct {
    int64_t samples, groups, channels, filters; /* channels and filters of one group */
    int64_t size[2], kernel[2], stride[2], padding[2], dilation[2], result[2];
} convolution;

size_t kernel_conv_scratch(dtype type, const convolution *c); /* enough for each of the three */
void kernel_conv(dtype type, const convolution *c, char *y, const char *x, const char *w, char *scratch);
/* The adjoint in x: what x gets from g, of y's shape. */
void kernel_conv_input(dtype type, const convolution *c, char *x, const char *g, const char *w, char *scratch);
/* The adjoint in w: what w gets from x and g. */
void kernel_conv_weight(dtype type, const convolution *c, char *w, const char *x, const char *g, char *scratch);

#endif
