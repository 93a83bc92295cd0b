/* Matrix products. Inside the graph x is (..., m, k) and y (..., k, n) with equal leading axes. */
#include <string.h>

#include "batch.h"
#include "fail.h"
#include "kernels.h"
#include "operators.h"
#include "pool.h"

static matrix matrix_at(const operand *a, int64_t batch) {
    int rank = a->shape.rank;
    matrix m = {a->data, a->strides[rank - 2], a->strides[rank - 1]};
    for (int axis = rank - 3; axis >= 0; axis--) {
        m.data += batch % a->shape.size[axis] * a->strides[axis] * (int64_t)dtype_bytes(a->type);
        batch /= a->shape.size[axis];
    }
    return m;
}

/* Products of many pairs of matrices: large ones one after another, each on all threads; small ones in chunks. */
typedef struct {
    const operand *x, *y, *out;
    int64_t m, n, k, batches, chunks;
    bool columnwise;      /* does the result lie so? */
    size_t scratch_bytes; /* of one product */
    char *scratch;
} batched_product;

enum { ENOUGH = 250000, MAX_CHUNKS = 16 }; /* multiplications in a chunk */

static batched_product batched_product_of(shape x, shape out, dtype type) {
    batched_product p = {.m = out.size[out.rank - 2], .n = out.size[out.rank - 1], .k = x.size[x.rank - 1], .batches = 1};
    for (int axis = 0; axis < out.rank - 2; axis++) p.batches *= out.size[axis];
    int64_t one = p.m * p.n * p.k, chunks = one * p.batches / ENOUGH;
    p.chunks = one >= ENOUGH || chunks < 2 ? 1 : chunks > MAX_CHUNKS ? MAX_CHUNKS : chunks;
    if (p.chunks > p.batches) p.chunks = p.batches;
    p.scratch_bytes = kernel_matmul_scratch(type, p.m, p.n, p.k);
    return p;
}

static matrix flipped(matrix a) { return (matrix){a.data, a.column_stride, a.row_stride}; }

static void multiply_chunk(void *context, int64_t chunk) {
    const batched_product *p = context;
    int64_t begin = pool_begin(p->batches, p->chunks, chunk), end = pool_begin(p->batches, p->chunks, chunk + 1);
    int64_t bytes = (int64_t)dtype_bytes(p->out->type);
    char *scratch = p->scratch + (size_t)chunk * p->scratch_bytes;
    for (int64_t batch = begin; batch < end; batch++) {
        matrix x = matrix_at(p->x, batch), y = matrix_at(p->y, batch);
        if (p->columnwise) /* each out^T = y^T x^T lies beside the one before */
            kernel_matmul_piece(p->out->type, p->n, p->m, p->k, flipped(y), flipped(x), p->out->data + batch * p->m * bytes,
                                p->batches * p->m, false, scratch);
        else
            kernel_matmul(p->out->type, p->m, p->n, p->k, p->out->data + batch * p->m * p->n * bytes, x, y, scratch);
    }
}

static images images_among(const operand *inputs) {
    return (images){.side = inputs[0].type == UINT8 ? X_IMAGES : inputs[1].type == UINT8 ? Y_IMAGES : NO_IMAGES};
}

static void multiply_images(const batched_product *p, const operand *inputs) {
    images which = images_among(inputs);
    const operand *scratch = &inputs[MATMUL_DIVISOR + 1];
    which.divisor = *(const float *)(const void *)inputs[MATMUL_DIVISOR].data;
    if (inputs[MATMUL_CHOSEN].type == INT64) {
        which.chosen = (const int64_t *)(const void *)inputs[MATMUL_CHOSEN].data;
        scratch = &inputs[MATMUL_CHOSEN + 1];
    }
    kernel_matmul_images(p->m, p->n, p->k, p->out->data, matrix_at(p->x, 0), matrix_at(p->y, 0), which, scratch->data);
}

static bool is_single(shape s) {
    for (int axis = 0; axis < s.rank - 2; axis++)
        if (s.size[axis] != 1) return false;
    return true;
}

/* Most products are of two matrices, and many of them small: what many matrices need takes as long as these do. */
static void run_single(const operand *inputs, const operand *out) {
    const matrix x = matrix_at(&inputs[0], 0), y = matrix_at(&inputs[1], 0);
    const int rank = out->shape.rank;
    const int64_t m = out->shape.size[rank - 2], n = out->shape.size[rank - 1], k = inputs[0].shape.size[rank - 1];
    if (operand_is_contiguous(out)) kernel_matmul(out->type, m, n, k, out->data, x, y, inputs[2].data);
    else kernel_matmul(out->type, n, m, k, out->data, flipped(y), flipped(x), inputs[2].data);
}

static void run_matmul(const node *y, const operand *inputs, const operand *out) {
    (void)y;
    if (is_single(out->shape) && images_among(inputs).side == NO_IMAGES) {
        run_single(inputs, out);
        return;
    }
    batched_product p = batched_product_of(inputs[0].shape, out->shape, out->type);
    p.x = &inputs[0], p.y = &inputs[1], p.out = out;
    p.scratch = inputs[2].data;
    p.columnwise = !operand_is_contiguous(out);
    if (images_among(inputs).side != NO_IMAGES) multiply_images(&p, inputs);
    else if (p.k == 0) memset(out->data, 0, (size_t)shape_elements(out->shape) * dtype_bytes(out->type));
    else if (p.chunks > 1 || p.columnwise) pool_run(p.chunks, multiply_chunk, &p);
    else
        for (int64_t batch = 0; batch < p.batches; batch++)
            kernel_matmul(out->type, p.m, p.n, p.k, out->data + batch * p.m * p.n * (int64_t)dtype_bytes(out->type),
                          matrix_at(p.x, batch), matrix_at(p.y, batch), p.scratch);
}

static size_t scratch_matmul(const node *y, const operand *in) {
    batched_product p = batched_product_of(in[0].shape, y->shape, y->type);
    if (images_among(in).side != NO_IMAGES) return kernel_matmul_images_scratch(p.m, p.n, p.k, images_among(in));
    return (size_t)p.chunks * p.scratch_bytes;
}

static node *transposed(node *x) { return op_transpose(x, x->shape.rank - 2, x->shape.rank - 1); }

/* Is x a transposed view? */
static bool is_transposed(const node *x) {
    int rank = x->shape.rank;
    return op_is(x, "permute") && x->attributes[rank - 1] == rank - 2 && x->attributes[rank - 2] == rank - 1;
}

/* g w^T and x^T g; or the transposes of w g^T and g^T x, where the input is a transposed view: the gradient then lies in
 * memory as the view's parent does. */
static node *gradient_matmul(node *y, node *g, int index) {
    node *x = y->inputs[0], *w = y->inputs[1];
    if (index == 0) return is_transposed(x) ? transposed(op_matmul(w, transposed(g))) : op_matmul(g, transposed(w));
    return is_transposed(w) ? transposed(op_matmul(transposed(g), x)) : op_matmul(transposed(x), g);
}

/* Many x meet one matrix w: their rows are the rows of one long x, unless they would have to be moved for that. */
static node *batch_matmul(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    node *x = inputs[0], *w = inputs[1];
    if (mapped[1] || y->shape.rank > 2 || is_transposed(x)) return op_matmul(batch_repeat(x, mapped[0], size), batch_repeat(w, mapped[1], size));
    return op_reshape(op_matmul(batch_join(x, true, size), w), batch_shape(size, y->shape));
}

/* By the rows of x or by the columns of y; by both's leading axis; or the sums over k. */
static int cut_matmul(const node *y, int *axes) {
    int rows = y->shape.rank - 2, columns = y->shape.rank - 1;
    if (axes[0] == columns && axes[1] == rows) return SUMMED;
    if (axes[0] == rows && axes[1] == WHOLE) return rows;
    if (axes[1] == columns && axes[0] == WHOLE) return columns;
    return axes[0] < rows && axes[1] < rows ? operator_cut_together(y, axes) : WHOLE;
}

static node *build_matmul(const operator *op, const argument *a) {
    (void)op;
    return op_matmul(a[0].tensor, a[1].tensor);
}
OPERATOR(matmul, .signature = "x, y", .kind = KERNEL, .differentiable = true, .build = build_matmul,
         .run = run_matmul, .scratch = scratch_matmul, .gradient = gradient_matmul, .batch = batch_matmul,
         .cut = cut_matmul,
         .samples = "x=randn(3,4), y=randn(4,2) ; x:matmul(y) ; i,j -> total(4, function(k) return x(i,k)*y(k,j) end)\n"
                    "x=randn(4,3), y=randn(2,4) ; x:t():matmul(y:t()) ; i,j -> total(4, function(k) return x(k,i)*y(j,k) end)\n"
                    "x=randn(2,3,4), y=randn(4,2) ; x:matmul(y) ; b,i,j -> total(4, function(k) return x(b,i,k)*y(k,j) end)\n"
                    "x=randn(2,1,3,2), y=randn(3,2,2) ; x:matmul(y) ; a,b,i,j -> total(2, function(k) return x(a,1,i,k)*y(b,k,j) end)\n"
                    "x=randn(4), y=randn(4,2) ; x:matmul(y) ; j -> total(4, function(k) return x(k)*y(k,j) end)\n"
                    "x=randn(3,4), y=randn(4) ; x:matmul(y) ; i -> total(4, function(k) return x(i,k)*y(k) end)\n"
                    "x=randn(4), y=randn(4) ; x:matmul(y) ; -> total(4, function(k) return x(k)*y(k) end)",
         .doc = "The matrix product (..., m, k) x (..., k, n) -> (..., m, n); leading axes broadcast; a vector is a row\n"
                "on the left and a column on the right. Transposed views are taken as they are, without a copy.")

static void mismatch(node *x, node *y) {
    fail(ERROR_SHAPE, "matmul: shapes %s and %s do not fit together", shape_format(x->shape).text,
         shape_format(y->shape).text);
}

/* x with the leading axes of `s`. */
static node *expand_leading(node *x, shape s) {
    shape wanted = s;
    for (int axis = 1; axis <= 2; axis++) wanted.size[s.rank - axis] = x->shape.size[x->shape.rank - axis];
    return op_expand(x, wanted);
}

node *op_matmul(node *x, node *y) {
    bool row = x->shape.rank == 1, column = y->shape.rank == 1;
    if (x->type != y->type || !dtype_is_float(x->type))
        fail(ERROR_DTYPE, "matmul: %s of shape %s and %s of shape %s do not mix; both must be float32 or both float64",
             dtype_name(x->type), shape_format(x->shape).text, dtype_name(y->type), shape_format(y->shape).text);
    if (x->shape.rank == 0 || y->shape.rank == 0) mismatch(x, y);
    if (x->shape.size[x->shape.rank - 1] != y->shape.size[column ? 0 : y->shape.rank - 2]) mismatch(x, y);
    if (row) x = op_reshape(x, (shape){2, {1, x->shape.size[0]}});
    if (column) y = op_reshape(y, (shape){2, {y->shape.size[0], 1}});
    /* the leading axes broadcast; the shared result has those plus (m, n) */
    shape leading_x = x->shape, leading_y = y->shape, s;
    leading_x.rank -= 2;
    leading_y.rank -= 2;
    if (!shape_broadcast(leading_x, leading_y, &s)) mismatch(x, y);
    int64_t m = x->shape.size[x->shape.rank - 2], n = y->shape.size[y->shape.rank - 1];
    s.size[s.rank++] = m;
    s.size[s.rank++] = n;
    shape_elements(s);
    node *inputs[2] = {expand_leading(x, s), expand_leading(y, s)};
    node *product = node_new(&row_matmul, x->type, s, 2, inputs, 0, NULL);
    if (column) product = op_reshape(product, shape_drop_axis(product->shape, s.rank - 1));
    if (row) product = op_reshape(product, shape_drop_axis(product->shape, s.rank - 2));
    return product;
}
