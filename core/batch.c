#include "batch.h"

#include "fail.h"
#include "memory.h"

shape batch_shape(int64_t size, shape s) {
    shape out = {.rank = s.rank + 1, .size = {size}};
    if (s.rank == MAX_RANK)
        fail(ERROR_SHAPE, "vmap: shape %s has no room for one more axis (at most %d)", shape_format(s).text, MAX_RANK);
    for (int axis = 0; axis < s.rank; axis++) out.size[axis + 1] = s.size[axis];
    return out;
}

node *batch_repeat(node *x, bool mapped, int64_t size) { return mapped ? x : op_expand(x, batch_shape(size, x->shape)); }

node *batch_join(node *x, bool mapped, int64_t size) {
    node *whole = batch_repeat(x, mapped, size);
    shape s = shape_drop_axis(whole->shape, 0);
    s.size[0] *= size;
    return op_reshape(whole, s);
}

/* The same operator on whole batches, its attributes `shift` larger. */
static node *again(node *y, node *const *inputs, const bool *mapped, int64_t size, int64_t shift) {
    node *whole[MAX_ARGUMENTS];
    int64_t attributes[2 * MAX_RANK];
    for (int i = 0; i < y->input_count; i++) whole[i] = batch_repeat(inputs[i], mapped[i], size);
    for (int i = 0; i < y->attribute_count; i++) attributes[i] = y->attributes[i] + shift;
    return node_new(y->op, y->type, batch_shape(size, y->shape), y->input_count, whole, y->attribute_count, attributes);
}

node *batch_leading(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    return again(y, inputs, mapped, size, 0);
}

node *batch_shifted(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    return again(y, inputs, mapped, size, 1);
}

/* Value number `at` of a batch. */
static node *pick(node *x, int64_t at) {
    int64_t start[MAX_RANK] = {at}, step[MAX_RANK];
    shape s = x->shape;
    for (int axis = 0; axis < s.rank; axis++) step[axis] = 1;
    s.size[0] = 1;
    return op_reshape(op_slice(x, start, step, s), shape_drop_axis(s, 0));
}

node *batch_in_turn(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    node **results = memory_scoped((size_t)size * sizeof *results, "a function that is mapped");
    node **single = memory_scoped((size_t)y->input_count * sizeof *single, "a function that is mapped");
    if (size == 0) return op_full(batch_shape(0, y->shape), y->type, 0);
    for (int64_t at = 0; at < size; at++) {
        for (int i = 0; i < y->input_count; i++) single[i] = mapped[i] ? pick(inputs[i], at) : inputs[i];
        node *one = node_new(y->op, y->type, y->shape, y->input_count, single, y->attribute_count, y->attributes);
        results[at] = op_reshape(one, batch_shape(1, y->shape));
    }
    return op_concat(results, (int)size, 0);
}
