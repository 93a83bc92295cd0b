/* Shapes: up to 8 axes, each of size >= 0. An array of rank 0 is one number. Inside the core axes count from 0. */
#ifndef PLUMB_SHAPE_H
#define PLUMB_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_RANK = 8 };

typedef struct {
    int rank;
    int64_t size[MAX_RANK];
} shape;

typedef struct {
    char text[160];
} shape_text;

_Noreturn void shape_too_large(shape s); /* fails */

/* How many elements an array has; fails beyond 2^48: sums of such sizes in bytes never overflow. */
static inline int64_t shape_elements(shape s) {
    int64_t count = 1;
    bool empty = false;
    for (int axis = 0; axis < s.rank; axis++) {
        if (s.size[axis] == 0) empty = true;
        else if (s.size[axis] < 0 || __builtin_mul_overflow(count, s.size[axis], &count) || count > INT64_C(1) << 48)
            shape_too_large(s);
    }
    return empty ? 0 : count;
}

bool shape_equal(shape a, shape b);
shape_text shape_format(shape s);         /* "(3, 4)", "(5)", "()" */
shape shape_drop_axis(shape s, int axis);
/* The common shape under broadcasting (trailing axes aligned, size 1 stretches); false where there is none. */
bool shape_broadcast(shape a, shape b, shape *out);
/* Row-major strides in elements. */
void shape_strides(shape s, int64_t strides[MAX_RANK]);

#endif
