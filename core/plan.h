/* Turning a graph into a list of kernel calls, once, and running it many times. A plan knows shapes and layouts, not
 * numbers: it can be run on any arrays that look like the leaves it was made for. */
#ifndef PLUMB_PLAN_H
#define PLUMB_PLAN_H

#include "node.h"

typedef struct plan plan;

/* A plan that computes `outputs` from the leaves of `order` (as node_sort lists them: nodes with a value, and
 * arguments), numbered by their place among the leaves. donors[i] >= 0: output i may take the memory of leaf
 * donors[i] when nobody else holds it at the run. Owned by the scope; plan_retain to keep it. */
plan *plan_build(const node_list *order, node *const *outputs, int output_count, const int *donors);
plan *plan_retain(plan *p);
void plan_release(plan *p);

/* Computes outputs [output_count] (the caller then owns a reference to each) from leaves [leaf_count]. On failure
 * nothing is changed; an interrupt (fail.h) is one. */
void plan_run(plan *p, const array *leaves, array *outputs);

/* The plan as text, one kernel call a line, for people and tests; the caller frees it. NULL: no memory. */
char *plan_describe(const plan *p);

/* From plan_timing_begin to plan_timing_end the time of each kernel call is taken, of all plans that run. The end gives each of
 * these plans as plan_describe shows it, with the shortest time of each call and of whole runs: a text that stays until the next
 * beginning, or NULL when there is no memory for it. */
void plan_timing_begin(void);
const char *plan_timing_end(void);

/* What stands for a value that is not there yet: a leaf of a plan (a compiled function's). */
node *op_argument(dtype type, shape s, const int64_t *strides);
bool node_is_leaf(const node *n);

/* Gives every node of `nodes` its value. Plans are cached by structure, so a loop that builds the same graph again
 * plans it once. */
void evaluate(node *const *nodes, int count);

typedef struct {
    uint64_t plans_made, plans_reused;
    size_t scratch_bytes;  /* the workspace that runs share */
    size_t live_after_run; /* bytes held (memory.h) after the last evaluation */
} plan_figures;
plan_figures plan_status(void);
void plan_clear_cache(void); /* gives back cached plans and the workspace */

#endif
