/* plumb's core: tensors as a lazy graph, differentiation to any order, and the planner that runs it. The headers in
 * the order in which they build on each other: */
#ifndef PLUMB_H
#define PLUMB_H

#include "fail.h"      /* the one error path */
#include "memory.h"    /* the one door to memory */
#include "rng.h"       /* counter-based random numbers */
#include "shape.h"
#include "array.h"     /* numbers in memory */
#include "pool.h"      /* threads */
#include "kernels.h"   /* raw loops */
#include "node.h"      /* the lazy graph */
#include "operator.h"  /* the operator table */
#include "operators.h" /* building graphs */
#include "grad.h"      /* differentiation */
#include "vmap.h"      /* mapping over an axis */
#include "plan.h"      /* running graphs */
#include "loader.h"    /* batches of data sets */

#endif
