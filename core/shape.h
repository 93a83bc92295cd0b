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

int64_t shape_elements(shape s); /* fails beyond 2^48: sums of such sizes in bytes never overflow */
bool shape_equal(shape a, shape b);
shape_text shape_format(shape s);         /* "(3, 4)", "(5)", "()" */
shape shape_drop_axis(shape s, int axis);
/* The common shape under broadcasting (trailing axes aligned, size 1 stretches); false where there is none. */
bool shape_broadcast(shape a, shape b, shape *out);
/* Row-major strides in elements. */
void shape_strides(shape s, int64_t strides[MAX_RANK]);

#endif
