/* Picking elements by index, and the adjoints that add up by index. Indices count from 1. */
#include <string.h>

#include "batch.h"
#include "fail.h"
#include "kernels.h"
#include "operators.h"
#include "pool.h"

/* (outer, size, inner) around one axis. */
typedef struct {
    int64_t outer, size, inner;
} around;

static around around_axis(shape s, int64_t axis) {
    around a = {1, s.size[axis], 1};
    for (int i = 0; i < s.rank; i++)
        if (i != axis) *(i < axis ? &a.outer : &a.inner) *= s.size[i];
    return a;
}

/* --- the index itself: attributes: the size of the axis, who asks ----------------------------------------------- */

static void check_indices(const char *name, const operand *index, int64_t size) {
    const int64_t *at = (const int64_t *)(void *)index->data;
    int64_t count = shape_elements(index->shape);
    for (int64_t i = 0; i < count; i++)
        if (at[i] < 1 || at[i] > size)
            fail(ERROR_ARGUMENT, "%s: index %lld is not in 1 .. %lld (indices and class labels count from 1)", name,
                 (long long)at[i], (long long)size);
}

static void run_checked_index(const node *y, const operand *inputs, const operand *out) {
    check_indices((const char *)(intptr_t)y->attributes[1], &inputs[0], y->attributes[0]);
    memcpy(out->data, inputs[0].data, (size_t)shape_elements(out->shape) * sizeof(int64_t));
}
static const operator checked_index = {.name = "checked_index", .kind = KERNEL, .checks_values = true,
                                       .accepts = operand_is_contiguous, .run = run_checked_index, .batch = batch_leading};

/* Indices that are known already, be it in another shape, are checked where the user wrote them, not when the graph
 * runs. */
static void check_known_indices(const char *name, const node *index, int64_t size) {
    while (!node_has_value(index) && op_is(index, "reshape")) index = index->inputs[0];
    if (!node_has_value(index) || !array_is_contiguous(&index->value)) return;
    operand known = {.data = array_data(&index->value), .type = INT64, .shape = index->shape};
    check_indices(name, &known, size);
}

static node *as_index(const char *name, node *index) {
    if (index->type == UINT8) return op_cast(index, INT64);
    if (index->type != INT64)
        fail(ERROR_DTYPE, "%s: the index must be int64, not %s of shape %s (convert it with :long())", name,
             dtype_name(index->type), shape_format(index->shape).text);
    return index;
}

/* The index as kernels take it, which themselves cannot fail then: so gather and scatter_add run within blocks of rows, and
 * several that take the same check it once. The name is kept as it is: one of those in this file. */
static node *checked(const char *name, node *index, int64_t size) {
    check_known_indices(name, index, size);
    if (index->op == &checked_index && index->attributes[0] == size) return index;
    return node_new(&checked_index, INT64, index->shape, 1, &index, 2, (int64_t[]){size, (int64_t)(intptr_t)name});
}

#define ADD_ROW(T)                                                                     \
    for (int64_t i = 0; i < count; i++) ((T *)(void *)out)[i] += ((const T *)(const void *)in)[i]

static void add_row(dtype type, int64_t count, char *out, const char *in) {
    if (type == FLOAT32) ADD_ROW(float);
    else if (type == FLOAT64) ADD_ROW(double);
    else ADD_ROW(int64_t);
}

/* --- index_select and index_add: attributes: the axis --------------------------------------------------------- */

typedef struct {
    const int64_t *index;
    int64_t count, size, rows, row, chunks; /* rows: of the result, all axes before included; row: bytes */
    const char *in;
    char *out;
} selection;

/* Slices of one number each, without a call for every one. */
#define SELECT_NUMBERS(T) \
    for (; i < last; i++) ((T *)(void *)to)[i] = ((const T *)(const void *)from)[s->index[i]]

static void select_task(void *context, int64_t chunk) {
    const selection *s = context;
    int64_t end = pool_begin(s->rows, s->chunks, chunk + 1);
    for (int64_t begin = pool_begin(s->rows, s->chunks, chunk), last; begin < end; begin += last - begin % s->count) {
        int64_t outer = begin / s->count, i = begin % s->count;
        char *to = s->out + outer * s->count * s->row;
        const char *from = s->in + (outer * s->size - 1) * s->row;
        last = end - outer * s->count < s->count ? end - outer * s->count : s->count;
        if (s->row == 4) SELECT_NUMBERS(uint32_t);
        else if (s->row == 8) SELECT_NUMBERS(uint64_t);
        else for (; i < last; i++) memcpy(to + i * s->row, from + s->index[i] * s->row, (size_t)s->row);
    }
}

static void run_index_select(const node *y, const operand *inputs, const operand *out) {
    enum { ENOUGH = 100000 }; /* bytes that are worth another thread's attention */
    around a = around_axis(inputs[0].shape, y->attributes[0]);
    selection s = {.index = (const int64_t *)(void *)inputs[1].data, .count = inputs[1].shape.size[0], .size = a.size,
                   .row = a.inner * (int64_t)dtype_bytes(out->type), .in = inputs[0].data, .out = out->data};
    s.rows = a.outer * s.count;
    s.chunks = pool_chunks(s.rows * s.row, ENOUGH);
    if (s.chunks > s.rows) s.chunks = s.rows;
    pool_run(s.chunks, select_task, &s);
}
static node *gradient_index_select(node *y, node *g, int index) {
    int axis = (int)y->attributes[0];
    return index == 0 ? op_index_add(g, axis, y->inputs[1], y->inputs[0]->shape.size[axis]) : NULL;
}
/* An index of its own for every value: as a gather, or its adjoint, with each index repeated over its slice. */
static node *repeat_index(node *index, int axis, shape slices, int64_t size) {
    shape s = {.rank = slices.rank};
    for (int i = 0; i < s.rank; i++) s.size[i] = i == axis ? slices.size[axis] : 1;
    return op_expand(op_reshape(index, batch_shape(size, s)), batch_shape(size, slices));
}
static node *batch_index_select(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    int axis = (int)y->attributes[0];
    if (!mapped[1]) return op_index_select(inputs[0], axis + 1, inputs[1]);
    return op_gather(batch_repeat(inputs[0], mapped[0], size), axis + 1, repeat_index(inputs[1], axis, y->shape, size));
}
static node *build_index_select(const operator *op, const argument *a) {
    return op_index_select(a[0].tensor, operator_axis(op, a[0].tensor->shape, a[1].integer), a[2].tensor);
}
OPERATOR(index_select, .signature = "x, axis:axis, index", .kind = KERNEL, .differentiable = true,
         .accepts = operand_is_contiguous, .build = build_index_select, .run = run_index_select,
         .gradient = gradient_index_select, .batch = batch_index_select,
         .samples = "x=randn(3,4), n=tensor({4,1,1}) ; x:index_select(2,n) ; i,j -> x(i,n(j))",
         .doc = "The slices of x along an axis that a list of indices (int64, from 1) names; also x[index] for axis 1.")

static void run_index_add(const node *y, const operand *inputs, const operand *out) {
    around a = around_axis(out->shape, y->attributes[0]);
    const int64_t *index = (const int64_t *)(void *)inputs[1].data;
    int64_t count = inputs[1].shape.size[0], row = a.inner * (int64_t)dtype_bytes(out->type);
    memset(out->data, 0, (size_t)shape_elements(out->shape) * dtype_bytes(out->type));
    for (int64_t o = 0; o < a.outer; o++)
        for (int64_t i = 0; i < count; i++)
            add_row(out->type, a.inner, out->data + (o * a.size + index[i] - 1) * row,
                    inputs[0].data + (o * count + i) * row);
}
static node *gradient_index_add(node *y, node *g, int index) {
    return index == 0 ? op_index_select(g, (int)y->attributes[0], y->inputs[1]) : NULL;
}
static node *batch_index_add(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    int axis = (int)y->attributes[0];
    if (!mapped[1]) return op_index_add(inputs[0], axis + 1, inputs[1], y->shape.size[axis]);
    node *index = repeat_index(inputs[1], axis, y->inputs[0]->shape, size);
    return op_scatter_add(batch_repeat(inputs[0], mapped[0], size), axis + 1, index, y->shape.size[axis]);
}
static node *build_index_add(const operator *op, const argument *a) {
    return op_index_add(a[0].tensor, operator_axis(op, a[0].tensor->shape, a[1].integer), a[2].tensor, a[3].integer);
}
OPERATOR(index_add, .signature = "x, axis:axis, index, size:integer", .kind = KERNEL, .differentiable = true,
         .accepts = operand_is_contiguous, .build = build_index_add, .run = run_index_add, .gradient = gradient_index_add,
         .batch = batch_index_add,
         .samples = "x=randn(2,3), n=tensor({4,1,1}) ; x:index_add(2,n,4) ; i,j -> total(3, function(k) return n(k) == j and x(i,k) or 0 end)",
         .doc = "index_select's adjoint: zeros of `size` along the axis, to which slice k of x is added at index[k].")

node *op_index_select(node *x, int axis, node *index) {
    shape s = x->shape;
    index = as_index("index_select", index);
    if (index->shape.rank != 1)
        fail(ERROR_SHAPE, "index_select: the index must be a list, not of shape %s", shape_format(index->shape).text);
    index = checked("index_select", index, s.size[axis]);
    s.size[axis] = index->shape.size[0];
    shape_elements(s);
    node *inputs[2] = {x, index};
    return node_new(&row_index_select, x->type, s, 2, inputs, 1, (int64_t[]){axis});
}

node *op_index_add(node *x, int axis, node *index, int64_t size) {
    shape s = x->shape;
    x = op_widened(x);
    index = as_index("index_add", index);
    if (index->shape.rank != 1 || index->shape.size[0] != s.size[axis] || size < 0)
        fail(ERROR_SHAPE, "index_add: an index of shape %s and size %lld for axis %d of shape %s",
             shape_format(index->shape).text, (long long)size, axis + 1, shape_format(s).text);
    index = checked("index_add", index, size);
    s.size[axis] = size;
    node *inputs[2] = {x, index};
    return node_new(&row_index_add, x->type, s, 2, inputs, 1, (int64_t[]){axis});
}

/* --- gather and scatter_add: attributes: the axis -------------------------------------------------------------- */

/* Element (o, k, i) of the index stands beside element (o, at, i) of the larger array, `at` being what it holds. */
#define EACH_INDEX(T, larger, statement)                                                                \
    do {                                                                                                \
        T *whole = (T *)(void *)(larger);                                                               \
        for (int64_t o = 0; o < a.outer; o++, whole += a.size * a.inner)                                \
            for (int64_t k = 0; k < count; k++)                                                         \
                for (int64_t i = 0; i < a.inner; i++, index++) {                                        \
                    T *element = whole + (*index - 1) * a.inner + i;                                    \
                    statement;                                                                          \
                }                                                                                       \
    } while (0)

/* Blocks of rows are cut along another axis than that of the index. */
static int cut_beside_index(const node *y, int *axes) {
    const int axis = operator_cut_together(y, axes);
    return axis == y->attributes[0] ? WHOLE : axis;
}

#define GATHER(T)                                        \
    do {                                                 \
        T *to = (T *)(void *)out->data;                  \
        EACH_INDEX(T, inputs[0].data, *to++ = *element); \
    } while (0)

static void run_gather(const node *y, const operand *inputs, const operand *out) {
    const around a = around_axis(inputs[0].shape, y->attributes[0]);
    const int64_t *index = (const int64_t *)(void *)inputs[1].data;
    const int64_t count = out->shape.size[y->attributes[0]];
    if (dtype_bytes(out->type) == 4) GATHER(uint32_t);
    else if (dtype_bytes(out->type) == 8) GATHER(uint64_t);
    else GATHER(uint8_t);
}
static node *gradient_gather(node *y, node *g, int index) {
    int axis = (int)y->attributes[0];
    return index == 0 ? op_scatter_add(g, axis, y->inputs[1], y->inputs[0]->shape.size[axis]) : NULL;
}
static node *build_gather(const operator *op, const argument *a) {
    return op_gather(a[0].tensor, operator_axis(op, a[0].tensor->shape, a[1].integer), a[2].tensor);
}
OPERATOR(gather, .signature = "x, axis:axis, index", .kind = KERNEL, .differentiable = true,
         .accepts = operand_is_contiguous, .build = build_gather, .run = run_gather, .gradient = gradient_gather,
         .batch = batch_shifted, .cut = cut_beside_index,
         .samples = "x=randn(3,4), n=tensor({{1,3},{2,2},{4,1}}) ; x:gather(2,n) ; i,j -> x(i,n(i,j))\n"
                    "x=randn(3,2), n=tensor({{1,3}}) ; x:gather(1,n) ; i,j -> x(n(i,j),j)\n"
                    "x=randn(2,4,2), n=tensor({{{1,3},{2,2},{4,4}},{{4,1},{3,3},{3,2}}}) ; x:gather(2,n) ; i,j,k -> x(i,n(i,j,k),k)",
         .doc = "Along an axis, the element that the index (int64, from 1; x's shape but for that axis) names.")

#define SCATTER(T)                                             \
    do {                                                       \
        const T *from = (const T *)(void *)inputs[0].data;     \
        EACH_INDEX(T, out->data, *element += *from++);         \
    } while (0)

static void run_scatter_add(const node *y, const operand *inputs, const operand *out) {
    const around a = around_axis(out->shape, y->attributes[0]);
    const int64_t *index = (const int64_t *)(void *)inputs[1].data;
    const int64_t count = inputs[0].shape.size[y->attributes[0]];
    memset(out->data, 0, (size_t)shape_elements(out->shape) * dtype_bytes(out->type));
    if (out->type == FLOAT32) SCATTER(float);
    else if (out->type == FLOAT64) SCATTER(double);
    else SCATTER(int64_t);
}
static node *gradient_scatter_add(node *y, node *g, int index) {
    return index == 0 ? op_gather(g, (int)y->attributes[0], y->inputs[1]) : NULL;
}
static node *build_scatter_add(const operator *op, const argument *a) {
    return op_scatter_add(a[0].tensor, operator_axis(op, a[0].tensor->shape, a[1].integer), a[2].tensor, a[3].integer);
}
OPERATOR(scatter_add, .signature = "x, axis:axis, index, size:integer", .kind = KERNEL, .differentiable = true,
         .accepts = operand_is_contiguous, .build = build_scatter_add, .run = run_scatter_add,
         .gradient = gradient_scatter_add, .batch = batch_shifted, .cut = cut_beside_index,
         .samples = "x=randn(3,2), n=tensor({{1,3},{2,2},{4,1}}) ; x:scatter_add(2,n,4) ; i,j -> total(2, function(k) return n(i,k) == j and x(i,k) or 0 end)\n"
                    "x=randn(2,2,3), n=tensor({{{1,3,1},{2,2,2}},{{4,1,4},{4,4,3}}}) ; x:scatter_add(2,n,4) ; i,j,k -> total(2, function(l) return n(i,l,k) == j and x(i,l,k) or 0 end)",
         .doc = "gather's adjoint: zeros of `size` along the axis, to which each element of x is added at its index.")

static void check_index_shape(const char *name, node *x, int axis, node *index) {
    shape a = x->shape, b = index->shape;
    if (a.rank == b.rank) a.size[axis] = b.size[axis];
    if (!shape_equal(a, b))
        fail(ERROR_SHAPE, "%s: an index of shape %s does not fit shape %s beside axis %d", name,
             shape_format(index->shape).text, shape_format(x->shape).text, axis + 1);
}

node *op_gather(node *x, int axis, node *index) {
    index = as_index("gather", index);
    check_index_shape("gather", x, axis, index);
    index = checked("gather", index, x->shape.size[axis]);
    node *inputs[2] = {x, index};
    return node_new(&row_gather, x->type, index->shape, 2, inputs, 1, (int64_t[]){axis});
}

node *op_scatter_add(node *x, int axis, node *index, int64_t size) {
    shape s = x->shape;
    x = op_widened(x);
    index = as_index("scatter_add", index);
    if (!shape_equal(x->shape, index->shape) || size < 0) check_index_shape("scatter_add", x, axis, index);
    if (!shape_equal(x->shape, index->shape) || size < 0)
        fail(ERROR_SHAPE, "scatter_add: an index of shape %s for shape %s", shape_format(index->shape).text,
             shape_format(s).text);
    index = checked("scatter_add", index, size);
    s.size[axis] = size;
    node *inputs[2] = {x, index};
    return node_new(&row_scatter_add, x->type, s, 2, inputs, 1, (int64_t[]){axis});
}
