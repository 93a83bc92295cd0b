/* Operators that look at the same numbers in another way, and slice's adjoint, pad. Views cost nothing when they
 * run: the plan turns them into strides and offsets. */
#include <string.h>

#include "batch.h"
#include "fail.h"
#include "kernels.h"
#include "operators.h"

static int cut_same(const node *y, int *axes) {
    (void)y;
    return axes[0];
}

static node *gradient_identity(node *y, node *g, int index) {
    (void)y, (void)index;
    return g;
}
OPERATOR(identity, .kind = VIEW, .differentiable = true, .view = operator_view_same, .gradient = gradient_identity,
         .batch = batch_leading, .cut = cut_same,
         .doc = "x itself, as a node of its own: what a gradient is taken with respect to.")

node *op_identity(node *x) { return node_new(&row_identity, x->type, x->shape, 1, &x, 0, NULL); }

static node *build_detach(const operator *op, const argument *arguments) {
    node *x = arguments[0].tensor;
    return node_new(op, x->type, x->shape, 1, &x, 0, NULL);
}
OPERATOR(detach, .signature = "x", .kind = VIEW, .view = operator_view_same, .build = build_detach, .batch = batch_leading, .cut = cut_same,
         .samples = "x=randn(2,3) ; x:detach() ; i,j -> x(i,j)",
         .doc = "x as a constant: no gradient flows through it.")

/* --- cast: not a view, but as cheap to name -------------------------------------------------------------------- */

static void run_cast(const node *y, const operand *inputs, const operand *out) {
    (void)y;
    kernel_cast(inputs->type, out->type, shape_elements(out->shape), out->data, inputs->data);
}
static node *gradient_cast(node *y, node *g, int index) {
    node *x = y->inputs[index];
    return dtype_is_float(x->type) && dtype_is_float(y->type) ? op_cast(g, x->type) : NULL;
}
static int cut_cast(const node *y, int *axes) {
    (void)y;
    return axes[0] == SUMMED ? WHOLE : axes[0]; /* toward zero: not the sum of what blocks give */
}
static node *build_cast(const operator *op, const argument *arguments) {
    (void)op;
    return op_cast(arguments[0].tensor, arguments[1].type);
}
OPERATOR(cast, .signature = "x, dtype:dtype", .kind = KERNEL, .differentiable = true, .accepts = operand_is_contiguous,
         .build = build_cast, .run = run_cast, .gradient = gradient_cast, .batch = batch_leading, .cut = cut_cast,
         .samples = "x=randn(2,3) ; x:cast('float64') ; i,k -> x(i,k)",
         .doc = "x converted to float32, float64, int64 (toward zero) or uint8.")

node *op_cast(node *x, dtype type) {
    return x->type == type ? x : node_new(&row_cast, type, x->shape, 1, &x, 0, NULL);
}

node *op_widened(node *x) { return x->type == UINT8 ? op_cast(x, INT64) : x; }

/* --- reshape ------------------------------------------------------------------------------------------------------ */

/* Without a copy where the input is row-major, where it lies columnwise and keeps its last axis, or where only axes of size 1
 * come and go. */
static bool view_reshape(const node *y, const operand *in, operand *out) {
    out->offset = in->offset;
    if (operand_is_contiguous(in)) {
        shape_strides(y->shape, out->strides);
        return true;
    }
    if (y->shape.rank > 0 && in->shape.size[in->shape.rank - 1] == y->shape.size[y->shape.rank - 1] && operand_is_columnwise(in)) {
        operand_columnwise_strides(y->shape, out->strides);
        return true;
    }
    int from = 0;
    for (int to = 0; to < y->shape.rank; to++) {
        while (from < in->shape.rank && in->shape.size[from] == 1) from++;
        if (y->shape.size[to] == 1) out->strides[to] = 0;
        else if (from < in->shape.rank && in->shape.size[from] == y->shape.size[to]) out->strides[to] = in->strides[from++];
        else return false;
    }
    return true;
}
static node *gradient_reshape(node *y, node *g, int index) { return op_reshape(g, y->inputs[index]->shape); }

static node *batch_reshape(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    (void)mapped;
    return op_reshape(inputs[0], batch_shape(size, y->shape));
}

static int cut_reshape(const node *y, int *axes) {
    return axes[0] < 0 ? axes[0] : operator_reshape_axis(y->inputs[0]->shape, axes[0], y->shape);
}

static shape shape_from_list(const argument *a) {
    shape s = {.rank = a->count};
    memcpy(s.size, a->list, sizeof s.size);
    return s;
}

/* One size may be -1: what is left. */
static node *build_reshape(const operator *op, const argument *arguments) {
    node *x = arguments[0].tensor;
    shape s = shape_from_list(&arguments[1]);
    int64_t known = 1, elements = shape_elements(x->shape);
    int open = -1;
    for (int axis = 0; axis < s.rank; axis++) {
        if (s.size[axis] == -1 && open < 0) open = axis;
        else if (s.size[axis] < 0 || (known > 0 && s.size[axis] > INT64_MAX / known))
            fail(ERROR_SHAPE, "%s: %s is not a shape", op->name, shape_format(s).text);
        else known *= s.size[axis];
    }
    if (open >= 0 && known > 0) s.size[open] = elements / known;
    if (open >= 0 && known == 0) s.size[open] = 0;
    return op_reshape(x, s);
}
OPERATOR(reshape, .signature = "x, shape:shape", .kind = VIEW, .differentiable = true, .build = build_reshape,
         .view = view_reshape, .gradient = gradient_reshape, .batch = batch_reshape, .cut = cut_reshape,
         .samples = "x=randn(2,3,4) ; x:reshape(6,-1) ; i,j -> x((i-1)//3+1, (i-1)%3+1, j)\n"
                    "x=randn(3,4) ; x:t():reshape(2,6) ; i,j -> x(((i-1)*6+j-1)%3+1, ((i-1)*6+j-1)//3+1)\n"
                    "x=randn(3,4) ; x:t():reshape(4,1,3) ; i,j,k -> x(k,i)",
         .doc = "The same elements, row-major, in another shape; one size may be -1: what is left.")

node *op_reshape(node *x, shape s) {
    if (shape_equal(x->shape, s)) return x;
    if (shape_elements(x->shape) != shape_elements(s))
        fail(ERROR_SHAPE, "reshape: %s has %lld elements, which do not fill %s", shape_format(x->shape).text,
             (long long)shape_elements(x->shape), shape_format(s).text);
    return node_new(&row_reshape, x->type, s, 1, &x, 0, NULL);
}

/* --- permute ------------------------------------------------------------------------------------------------------ */

static bool view_permute(const node *y, const operand *in, operand *out) {
    for (int axis = 0; axis < y->shape.rank; axis++) out->strides[axis] = in->strides[y->attributes[axis]];
    out->offset = in->offset;
    return true;
}
static node *gradient_permute(node *y, node *g, int index) {
    int back[MAX_RANK];
    (void)index;
    for (int axis = 0; axis < y->shape.rank; axis++) back[y->attributes[axis]] = axis;
    return op_permute(g, back);
}
static node *batch_permute(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    int axes[MAX_RANK] = {0};
    (void)mapped;
    batch_shape(size, y->shape);
    for (int axis = 0; axis < y->shape.rank; axis++) axes[axis + 1] = (int)y->attributes[axis] + 1;
    return op_permute(inputs[0], axes);
}
static int cut_permute(const node *y, int *axes) {
    int to = 0;
    if (axes[0] < 0) return axes[0];
    while (y->attributes[to] != axes[0]) to++;
    return to;
}
static node *build_permute(const operator *op, const argument *arguments) {
    node *x = arguments[0].tensor;
    int axes[MAX_RANK];
    unsigned seen = 0;
    for (int i = 0; i < arguments[1].count; i++) {
        axes[i] = operator_axis(op, x->shape, arguments[1].list[i]);
        seen |= 1u << axes[i];
    }
    if (arguments[1].count != x->shape.rank || seen != (1u << x->shape.rank) - 1)
        fail(ERROR_ARGUMENT, "%s: every axis of shape %s must be named once", op->name, shape_format(x->shape).text);
    return op_permute(x, axes);
}
OPERATOR(permute, .signature = "x, axes:integers", .kind = VIEW, .differentiable = true, .build = build_permute,
         .view = view_permute, .gradient = gradient_permute, .batch = batch_permute, .cut = cut_permute,
         .samples = "x=randn(2,3,4) ; x:permute(3,1,2) ; i,j,k -> x(j,k,i)",
         .doc = "x with its axes in another order: axis i of the result is axis axes[i] of x.")

node *op_permute(node *x, const int *axes) {
    shape s = {.rank = x->shape.rank};
    int64_t attributes[MAX_RANK];
    bool unchanged = true;
    for (int axis = 0; axis < s.rank; axis++) {
        s.size[axis] = x->shape.size[axes[axis]];
        attributes[axis] = axes[axis];
        if (axes[axis] != axis) unchanged = false;
    }
    return unchanged ? x : node_new(&row_permute, x->type, s, 1, &x, s.rank, attributes);
}

node *op_transpose(node *x, int axis1, int axis2) {
    int axes[MAX_RANK];
    for (int axis = 0; axis < x->shape.rank; axis++) axes[axis] = axis == axis1 ? axis2 : axis == axis2 ? axis1 : axis;
    return op_permute(x, axes);
}

static node *build_transpose(const operator *op, const argument *arguments) {
    node *x = arguments[0].tensor;
    int64_t axis1 = arguments[1].given ? arguments[1].integer : -2, axis2 = arguments[2].given ? arguments[2].integer : -1;
    return op_transpose(x, operator_axis(op, x->shape, axis1), operator_axis(op, x->shape, axis2));
}
OPERATOR(transpose, .signature = "x, axis1:axis?, axis2:axis?", .kind = VIEW, .differentiable = true,
         .build = build_transpose,
         .samples = "x=randn(2,3,4) ; x:transpose(1,-1) ; i,j,k -> x(k,j,i)",
         .doc = "x with two axes exchanged, by default the last two.")

/* --- expand ------------------------------------------------------------------------------------------------------- */

static bool view_expand(const node *y, const operand *in, operand *out) {
    int shift = y->shape.rank - in->shape.rank;
    for (int axis = 0; axis < y->shape.rank; axis++) {
        bool repeated = axis < shift || (in->shape.size[axis - shift] == 1 && y->shape.size[axis] != 1);
        out->strides[axis] = repeated ? 0 : in->strides[axis - shift];
    }
    out->offset = in->offset;
    return true;
}
static node *gradient_expand(node *y, node *g, int index) { return op_sum_to(g, y->inputs[index]->shape); }

/* New axes come behind that of the batch. */
static node *batch_expand(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    shape s = batch_shape(size, y->shape), in = inputs[0]->shape, wide = s;
    (void)mapped;
    for (int axis = 1; axis < s.rank; axis++)
        wide.size[axis] = axis < 1 + s.rank - in.rank ? 1 : in.size[axis - (s.rank - in.rank)];
    return op_expand(op_reshape(inputs[0], wide), s);
}

static int cut_expand(const node *y, int *axes) {
    return axes[0] < 0 ? WHOLE : axes[0] + y->shape.rank - y->inputs[0]->shape.rank;
}

/* -1 keeps the size that is there. */
static node *build_expand(const operator *op, const argument *arguments) {
    node *x = arguments[0].tensor;
    shape s = shape_from_list(&arguments[1]);
    int shift = s.rank - x->shape.rank;
    for (int axis = 0; axis < s.rank; axis++) {
        if (s.size[axis] == -1 && axis >= shift) s.size[axis] = x->shape.size[axis - shift];
        if (s.size[axis] < 0) fail(ERROR_SHAPE, "%s: %s is not a shape", op->name, shape_format(s).text);
    }
    return op_expand(x, s);
}
OPERATOR(expand, .signature = "x, shape:shape", .kind = VIEW, .differentiable = true, .build = build_expand,
         .view = view_expand, .gradient = gradient_expand, .batch = batch_expand, .cut = cut_expand,
         .samples = "x=randn(3,1) ; x:expand(2,3,4) ; i,j,k -> x(j,1)\n"
                    "x=randn(3) ; x:expand(2,-1) ; i,j -> x(j)",
         .doc = "x repeated along axes of size 1 and new leading axes, without a copy; -1 keeps a size.")

node *op_expand(node *x, shape s) {
    shape joint;
    if (shape_equal(x->shape, s)) return x;
    if (x->shape.rank > s.rank || !shape_broadcast(x->shape, s, &joint) || !shape_equal(joint, s))
        fail(ERROR_SHAPE, "expand: shape %s does not stretch to %s", shape_format(x->shape).text, shape_format(s).text);
    shape_elements(s);
    return node_new(&row_expand, x->type, s, 1, &x, 0, NULL);
}

/* --- slice and pad: attributes are start per axis, then step per axis --------------------------------------------- */

static bool view_slice(const node *y, const operand *in, operand *out) {
    int rank = y->shape.rank;
    out->offset = in->offset;
    for (int axis = 0; axis < rank; axis++) {
        out->strides[axis] = in->strides[axis] * y->attributes[rank + axis];
        out->offset += in->strides[axis] * y->attributes[axis];
    }
    return true;
}
static node *gradient_slice(node *y, node *g, int index) {
    return op_pad(g, y->attributes, y->attributes + y->shape.rank, y->inputs[index]->shape);
}

/* start and step (of rank axes) with those of one more axis, taken whole, in front. */
static void prepend_whole_axis(int rank, const int64_t *attributes, int64_t *start, int64_t *step) {
    start[0] = 0;
    step[0] = 1;
    memcpy(start + 1, attributes, (size_t)rank * sizeof *start);
    memcpy(step + 1, attributes + rank, (size_t)rank * sizeof *step);
}
static node *batch_slice(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    int64_t start[MAX_RANK], step[MAX_RANK];
    shape s = batch_shape(size, y->shape);
    (void)mapped;
    prepend_whole_axis(y->shape.rank, y->attributes, start, step);
    return op_slice(inputs[0], start, step, s);
}

/* The axis that is cut must be taken as it is. */
static int cut_other_axis(const node *y, int *axes) {
    int a = axes[0], rank = y->shape.rank;
    if (a < 0) return a;
    return y->attributes[a] == 0 && y->attributes[rank + a] == 1 && y->shape.size[a] == y->inputs[0]->shape.size[a] ? a : WHOLE;
}

/* Elements first .. last of one axis, both included, as in Lua's string.sub. */
static node *build_slice(const operator *op, const argument *arguments) {
    node *x = arguments[0].tensor;
    int axis = operator_axis(op, x->shape, arguments[1].integer);
    int64_t size = x->shape.size[axis], first = arguments[2].integer;
    int64_t last = arguments[3].given ? arguments[3].integer : size;
    int64_t step = arguments[4].given ? arguments[4].integer : 1;
    int64_t start[MAX_RANK] = {0}, steps[MAX_RANK];
    shape s = x->shape;
    if (first < 0) first += size + 1;
    if (last < 0) last += size + 1;
    if (step == 0 || first < 1 || last > size || last < (step > 0 ? 0 : 1) || first > size + 1)
        fail(ERROR_ARGUMENT, "%s: elements %lld to %lld in steps of %lld are not within the %lld of axis %d of shape %s",
             op->name, (long long)first, (long long)last, (long long)step, (long long)size, axis + 1,
             shape_format(s).text);
    for (int i = 0; i < s.rank; i++) steps[i] = 1;
    start[axis] = first - 1;
    steps[axis] = step;
    s.size[axis] = (last - first) / step + 1;
    if (s.size[axis] < 0 || (step > 0 ? last < first : last > first)) s.size[axis] = 0;
    if (s.size[axis] > 0 && start[axis] >= size)
        fail(ERROR_ARGUMENT, "%s: element %lld is beyond axis %d of shape %s", op->name, (long long)first, axis + 1,
             shape_format(x->shape).text);
    return op_slice(x, start, steps, s);
}
OPERATOR(slice, .signature = "x, axis:axis, first:integer, last:integer?, step:integer?", .kind = VIEW,
         .differentiable = true, .build = build_slice, .view = view_slice, .gradient = gradient_slice, .batch = batch_slice,
         .cut = cut_other_axis,
         .samples = "x=randn(5,3) ; x:slice(1,2,4) ; i,j -> x(i+1,j)\n"
                    "x=randn(3,7) ; x:slice(2,2,-1,2) ; i,j -> x(i,2*j)\n"
                    "x=randn(5) ; x:slice(1,5,1,-1) ; i -> x(6-i)",
         .doc = "Elements first .. last (both included; -1 is the end) of an axis, every step-th of them; a view.")

/* A slice of a padded z is a slice of z or zeros, unless it goes over z's edge (or takes steps): then NULL. A gradient that
 * concerns a part of theta is known to be zero elsewhere in this way. */
static node *slice_of_pad(node *x, const int64_t *start, const int64_t *step, shape result) {
    node *z = x->inputs[0];
    int64_t within[MAX_RANK];
    bool outside = false;
    for (int axis = 0; axis < result.rank; axis++) {
        within[axis] = start[axis] - x->attributes[axis];
        if (step[axis] != 1 || x->attributes[result.rank + axis] != 1 || result.size[axis] == 0) return NULL;
        if (within[axis] >= z->shape.size[axis] || within[axis] + result.size[axis] <= 0) outside = true;
    }
    if (outside) return op_full(result, x->type, 0);
    for (int axis = 0; axis < result.rank; axis++)
        if (within[axis] < 0 || within[axis] + result.size[axis] > z->shape.size[axis]) return NULL;
    return op_slice(z, within, step, result);
}

node *op_slice(node *x, const int64_t *start, const int64_t *step, shape result) {
    int64_t attributes[2 * MAX_RANK];
    int rank = result.rank;
    if (op_is(x, "pad") && !node_has_value(x)) {
        node *inner = slice_of_pad(x, start, step, result);
        if (inner != NULL) return inner;
    }
    bool whole = shape_equal(x->shape, result);
    for (int axis = 0; axis < rank; axis++) {
        attributes[axis] = start[axis];
        attributes[rank + axis] = step[axis];
        if (step[axis] != 1 && result.size[axis] > 1) whole = false;
    }
    return whole ? x : node_new(&row_slice, x->type, result, 1, &x, 2 * rank, attributes);
}

static void run_pad(const node *y, const operand *inputs, const operand *out) {
    int rank = out->shape.rank;
    strided in = {.data = inputs->data}, to = {.data = out->data};
    memset(out->data, 0, (size_t)shape_elements(out->shape) * dtype_bytes(out->type));
    memcpy(in.strides, inputs->strides, sizeof in.strides);
    for (int axis = 0; axis < rank; axis++) {
        to.strides[axis] = out->strides[axis] * y->attributes[rank + axis];
        to.data += out->strides[axis] * y->attributes[axis] * (int64_t)dtype_bytes(out->type);
    }
    kernel_copy_strided(out->type, inputs->shape, to, in);
}
static node *gradient_pad(node *y, node *g, int index) {
    return op_slice(g, y->attributes, y->attributes + y->shape.rank, y->inputs[index]->shape);
}
static node *batch_pad(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    int64_t start[MAX_RANK], step[MAX_RANK];
    shape s = batch_shape(size, y->shape);
    (void)mapped;
    prepend_whole_axis(y->shape.rank, y->attributes, start, step);
    return op_pad(inputs[0], start, step, s);
}
static node *build_pad(const operator *op, const argument *arguments) {
    node *x = arguments[0].tensor;
    int axis = operator_axis(op, x->shape, arguments[1].integer);
    int64_t before = arguments[2].integer, after = arguments[3].integer, start[MAX_RANK] = {0}, step[MAX_RANK];
    shape s = x->shape;
    if (before < 0 || after < 0 || before > INT32_MAX || after > INT32_MAX)
        fail(ERROR_ARGUMENT, "%s: %lld zeros before and %lld behind asked for", op->name, (long long)before,
             (long long)after);
    for (int i = 0; i < s.rank; i++) step[i] = 1;
    start[axis] = before;
    s.size[axis] += before + after;
    return op_pad(x, start, step, s);
}
OPERATOR(pad, .signature = "x, axis:axis, before:integer, after:integer", .kind = KERNEL, .differentiable = true,
         .build = build_pad, .run = run_pad, .gradient = gradient_pad, .batch = batch_pad, .cut = cut_other_axis,
         .samples = "x=randn(2,3) ; x:pad(2,1,2) ; i,j -> j > 1 and j < 5 and x(i,j-1) or 0",
         .doc = "Zeros before and behind the elements of an axis.")

node *op_pad(node *x, const int64_t *start, const int64_t *step, shape result) {
    int64_t attributes[2 * MAX_RANK];
    int rank = result.rank;
    shape_elements(result);
    memcpy(attributes, start, (size_t)rank * sizeof *start);
    memcpy(attributes + rank, step, (size_t)rank * sizeof *step);
    return node_new(&row_pad, x->type, result, 1, &x, 2 * rank, attributes);
}
