/* Arrays of numbers: a shared, counted buffer and a strided view into it. Values never change once they can be
 * seen; whoever writes holds the only reference. */
#ifndef PLUMB_ARRAY_H
#define PLUMB_ARRAY_H

#include "shape.h"

typedef enum { FLOAT32, FLOAT64, INT64, UINT8, DTYPE_COUNT } dtype; /* UINT8 stores images: cast before arithmetic */

static inline bool dtype_is_float(dtype type) { return type == FLOAT32 || type == FLOAT64; }
static inline size_t dtype_bytes(dtype type) { return type == UINT8 ? 1 : type == FLOAT32 ? 4 : 8; }
const char *dtype_name(dtype type);
bool dtype_parse(const char *name, dtype *out);

typedef struct buffer {
    size_t references;
    size_t bytes;
    void *data; /* 64-byte aligned from 512 bytes on */
} buffer;

typedef struct {
    buffer *storage; /* NULL: no value */
    dtype type;
    shape shape;
    int64_t strides[MAX_RANK]; /* in elements; 0 repeats, negative walks back */
    int64_t offset;            /* of the first element, in elements */
} array;

/* A new contiguous array with undefined contents; the caller owns its one reference. Fails when memory is short. */
array array_allocate(dtype type, shape s);
array array_retain(array a);  /* one reference more */
void array_release(array *a); /* one reference less; `a` has no value afterwards */

bool array_is_contiguous(const array *a);
void *array_data(const array *a); /* the first element */
double array_number(const array *a, int64_t element); /* element in row-major order; exact up to 2^53 */
int64_t array_integer(const array *a, int64_t element);
int64_t array_offset_of(const array *a, int64_t element); /* in elements, from array_data */

#endif
