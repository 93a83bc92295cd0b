#include "array.h"

#include <stdio.h>
#include <stdint.h>
#include <string.h>

#include "fail.h"
#include "memory.h"

static const char *const names[DTYPE_COUNT] = {[FLOAT32] = "float32", [FLOAT64] = "float64", [INT64] = "int64", [UINT8] = "uint8"};

const char *dtype_name(dtype type) { return names[type]; }

bool dtype_parse(const char *name, dtype *out) {
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (dtype)i;
            return true;
        }
    return false;
}

/* Header and numbers are one allocation, so that there is nothing half made when memory runs out. */
enum { HEADER_BYTES = 64 };
_Static_assert(sizeof(buffer) <= HEADER_BYTES, "a buffer's header fits before its aligned numbers");

array array_allocate(dtype type, shape s) {
    array a = {.type = type, .shape = s};
    int64_t elements = shape_elements(s);
    if ((uint64_t)elements > (SIZE_MAX - HEADER_BYTES) / dtype_bytes(type))
        fail(ERROR_MEMORY, "out of memory: a %s tensor of shape %s is beyond any memory", dtype_name(type), shape_format(s).text);
    size_t bytes = (size_t)elements * dtype_bytes(type);
    a.storage = memory_request(HEADER_BYTES + bytes);
    if (a.storage == NULL) {
        char what[240];
        snprintf(what, sizeof what, "a %s tensor of shape %s", dtype_name(type), shape_format(s).text);
        memory_refused(HEADER_BYTES + bytes, what);
    }
    *a.storage = (buffer){.references = 1, .bytes = bytes, .data = (char *)a.storage + HEADER_BYTES};
    shape_strides(s, a.strides);
    return a;
}

array array_retain(array a) {
    if (a.storage != NULL) a.storage->references++;
    return a;
}

void array_release(array *a) {
    if (a->storage != NULL && --a->storage->references == 0)
        memory_release(a->storage, HEADER_BYTES + a->storage->bytes);
    a->storage = NULL;
}

bool array_is_contiguous(const array *a) {
    int64_t expected = 1;
    for (int axis = a->shape.rank - 1; axis >= 0; axis--) {
        if (a->shape.size[axis] != 1 && a->strides[axis] != expected) return false;
        expected *= a->shape.size[axis] > 0 ? a->shape.size[axis] : 1; /* as shape_strides */
    }
    return true;
}

void *array_data(const array *a) { return (char *)a->storage->data + a->offset * (int64_t)dtype_bytes(a->type); }

int64_t array_offset_of(const array *a, int64_t element) {
    int64_t offset = 0;
    for (int axis = a->shape.rank - 1; axis >= 0; axis--) {
        offset += element % a->shape.size[axis] * a->strides[axis];
        element /= a->shape.size[axis];
    }
    return offset;
}

double array_number(const array *a, int64_t element) {
    const void *data = array_data(a);
    int64_t at = array_offset_of(a, element);
    switch (a->type) {
        case FLOAT32: return (double)((const float *)data)[at];
        case FLOAT64: return ((const double *)data)[at];
        case INT64: return (double)((const int64_t *)data)[at];
        default: return ((const uint8_t *)data)[at];
    }
}

int64_t array_integer(const array *a, int64_t element) {
    if (a->type == INT64) return ((const int64_t *)array_data(a))[array_offset_of(a, element)];
    return (int64_t)array_number(a, element);
}
