/* Mapping a function over an axis, as a rewriting of its graph: what was built once for one value is built again for all
 * of them at once, operator by operator, by each operator's batching rule. */
#ifndef PLUMB_VMAP_H
#define PLUMB_VMAP_H

#include "node.h"

/* The graphs of `results` with each of the placeholders [count] (leaves without a value) replaced by `size` values along
 * the first axis of values[k]. Each of `mapped` gets that axis, too; what depends on no placeholder stays as it is, is
 * computed once and repeated. */
void vmap_rebuild(int64_t size, int count, node *const *placeholders, node *const *values, int result_count,
                  node *const *results, node **mapped);

#endif
