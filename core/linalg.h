/* What the operators of plumb.linalg share: running LAPACK on each matrix of (..., m, n), checks, and parts of gradient
 * rules. */
#ifndef PLUMB_LINALG_H
#define PLUMB_LINALG_H

#include "kernel_lapack.h"
#include "operators.h"

static inline int64_t rows_of(shape s) { return s.size[s.rank - 2]; }
static inline int64_t columns_of(shape s) { return s.size[s.rank - 1]; }
static inline int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
/* s with its last two axes replaced by one or by two others. */
shape vector_shape(shape s, int64_t n);
shape matrix_shape(shape s, int64_t m, int64_t n);

/* --- checks: each fails naming the operator ---------------------------------------------------------------------- */

node *check_matrix(const operator *op, const char *name, node *x); /* returns x: float, with at least two axes */
node *check_square(const operator *op, node *x);
/* Every element must be finite. With `flipped` the user knows the matrices by their transposes. */
void check_finite(const node *y, const char *name, const operand *a, bool flipped);

/* --- running ------------------------------------------------------------------------------------------------------- */

typedef struct matrix_job matrix_job;

/* What happens to each matrix of the first input. */
typedef struct {
    bool symmetric; /* it must be so, but for rounding: within sqrt(eps) of its largest element */
    /* Computes result i from a copy of matrix i, which it may destroy; 0, or LAPACK's reason why it gave up. */
    int (*compute)(const matrix_job *job, int64_t i, char *copy, char *work);
    void (*complain)(const char *operator_name, const char *matrix_name, int verdict); /* fails */
} matrix_method;

struct matrix_job {
    const matrix_method *method;
    const node *y;
    const operand *inputs, *out;
    int64_t count, m, n; /* matrices of the first input, and their size */
};

/* Runs the method on every matrix, spread over the pool, with `work` for each of LAPACK's calls. */
void matrices_run(const matrix_method *method, const node *y, const operand *inputs, const operand *out, lapack_work work);
char *matrix_result(const matrix_job *job, int64_t i); /* where result i begins */
static inline int64_t bytes_of(const operand *a, int64_t elements) { return elements * (int64_t)dtype_bytes(a->type); }
/* a of (n, n) -> (a + a^T) / 2, above the diagonal as well or with zeros there; out may be a. */
void matrix_symmetric_part(dtype type, int64_t n, char *out, const char *a, bool lower_only);

void no_convergence(const char *name, const char *which, int verdict);
void is_singular(const char *name, const char *which, int verdict);
void is_not_positive(const char *name, const char *which, int verdict);

/* --- parts of gradient rules ----------------------------------------------------------------------------------------- */

node *op_flip(node *x);           /* the transposes */
node *op_half(node *x);
node *op_symmetric_part(node *x);
node *op_as_row(node *x);         /* (..., n) as (..., 1, n): what scales columns */
node *op_as_column(node *x);      /* (..., n) as (..., n, 1): what scales rows */
node *op_mask(node *x, int64_t n, node *(*compare)(node *, node *)); /* (n, n) in x's dtype: compare(row, column) */
/* Of (..., n), (..., n, n): 1 / (x_j - x_i), infinite for equal elements, and 0 on the diagonal. */
node *op_inverse_gaps(node *x);

/* X with A X = B, both transposed: each of `rows` (..., k, n) becomes A^-1 row. */
node *op_solve_rows(node *a, node *rows);

#endif
