/* plumb.linalg: systems of equations, inverses, Cholesky factors, of matrices (..., n, n). */
#include <string.h>

#include "batch.h"
#include "fail.h"
#include "kernels.h"
#include "linalg.h"

/* --- systems of equations: inputs A and the transpose of B, as LAPACK solves for the rows of row-major memory ---------- */

static int compute_solve(const matrix_job *j, int64_t i, char *copy, char *work) {
    int64_t count = rows_of(j->out->shape), bytes = bytes_of(j->out, count * j->n);
    int verdict = kernel_lu(j->out->type, j->n, copy, (int *)(void *)work);
    if (verdict != 0) return verdict;
    memcpy(matrix_result(j, i), j->inputs[1].data + i * bytes, (size_t)bytes);
    kernel_solve(j->out->type, j->n, count, false, copy, (int *)(void *)work, matrix_result(j, i));
    return 0;
}
static const matrix_method solve_method = {false, compute_solve, is_singular};

static void run_solve(const node *y, const operand *inputs, const operand *out) {
    check_finite(y, "B", &inputs[1], true);
    matrices_run(&solve_method, y, inputs, out, (lapack_work){0, columns_of(inputs->shape)});
}

/* X = A^-1 B: dX = A^-1 (dB - dA X). */
static node *gradient_solve(node *y, node *g, int index) {
    node *rows = op_solve_rows(op_flip(y->inputs[0]), g);
    return index == 1 ? rows : op_neg(op_matmul(op_flip(rows), y));
}

/* Many B for one A: their columns are the columns of one wide B. */
static node *batch_solve(node *y, node *const *inputs, const bool *mapped, int64_t size) {
    if (mapped[0] || y->shape.rank > 2) return batch_leading(y, inputs, mapped, size);
    return op_reshape(op_solve_rows(inputs[0], batch_join(inputs[1], true, size)), batch_shape(size, y->shape));
}

/* x with the leading axes of s. */
static node *with_leading(node *x, shape s) {
    return op_expand(x, matrix_shape(s, rows_of(x->shape), columns_of(x->shape)));
}

/* B is a list of vectors, as in torch, where it is one vector or has the shape of A without its last axis. */
static node *build_solve(const operator *op, const argument *arguments) {
    node *a = check_square(op, arguments[0].tensor), *b = arguments[1].tensor;
    bool vectors = b->shape.rank == 1 || shape_equal(b->shape, shape_drop_axis(a->shape, a->shape.rank - 1));
    shape batch_a = a->shape, batch_b, s;
    if (vectors && b->shape.rank > 0) b = op_as_column(b);
    check_matrix(op, "B", b);
    batch_b = b->shape;
    batch_a.rank -= 2, batch_b.rank -= 2;
    if (a->type != b->type)
        fail(ERROR_DTYPE, "%s: A is %s, but B is %s", op->name, dtype_name(a->type), dtype_name(b->type));
    if (rows_of(b->shape) != columns_of(a->shape) || !shape_broadcast(batch_a, batch_b, &s))
        fail(ERROR_SHAPE, "%s: shapes %s and %s do not fit together", op->name, shape_format(a->shape).text,
             shape_format(arguments[1].tensor->shape).text);
    s.rank += 2;
    node *x = op_flip(op_solve_rows(with_leading(a, s), with_leading(op_flip(b), s)));
    return vectors ? op_reshape(x, shape_drop_axis(x->shape, x->shape.rank - 1)) : x;
}
OPERATOR_NAMED(solve, "linalg.solve", .signature = "A, B", .kind = KERNEL, .differentiable = true, .checks_values = true,
         .accepts = operand_is_contiguous, .build = build_solve, .run = run_solve, .gradient = gradient_solve,
         .batch = batch_solve,
         .samples = "x=randn(2,2), y=randn(2), n=tensor({{6,0},{0,6}}) ; linalg.solve(x + n:cast(x:dtype()), y) ; i -> "
                    "(i == 1 and (x(2,2)+6)*y(1) - x(1,2)*y(2) or (x(1,1)+6)*y(2) - x(2,1)*y(1)) / ((x(1,1)+6)*(x(2,2)+6) - x(1,2)*x(2,1))\n"
                    "x=randn(3,3), y=randn(3,2) ; linalg.solve(x:cosh(), x:cosh():matmul(y)) ; i,j -> y(i,j)\n"
                    "x=randn(2,2,2), y=randn(2,1), n=tensor({{6,0},{0,6}}) ; linalg.solve(x + n:cast(x:dtype()), y) ; b,i,j -> "
                    "(i == 1 and (x(b,2,2)+6)*y(1,1) - x(b,1,2)*y(2,1) or (x(b,1,1)+6)*y(2,1) - x(b,2,1)*y(1,1)) / "
                    "((x(b,1,1)+6)*(x(b,2,2)+6) - x(b,1,2)*x(b,2,1))",
         .doc = "X with A X = B, for A (..., n, n) and B (..., n, k), or a vector (n) for each matrix; leading axes broadcast.")

node *op_solve_rows(node *a, node *rows) {
    return node_new(&row_solve, rows->type, rows->shape, 2, (node *[]){a, rows}, 0, NULL);
}

static int compute_inv(const matrix_job *j, int64_t i, char *copy, char *work) {
    int verdict = kernel_lu(j->out->type, j->n, copy, (int *)(void *)work);
    if (verdict != 0) return verdict;
    memset(matrix_result(j, i), 0, (size_t)bytes_of(j->out, j->n * j->n));
    for (int64_t k = 0; k < j->n; k++) kernel_fill(j->out->type, 1, matrix_result(j, i) + bytes_of(j->out, k * j->n + k), 1);
    kernel_solve(j->out->type, j->n, j->n, true, copy, (int *)(void *)work, matrix_result(j, i));
    return 0;
}
static const matrix_method inv_method = {false, compute_inv, is_singular};

static void run_inv(const node *y, const operand *inputs, const operand *out) {
    matrices_run(&inv_method, y, inputs, out, (lapack_work){0, columns_of(inputs->shape)});
}
static node *gradient_inv(node *y, node *g, int index) {
    (void)index;
    return op_neg(op_matmul(op_matmul(op_flip(y), g), op_flip(y)));
}
static node *build_inv(const operator *op, const argument *a) {
    node *x = check_square(op, a[0].tensor);
    return node_new(op, x->type, x->shape, 1, &x, 0, NULL);
}
OPERATOR_NAMED(inv, "linalg.inv", .signature = "A", .kind = KERNEL, .differentiable = true, .checks_values = true,
         .accepts = operand_is_contiguous, .build = build_inv, .run = run_inv, .gradient = gradient_inv,
         .batch = batch_leading,
         .samples = "x=randn(2,2) ; linalg.inv(x) ; i,j -> (i == j and x(3-i,3-i) or -x(i,j)) / (x(1,1)*x(2,2) - x(1,2)*x(2,1))\n"
                    "x=randn(2,3,3) ; linalg.inv(x:cosh()):matmul(x:cosh()):matmul(x) ; b,i,j -> x(b,i,j)",
         .doc = "The inverses of matrices A (..., n, n). To solve A X = B, linalg.solve is faster and more accurate.")

/* --- factorisations -------------------------------------------------------------------------------------------------- */

static int compute_cholesky(const matrix_job *j, int64_t i, char *copy, char *work) {
    (void)work;
    matrix_symmetric_part(j->out->type, j->n, matrix_result(j, i), copy, true);
    return kernel_cholesky(j->out->type, j->n, matrix_result(j, i));
}
static const matrix_method cholesky_method = {true, compute_cholesky, is_not_positive};

static void run_cholesky(const node *y, const operand *inputs, const operand *out) {
    matrices_run(&cholesky_method, y, inputs, out, (lapack_work){0, 0});
}

/* A = L L^T: dL = L P(L^-1 dA L^-T), where P takes the lower triangle with half the diagonal (Giles 2008, 3.3). */
static node *gradient_cholesky(node *y, node *g, int index) {
    int64_t n = columns_of(y->shape);
    node *p = op_half(op_add(op_mask(y, n, op_ge), op_mask(y, n, op_gt))), *flipped = op_flip(y);
    (void)index;
    p = op_mul(p, op_matmul(flipped, g));
    node *left = op_flip(op_solve_rows(flipped, op_flip(p))); /* L^-T p */
    return op_symmetric_part(op_solve_rows(flipped, left));
}
static node *build_cholesky(const operator *op, const argument *a) {
    node *x = check_square(op, a[0].tensor);
    return node_new(op, x->type, x->shape, 1, &x, 0, NULL);
}
OPERATOR_NAMED(cholesky, "linalg.cholesky", .signature = "A", .kind = KERNEL, .differentiable = true, .checks_values = true,
         .accepts = operand_is_contiguous, .build = build_cholesky, .run = run_cholesky, .gradient = gradient_cholesky,
         .batch = batch_leading,
         .samples = "x=randn(2,2) ; linalg.cholesky(x:matmul(x:t())) ; i,j -> i < j and 0 or i == 1 and math.sqrt(x(1,1)^2 + x(1,2)^2) or j == 1 and (x(1,1)*x(2,1) + x(1,2)*x(2,2)) / math.sqrt(x(1,1)^2 + x(1,2)^2) or math.abs(x(1,1)*x(2,2) - x(1,2)*x(2,1)) / math.sqrt(x(1,1)^2 + x(1,2)^2)\n"
                    "x=randn(2,3,3) ; (function(l) return l:matmul(l:transpose()) end)(linalg.cholesky(x:matmul(x:transpose()))) ; b,i,j -> total(3, function(k) return x(b,i,k)*x(b,j,k) end)",
         .doc = "The lower triangular L with L L^T = A, for symmetric positive definite matrices A (..., n, n). A is taken as\n"
                "(A + A^T) / 2 and must be symmetric but for rounding.")

