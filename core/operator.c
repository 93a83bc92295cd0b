#include "operator.h"

#include <string.h>

#include "fail.h"

static const operator *first;

void operator_register(operator *row) {
    const operator **link = &first;
    while (*link != NULL && strcmp((*link)->name, row->name) < 0) link = (const operator **)&(*link)->next;
    row->next = *link;
    *link = row;
}

const operator *operator_first(void) { return first; }

bool op_is(const node *n, const char *name) { return n->op != NULL && strcmp(n->op->name, name) == 0; }

bool operand_is_contiguous(const operand *a) {
    array as_array = {.shape = a->shape};
    memcpy(as_array.strides, a->strides, sizeof as_array.strides);
    return array_is_contiguous(&as_array);
}

void operand_columnwise_strides(shape s, int64_t *strides) {
    int last = s.rank - 1;
    shape rows = s;
    rows.size[last] = 1;
    shape_strides(rows, strides);
    strides[last] = shape_elements(rows);
}

void operand_rotate(operand *a) {
    int last = a->shape.rank - 1;
    int64_t size = a->shape.size[last], stride = a->strides[last];
    memmove(a->shape.size + 1, a->shape.size, (size_t)last * sizeof size);
    memmove(a->strides + 1, a->strides, (size_t)last * sizeof stride);
    a->shape.size[0] = size;
    a->strides[0] = stride;
}

bool operand_is_columnwise(const operand *a) {
    operand rotated = *a;
    if (a->shape.rank == 0) return true;
    operand_rotate(&rotated);
    return operand_is_contiguous(&rotated);
}

int operator_axis(const operator *op, shape s, int64_t axis) {
    int64_t zero_based = axis > 0 ? axis - 1 : s.rank + axis;
    if (axis == 0 || zero_based < 0 || zero_based >= s.rank)
        fail(ERROR_ARGUMENT, "%s: axis %lld is not one of the %d axes of shape %s (axes count from 1)", op->name,
             (long long)axis, s.rank, shape_format(s).text);
    return (int)zero_based;
}

bool operator_view_same(const node *y, const operand *in, operand *out) {
    (void)y;
    memcpy(out->strides, in->strides, sizeof out->strides);
    out->offset = in->offset;
    return true;
}

int operator_cut_together(const node *y, int *axes) {
    int axis = WHOLE;
    for (int i = 0; i < y->input_count; i++)
        if (axes[i] >= 0) axis = axes[i];
    for (int i = 0; axis >= 0 && i < y->input_count; i++) {
        if (axes[i] >= 0 && axes[i] != axis) return WHOLE;
        axes[i] = axis;
    }
    return axis;
}

int operator_reshape_axis(shape from, int axis, shape to) {
    int64_t before = 1, passed = 1;
    for (int k = 0; k < axis; k++) before *= from.size[k];
    for (int k = 0; k < to.rank; passed *= to.size[k++])
        if (passed == before && to.size[k] > 1) return k;
    return WHOLE;
}
