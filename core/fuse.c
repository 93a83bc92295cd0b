#include "fuse.h"

#include <string.h>

#include "pool.h"

static _Thread_local char registers[FUSED_MAX_REGISTERS][FUSED_BLOCK_BYTES] __attribute__((aligned(64)));

/* The number of trailing elements that repeat along all axes before them: 1 for a number, the row's length for a row
 * repeated over a matrix; 0 where the layout is neither. */
static int64_t period_of(const operand *a) {
    int64_t period = 1;
    int axis = a->shape.rank - 1;
    for (; axis >= 0 && (a->shape.size[axis] == 1 || a->strides[axis] == period); axis--) period *= a->shape.size[axis];
    for (; axis >= 0; axis--)
        if (a->shape.size[axis] != 1 && a->strides[axis] != 0) return 0;
    return period;
}

void fused_choose_loads(fused *f, const operand *operands) {
    int64_t whole = FUSED_BLOCK_BYTES / (int64_t)dtype_bytes(f->type), period = 1;
    for (int i = 0; i < f->operand_count; i++) {
        int64_t own = period_of(&operands[i]);
        if (operand_is_contiguous(&operands[i])) f->loads[i] = LOAD_DIRECT;
        else if (own == 1 || (own > 0 && own <= whole / 2 && (period == 1 || period == own))) {
            f->loads[i] = LOAD_ONCE;
            if (own > 1) period = own;
        } else f->loads[i] = LOAD_GENERAL;
    }
    f->block = whole / period * period;
}

/* The axes of an operand with those joined that lie in memory as one, such as the trailing ones of what is repeated along the
 * first. Returns how many are left, at least one. */
static int joined_axes(const operand *a, int64_t *size, int64_t *stride) {
    int rank = 0;
    for (int axis = 0; axis < a->shape.rank; axis++) {
        if (a->shape.size[axis] == 1) continue;
        bool joins = rank > 0 && stride[rank - 1] == a->strides[axis] * a->shape.size[axis];
        if (!joins) size[rank++] = 1;
        size[rank - 1] *= a->shape.size[axis];
        stride[rank - 1] = a->strides[axis];
    }
    if (rank == 0) size[rank] = 1, stride[rank++] = 1;
    return rank;
}

/* Doubles what stands at out, `filled` bytes, until there are `bytes` of it. */
static void repeat(char *out, int64_t filled, int64_t bytes) {
    for (; filled < bytes; filled *= 2) memcpy(out + filled, out, (size_t)(filled * 2 <= bytes ? filled : bytes - filled));
}

/* rows x width elements, row_step and step elements apart, one behind the other. */
#define LOAD_ROWS(T)                                                                           \
    static void load_rows_##T(T *out, const T *in, int64_t rows, int64_t row_step, int64_t width, int64_t step) { \
        for (; rows > 0; rows--, in += row_step, out += width) {                               \
            T first = *in;                                                                     \
            if (step == 0)                                                                     \
                for (int64_t i = 0; i < width; i++) out[i] = first;                            \
            else if (step == 1)                                                                \
                for (int64_t i = 0; i < width; i++) out[i] = in[i];                            \
            else                                                                               \
                for (int64_t i = 0; i < width; i++) out[i] = in[i * step];                     \
        }                                                                                      \
    }
LOAD_ROWS(uint32_t)
LOAD_ROWS(uint64_t)

static void load_rows(int64_t bytes, void *out, const void *in, int64_t rows, int64_t row_step, int64_t width, int64_t step) {
    int64_t given = row_step == 0 ? 1 : rows; /* the others are the same again */
    if (bytes == 4) load_rows_uint32_t(out, in, given, row_step, width, step);
    else load_rows_uint64_t(out, in, given, row_step, width, step);
    repeat(out, given * width * bytes, rows * width * bytes);
}

/* Elements begin .. begin + count - 1, in row-major order, of a strided operand: as many whole rows at a time as there are. */
static void load_general(const operand *a, int64_t begin, int64_t count, char *out) {
    int64_t size[MAX_RANK], stride[MAX_RANK], bytes = (int64_t)dtype_bytes(a->type);
    int rank = joined_axes(a, size, stride);
    int64_t length = size[rank - 1], step = stride[rank - 1];
    int64_t rows = rank > 1 ? size[rank - 2] : 1, row_step = rank > 1 ? stride[rank - 2] : 0;
    while (count > 0) {
        int64_t column = begin % length, row = begin / length % rows, rest = begin / length / rows;
        int64_t offset = column * step + row * row_step, width = length - column, height = rows - row;
        for (int axis = rank - 3; axis >= 0; axis--) {
            offset += rest % size[axis] * stride[axis];
            rest /= size[axis];
        }
        if (width > count) width = count;
        if (width < length) height = 1;
        else if (height > count / length) height = count / length;
        load_rows(bytes, out, a->data + offset * bytes, height, row_step, width, step);
        begin += width * height;
        count -= width * height;
        out += width * height * bytes;
    }
}

/* Fills a block with a number, or with repeated rows. */
static void load_once(const operand *a, int64_t count, char *out) {
    int64_t bytes = (int64_t)dtype_bytes(a->type), period = period_of(a);
    if (period > count) period = count;
    memcpy(out, a->data, (size_t)(period * bytes));
    repeat(out, period * bytes, count * bytes);
}

typedef struct {
    const fused *program;
    const operand *operands;
    int64_t blocks, chunks;
} fused_job;

static void *place(const fused *f, const operand *operands, fused_place at, int64_t byte_offset) {
    if (at >= 0) return registers[at];
    int number = -(at + 1);
    return f->loads[number] == LOAD_DIRECT ? operands[number].data + byte_offset : registers[f->registers[number]];
}

static void run_block(const fused *f, const operand *operands, int64_t begin, int64_t count) {
    int64_t bytes = (int64_t)dtype_bytes(f->type), at = begin * bytes;
    for (int i = 0; i < f->operand_count; i++)
        if (f->loads[i] == LOAD_GENERAL) load_general(&operands[i], begin, count, registers[f->registers[i]]);
    for (int s = 0; s < f->step_count; s++) {
        const fused_step *step = &f->steps[s];
        void *out = place(f, operands, step->result, at), *x = place(f, operands, step->inputs[0], at);
        if (step->kernel == NULL) memcpy(out, x, (size_t)(count * bytes));
        else
            step->kernel(count, out, x, place(f, operands, step->inputs[1], at),
                         place(f, operands, step->inputs[2], at), step->p, step->q);
    }
}

static void fused_task(void *context, int64_t chunk) {
    const fused_job *job = context;
    const fused *f = job->program;
    int64_t begin = pool_begin(job->blocks, job->chunks, chunk) * f->block;
    int64_t end = pool_begin(job->blocks, job->chunks, chunk + 1) * f->block;
    if (end > f->count) end = f->count;
    for (int i = 0; i < f->operand_count; i++)
        if (f->loads[i] == LOAD_ONCE)
            load_once(&job->operands[i], end - begin < f->block ? end - begin : f->block, registers[f->registers[i]]);
    for (; begin < end; begin += f->block)
        run_block(f, job->operands, begin, end - begin < f->block ? end - begin : f->block);
}

/* A chunk should be worth a thread's attention: about this many elements times steps. */
enum { GRAIN = 200000 };

void fused_run(const fused *f, const operand *operands) {
    fused_job job = {f, operands, (f->count + f->block - 1) / f->block, 1};
    if (f->count == 0) return;
    job.chunks = pool_chunks(f->count * f->step_count, GRAIN);
    if (job.chunks > job.blocks) job.chunks = job.blocks;
    pool_run(job.chunks, fused_task, &job);
}
