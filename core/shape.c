#include "shape.h"

#include <stdio.h>

#include "fail.h"

void shape_too_large(shape s) {
    fail(ERROR_SHAPE, "a tensor of shape %s has more elements than can be counted", shape_format(s).text);
}

bool shape_equal(shape a, shape b) {
    if (a.rank != b.rank) return false;
    for (int axis = 0; axis < a.rank; axis++)
        if (a.size[axis] != b.size[axis]) return false;
    return true;
}

shape_text shape_format(shape s) {
    shape_text out;
    size_t at = (size_t)snprintf(out.text, sizeof out.text, "(");
    for (int axis = 0; axis < s.rank && at < sizeof out.text; axis++)
        at += (size_t)snprintf(out.text + at, sizeof out.text - at, axis == 0 ? "%lld" : ", %lld",
                               (long long)s.size[axis]);
    if (at < sizeof out.text) snprintf(out.text + at, sizeof out.text - at, ")");
    return out;
}

shape shape_drop_axis(shape s, int axis) {
    for (int i = axis; i + 1 < s.rank; i++) s.size[i] = s.size[i + 1];
    s.rank--;
    return s;
}

bool shape_broadcast(shape a, shape b, shape *out) {
    shape longer = a.rank >= b.rank ? a : b, shorter = a.rank >= b.rank ? b : a;
    int shift = longer.rank - shorter.rank;
    *out = longer;
    for (int axis = 0; axis < shorter.rank; axis++) {
        int64_t m = longer.size[axis + shift], n = shorter.size[axis];
        if (m != n && m != 1 && n != 1) return false;
        out->size[axis + shift] = m == 1 ? n : m;
    }
    return true;
}

void shape_strides(shape s, int64_t strides[MAX_RANK]) {
    int64_t stride = 1;
    for (int axis = s.rank - 1; axis >= 0; axis--) {
        strides[axis] = stride;
        stride *= s.size[axis] > 0 ? s.size[axis] : 1;
    }
}
