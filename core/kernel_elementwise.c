/* Expands every row of elementwise.def into a loop for each dtype; kernel_elementwise.inc holds one expansion.
 *
 * glibc has vector versions of the mathematical functions (libmvec, at most 4 ulp), but offers them only under
 * -ffast-math, which would also give up NaN. Declaring the same functions `simd` lets the compiler use them here. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined __x86_64__ && defined __GLIBC__ && __GLIBC_PREREQ(2, 35)
#define VECTOR __attribute__((simd("notinbranch"), const, nothrow))
#define DECLARE(name) extern double name(double) VECTOR; extern float name##f(float) VECTOR;
DECLARE(exp) DECLARE(expm1) DECLARE(log) DECLARE(log1p) DECLARE(sin) DECLARE(cos) DECLARE(tan) DECLARE(atan)
DECLARE(sinh) DECLARE(cosh) DECLARE(tanh) DECLARE(erf)
extern double pow(double, double) VECTOR;
extern float powf(float, float) VECTOR;
#endif

#include "kernel_elementwise.h"

static int64_t floor_divide_int64(int64_t x, int64_t y) {
    if (y == 0 || y == -1) return y == 0 ? 0 : -x; /* the two divisors that trap (-fwrapv: the least number stays) */
    return x / y - (x % y != 0 && (x < 0) != (y < 0));
}

static int64_t remainder_int64(int64_t x, int64_t y) {
    return y == 0 || y == -1 ? 0 : x % y + (x % y != 0 && (x < 0) != (y < 0) ? y : 0);
}

static float remainder_float32(float x, float y) {
    float r = fmodf(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static double remainder_float64(double x, double y) {
    double r = fmod(x, y);
    return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

/* At least the numbers in the longest vector of any processor. */
enum { LANES = 16 };

#define KEEP(...) __VA_ARGS__
#define DROP(...)

#define T float
#define TYPED(name) name##_float32
#define FUNCTION(name) name##f
#define REAL KEEP
#include "kernel_elementwise.inc"
#undef T
#undef TYPED
#undef FUNCTION
#undef REAL

#define T double
#define TYPED(name) name##_float64
#define FUNCTION(name) name
#define REAL KEEP
#include "kernel_elementwise.inc"
#undef T
#undef TYPED
#undef FUNCTION
#undef REAL

#define T int64_t
#define TYPED(name) name##_int64
#define FUNCTION(name) name
#define REAL DROP
#define INTEGER
#include "kernel_elementwise.inc"

#define KERNELS_ANY(name) {[FLOAT32] = name##_float32, [FLOAT64] = name##_float64, [INT64] = name##_int64}
#define KERNELS_REAL(name) {[FLOAT32] = name##_float32, [FLOAT64] = name##_float64}
#define ROW(arity, types, name, ...) \
    elementwise_kernel *const elementwise_kernels_##name[DTYPE_COUNT] = KERNELS_##types(kernel_##name);
#include "elementwise.def"
