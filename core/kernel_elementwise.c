/* Expands every row of elementwise.def into a loop for each dtype; kernel_elementwise.inc holds one expansion.
 *
 * glibc has vector versions of the mathematical functions (libmvec, at most 4 ulp), but offers them only under
 * -ffast-math, which would also give up NaN. Declaring the same functions `simd` lets the compiler use them here. Its tanh of
 * float64 takes twice as long as the one below. */
#include <float.h>
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

static inline float tanh_float32(float x) { return tanhf(x); }

/* tanh x, to 3 ulp. With 2 |x| = n ln 2 + r and s = 2^n, e^2|x| = s (c + r) / (c - r), where c = r coth(r / 2) = 2 + h and
 * h = r^2 / 6 - r^4 / 360 + r^6 / 15120 - ..., so that
 *   tanh |x| = ((s - 1) c + (s + 1) r) / ((s + 1) c + (s - 1) r). */
static inline __attribute__((always_inline)) double tanh_float64(double x) {
    const double ROUNDING = 0x1.8p52; /* leaves n in the lowest bits */
    const double LN2 = 0x1.62e42fefap-1, REST_OF_LN2 = 0x1.cf79abc9e3b3ap-40, LARGEST = 22; /* from there on it is 1 */
    const double magnitude = fabs(x), y = 2 * (magnitude > LARGEST ? LARGEST : magnitude), rounded = y * M_LOG2E + ROUNDING;
    const double n = rounded - ROUNDING, r = y - n * LN2 - n * REST_OF_LN2, z = r * r;
    const double tail = z * (1. / 15120 - z * (1. / 604800 - z * (1. / 23950080 - z * (691. / 653837184000))));
    const double h = z * (1. / 6 - z * (1. / 360 - tail));
    uint64_t bits;
    double s;
    memcpy(&bits, &rounded, sizeof bits);
    bits = (bits + 1023) << 52;
    memcpy(&s, &bits, sizeof s);
    const double lower = s - 1, upper = s + 1;
    return copysign((2 * lower + (lower * h + upper * r)) / (2 * upper + (upper * h + lower * r)), x);
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
ROW(3, REAL, multiply_add, )
ROW(3, REAL, multiply_subtract, )
ROW(3, REAL, subtract_multiply, )
