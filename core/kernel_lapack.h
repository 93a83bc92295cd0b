/* Dense linear algebra: LAPACK, which OpenBLAS brings along. Each function works on one matrix in the place where it
 * lies, takes its working memory from the caller and returns LAPACK's verdict: 0, or a positive number that says at
 * which row it had to give up.
 *
 * LAPACK stores matrices by columns, so it sees the transpose of a row-major one. The functions below speak of
 * row-major matrices alone: an LQ factorisation of the transpose is a QR factorisation, and so on. Numbers must be
 * finite: on NaN some of LAPACK's iterations never end. */
#ifndef PLUMB_KERNEL_LAPACK_H
#define PLUMB_KERNEL_LAPACK_H

#include "array.h"

void kernel_lapack_start(void); /* once, before the first call: OpenBLAS keeps to one thread */

/* Working memory of one call: numbers of the matrix's dtype, and behind them integers. */
typedef struct {
    int64_t reals, integers;
} lapack_work;

static inline size_t lapack_work_bytes(dtype type, lapack_work work) {
    return (size_t)work.reals * dtype_bytes(type) + (size_t)work.integers * sizeof(int);
}

/* a (n, n), symmetric -> values (n), ascending; with `vectors` row j of a becomes the eigenvector of value j. dsyevd. */
lapack_work kernel_eigh_work(dtype type, int64_t n, bool vectors);
int kernel_eigh(dtype type, int64_t n, bool vectors, char *a, char *values, char *work);

/* a (m, n) = u diag(s) vh, s descending; a is overwritten. u (m, k), s (k), vh (k, n) with k = min(m, n), or with `full`
 * u (m, m) and vh (n, n). Without vectors (u NULL) only s. dgesdd. */
typedef enum { SVD_VALUES, SVD_REDUCED, SVD_FULL } svd_extent;
lapack_work kernel_svd_work(dtype type, int64_t m, int64_t n, svd_extent extent);
int kernel_svd(dtype type, int64_t m, int64_t n, svd_extent extent, char *a, char *u, char *s, char *vh, char *work);

/* a (n, n), symmetric and positive definite -> its lower triangle l with a = l l^T; the upper one stays as it was.
 * dpotrf. */
int kernel_cholesky(dtype type, int64_t n, char *a);

/* a (n, n) = its factors, and pivots (n): what kernel_solve needs. dgetrf. */
int kernel_lu(dtype type, int64_t n, char *a, int *pivots);
/* Each of the `count` rows of x becomes the solution of a y = row, or with `transposed` of a^T y = row. dgetrs. */
void kernel_solve(dtype type, int64_t n, int64_t count, bool transposed, const char *lu, const int *pivots, char *x);

/* a (m, n) -> r (k, n), upper triangular, and q (m, k) with a = q r, k = min(m, n); a is overwritten. dgelqf, dorglq. */
lapack_work kernel_qr_work(dtype type, int64_t m, int64_t n);
void kernel_qr(dtype type, int64_t m, int64_t n, char *a, char *q, char *r, char *work);

#endif
