/* plumb.linalg: decompositions of matrices (..., m, n) into several. One node holds the results packed, matrix by matrix;
 * each result is a view of it, which also knows the matrix and carries the gradient. */
#include <string.h>

#include "batch.h"
#include "fail.h"
#include "linalg.h"

/* --- packed results -------------------------------------------------------------------------------------------------- */

/* Attributes of a result: its number, its place in the packed matrix, its strides (of its last axes). */
static bool view_part(const node *y, const operand *in, operand *out) {
    int leading = in->shape.rank - 1;
    memcpy(out->strides, in->strides, sizeof out->strides);
    out->offset = in->offset + y->attributes[1] * in->strides[leading];
    for (int axis = leading; axis < y->shape.rank; axis++)
        out->strides[axis] = y->attributes[2 + axis - leading] * in->strides[leading];
    return true;
}

static node *part(const operator *op, node *packed, node *a, int number, int64_t place, shape s, int64_t stride,
                  int64_t last_stride) {
    return node_new(op, packed->type, s, 2, (node *[]){packed, a}, 4, (int64_t[]){number, place, stride, last_stride});
}

/* The results' own rules lead past the packed node, to the matrix. */
static node *gradient_in_results(node *y, node *g, int index) {
    (void)y, (void)g, (void)index;
    return NULL;
}

/* --- symmetric eigenvalues: packed as vectors (one a row), then values ---------------------------------------------- */

enum { VALUES, VECTORS };

static int compute_eigh(const matrix_job *j, int64_t i, char *copy, char *work) {
    char *vectors = matrix_result(j, i);
    matrix_symmetric_part(j->out->type, j->n, vectors, copy, false);
    return kernel_eigh(j->out->type, j->n, true, vectors, vectors + bytes_of(j->out, j->n * j->n), work);
}
static const matrix_method eigh_method = {true, compute_eigh, no_convergence};

static void run_eigh(const node *y, const operand *inputs, const operand *out) {
    matrices_run(&eigh_method, y, inputs, out, kernel_eigh_work(out->type, columns_of(inputs->shape), true));
}

static node *eigh_part(node *packed, node *a, int number);

/* A = V diag(w) V^T: dw_i = v_i^T dA v_i, dV = V (F * V^T dA V) with F_ij = 1 / (w_j - w_i) (Giles 2008, 3.1). */
static node *gradient_eigh_part(node *y, node *g, int index) {
    if (index == 0) return NULL;
    node *v = eigh_part(y->inputs[0], y->inputs[1], VECTORS);
    if (y->attributes[0] == VALUES) return op_matmul(op_mul(v, op_as_row(g)), op_flip(v));
    node *inner = op_mul(op_inverse_gaps(eigh_part(y->inputs[0], y->inputs[1], VALUES)), op_matmul(op_flip(v), g));
    return op_symmetric_part(op_matmul(op_matmul(v, inner), op_flip(v)));
}
OPERATOR(eigh_part, .kind = VIEW, .differentiable = true, .view = view_part, .gradient = gradient_eigh_part,
         .batch = batch_leading,
         .doc = "Eigenvalues or eigenvectors, of what linalg.eigh computed.")

static node *eigh_part(node *packed, node *a, int number) {
    int64_t n = columns_of(a->shape);
    return number == VALUES ? part(&row_eigh_part, packed, a, number, n * n, vector_shape(a->shape, n), 1, 1)
                            : part(&row_eigh_part, packed, a, number, 0, a->shape, 1, n);
}

static node *result_eigh(node *y, int number) { return eigh_part(y, y->inputs[0], number); }

static node *eigh(const operator *op, node *a) {
    int64_t n = columns_of(a->shape);
    return node_new(op, a->type, vector_shape(a->shape, n * n + n), 1, &a, 0, NULL);
}
static node *build_eigh(const operator *op, const argument *a) { return eigh(op, check_square(op, a[0].tensor)); }
OPERATOR_NAMED(eigh, "linalg.eigh", .signature = "A", .kind = KERNEL, .differentiable = true, .checks_values = true,
         .accepts = operand_is_contiguous, .build = build_eigh, .results = 2, .result = result_eigh, .run = run_eigh,
         .gradient = gradient_in_results, .batch = batch_leading,
         .samples = "x=randn(2,2) ; linalg.eigh(x + x:t()) ; i -> x(1,1) + x(2,2) + (2*i - 3) * math.sqrt((x(1,1) - x(2,2))^2 + (x(1,2) + x(2,1))^2)\n"
                    "x=randn(4,4) ; (function(w, v) return (v * w:square()):matmul(v:t()) / 16 end)(linalg.eigh(x + x:t())) ; i,j -> total(4, function(k) return (x(i,k) + x(k,i)) * (x(k,j) + x(j,k)) end) / 16\n"
                    "x=randn(2,3,3) ; (function(w, v) return (v * w:unsqueeze(2)):matmul(v:transpose()) end)(linalg.eigh(x + x:transpose())) ; b,i,j -> x(b,i,j) + x(b,j,i)",
         .doc = "-> values (..., n), ascending, and vectors (..., n, n), one a column, of symmetric matrices A (..., n, n):\n"
                "A = V diag(w) V^T. A is taken as (A + A^T) / 2 and must be symmetric but for rounding. A vector's sign is\n"
                "LAPACK's choice. Where eigenvalues are equal the gradient through the vectors does not exist: infinite or NaN.")

static int compute_eigvalsh(const matrix_job *j, int64_t i, char *copy, char *work) {
    matrix_symmetric_part(j->out->type, j->n, copy, copy, false);
    return kernel_eigh(j->out->type, j->n, false, copy, matrix_result(j, i), work);
}
static const matrix_method eigvalsh_method = {true, compute_eigvalsh, no_convergence};

static void run_eigvalsh(const node *y, const operand *inputs, const operand *out) {
    matrices_run(&eigvalsh_method, y, inputs, out, kernel_eigh_work(out->type, columns_of(inputs->shape), false));
}
static node *gradient_eigvalsh(node *y, node *g, int index) {
    node *a = y->inputs[index], *v = eigh_part(eigh(&row_eigh, a), a, VECTORS);
    return op_matmul(op_mul(v, op_as_row(g)), op_flip(v));
}
static node *build_eigvalsh(const operator *op, const argument *a) {
    node *x = check_square(op, a[0].tensor);
    return node_new(op, x->type, vector_shape(x->shape, columns_of(x->shape)), 1, &x, 0, NULL);
}
OPERATOR_NAMED(eigvalsh, "linalg.eigvalsh", .signature = "A", .kind = KERNEL, .differentiable = true, .checks_values = true,
         .accepts = operand_is_contiguous, .build = build_eigvalsh, .run = run_eigvalsh, .gradient = gradient_eigvalsh,
         .batch = batch_leading,
         .samples = "x=randn(2,2) ; linalg.eigvalsh(x + x:t()) ; i -> x(1,1) + x(2,2) + (2*i - 3) * math.sqrt((x(1,1) - x(2,2))^2 + (x(1,2) + x(2,1))^2)\n"
                    "x=randn(2,3,3) ; linalg.eigvalsh(x + x:transpose()):square():sum(2) ; b -> total(3, function(i) return total(3, function(j) return (x(b,i,j) + x(b,j,i))^2 end) end)",
         .doc = "The eigenvalues (..., n), ascending, of symmetric matrices A (..., n, n); see linalg.eigh. It is faster.")

/* --- singular values: packed as u, s, vh ------------------------------------------------------------------------------- */

enum { LEFT, SINGULAR, RIGHT };

static int compute_svd(const matrix_job *j, int64_t i, char *copy, char *work) {
    int64_t m = j->m, n = j->n, k = lesser(m, n), left = j->y->attributes[0] ? m : k;
    char *u = matrix_result(j, i), *s = u + bytes_of(j->out, m * left), *vh = s + bytes_of(j->out, k);
    return kernel_svd(j->out->type, m, n, j->y->attributes[0] ? SVD_FULL : SVD_REDUCED, copy, u, s, vh, work);
}
static const matrix_method svd_method = {false, compute_svd, no_convergence};

static void run_svd(const node *y, const operand *inputs, const operand *out) {
    svd_extent extent = y->attributes[0] ? SVD_FULL : SVD_REDUCED;
    int64_t m = rows_of(inputs->shape), n = columns_of(inputs->shape);
    matrices_run(&svd_method, y, inputs, out, kernel_svd_work(out->type, m, n, extent));
}

static node *svd_part(node *packed, node *a, int number, bool full);

static node *skew(node *x) { return op_sub(x, op_flip(x)); }

/* What d U or d Vh adds, for A = U diag(s) Vh of reduced size (Townsend 2016): in the space of U and V, and beyond it. */
static node *gradient_svd_left(node *u, node *s, node *vh, node *g, node *inverse) {
    node *inner = op_mul(skew(op_matmul(op_flip(u), g)), inverse);
    node *result = op_matmul(u, op_matmul(op_mul(inner, op_as_row(s)), vh));
    if (rows_of(u->shape) == columns_of(u->shape)) return result;
    node *scaled = op_div(g, op_as_row(s));
    node *beyond = op_sub(scaled, op_matmul(u, op_matmul(op_flip(u), scaled)));
    return op_add(result, op_matmul(beyond, vh));
}
static node *gradient_svd_part(node *y, node *g, int index) {
    if (index == 0) return NULL;
    node *packed = y->inputs[0], *a = y->inputs[1];
    bool full = y->attributes[0] >= 3;
    int number = (int)y->attributes[0] % 3;
    if (full && number != SINGULAR && rows_of(a->shape) != columns_of(a->shape))
        fail(ERROR_ARGUMENT, "linalg.svd: with full_matrices the vectors beyond the first %lld are not unique and have no "
             "gradient", (long long)lesser(rows_of(a->shape), columns_of(a->shape)));
    node *u = svd_part(packed, a, LEFT, full), *vh = svd_part(packed, a, RIGHT, full);
    node *s = svd_part(packed, a, SINGULAR, full);
    if (number == SINGULAR) {
        int64_t k = columns_of(s->shape), start[MAX_RANK] = {0}, step[MAX_RANK];
        for (int axis = 0; axis < MAX_RANK; axis++) step[axis] = 1;
        u = op_slice(u, start, step, matrix_shape(u->shape, rows_of(u->shape), k));
        vh = op_slice(vh, start, step, matrix_shape(vh->shape, k, columns_of(vh->shape)));
        return op_matmul(op_mul(u, op_as_row(g)), vh);
    }
    node *inverse = op_inverse_gaps(op_square(s));
    if (number == LEFT) return gradient_svd_left(u, s, vh, g, inverse);
    return op_flip(gradient_svd_left(op_flip(vh), s, op_flip(u), op_flip(g), inverse));
}
OPERATOR(svd_part, .kind = VIEW, .differentiable = true, .view = view_part, .gradient = gradient_svd_part,
         .batch = batch_leading,
         .doc = "U, S or Vh, of what linalg.svd computed.")

static node *svd_part(node *packed, node *a, int number, bool full) {
    shape s = a->shape;
    int64_t m = rows_of(s), n = columns_of(s), k = lesser(m, n), left = full ? m : k, right = full ? n : k;
    int tag = number + (full ? 3 : 0);
    if (number == LEFT) return part(&row_svd_part, packed, a, tag, 0, matrix_shape(s, m, left), left, 1);
    if (number == SINGULAR) return part(&row_svd_part, packed, a, tag, m * left, vector_shape(s, k), 1, 1);
    return part(&row_svd_part, packed, a, tag, m * left + k, matrix_shape(s, right, n), n, 1);
}
static node *result_svd(node *y, int number) { return svd_part(y, y->inputs[0], number, y->attributes[0] != 0); }

static node *svd(const operator *op, node *a, bool full) {
    int64_t m = rows_of(a->shape), n = columns_of(a->shape), k = lesser(m, n);
    if (full && k == 0)
        fail(ERROR_SHAPE, "%s: full_matrices of A of shape %s, which has no elements", op->name,
             shape_format(a->shape).text);
    shape s = vector_shape(a->shape, m * (full ? m : k) + k + n * (full ? n : k));
    return node_new(op, a->type, s, 1, &a, 1, (int64_t[]){full});
}
static node *build_svd(const operator *op, const argument *a) {
    return svd(op, check_matrix(op, "A", a[0].tensor), a[1].given && a[1].boolean);
}
OPERATOR_NAMED(svd, "linalg.svd", .signature = "A, full_matrices:boolean?", .kind = KERNEL, .differentiable = true,
         .checks_values = true, .accepts = operand_is_contiguous, .build = build_svd, .results = 3, .result = result_svd,
         .run = run_svd, .gradient = gradient_in_results, .batch = batch_leading,
         .samples = "x=randn(3,2) ; (function(u, s, v) return (u * s):matmul(v) end)(linalg.svd(x)) ; i,j -> x(i,j)\n"
                    "x=randn(2,4) ; (function(u, s, v) return (u * s:square()):matmul(u:t()) end)(linalg.svd(x)) ; i,j -> total(4, function(k) return x(i,k)*x(j,k) end)\n"
                    "x=randn(2,3,2) ; (function(u, s, v) return (v:transpose() * s:square():unsqueeze(2)):matmul(v) end)(linalg.svd(x)) ; b,i,j -> total(3, function(k) return x(b,k,i)*x(b,k,j) end)\n"
                    "x=randn(3,3) ; (function(u, s, v) return (u * s):matmul(v) end)(linalg.svd(x, {full_matrices = true})) ; i,j -> x(i,j)",
         .doc = "-> U (..., m, k), S (..., k), descending, and Vh (..., k, n) with k = min(m, n) and A = U diag(S) Vh, of\n"
                "matrices A (..., m, n). {full_matrices = true}: U (..., m, m), Vh (..., n, n). Where singular values are equal\n"
                "or 0 the gradient through the vectors does not exist: infinite or NaN.")

static int compute_svdvals(const matrix_job *j, int64_t i, char *copy, char *work) {
    return kernel_svd(j->out->type, j->m, j->n, SVD_VALUES, copy, NULL, matrix_result(j, i), NULL, work);
}
static const matrix_method svdvals_method = {false, compute_svdvals, no_convergence};

static void run_svdvals(const node *y, const operand *inputs, const operand *out) {
    int64_t m = rows_of(inputs->shape), n = columns_of(inputs->shape);
    matrices_run(&svdvals_method, y, inputs, out, kernel_svd_work(out->type, m, n, SVD_VALUES));
}
static node *gradient_svdvals(node *y, node *g, int index) {
    node *a = y->inputs[index], *packed = svd(&row_svd, a, false);
    return op_matmul(op_mul(svd_part(packed, a, LEFT, false), op_as_row(g)), svd_part(packed, a, RIGHT, false));
}
static node *build_svdvals(const operator *op, const argument *a) {
    node *x = check_matrix(op, "A", a[0].tensor);
    shape s = vector_shape(x->shape, lesser(rows_of(x->shape), columns_of(x->shape)));
    return node_new(op, x->type, s, 1, &x, 0, NULL);
}
OPERATOR_NAMED(svdvals, "linalg.svdvals", .signature = "A", .kind = KERNEL, .differentiable = true, .checks_values = true,
         .accepts = operand_is_contiguous, .build = build_svdvals, .run = run_svdvals, .gradient = gradient_svdvals,
         .batch = batch_leading,
         .samples = "x=randn(3,2) ; linalg.svdvals(x):square():sum() ; -> total(3, function(i) return x(i,1)^2 + x(i,2)^2 end)\n"
                    "x=randn(2,2) ; linalg.svdvals(x):log():sum() ; -> math.log(math.abs(x(1,1)*x(2,2) - x(1,2)*x(2,1)))",
         .doc = "The singular values (..., min(m, n)), descending, of matrices A (..., m, n); see linalg.svd. It is faster.")

/* --- QR: packed as q, r ---------------------------------------------------------------------------------------------- */

enum { ORTHOGONAL, TRIANGULAR };

static int compute_qr(const matrix_job *j, int64_t i, char *copy, char *work) {
    char *q = matrix_result(j, i);
    kernel_qr(j->out->type, j->m, j->n, copy, q, q + bytes_of(j->out, j->m * lesser(j->m, j->n)), work);
    return 0;
}
static const matrix_method qr_method = {false, compute_qr, NULL};

static void run_qr(const node *y, const operand *inputs, const operand *out) {
    matrices_run(&qr_method, y, inputs, out, kernel_qr_work(out->type, rows_of(inputs->shape), columns_of(inputs->shape)));
}

static node *qr_part(node *packed, node *a, int number);

/* With M = R dR^T - dQ^T Q and its lower triangle copied to the upper one: (dQ + Q M) R^-T (Walter and Lehmann 2012). */
static node *gradient_qr_part(node *y, node *g, int index) {
    node *a = y->inputs[1];
    if (index == 0) return NULL;
    if (rows_of(a->shape) < columns_of(a->shape))
        fail(ERROR_ARGUMENT, "linalg.qr: of a matrix with more columns than rows, shape %s, there is no gradient",
             shape_format(a->shape).text);
    node *q = qr_part(y->inputs[0], a, ORTHOGONAL), *r = qr_part(y->inputs[0], a, TRIANGULAR);
    bool of_q = y->attributes[0] == ORTHOGONAL;
    int64_t n = columns_of(a->shape);
    node *m = of_q ? op_neg(op_matmul(op_flip(g), q)) : op_matmul(r, op_flip(g));
    m = op_add(op_mul(m, op_mask(m, n, op_ge)), op_flip(op_mul(m, op_mask(m, n, op_gt))));
    node *sum = op_matmul(q, m);
    return op_solve_rows(r, of_q ? op_add(sum, g) : sum);
}
OPERATOR(qr_part, .kind = VIEW, .differentiable = true, .view = view_part, .gradient = gradient_qr_part,
         .batch = batch_leading,
         .doc = "Q or R, of what linalg.qr computed.")

static node *qr_part(node *packed, node *a, int number) {
    int64_t m = rows_of(a->shape), n = columns_of(a->shape), k = lesser(m, n);
    return number == ORTHOGONAL ? part(&row_qr_part, packed, a, number, 0, matrix_shape(a->shape, m, k), k, 1)
                                : part(&row_qr_part, packed, a, number, m * k, matrix_shape(a->shape, k, n), n, 1);
}
static node *result_qr(node *y, int number) { return qr_part(y, y->inputs[0], number); }
static node *build_qr(const operator *op, const argument *a) {
    node *x = check_matrix(op, "A", a[0].tensor);
    int64_t m = rows_of(x->shape), n = columns_of(x->shape);
    return node_new(op, x->type, vector_shape(x->shape, (m + n) * lesser(m, n)), 1, &x, 0, NULL);
}
OPERATOR_NAMED(qr, "linalg.qr", .signature = "A", .kind = KERNEL, .differentiable = true, .checks_values = true,
         .accepts = operand_is_contiguous, .build = build_qr, .results = 2, .result = result_qr, .run = run_qr,
         .gradient = gradient_in_results, .batch = batch_leading,
         .samples = "x=randn(3,2) ; (function(q, r) return q:matmul(r) end)(linalg.qr(x)) ; i,j -> x(i,j)\n"
                    "x=randn(2,3,2) ; (function(q, r) return r:transpose():matmul(r) end)(linalg.qr(x)) ; b,i,j -> total(3, function(k) return x(b,k,i)*x(b,k,j) end)\n"
                    "x=randn(2,2) ; (function(q, r) return q:sin():abs() end)(linalg.qr(x)) ; i,j -> math.sin(math.abs(x(i == j and 1 or 2, 1)) / math.sqrt(x(1,1)^2 + x(2,1)^2))",
         .doc = "-> Q (..., m, k), with orthonormal columns, and R (..., k, n), upper triangular, k = min(m, n): A = Q R, of\n"
                "matrices A (..., m, n). R's diagonal may be negative. Differentiable for m >= n.")
