/* What batching rules (operator.h) are made of: an operator applied to many values at once, which lie along a new first
 * axis. */
#ifndef PLUMB_BATCH_H
#define PLUMB_BATCH_H

#include "operators.h"

shape batch_shape(int64_t size, shape s);                /* (size, s ...); fails when that has too many axes */
node *batch_repeat(node *x, bool mapped, int64_t size);  /* x, repeated along a new first axis unless it has one */
node *batch_join(node *x, bool mapped, int64_t size);    /* the same with the first two axes, (size, n), as one */

/* Rules of more than one operator. */
node *batch_leading(node *y, node *const *inputs, const bool *mapped, int64_t size); /* it takes more axes as it is */
node *batch_shifted(node *y, node *const *inputs, const bool *mapped, int64_t size); /* its attributes are axes */
node *batch_in_turn(node *y, node *const *inputs, const bool *mapped, int64_t size); /* any: one value after another */

#endif
