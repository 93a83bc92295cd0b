/* Reductions along axes, and concatenation. A kernel reduces one run of neighbouring axes; other sets of axes are
 * reduced run by run. Reduced axes stay as size 1 inside the graph and are dropped by a reshape. */
#include <string.h>

#include "batch.h"
#include "fail.h"
#include "kernels.h"
#include "memory.h"
#include "operators.h"

typedef struct {
    int64_t outer, length, inner;
} extent;

/* attributes: first and last axis of the run. Of an input that lies columnwise the last axis comes first. */
static extent extent_of(const node *y, const operand *in) {
    extent e = {1, 1, 1};
    operand a = *in;
    int64_t first = y->attributes[0], last = y->attributes[1], columns = a.shape.rank - 1;
    if (!operand_is_contiguous(in)) {
        operand_rotate(&a);
        if (first > 0 || last < columns) first = first == columns ? 0 : first + 1, last = last == columns ? 0 : last + 1;
    }
    for (int axis = 0; axis < a.shape.rank; axis++)
        *(axis < first ? &e.outer : axis <= last ? &e.length : &e.inner) *= a.shape.size[axis];
    return e;
}

/* Is the run one of neighbours in memory where the input lies columnwise: of rows, of columns, or of all? */
static bool follows_columnwise(const node *y, const operand *in) {
    int64_t first = y->attributes[0], last = y->attributes[1], columns = in->shape.rank - 1;
    return last < columns || first == columns || first == 0;
}

static void run_sum(const node *y, const operand *inputs, const operand *out) {
    extent e = extent_of(y, inputs);
    kernel_sum(out->type, e.outer, e.length, e.inner, out->data, inputs->data);
}
static void run_max(const node *y, const operand *inputs, const operand *out) {
    extent e = extent_of(y, inputs);
    kernel_max(out->type, e.outer, e.length, e.inner, out->data, inputs->data);
}
static void run_argmax(const node *y, const operand *inputs, const operand *out) {
    extent e = extent_of(y, inputs);
    kernel_argmax(inputs->type, e.outer, e.length, e.inner, (int64_t *)(void *)out->data, inputs->data);
}

static node *gradient_sum(node *y, node *g, int index) { return op_expand(g, y->inputs[index]->shape); }

static int cut_sum(const node *y, int *axes) {
    return axes[0] >= y->attributes[0] && axes[0] <= y->attributes[1] ? SUMMED : axes[0];
}
static int cut_unreduced(const node *y, int *axes) {
    return axes[0] == SUMMED || (axes[0] >= y->attributes[0] && axes[0] <= y->attributes[1]) ? WHOLE : axes[0];
}

/* Equal maxima share the gradient evenly, as in torch.amax. */
static node *gradient_max(node *y, node *g, int index) {
    node *x = y->inputs[index], *chosen = op_eq(x, y);
    node *count = op_sum_to(chosen, y->shape);
    return op_mul(chosen, op_div(g, count));
}

/* Axes as users give them; none means all. */
static unsigned axes_of(const operator *op, const argument *axes, shape s) {
    unsigned mask = 0;
    if (!axes->given) return (1u << s.rank) - 1;
    for (int i = 0; i < axes->count; i++) mask |= 1u << operator_axis(op, s, axes->list[i]);
    return mask;
}

static node *build_sum(const operator *op, const argument *a) {
    return op_sum(a[0].tensor, axes_of(op, &a[1], a[0].tensor->shape), a[2].given && a[2].boolean);
}
static node *build_max(const operator *op, const argument *a) {
    return op_max(a[0].tensor, axes_of(op, &a[1], a[0].tensor->shape), a[2].given && a[2].boolean);
}
/* x in the opposite order: -x, or for integers -1 - x, which no number overflows. */
static node *reversed(node *x) { return dtype_is_float(x->type) ? op_neg(x) : op_sub(op_number_like(x, -1), x); }

static node *build_min(const operator *op, const argument *a) {
    node *x = op_widened(a[0].tensor);
    return reversed(op_max(reversed(x), axes_of(op, &a[1], x->shape), a[2].given && a[2].boolean));
}
static node *build_argmax(const operator *op, const argument *a) {
    node *x = a[0].tensor;
    if (!a[1].given) return op_argmax(op_reshape(x, (shape){1, {shape_elements(x->shape)}}), 0, false);
    return op_argmax(x, operator_axis(op, x->shape, a[1].integer), a[2].given && a[2].boolean);
}

OPERATOR(sum, .signature = "x, axes:axes?, keepdim:boolean?", .kind = KERNEL, .differentiable = true,
         .accepts = operand_is_contiguous, .follows = follows_columnwise, .build = build_sum, .run = run_sum, .gradient = gradient_sum,
         .batch = batch_shifted, .cut = cut_sum,
         .samples = "x=randn(2,3,4) ; x:sum() ; -> total(2, function(i) return total(3, function(j) return total(4, function(k) return x(i,j,k) end) end) end)\n"
                    "x=randn(2,3,4) ; x:sum(2) ; i,k -> total(3, function(j) return x(i,j,k) end)\n"
                    "x=randn(2,3,4) ; x:sum({1,3},true) ; i,j,k -> total(2, function(a) return total(4, function(c) return x(a,j,c) end) end)",
         .doc = "The sum over all elements, or along an axis or a list of axes; keepdim keeps them with size 1.")
OPERATOR(max, .signature = "x, axes:axes?, keepdim:boolean?", .kind = KERNEL, .differentiable = true,
         .accepts = operand_is_contiguous, .follows = follows_columnwise, .build = build_max, .run = run_max, .gradient = gradient_max,
         .batch = batch_shifted, .cut = cut_unreduced,
         .samples = "x=randn(2,3,4) ; x:max(2) ; i,k -> math.max(x(i,1,k), x(i,2,k), x(i,3,k))\n"
                    "x=randn(2,3) ; x:max() ; -> math.max(x(1,1), x(1,2), x(1,3), x(2,1), x(2,2), x(2,3))",
         .doc = "The largest element, of all or along axes. NaN wins; equal maxima share the gradient evenly.")
OPERATOR(min, .signature = "x, axes:axes?, keepdim:boolean?", .kind = KERNEL, .differentiable = true,
         .build = build_min,
         .samples = "x=randn(2,3) ; x:min(2) ; i -> math.min(x(i,1), x(i,2), x(i,3))",
         .doc = "The smallest element, of all or along axes. NaN wins; equal minima share the gradient evenly.")
OPERATOR(argmax, .signature = "x, axis:axis?, keepdim:boolean?", .kind = KERNEL, .accepts = operand_is_contiguous,
         .follows = follows_columnwise, .build = build_argmax, .run = run_argmax, .batch = batch_shifted, .cut = cut_unreduced,
         .samples = "x=randn(2,3) ; x:argmax(2) ; i -> x(i,1) >= x(i,2) and (x(i,1) >= x(i,3) and 1 or 3) or (x(i,2) >= x(i,3) and 2 or 3)",
         .doc = "Where the largest element stands along an axis (from 1; the first of equals), or in the flattened tensor.")

static node *reduce(const operator *op, node *x, unsigned axes, bool keepdim, bool needs_elements) {
    shape kept = {.rank = 0}, in = x->shape;
    x = op_widened(x);
    for (int axis = 0; axis < in.rank; axis++)
        if (!(axes >> axis & 1)) kept.size[kept.rank++] = in.size[axis];
        else if (needs_elements && in.size[axis] == 0)
            fail(ERROR_SHAPE, "%s: shape %s has no elements along axis %d", op->name, shape_format(in).text, axis + 1);
    for (int last = in.rank - 1; last >= 0; last--) {
        int first = last;
        if (!(axes >> last & 1)) continue;
        while (first > 0 && (axes >> (first - 1) & 1)) first--;
        shape s = x->shape;
        for (int axis = first; axis <= last; axis++) s.size[axis] = 1;
        if (!shape_equal(s, x->shape)) x = node_new(op, x->type, s, 1, &x, 2, (int64_t[]){first, last});
        last = first;
    }
    return keepdim ? x : op_reshape(x, kept);
}

node *op_sum(node *x, unsigned axes, bool keepdim) { return reduce(&row_sum, x, axes, keepdim, false); }
node *op_max(node *x, unsigned axes, bool keepdim) { return reduce(&row_max, x, axes, keepdim, true); }

node *op_argmax(node *x, int axis, bool keepdim) {
    shape s = x->shape;
    if (s.size[axis] == 0)
        fail(ERROR_SHAPE, "argmax: shape %s has no elements along axis %d", shape_format(s).text, axis + 1);
    x = op_widened(x);
    s.size[axis] = 1;
    node *y = node_new(&row_argmax, INT64, s, 1, &x, 2, (int64_t[]){axis, axis});
    return keepdim ? y : op_reshape(y, shape_drop_axis(s, axis));
}

node *op_sum_to(node *x, shape s) {
    unsigned axes = 0;
    int shift = x->shape.rank - s.rank;
    for (int axis = 0; axis < x->shape.rank; axis++)
        if (axis < shift || (s.size[axis - shift] == 1 && x->shape.size[axis] != 1)) axes |= 1u << axis;
    return axes == 0 ? x : op_reshape(op_sum(x, axes, true), s);
}

/* --- concat: attribute: the axis ------------------------------------------------------------------------------- */

static void run_concat(const node *y, const operand *inputs, const operand *out) {
    int64_t axis = y->attributes[0], bytes = (int64_t)dtype_bytes(out->type);
    strided to = {.data = out->data};
    memcpy(to.strides, out->strides, sizeof to.strides);
    for (int i = 0; i < y->input_count; i++) {
        strided in = {.data = inputs[i].data};
        memcpy(in.strides, inputs[i].strides, sizeof in.strides);
        if (in.data != to.data) kernel_copy_strided(out->type, inputs[i].shape, to, in); /* else the plan wrote it there */
        to.data += inputs[i].shape.size[axis] * out->strides[axis] * bytes;
    }
}
static node *gradient_concat(node *y, node *g, int index) {
    int axis = (int)y->attributes[0];
    int64_t start[MAX_RANK] = {0}, step[MAX_RANK];
    for (int i = 0; i < MAX_RANK; i++) step[i] = 1;
    for (int i = 0; i < index; i++) start[axis] += y->inputs[i]->shape.size[axis];
    return op_slice(g, start, step, y->inputs[index]->shape);
}
static node *batch_concat(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    node **whole = memory_scoped((size_t)y->input_count * sizeof *whole, "a list of tensors");
    for (int i = 0; i < y->input_count; i++) whole[i] = batch_repeat(inputs[i], mapped[i], size);
    return op_concat(whole, y->input_count, (int)y->attributes[0] + 1);
}
static int cut_concat(const node *y, int *axes) {
    int axis = axes[0] == SUMMED ? SUMMED : operator_cut_together(y, axes);
    return axis == y->attributes[0] ? WHOLE : axis;
}
static node *build_concat(const operator *op, const argument *a) {
    if (a[0].count == 0) fail(ERROR_ARGUMENT, "%s: an empty list of tensors", op->name);
    return op_concat(a[0].tensors, a[0].count, a[1].given ? operator_axis(op, a[0].tensors[0]->shape, a[1].integer) : 0);
}
OPERATOR(concat, .signature = "parts:tensors, axis:axis?", .kind = KERNEL, .differentiable = true,
         .build = build_concat, .run = run_concat, .gradient = gradient_concat, .batch = batch_concat, .cut = cut_concat,
         .samples = "x=randn(2,3), y=randn(2,1) ; concat({x,y,x},2) ; i,j -> j <= 3 and x(i,j) or j == 4 and y(i,1) or x(i,j-4)\n"
                    "x=randn(2), y=randn(3) ; concat({x,y}) ; i -> i <= 2 and x(i) or y(i-2)",
         .doc = "The tensors of a list joined along an axis (by default the first).")

node *op_concat(node *const *parts, int count, int axis) {
    shape s = parts[0]->shape;
    if (s.rank == 0) fail(ERROR_SHAPE, "concat: a single number has no axis; use stack");
    for (int i = 1; i < count; i++) {
        shape t = parts[i]->shape;
        if (parts[i]->type != parts[0]->type)
            fail(ERROR_DTYPE, "concat: %s of shape %s and %s of shape %s do not mix", dtype_name(parts[0]->type),
                 shape_format(parts[0]->shape).text, dtype_name(parts[i]->type), shape_format(t).text);
        int64_t size = t.rank == s.rank ? t.size[axis] : 0;
        if (t.rank == s.rank) t.size[axis] = s.size[axis];
        if (!shape_equal(s, t))
            fail(ERROR_SHAPE, "concat: shapes %s and %s differ in more than axis %d", shape_format(s).text,
                 shape_format(parts[i]->shape).text, axis + 1);
        s.size[axis] += size;
    }
    return count == 1 ? parts[0] : node_new(&row_concat, parts[0]->type, s, count, parts, 1, (int64_t[]){axis});
}

node *op_copy(node *x) { return node_new(&row_concat, x->type, x->shape, 1, &x, 1, (int64_t[]){0}); }
