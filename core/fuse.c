#include "fuse.h"

#include <string.h>

#include "kernel_elementwise.h"
#include "kernels.h"
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

/* The largest block, not too small, that is a multiple of one period and a whole part of another; or 0. */
static int64_t block_within(int64_t whole, int64_t period, int64_t repeated) {
    for (int64_t block = whole / period * period; block >= whole / 4 && block > 0; block -= period)
        if (repeated % block == 0) return block;
    return 0;
}

static void merge_axes(operand *a) {
    shape merged = {.rank = 0};
    for (int axis = 0; axis < a->shape.rank; axis++) {
        int last = merged.rank - 1;
        if (a->shape.size[axis] == 1) continue;
        if (last >= 0 && a->strides[last] == a->strides[axis] * a->shape.size[axis])
            merged.size[last] *= a->shape.size[axis];
        else merged.size[last = merged.rank++] = a->shape.size[axis];
        a->strides[last] = a->strides[axis];
    }
    a->shape = merged;
}

void fused_choose_loads(fused *f, operand *operands) {
    int64_t whole = FUSED_BLOCK_BYTES / (int64_t)dtype_bytes(f->type), line = 64 / (int64_t)dtype_bytes(f->type), period = 1, repeated = 0;
    for (int i = 0; i < f->operand_count; i++) {
        int64_t own = f->periods[i] = period_of(&operands[i]);
        f->loads[i] = operands[i].type != f->type ? LOAD_BYTES : operand_is_contiguous(&operands[i]) ? LOAD_DIRECT : LOAD_GENERAL;
        if (f->loads[i] == LOAD_DIRECT || f->loads[i] == LOAD_BYTES) continue;
        if (own == 1 || (own > 0 && own <= whole / 2 && (period == 1 || period == own))) {
            f->loads[i] = LOAD_ONCE;
            if (own > 1) period = own;
        } else if (own > whole / 2 && repeated == 0) repeated = own;
    }
    f->block = repeated > 0 ? block_within(whole, period, repeated) : 0;
    for (int i = 0; i < f->operand_count; i++) {
        if (f->loads[i] == LOAD_GENERAL && f->block > 0 && f->periods[i] > 0 && f->periods[i] % f->block == 0)
            f->loads[i] = LOAD_REPEATED;
        if (f->loads[i] == LOAD_GENERAL) merge_axes(&operands[i]);
    }
    if (f->block == 0) f->block = whole / period * period;
    /* Rows that are no whole number of cache lines: vectors that cross these would take twice as long. */
    if (repeated == 0 && f->block % line != 0) f->block = (whole - period) / line * line;
}

/* Bytes / y: mostly an image / 255. */
#define DIVIDE_BYTES(name, T, type)                                                                                      \
    static void name(int64_t count, void *out, const void *x, const void *y, const void *z, double p, double q) {       \
        const T *divisor = y;                                                                                           \
        (void)z, (void)p, (void)q;                                                                                      \
        if (*divisor == 255) kernel_from_image(type, count, out, x);                                                    \
        else for (int64_t i = 0; i < count; i++) ((T *)out)[i] = (T)((const uint8_t *)x)[i] / *divisor;                 \
    }
DIVIDE_BYTES(divide_bytes_float32, float, FLOAT32)
DIVIDE_BYTES(divide_bytes_float64, double, FLOAT64)

void fused_divide_bytes(fused *f, fused_step *step) {
    int bytes = fused_operand(step->inputs[0]), divisor = fused_operand(step->inputs[1]); /* its own inverse */
    if (divisor < 0 || f->loads[divisor] != LOAD_ONCE || f->periods[divisor] != 1) return;
    f->loads[bytes] = LOAD_DIRECT_BYTES;
    step->kernel = f->type == FLOAT32 ? divide_bytes_float32 : divide_bytes_float64;
}

static bool reads(const fused_step *step, fused_place place) {
    for (int k = 0; k < step->input_count; k++)
        if (step->inputs[k] == place) return true;
    return false;
}

/* Is what step s writes read by the next step only? */
static bool is_passed_on(const fused *f, int s) {
    const fused_place place = f->steps[s].result;
    if (place < 0 || s + 1 == f->step_count || !reads(&f->steps[s + 1], place)) return false;
    for (int later = s + 1; later < f->step_count; later++) {
        if (later > s + 1 && reads(&f->steps[later], place)) return false;
        if (f->steps[later].result == place) return true;
    }
    return true;
}

/* The product `first`, and what `next` makes of it; false where these are no such steps. */
static bool join_product(dtype type, const fused_step *first, fused_step *next) {
    const bool square = first->kernel == elementwise_kernels_square[type];
    const bool adds = next->kernel == elementwise_kernels_add[type], subtracts = next->kernel == elementwise_kernels_sub[type];
    const bool is_first = next->inputs[0] == first->result;
    if ((!square && first->kernel != elementwise_kernels_mul[type]) || (!adds && !subtracts) || next->inputs[0] == next->inputs[1])
        return false;
    next->kernel = adds       ? elementwise_kernels_multiply_add[type]
                   : is_first ? elementwise_kernels_multiply_subtract[type]
                              : elementwise_kernels_subtract_multiply[type];
    next->inputs[2] = next->inputs[is_first ? 1 : 0];
    next->inputs[0] = first->inputs[0];
    next->inputs[1] = first->inputs[square ? 0 : 1];
    next->input_count = 3;
    return true;
}

void fused_join_products(fused *f) {
    int kept = 0;
    if (!dtype_is_float(f->type)) return;
    for (int s = 0; s < f->step_count; s++)
        if (!is_passed_on(f, s) || !join_product(f->type, &f->steps[s], &f->steps[s + 1])) f->steps[kept++] = f->steps[s];
    f->step_count = kept;
}

/* A column as a block meets it. A number is one whose first row never ends. */
typedef struct {
    const char *first;
    int64_t step, length, left; /* between its numbers; of rows, and of the first row */
} column;

#define WITH_COLUMN(name, T, value)                                                                                \
    static __attribute__((optimize("fp-contract=off"))) void name(int64_t count, void *out, const void *xs,        \
                                                                  const void *ys, const void *zs, double p, double q) { \
        const column *c = xs;                                                                                      \
        const T *number = (const T *)(const void *)c->first, *y = ys, *z = zs;                                     \
        T *r = out;                                                                                                \
        (void)z, (void)p, (void)q;                                                                                 \
        for (int64_t done = 0, length = c->left; done < count; done += length, length = c->length, number += c->step) { \
            const T x = *number;                                                                                   \
            if (length > count - done) length = count - done;                                                      \
            for (int64_t i = done; i < done + length; i++) r[i] = value;                                           \
        }                                                                                                          \
    }
#define WITH_COLUMNS(T, name)                                        \
    WITH_COLUMN(column_add_##name, T, x + y[i])                      \
    WITH_COLUMN(column_mul_##name, T, x * y[i])                      \
    WITH_COLUMN(column_multiply_add_##name, T, x * y[i] + z[i])      \
    WITH_COLUMN(column_subtract_multiply_##name, T, z[i] - x * y[i]) \
    WITH_COLUMN(column_where_##name, T, x != 0 ? y[i] : z[i])
WITH_COLUMNS(float, float32)
WITH_COLUMNS(double, float64)

/* The kernel with a column in place of x, where there is one. */
static elementwise_kernel *with_column(dtype type, elementwise_kernel *kernel) {
    const bool wide = type == FLOAT64;
    if (kernel == elementwise_kernels_add[type]) return wide ? column_add_float64 : column_add_float32;
    if (kernel == elementwise_kernels_mul[type]) return wide ? column_mul_float64 : column_mul_float32;
    if (kernel == elementwise_kernels_multiply_add[type]) return wide ? column_multiply_add_float64 : column_multiply_add_float32;
    if (kernel == elementwise_kernels_subtract_multiply[type])
        return wide ? column_subtract_multiply_float64 : column_subtract_multiply_float32;
    if (kernel == elementwise_kernels_where[type]) return wide ? column_where_float64 : column_where_float32;
    return NULL;
}

/* Where among its inputs a step has the place, if it can take a column there, else -1: as the first, or one of two terms or
 * factors. */
static int column_input(const fused *f, const fused_step *step, fused_place place) {
    const int places = step->kernel == elementwise_kernels_where[f->type] ? 1 : 2;
    int found = -1, times = 0;
    for (int k = 0; k < step->input_count; k++) {
        if (step->inputs[k] != place) continue;
        found = k;
        times++;
    }
    return times == 1 && found < places && with_column(f->type, step->kernel) != NULL ? found : -1;
}

/* Is this a column that one step reads, or a number, and can all its readers take it as a column? Rows may be short, and each
 * reader runs through them: a column that several read is gathered for all of them instead. */
static bool becomes_column(const fused *f, int number, const operand *a) {
    const fused_place place = fused_operand(number);
    int readers = 0;
    for (int s = 0; s < f->step_count; s++) {
        if (!reads(&f->steps[s], place)) continue;
        if (column_input(f, &f->steps[s], place) < 0) return false;
        readers++;
    }
    if (f->loads[number] == LOAD_ONCE) return f->periods[number] == 1;
    return f->loads[number] == LOAD_GENERAL && a->shape.rank == 2 && a->strides[1] == 0 && readers == 1;
}

void fused_take_columns(fused *f, const operand *operands) {
    for (int i = 0; i < f->operand_count && dtype_is_float(f->type); i++) {
        const fused_place place = fused_operand(i);
        if (!becomes_column(f, i, &operands[i])) continue;
        f->loads[i] = LOAD_COLUMN;
        for (int s = 0; s < f->step_count; s++) {
            fused_step *step = &f->steps[s];
            if (!reads(step, place)) continue;
            step->inputs[column_input(f, step, place)] = step->inputs[0];
            step->inputs[0] = place;
            step->kernel = with_column(f->type, step->kernel);
        }
    }
}

/* out (count) = its first `length` elements again and again. */
static void repeat_first(char *out, int64_t length, int64_t count, int64_t bytes) {
    for (int64_t filled = length; filled < count; filled *= 2) /* doubling what is there */
        memcpy(out + filled * bytes, out, (size_t)((filled * 2 <= count ? filled : count - filled) * bytes));
}

/* out (run) = in (run), whose numbers lie `stride` apart, or are one and the same. */
#define GATHER_ROW(T)                                                                                     \
    static void gather_row_##T(T *out, const T *in, int64_t run, int64_t stride) {                        \
        T same = *in;                                                                                     \
        for (int64_t i = 0; stride == 0 && i < run; i++) out[i] = same;                                   \
        for (int64_t i = 0; stride != 0 && i < run; i++) out[i] = in[i * stride];                         \
    }
GATHER_ROW(uint32_t)
GATHER_ROW(uint64_t)

static void gather_row(char *out, const char *in, int64_t run, int64_t stride, int64_t bytes) {
    if (bytes == 4) gather_row_uint32_t((uint32_t *)(void *)out, (const uint32_t *)(const void *)in, run, stride);
    else gather_row_uint64_t((uint64_t *)(void *)out, (const uint64_t *)(const void *)in, run, stride);
}

/* Elements begin .. begin + count - 1, in row-major order, of a strided operand. */
static void load_general(const operand *a, int64_t begin, int64_t count, char *out) {
    int64_t index[MAX_RANK], rest = begin, bytes = (int64_t)dtype_bytes(a->type);
    int inner = a->shape.rank - 1;
    const char *row = a->data;
    for (int axis = inner; axis >= 0; axis--) {
        index[axis] = rest % a->shape.size[axis];
        rest /= a->shape.size[axis];
        row += index[axis] * a->strides[axis] * bytes;
    }
    for (;;) {
        int64_t run = a->shape.size[inner] - index[inner], stride = a->strides[inner];
        const char *in = row;
        if (run > count) run = count;
        if (stride == 1) memcpy(out, in, (size_t)(run * bytes));
        else gather_row(out, in, run, stride, bytes);
        if (inner > 0 && a->strides[inner - 1] == 0 && run == a->shape.size[inner]) { /* as often as the row comes again */
            int64_t rows = a->shape.size[inner - 1] - index[inner - 1], all = rows * run < count ? rows * run : count;
            repeat_first(out, run, all, bytes);
            index[inner - 1] += (all + run - 1) / run - 1;
            run = all;
        }
        count -= run;
        if (count == 0) return;
        out += run * bytes;
        row -= index[inner] * stride * bytes;
        index[inner] = 0;
        int axis = inner - 1;
        while (++index[axis] == a->shape.size[axis]) {
            row -= (a->shape.size[axis] - 1) * a->strides[axis] * bytes;
            index[axis--] = 0;
        }
        row += a->strides[axis] * bytes;
    }
}

/* Fills what blocks of `count` read with a number, or with repeated rows: one more than that, since a block may begin within one. */
static void load_once(const operand *a, int64_t count, char *out) {
    int64_t bytes = (int64_t)dtype_bytes(a->type), period = period_of(a), room = FUSED_BLOCK_BYTES / bytes;
    if (period == 1) {
        gather_row(out, a->data, count, 0, bytes);
        return;
    }
    count = count + period < room ? count + period : room;
    memcpy(out, a->data, (size_t)(period * bytes));
    repeat_first(out, period, count, bytes);
}

typedef struct {
    const fused *program;
    const operand *operands;
    int64_t blocks, chunks;
} fused_job;

/* Where operand i lies for the block of elements from `begin` on; what is loaded block by block is loaded. */
static char *operand_place(const fused *f, int i, const operand *a, int64_t begin, int64_t count) {
    const int64_t bytes = (int64_t)dtype_bytes(f->type);
    char *own = registers[f->registers[i]];
    switch (f->loads[i]) {
        case LOAD_DIRECT: return a->data + begin * bytes;
        case LOAD_DIRECT_BYTES: return a->data + begin;
        case LOAD_REPEATED: return a->data + begin % f->periods[i] * bytes;
        case LOAD_ONCE: return f->periods[i] == 1 ? own : own + begin % f->periods[i] * bytes; /* a block may begin within a row */
        case LOAD_COLUMN: {
            if (f->periods[i] == 1) {
                *(column *)(void *)own = (column){a->data, 0, INT64_MAX, INT64_MAX};
                break;
            }
            const int64_t length = a->shape.size[1];
            const char *first = a->data + begin / length * a->strides[0] * bytes;
            *(column *)(void *)own = (column){first, a->strides[0], length, length - begin % length};
            break;
        }
        case LOAD_GENERAL: load_general(a, begin, count, own); break;
        case LOAD_BYTES: kernel_cast(UINT8, f->type, count, own, a->data + begin); break;
    }
    return own;
}

/* Each operand is a stream of its own, too many for the processor to foresee: what the next block reads is sent for while this
 * one is computed. With few steps there is no time to wait in. */
static void fetch_next(const fused *f, const operand *operands, int64_t at) {
    enum { FEW_STEPS = 8, LINE = 64 };
    for (int i = 0; i < f->operand_count && f->step_count > FEW_STEPS; i++)
        for (int64_t line = 0; line < FUSED_BLOCK_BYTES && f->loads[i] == LOAD_DIRECT; line += LINE)
            __builtin_prefetch(operands[i].data + at + FUSED_BLOCK_BYTES + line, 0, 2);
}

static void run_block(const fused *f, const operand *operands, int64_t begin, int64_t count) {
    int64_t bytes = (int64_t)dtype_bytes(f->type);
    char *places[FUSED_MAX_REGISTERS];
    for (int i = 0; i < f->operand_count; i++) places[i] = operand_place(f, i, &operands[i], begin, count);
    if (f->from_afar) fetch_next(f, operands, begin * bytes);
#define PLACE(at) ((at) >= 0 ? registers[at] : places[fused_operand(at)])
    for (int s = 0; s < f->step_count; s++) {
        const fused_step *step = &f->steps[s];
        char *out = PLACE(step->result), *x = PLACE(step->inputs[0]);
        if (step->kernel == NULL) memcpy(out, x, (size_t)(count * bytes));
        else step->kernel(count, out, x, PLACE(step->inputs[1]), PLACE(step->inputs[2]), step->p, step->q);
    }
#undef PLACE
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
    const int64_t threads = pool_threads(); /* may count here, since no number depends on another chunk's: as much for each */
    if (job.chunks > threads) job.chunks = (job.chunks + threads - 1) / threads * threads;
    if (job.chunks > job.blocks) job.chunks = job.blocks;
    pool_run(job.chunks, fused_task, &job);
}
