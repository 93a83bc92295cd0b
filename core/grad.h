/* Reverse-mode differentiation as a walk over the graph: gradients are graphs made of ordinary operators, so they can
 * be differentiated again. */
#ifndef PLUMB_GRAD_H
#define PLUMB_GRAD_H

#include "node.h"

/* gradients[i] = d <seed, y> / d inputs[i], zeros where y does not depend on it. `seed` has y's shape and dtype; NULL
 * stands for 1 and asks y to be a single number. Between y and the inputs the graph must still be there (a trace). */
void grad_sweep(node *y, node *seed, int input_count, node *const *inputs, node **gradients);

#endif
