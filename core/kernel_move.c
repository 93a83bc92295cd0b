/* Kernels that move or make numbers: copies between layouts, casts, fills. */
#include <string.h>

#include "kernels.h"
#include "pool.h"

/* The innermost loop of a strided copy; elements are moved by size, whatever they mean. */
#define COPY_ROW(T)                                                                    \
    for (int64_t i = 0; i < count; i++) ((T *)out)[i * out_stride] = ((const T *)in)[i * in_stride]

static void copy_row(size_t bytes, int64_t count, char *out, int64_t out_stride, const char *in, int64_t in_stride) {
    if (out_stride == 1 && in_stride == 1) memcpy(out, in, (size_t)count * bytes);
    else if (bytes == 4) COPY_ROW(uint32_t);
    else if (bytes == 8) COPY_ROW(uint64_t);
    else COPY_ROW(uint8_t);
}

/* Joins neighbouring axes that both sides walk as one, so that rows are as long as possible. */
static shape merge_axes(shape s, strided *a, strided *b) {
    shape merged = {.rank = 0};
    for (int axis = 0; axis < s.rank; axis++) {
        if (s.size[axis] == 1) continue;
        int last = merged.rank - 1;
        if (last >= 0 && a->strides[last] == a->strides[axis] * s.size[axis] &&
            b->strides[last] == b->strides[axis] * s.size[axis]) {
            merged.size[last] *= s.size[axis];
        } else {
            last = merged.rank++;
            merged.size[last] = s.size[axis];
        }
        a->strides[last] = a->strides[axis];
        b->strides[last] = b->strides[axis];
    }
    return merged;
}

/* Transposing copies read columns and write rows: in square tiles each cache line is used whole. */
enum { TILE = 32 };

static void copy_transposed(size_t bytes, int64_t rows, int64_t columns, char *out, int64_t out_row, const char *in,
                            int64_t in_column) {
    for (int64_t i0 = 0; i0 < rows; i0 += TILE)
        for (int64_t j0 = 0; j0 < columns; j0 += TILE)
            for (int64_t i = i0; i < rows && i < i0 + TILE; i++)
                copy_row(bytes, columns - j0 < TILE ? columns - j0 : TILE,
                         out + (i * out_row + j0) * (int64_t)bytes, 1, in + (i + j0 * in_column) * (int64_t)bytes,
                         in_column);
}

void kernel_copy_strided(dtype type, shape s, strided out, strided in) {
    int64_t bytes = (int64_t)dtype_bytes(type), index[MAX_RANK] = {0};
    for (int axis = 0; axis < s.rank; axis++)
        if (s.size[axis] == 0) return;
    s = merge_axes(s, &out, &in);
    if (s.rank == 0) s.rank = 1, s.size[0] = 1, out.strides[0] = in.strides[0] = 1;
    int last = s.rank - 1;
    bool transposes = s.rank >= 2 && out.strides[last] == 1 && in.strides[last - 1] == 1;
    int outer = transposes ? s.rank - 2 : s.rank - 1; /* the axes around the rows, or around the matrices */
    for (;;) {
        if (transposes) {
            copy_transposed((size_t)bytes, s.size[last - 1], s.size[last], out.data, out.strides[last - 1], in.data,
                            in.strides[last]);
        } else {
            copy_row((size_t)bytes, s.size[last], out.data, out.strides[last], in.data, in.strides[last]);
        }
        int axis = outer - 1;
        while (axis >= 0) {
            out.data += out.strides[axis] * bytes;
            in.data += in.strides[axis] * bytes;
            if (++index[axis] < s.size[axis]) break;
            index[axis] = 0;
            out.data -= out.strides[axis] * s.size[axis] * bytes;
            in.data -= in.strides[axis] * s.size[axis] * bytes;
            axis--;
        }
        if (axis < 0) return;
    }
}

typedef struct {
    dtype type;
    shape s;
    int axis;       /* whose slices are shared out */
    int64_t chunks;
    strided out, in;
} copy_job;

static void copy_task(void *context, int64_t chunk) {
    const copy_job *j = context;
    int64_t size = j->s.size[j->axis], begin = pool_begin(size, j->chunks, chunk), bytes = (int64_t)dtype_bytes(j->type);
    strided out = j->out, in = j->in;
    shape s = j->s;
    s.size[j->axis] = pool_begin(size, j->chunks, chunk + 1) - begin;
    out.data += begin * out.strides[j->axis] * bytes;
    in.data += begin * in.strides[j->axis] * bytes;
    kernel_copy_strided(j->type, s, out, in);
}

void kernel_copy(dtype type, shape s, char *out, strided in) {
    enum { ENOUGH = 50000 }; /* numbers that are worth another thread's attention */
    copy_job job = {.type = type, .s = s, .out = {.data = out}, .in = in};
    shape_strides(s, job.out.strides);
    while (job.axis < s.rank - 1 && s.size[job.axis] == 1) job.axis++;
    if (s.rank == 0) {
        kernel_copy_strided(type, s, job.out, in);
        return;
    }
    job.chunks = pool_chunks(shape_elements(s), ENOUGH);
    if (job.chunks > s.size[job.axis]) job.chunks = s.size[job.axis];
    pool_run(job.chunks, copy_task, &job);
}

/* A real number beyond int64's range, or NaN, has no integer: the nearest limit, or 0, is taken. */
static int64_t to_int64(double value) {
    if (value != value) return 0;
    if (value >= 0x1p63) return INT64_MAX;
    return value < -0x1p63 ? INT64_MIN : (int64_t)value;
}
static uint8_t to_uint8(double value) { return value >= 255 ? 255 : value > 0 ? (uint8_t)value : 0; }

#define CAST(FROM, TO, convert)                                                                  \
    for (int64_t i = 0; i < count; i++) ((TO *)out)[i] = convert(((const FROM *)in)[i]);         \
    break
#define CASTS(FROM)                                                                              \
    switch (to) {                                                                                \
        case FLOAT32: CAST(FROM, float, (float));                                                \
        case FLOAT64: CAST(FROM, double, (double));                                              \
        case INT64: CAST(FROM, int64_t, to_int64);                                               \
        default: CAST(FROM, uint8_t, to_uint8);                                                  \
    }                                                                                            \
    break

static void cast(dtype from, dtype to, int64_t count, char *out, const char *in) {
    switch (from) {
        case FLOAT32: CASTS(float);
        case FLOAT64: CASTS(double);
        case INT64: CASTS(int64_t);
        default: CASTS(uint8_t);
    }
}

typedef struct {
    dtype from, to;
    int64_t count, chunks;
    char *out;
    const char *in;
} cast_job;

static void cast_task(void *context, int64_t chunk) {
    const cast_job *j = context;
    int64_t begin = pool_begin(j->count, j->chunks, chunk), end = pool_begin(j->count, j->chunks, chunk + 1);
    cast(j->from, j->to, end - begin, j->out + begin * (int64_t)dtype_bytes(j->to), j->in + begin * (int64_t)dtype_bytes(j->from));
}

void kernel_cast(dtype from, dtype to, int64_t count, char *out, const char *in) {
    enum { ENOUGH = 50000 }; /* numbers that are worth another thread's attention */
    cast_job job = {from, to, count, pool_chunks(count, ENOUGH), out, in};
    if (from == to) memcpy(out, in, (size_t)count * dtype_bytes(to));
    else pool_run(job.chunks, cast_task, &job);
}

/* v / 255 without a division, which takes as long as ten multiplications: a product with 1 / 255 and one correction of Newton's
 * (Markstein 1990), correctly rounded for each of the 256 values. */
#ifdef __FMA__
#define FROM_IMAGE(T, fma)                                                        \
    for (int64_t i = 0; i < count; i++) {                                         \
        T v = (T)((const uint8_t *)in)[i], q = v * (1 / (T)255);                  \
        ((T *)out)[i] = fma(fma(-q, (T)255, v), 1 / (T)255, q);                   \
    }
#else
#define FROM_IMAGE(T, fma) \
    for (int64_t i = 0; i < count; i++) ((T *)out)[i] = (T)((const uint8_t *)in)[i] / (T)255;
#endif

void kernel_from_image(dtype to, int64_t count, void *out, const void *in) {
    if (to == FLOAT64) {
        FROM_IMAGE(double, __builtin_fma)
        return;
    }
    FROM_IMAGE(float, __builtin_fmaf)
}

#define FILL(T, expression)                                                              \
    for (int64_t i = 0; i < count; i++) ((T *)out)[i] = (T)(expression);                 \
    break

void kernel_fill(dtype type, int64_t count, char *out, double value) {
    switch (type) {
        case FLOAT32: FILL(float, value);
        case FLOAT64: FILL(double, value);
        case INT64: FILL(int64_t, to_int64(value));
        default: FILL(uint8_t, to_uint8(value));
    }
}

void kernel_arange(dtype type, int64_t count, char *out, double start, double step) {
    switch (type) {
        case FLOAT32: FILL(float, start + (double)i * step);
        case FLOAT64: FILL(double, start + (double)i * step);
        case INT64: FILL(int64_t, to_int64(start + (double)i * step));
        default: FILL(uint8_t, to_uint8(start + (double)i * step));
    }
}
