/* Operators without inputs, or whose inputs are only a key: constants, ranges, random numbers. */
#include "fail.h"
#include "kernels.h"
#include "operators.h"
#include "pool.h"
#include "rng.h"

static void run_full(const node *y, const operand *inputs, const operand *out) {
    (void)inputs;
    kernel_fill(out->type, shape_elements(out->shape), out->data, attribute_to_number(y->attributes[0]));
}
OPERATOR(full, .kind = KERNEL, .run = run_full, .doc = "Every element is one number.")

node *op_full(shape s, dtype type, double value) {
    shape_elements(s);
    return node_new(&row_full, type, s, 0, NULL, 1, (int64_t[]){attribute_from_number(value)});
}

bool is_filled_with(const node *n, double value) {
    while (!node_has_value(n) && (n->op == &row_full || op_is(n, "expand") || op_is(n, "reshape"))) {
        if (n->op == &row_full) return attribute_to_number(n->attributes[0]) == value;
        n = n->inputs[0];
    }
    return false;
}

node *op_number_like(node *x, double value) { return op_full((shape){.rank = 0}, x->type, value); }

static void run_arange(const node *y, const operand *inputs, const operand *out) {
    (void)inputs;
    kernel_arange(out->type, shape_elements(out->shape), out->data, attribute_to_number(y->attributes[0]),
                  attribute_to_number(y->attributes[1]));
}
OPERATOR(arange, .kind = KERNEL, .run = run_arange, .doc = "start, start + step, ...")

node *op_arange(dtype type, int64_t count, double start, double step) {
    int64_t attributes[] = {attribute_from_number(start), attribute_from_number(step)};
    if (count < 0) fail(ERROR_ARGUMENT, "arange: %lld elements asked for", (long long)count);
    return node_new(&row_arange, type, (shape){1, {count}}, 0, NULL, 2, attributes);
}

typedef struct {
    rng_key key;
    const operand *out;
    int64_t count, chunks;
    bool normal;
} random_job;

static void random_task(void *context, int64_t chunk) {
    const random_job *job = context;
    int64_t begin = pool_begin(job->count, job->chunks, chunk), end = pool_begin(job->count, job->chunks, chunk + 1);
    float *single = (float *)(void *)job->out->data + begin;
    double *wide = (double *)(void *)job->out->data + begin;
    if (job->out->type == FLOAT32)
        (job->normal ? rng_normal_float32 : rng_uniform_float32)(job->key, begin, end - begin, single);
    else (job->normal ? rng_normal_float64 : rng_uniform_float64)(job->key, begin, end - begin, wide);
}

static void run_random(const operand *key, const operand *out, bool normal) {
    const int64_t *words = (const int64_t *)(void *)key->data;
    int64_t count = shape_elements(out->shape);
    random_job job = {{(uint64_t)words[0], (uint64_t)words[1]}, out, count, pool_chunks(count, 16384), normal};
    pool_run(job.chunks, random_task, &job);
}

static void run_random_uniform(const node *y, const operand *inputs, const operand *out) {
    (void)y;
    run_random(inputs, out, false);
}
static void run_random_normal(const node *y, const operand *inputs, const operand *out) {
    (void)y;
    run_random(inputs, out, true);
}

static node *build_random(const operator *op, node *key, shape s, dtype type) {
    if (key->type != INT64 || key->shape.rank != 1 || key->shape.size[0] != 2)
        fail(ERROR_ARGUMENT, "%s: the key must be two int64 numbers (seed, stream), not %s of shape %s", op->name,
             dtype_name(key->type), shape_format(key->shape).text);
    if (!dtype_is_float(type)) fail(ERROR_DTYPE, "%s: %s has no such numbers", op->name, dtype_name(type));
    shape_elements(s);
    return node_new(op, type, s, 1, &key, 0, NULL);
}

static node *build_from_outside(const operator *op, const argument *arguments) {
    shape s = {.rank = arguments[1].count};
    for (int axis = 0; axis < s.rank; axis++) s.size[axis] = arguments[1].list[axis];
    return build_random(op, arguments[0].tensor, s, arguments[2].given ? arguments[2].type : FLOAT32);
}

OPERATOR(random_uniform, .signature = "key, shape:shape, dtype:dtype?", .kind = KERNEL, .accepts = operand_is_contiguous,
         .build = build_from_outside, .run = run_random_uniform,
         .samples = "n=tensor({7,-3}) ; random_uniform(n,{3,5},'float64') ; i,j -> uniform(7, -3, 5*(i-1)+j, 'float64')\n"
                    "n=tensor({7,-3}) ; random_uniform(n,{3,5}) ; i,j -> uniform(7, -3, 5*(i-1)+j, 'float32')",
         .doc = "Uniform numbers in [0, 1), a function of key (int64: seed, stream) and place alone (Philox 4x32-10).")
OPERATOR(random_normal, .signature = "key, shape:shape, dtype:dtype?", .kind = KERNEL, .accepts = operand_is_contiguous,
         .build = build_from_outside, .run = run_random_normal,
         .samples = "n=tensor({7,-3}) ; random_normal(n,{3,5},'float64') ; i,j -> normal(7, -3, 5*(i-1)+j)",
         .doc = "Standard normal numbers, a function of key (int64: seed, stream) and place alone (Philox 4x32-10).")

node *op_random_uniform(node *key, shape s, dtype type) { return build_random(&row_random_uniform, key, s, type); }
node *op_random_normal(node *key, shape s, dtype type) { return build_random(&row_random_normal, key, s, type); }
