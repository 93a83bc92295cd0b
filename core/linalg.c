#include "linalg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "memory.h"
#include "pool.h"

shape vector_shape(shape s, int64_t n) {
    s.size[--s.rank - 1] = n;
    return s;
}

shape matrix_shape(shape s, int64_t m, int64_t n) {
    s.size[s.rank - 2] = m;
    s.size[s.rank - 1] = n;
    return s;
}

static double number_at(dtype type, const char *data, int64_t i) {
    return type == FLOAT32 ? (double)((const float *)(const void *)data)[i] : ((const double *)(const void *)data)[i];
}
static void set_number(dtype type, char *data, int64_t i, double value) {
    if (type == FLOAT32) ((float *)(void *)data)[i] = (float)value;
    else ((double *)(void *)data)[i] = value;
}

/* --- checks ------------------------------------------------------------------------------------------------------------ */

static const int64_t MAX_SIDE = 32000; /* LAPACK counts the elements of its workspace, some 2 n^2, in int */

node *check_matrix(const operator *op, const char *name, node *x) {
    shape s = x->shape;
    if (!dtype_is_float(x->type))
        fail(ERROR_DTYPE, "%s: %s is %s of shape %s, but must be float32 or float64 (see :float(), :double())", op->name,
             name, dtype_name(x->type), shape_format(s).text);
    if (s.rank < 2)
        fail(ERROR_SHAPE, "%s: %s has shape %s, but must be a matrix (..., m, n)", op->name, name, shape_format(s).text);
    if (rows_of(s) > MAX_SIDE || columns_of(s) > MAX_SIDE)
        fail(ERROR_SHAPE, "%s: %s has shape %s, beyond the %lld rows or columns that LAPACK can take", op->name, name,
             shape_format(s).text, (long long)MAX_SIDE);
    return x;
}

node *check_square(const operator *op, node *x) {
    if (rows_of(check_matrix(op, "A", x)->shape) != columns_of(x->shape))
        fail(ERROR_SHAPE, "%s: A has shape %s, but must be square (..., n, n)", op->name, shape_format(x->shape).text);
    return x;
}

typedef struct {
    char text[240];
} element_text;

/* "A[{1, 2, 3}] is 0.5" */
static element_text element_of(const char *name, const operand *a, int64_t element, bool flipped) {
    int64_t index[MAX_RANK], rest = element;
    int rank = a->shape.rank;
    element_text out;
    for (int axis = rank - 1; axis >= 0; axis--) index[axis] = rest % a->shape.size[axis] + 1, rest /= a->shape.size[axis];
    if (flipped) rest = index[rank - 1], index[rank - 1] = index[rank - 2], index[rank - 2] = rest;
    size_t at = (size_t)snprintf(out.text, sizeof out.text, "%s[{", name);
    for (int axis = 0; axis < rank; axis++)
        at += (size_t)snprintf(out.text + at, sizeof out.text - at, axis == 0 ? "%lld" : ", %lld", (long long)index[axis]);
    double number = number_at(a->type, a->data, element);
    snprintf(out.text + at, sizeof out.text - at, "}] is %g", isnan(number) ? NAN : number); /* a NaN's sign means nothing */
    return out;
}

void check_finite(const node *y, const char *name, const operand *a, bool flipped) {
    int64_t count = shape_elements(a->shape);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(number_at(a->type, a->data, i)))
            fail(ERROR_ARGUMENT, "%s: %s, but every element must be finite", y->op->name,
                 element_of(name, a, i, flipped).text);
}

static void check_symmetric(const node *y, const operand *a) {
    int64_t n = columns_of(a->shape), elements = shape_elements(a->shape);
    double rounding = a->type == FLOAT32 ? 3.5e-4 : 1.5e-8;
    for (int64_t first = 0; first < elements; first += n * n) {
        double largest = 0, worst = 0;
        int64_t low = 0, high = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                int64_t below = first + i * n + j, above = first + j * n + i;
                double b = number_at(a->type, a->data, below), c = number_at(a->type, a->data, above);
                largest = fmax(largest, fmax(fabs(b), fabs(c)));
                if (fabs(b - c) > worst) worst = fabs(b - c), low = below, high = above;
            }
        if (worst > rounding * largest)
            fail(ERROR_ARGUMENT, "%s: A is not symmetric: %s, but %s (if that is meant, give (A + A:transpose()) / 2)",
                 y->op->name, element_of("A", a, low, false).text, element_of("A", a, high, false).text);
    }
}

void no_convergence(const char *name, const char *which, int verdict) {
    (void)verdict;
    fail(ERROR_STATE, "%s: the iteration for %s did not converge", name, which);
}

void is_singular(const char *name, const char *which, int verdict) {
    fail(ERROR_ARGUMENT, "%s: %s is singular: its row %d depends on the rows before it", name, which, verdict);
}

void is_not_positive(const char *name, const char *which, int verdict) {
    fail(ERROR_ARGUMENT, "%s: %s is not positive definite: its leading (%d, %d) part is not", name, which, verdict, verdict);
}

/* --- running ----------------------------------------------------------------------------------------------------------- */

enum { MAX_CHUNKS = 64, LONG = 1000000000 }; /* LONG: the work that takes a tenth of a second or more */

typedef struct {
    matrix_job job;
    int64_t chunks;
    size_t chunk_bytes; /* a copy of the matrix, then LAPACK's workspace */
    char *workspace;
    int64_t failed[MAX_CHUNKS]; /* by chunk: the first matrix that LAPACK gave up, or -1 */
    int verdicts[MAX_CHUNKS];
} matrix_run;

char *matrix_result(const matrix_job *job, int64_t i) {
    return job->out->data + bytes_of(job->out, i * (shape_elements(job->out->shape) / job->count));
}

void matrix_symmetric_part(dtype type, int64_t n, char *out, const char *a, bool lower_only) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double mean = 0.5 * number_at(type, a, i * n + j) + 0.5 * number_at(type, a, j * n + i);
            set_number(type, out, j * n + i, lower_only ? 0 : mean);
            set_number(type, out, i * n + j, mean);
        }
}

static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

static void run_chunk(void *context, int64_t chunk) {
    matrix_run *r = context;
    const matrix_job *job = &r->job;
    char *copy = r->workspace + (size_t)chunk * r->chunk_bytes;
    int64_t bytes = bytes_of(job->inputs, job->m * job->n);
    int64_t end = pool_begin(job->count, r->chunks, chunk + 1);
    r->failed[chunk] = -1;
    for (int64_t i = pool_begin(job->count, r->chunks, chunk); i < end && r->failed[chunk] < 0; i++) {
        memcpy(copy, job->inputs->data + i * bytes, (size_t)bytes);
        r->verdicts[chunk] = job->method->compute(job, i, copy, copy + bytes);
        if (r->verdicts[chunk] != 0) r->failed[chunk] = i;
    }
}

static void report_first_failure(const matrix_run *r) {
    for (int64_t chunk = 0; chunk < r->chunks; chunk++) {
        char which[80] = "A";
        if (r->failed[chunk] < 0) continue;
        if (r->job.count > 1) snprintf(which, sizeof which, "matrix %lld of A", (long long)r->failed[chunk] + 1);
        r->job.method->complain(r->job.y->op->name, which, r->verdicts[chunk]);
    }
}

/* --- large matrices: LAPACK cannot be stopped, but left alone -------------------------------------------------------------- */

/* A decomposition of seconds runs on another thread and on copies of its own. An interrupt leaves it behind, to be forgotten when
 * it has come to its end. */
typedef struct long_run {
    background_job beside;
    matrix_run run;
    operand inputs[2], out;
    size_t bytes; /* of all, with the numbers behind */
    struct long_run *next;
} long_run;

static long_run *left_behind;

static void long_run_free(long_run *l) {
    node_release((node *)l->run.job.y);
    memory_release(l, l->bytes);
}

static void forget_left_behind(void) {
    for (long_run **link = &left_behind, *l; (l = *link) != NULL;) {
        if (!pool_wait(&l->beside, 0)) {
            link = &l->next;
            continue;
        }
        *link = l->next;
        long_run_free(l);
    }
}

/* What is still at work when the program ends must not see OpenBLAS give its memory back. */
static void end_at_once(int status, void *unused) {
    (void)unused;
    forget_left_behind();
    if (left_behind == NULL) return;
    fflush(NULL);
    _exit(status);
}

static void long_run_over(void *object) {
    static bool registered;
    long_run *l = object;
    l->next = left_behind;
    left_behind = l;
    forget_left_behind();
    if (left_behind != NULL && !registered) registered = on_exit(end_at_once, NULL) == 0;
}

static void long_run_task(void *context) { run_chunk(&((long_run *)context)->run, 0); }

static size_t operand_bytes(const operand *a) { return rounded((size_t)shape_elements(a->shape) * dtype_bytes(a->type)); }

/* The run r, of one chunk, with copies of its inputs and room for its result. */
static long_run *long_run_new(const matrix_run *r) {
    const matrix_job *job = &r->job;
    int count = job->y->input_count;
    size_t bytes = rounded(sizeof(long_run)) + operand_bytes(job->out) + r->chunk_bytes;
    for (int k = 0; k < count; k++) bytes += operand_bytes(&job->inputs[k]);
    long_run *l = memory_allocate(bytes, "the workspace of a matrix decomposition");
    *l = (long_run){.run = *r, .out = *job->out, .bytes = bytes};
    char *at = (char *)l + rounded(sizeof *l);
    for (int k = 0; k < count; k++, at += operand_bytes(&l->inputs[k - 1])) {
        l->inputs[k] = job->inputs[k];
        l->inputs[k].data = at;
        memcpy(at, job->inputs[k].data, (size_t)shape_elements(job->inputs[k].shape) * dtype_bytes(job->inputs[k].type));
    }
    l->out.data = at;
    l->run.workspace = at + operand_bytes(job->out);
    l->run.job.inputs = l->inputs;
    l->run.job.out = &l->out;
    l->run.job.y = node_retain((node *)job->y);
    return l;
}

static void run_beside(const matrix_run *r) {
    enum { MILLISECONDS = 20 }; /* between looks at interrupts */
    forget_left_behind();
    scope_reserve();
    long_run *l = long_run_new(r);
    pool_start_long(&l->beside, long_run_task, l);
    scope_add(l, long_run_over);
    while (!pool_wait(&l->beside, MILLISECONDS))
        if (pool_ends()) interrupt_check();
    report_first_failure(&l->run);
    memcpy(r->job.out->data, l->out.data, (size_t)shape_elements(l->out.shape) * dtype_bytes(l->out.type));
}

void matrices_run(const matrix_method *method, const node *y, const operand *inputs, const operand *out, lapack_work work) {
    shape s = inputs->shape;
    matrix_run r = {.job = {method, y, inputs, out, 1, rows_of(s), columns_of(s)}};
    int64_t m = rows_of(s), n = columns_of(s), work_of_one = 10 * m * n * lesser(m, n);
    check_finite(y, "A", inputs, false);
    if (method->symmetric) check_symmetric(y, inputs);
    for (int axis = 0; axis < s.rank - 2; axis++) r.job.count *= s.size[axis];
    if (shape_elements(out->shape) == 0) return;
    r.chunks = lesser(pool_chunks(r.job.count * work_of_one, 200000), r.job.count);
    r.chunk_bytes = rounded((size_t)(m * n) * dtype_bytes(inputs->type) + lapack_work_bytes(inputs->type, work));
    if (r.job.count == 1 && work_of_one > LONG) {
        run_beside(&r);
        return;
    }
    r.workspace = memory_scoped((size_t)r.chunks * r.chunk_bytes, "the workspace of a matrix decomposition");
    pool_run(r.chunks, run_chunk, &r);
    report_first_failure(&r);
}

/* --- parts of gradient rules ----------------------------------------------------------------------------------------- */

node *op_flip(node *x) { return op_transpose(x, x->shape.rank - 2, x->shape.rank - 1); }

node *op_half(node *x) { return op_mul(x, op_number_like(x, 0.5)); }

node *op_symmetric_part(node *x) { return op_half(op_add(x, op_flip(x))); }

node *op_as_row(node *x) {
    shape s = x->shape;
    s.size[s.rank] = s.size[s.rank - 1];
    s.size[s.rank++ - 1] = 1;
    return op_reshape(x, s);
}

node *op_as_column(node *x) {
    shape s = x->shape;
    s.size[s.rank++] = 1;
    return op_reshape(x, s);
}

node *op_mask(node *x, int64_t n, node *(*compare)(node *, node *)) {
    node *numbers = op_arange(x->type, n, 0, 1);
    return compare(op_as_column(numbers), op_as_row(numbers));
}

node *op_inverse_gaps(node *x) {
    node *same = op_mask(x, columns_of(x->shape), op_eq);
    return op_div(op_sub(op_number_like(x, 1), same), op_add(op_sub(op_as_row(x), op_as_column(x)), same));
}
