#include "kernel_lapack.h"

#include <string.h>

/* Fortran's functions: everything by reference, and behind the arguments the length of each string. */
#define FORTRAN(name, ...) extern void s##name##_(__VA_ARGS__); extern void d##name##_(__VA_ARGS__);
#define CALL(type, name, ...) ((type) == FLOAT32 ? s##name##_ : d##name##_)(__VA_ARGS__)

FORTRAN(syevd, const char *job, const char *half, const int *n, void *a, const int *lda, void *w, void *work,
        const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t)
FORTRAN(gesdd, const char *job, const int *m, const int *n, void *a, const int *lda, void *s, void *u, const int *ldu,
        void *vt, const int *ldvt, void *work, const int *lwork, int *iwork, int *info, size_t)
FORTRAN(potrf, const char *half, const int *n, void *a, const int *lda, int *info, size_t)
FORTRAN(getrf, const int *m, const int *n, void *a, const int *lda, int *pivots, int *info)
FORTRAN(getrs, const char *flip, const int *n, const int *count, const void *a, const int *lda, const int *pivots,
        void *b, const int *ldb, int *info, size_t)
FORTRAN(gelqf, const int *m, const int *n, void *a, const int *lda, void *tau, void *work, const int *lwork, int *info)
FORTRAN(orglq, const int *m, const int *n, const int *k, void *a, const int *lda, const void *tau, void *work,
        const int *lwork, int *info)

extern void openblas_set_num_threads(int count);
extern int blas_thread_shutdown_(void) __attribute__((weak)); /* OpenBLAS without threads has none */

/* The threads that OpenBLAS has started when it was loaded would look for work for half a second, on plumb's processors. */
void kernel_lapack_start(void) {
    openblas_set_num_threads(1);
    if (blas_thread_shutdown_ != NULL) blas_thread_shutdown_();
}

static const int ASK = -1; /* as a workspace's size: the best size comes back as its first number */

/* Beyond 2^24 a float32 answer may be rounded down. */
static int64_t answered(dtype type, const void *work) {
    double size = type == FLOAT32 ? (double)*(const float *)work : *(const double *)work;
    return (int64_t)(size * (1 + 1e-6)) + 1;
}

static int at_least_1(int64_t n) { return n > 0 ? (int)n : 1; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* --- symmetric eigenvalues --------------------------------------------------------------------------------------- */

lapack_work kernel_eigh_work(dtype type, int64_t n, bool vectors) {
    int order = (int)n, info, integers;
    double first = 0;
    CALL(type, syevd, vectors ? "V" : "N", "L", &order, NULL, &(int){at_least_1(n)}, NULL, &first, &ASK, &integers, &ASK,
         &info, 1, 1);
    int64_t least = vectors ? 1 + 6 * n + 2 * n * n : 1 + 2 * n;
    return (lapack_work){larger(answered(type, &first), least), larger(integers, 1)};
}

int kernel_eigh(dtype type, int64_t n, bool vectors, char *a, char *values, char *work) {
    lapack_work sizes = kernel_eigh_work(type, n, vectors);
    int order = (int)n, reals = (int)sizes.reals, integers = (int)sizes.integers, info;
    int *integer_work = (int *)(void *)(work + (size_t)reals * dtype_bytes(type));
    CALL(type, syevd, vectors ? "V" : "N", "L", &order, a, &(int){at_least_1(n)}, values, work, &reals, integer_work,
         &integers, &info, 1, 1);
    return info;
}

/* --- singular values: of the transpose, vh^T diag(s) u^T ----------------------------------------------------------- */

static const char *svd_job(svd_extent extent) { return extent == SVD_VALUES ? "N" : extent == SVD_REDUCED ? "S" : "A"; }

lapack_work kernel_svd_work(dtype type, int64_t m, int64_t n, svd_extent extent) {
    int rows = (int)n, columns = (int)m, k = (int)smaller(m, n), u_columns = extent == SVD_FULL ? columns : k, info;
    double first = 0;
    CALL(type, gesdd, svd_job(extent), &rows, &columns, NULL, &(int){at_least_1(rows)}, NULL, NULL,
         &(int){at_least_1(rows)}, NULL, &(int){at_least_1(u_columns)}, &first, &ASK, NULL, &info, 1);
    return (lapack_work){answered(type, &first), 8 * k};
}

int kernel_svd(dtype type, int64_t m, int64_t n, svd_extent extent, char *a, char *u, char *s, char *vh, char *work) {
    lapack_work sizes = kernel_svd_work(type, m, n, extent);
    int rows = (int)n, columns = (int)m, k = (int)smaller(m, n), u_columns = extent == SVD_FULL ? columns : k;
    int reals = (int)sizes.reals, info;
    int *integer_work = (int *)(void *)(work + (size_t)reals * dtype_bytes(type));
    CALL(type, gesdd, svd_job(extent), &rows, &columns, a, &(int){at_least_1(rows)}, s, vh, &(int){at_least_1(rows)}, u,
         &(int){at_least_1(u_columns)}, work, &reals, integer_work, &info, 1);
    return info;
}

/* --- factorisations and systems of equations ---------------------------------------------------------------------- */

int kernel_cholesky(dtype type, int64_t n, char *a) {
    int order = (int)n, info;
    CALL(type, potrf, "U", &order, a, &(int){at_least_1(n)}, &info, 1); /* what lies below the diagonal, transposed */
    return info;
}

int kernel_lu(dtype type, int64_t n, char *a, int *pivots) {
    int order = (int)n, info;
    CALL(type, getrf, &order, &order, a, &(int){at_least_1(n)}, pivots, &info);
    return info;
}

void kernel_solve(dtype type, int64_t n, int64_t count, bool transposed, const char *lu, const int *pivots, char *x) {
    int order = (int)n, columns = (int)count, info;
    CALL(type, getrs, transposed ? "N" : "T", &order, &columns, lu, &(int){at_least_1(n)}, pivots, x,
         &(int){at_least_1(n)}, &info, 1);
}

/* --- QR: the transpose is r^T q^T, an LQ factorisation ------------------------------------------------------------- */

lapack_work kernel_qr_work(dtype type, int64_t m, int64_t n) {
    int rows = (int)n, columns = (int)m, k = (int)smaller(m, n), info;
    double first = 0, second = 0;
    CALL(type, gelqf, &rows, &columns, NULL, &(int){at_least_1(rows)}, NULL, &first, &ASK, &info);
    CALL(type, orglq, &k, &columns, &k, NULL, &(int){at_least_1(rows)}, NULL, &second, &ASK, &info);
    return (lapack_work){k + larger(answered(type, &first), answered(type, &second)), 0};
}

void kernel_qr(dtype type, int64_t m, int64_t n, char *a, char *q, char *r, char *work) {
    int64_t k = smaller(m, n), bytes = (int64_t)dtype_bytes(type);
    int rows = (int)n, columns = (int)m, reflectors = (int)k, leading = at_least_1(n), info;
    int left = (int)(kernel_qr_work(type, m, n).reals - k);
    char *tau = work;
    work += k * bytes;
    CALL(type, gelqf, &rows, &columns, a, &leading, tau, work, &left, &info);
    memset(r, 0, (size_t)(k * n * bytes));
    for (int64_t i = 0; i < k; i++)
        memcpy(r + (i * n + i) * bytes, a + (i * n + i) * bytes, (size_t)((n - i) * bytes));
    CALL(type, orglq, &reflectors, &columns, &reflectors, a, &leading, tau, work, &left, &info);
    for (int64_t i = 0; i < m; i++) memcpy(q + i * k * bytes, a + i * n * bytes, (size_t)(k * bytes));
}
