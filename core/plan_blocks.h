/* Blocks: where a computation treats the rows of a batch each by itself until it adds them up, as a step of training does, a few
 * blocks of rows go through all of it one by one, on any thread. A thread is then asked once for a whole chain of small kernels
 * instead of once for each, and what a block computes stays in that thread's cache.
 *
 * How many blocks there are depends on the sizes alone, and their sums are added in order: any number of threads gives the same
 * bits. */
#ifndef PLUMB_PLAN_BLOCKS_H
#define PLUMB_PLAN_BLOCKS_H

#include "plan_internal.h"

/* The graph of `order`, as node_sort lists it, with nodes in place of what blocks compute, or `order` itself where blocks do not
 * pay. Leaves keep their numbers among the leaves. outputs [output_count] become the new graph's. Owned by the scope. */
const node_list *blocks_form(const node_list *order, node **outputs, int output_count);

/* The plan of a node's blocks, or NULL where the node is another. */
plan *blocks_plan(const node *n);
int64_t blocks_count(const node *n);

#endif
