/* Building nodes from C: gradient rules, transforms and bindings make graphs with these. All return nodes owned by
 * the innermost scope; all check shapes and dtypes and fail naming the operator. Axes count from 0 here. */
#ifndef PLUMB_OPERATORS_H
#define PLUMB_OPERATORS_H

#include "operator.h"

/* One builder per row of elementwise.def: op_exp(x), op_add(x, y), op_where(x, y, z); parameters are 0 here (the
 * defaults of the signatures hold for calls from outside). Inputs are broadcast and converted as the row needs. */
#define ROW_1(name) node *op_##name(node *x);
#define ROW_2(name) node *op_##name(node *x, node *y);
#define ROW_3(name) node *op_##name(node *x, node *y, node *z);
#define ROW(arity, types, name, ...) ROW_##arity(name)
#include "elementwise.def"
#undef ROW
#undef ROW_1
#undef ROW_2
#undef ROW_3

node *op_full(shape s, dtype type, double value); /* every element is value; integers are exact up to 2^53 */
node *op_number_like(node *x, double value);      /* one number, shape (), in x's dtype */
bool is_filled_with(const node *n, double value); /* is n, by the look of its graph, value everywhere? */
node *op_arange(dtype type, int64_t count, double start, double step); /* start + i * step */
node *op_random_uniform(node *key, shape s, dtype type); /* key: int64 (2): seed, stream */
node *op_random_normal(node *key, shape s, dtype type);

node *op_cast(node *x, dtype type);
node *op_widened(node *x); /* uint8, which is for storage, as int64: what it is added up in */
node *op_identity(node *x);
node *op_reshape(node *x, shape s);
node *op_permute(node *x, const int *axes);        /* axis i of the result is axes[i] of x */
node *op_transpose(node *x, int axis1, int axis2);
node *op_expand(node *x, shape s);                  /* broadcast to s */
/* Element i along axis a of the result is element start[a] + i * step[a] of x. */
node *op_slice(node *x, const int64_t *start, const int64_t *step, shape result);
node *op_pad(node *x, const int64_t *start, const int64_t *step, shape result); /* slice's adjoint: zeros elsewhere */
node *op_concat(node *const *parts, int count, int axis);
node *op_copy(node *x); /* x, of rank 1 or more, row-major in memory of its own */

node *op_sum(node *x, unsigned axes, bool keepdim); /* axes: bit a for axis a */
node *op_max(node *x, unsigned axes, bool keepdim);
node *op_argmax(node *x, int axis, bool keepdim);   /* int64, counted from 1; the first of equals */
node *op_sum_to(node *x, shape s);                  /* expand's adjoint */

node *op_matmul(node *x, node *y); /* (..., m, k) x (..., k, n); a vector is a row on the left, a column right */
/* The planner's further inputs for a product of images (plan_images.c): their divisor, and which of them, where a batch picks them. */
enum { MATMUL_DIVISOR = 2, MATMUL_CHOSEN };

/* Convolutions of images x (n, channels, height, width) with w (filters, channels / groups, kernel height, kernel width);
 * size and kernel are (height, width).
 * window [7]: stride, padding and dilation, each for (height, width), then groups. */
node *op_conv2d(node *x, node *w, const int64_t *window);
node *op_conv2d_input(node *g, node *w, const int64_t *size, const int64_t *window);   /* the adjoint in x, of this size */
node *op_conv2d_weight(node *x, node *g, const int64_t *kernel, const int64_t *window); /* the adjoint in w */

/* Maxima over windows of images x (n, channels, height, width). window [8]: kernel, stride, padding and dilation. */
node *op_max_pool2d(node *x, const int64_t *window);
node *op_max_pool2d_pick(node *x, node *v, const int64_t *window); /* v where x is largest in its window */
node *op_max_pool2d_put(node *x, node *g, const int64_t *window);  /* its adjoint in v: zeros but there */

/* Indices count from 1. */
node *op_index_select(node *x, int axis, node *index); /* index (k): whole slices of x */
node *op_index_add(node *x, int axis, node *index, int64_t size); /* its adjoint: slices added up by index */
node *op_gather(node *x, int axis, node *index);       /* index has x's shape but for `axis`: torch.gather */
node *op_scatter_add(node *x, int axis, node *index, int64_t size); /* its adjoint */

#endif
