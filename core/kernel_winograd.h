/* Convolutions with 3 x 3 weights by Winograd's minimal filtering: a quarter of direct convolution's multiplications.
 *
 * Results come in tiles of 4 x 4, F(4x4, 3x3) of Lavin and Gray (2016), "Fast algorithms for convolutional neural networks".
 * Their rounding error is about five times that of direct convolution, relative to the largest number of the 6 x 6 that a tile
 * sees, where direct convolution's is relative to the 3 x 3 of each result; tests/winograd_spec.lua holds it against float64.
 * As for all kernels a sample's result does not depend on the others, nor on the threads. */
#ifndef PLUMB_KERNEL_WINOGRAD_H
#define PLUMB_KERNEL_WINOGRAD_H

#include "kernel_conv.h"

/* Is this convolution (its weights' adjoint too) faster so? float32, 3 x 3, stride and dilation 1, one group, enough of
 * channels, filters and places. */
bool kernel_winograd_fits(dtype type, const convolution *c);
size_t kernel_winograd_scratch(const convolution *c); /* enough for both */

/* As in kernel_conv.h. adjoint: w are the weights of the convolution whose adjoint in x c is. */
void kernel_winograd(const convolution *c, float *y, const float *x, const float *w, bool adjoint, char *scratch);
void kernel_winograd_weight(const convolution *c, float *w, const float *x, const float *g, char *scratch);

#endif
