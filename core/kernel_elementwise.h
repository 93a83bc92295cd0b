/* The kernels of elementwise.def: elementwise_kernels_NAME[dtype]. */
#ifndef PLUMB_KERNEL_ELEMENTWISE_H
#define PLUMB_KERNEL_ELEMENTWISE_H

#include "operator.h"

#define ROW(arity, types, name, ...) extern elementwise_kernel *const elementwise_kernels_##name[DTYPE_COUNT];
#include "elementwise.def"
ROW(3, REAL, multiply_add, )      /* x y + z, as two kernels compute it */
ROW(3, REAL, multiply_subtract, ) /* x y - z */
ROW(3, REAL, subtract_multiply, ) /* z - x y */
#undef ROW

#define SELU_ALPHA 1.6732632423543772
#define SELU_SCALE 1.0507009873554805

#endif
